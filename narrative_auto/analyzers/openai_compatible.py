"""Asks a model behind an endpoint that answers as OpenAI's chat completions do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrative_auto.analyzers.answer import text_of
from narrative_auto.analyzers.endpoint import read_endpoint
from narrative_auto.analyzers.service import Service

if TYPE_CHECKING:
    from typing import Unpack

    from narrative_auto.analyzers.base import Question

ENDPOINT = "http://127.0.0.1:11434/v1/chat/completions"
"""On this machine, so that nothing leaves it unasked: where Ollama answers in this protocol."""


class LLMFailureAnalyzer:
    """Asks OpenAI, vLLM, llama.cpp, LM Studio or another one that has `/v1/chat/completions`.

    Args:
        model: its name, such as "gpt-4o-mini".
        endpoint: the whole address; a user and a password in it are sent as such where there is no key.
        api_key: sent as bearer token, to that address only; None for none.
        timeout_seconds: how long a question may take in all.
        max_context_chars: of the prompt; a longer traceback loses its upper lines.

    Raises:
        SettingError: the endpoint is no address.
    """

    __slots__ = ("_service", "model")

    def __init__(
        self,
        model: str,
        endpoint: str = ENDPOINT,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        max_context_chars: int = 8_000,
    ) -> None:
        self.model = model
        key = (api_key or "").strip()
        self._service = Service(
            read_endpoint(endpoint),
            timeout_seconds,
            max_context_chars,
            content=lambda prompt: {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": False},
            text=lambda found: text_of(found["choices"][0]["message"]["content"]),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            secrets=(key,),
        )

    def __repr__(self) -> str:
        return f"LLMFailureAnalyzer(model={self.model!r}, endpoint={self._service.endpoint.shown!r})"

    def analyze_failure(self, **question: Unpack[Question]) -> str | None:
        """Return an analysis, or None; see `FailureAnalyzer`."""
        return self._service.ask(**question)

    async def analyze_failure_async(self, **question: Unpack[Question]) -> str | None:
        """Do so without holding up the event loop."""
        return await self._service.ask_async(**question)
