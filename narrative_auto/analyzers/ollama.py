"""Asks a model that Ollama serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrative_auto.analyzers.endpoint import read_endpoint
from narrative_auto.analyzers.service import Service

if TYPE_CHECKING:
    from typing import Unpack

    from narrative_auto.analyzers.base import Question

ENDPOINT = "http://127.0.0.1:11434/api/generate"


class OllamaFailureAnalyzer:
    """Asks Ollama, or whatever else answers as its `/api/generate` does.

    Args:
        model: its name, such as "llama3".
        endpoint: the address; a user and a password in it are sent as such.
        timeout_seconds: how long a question may take in all.
        max_context_chars: of the prompt; a longer traceback loses its upper lines.

    Raises:
        SettingError: the endpoint is no address.
    """

    __slots__ = ("_service", "model")

    def __init__(
        self, model: str, endpoint: str = ENDPOINT, timeout_seconds: float = 60.0, max_context_chars: int = 8_000
    ) -> None:
        self.model = model
        self._service = Service(
            read_endpoint(endpoint),
            timeout_seconds,
            max_context_chars,
            content=lambda prompt: {"model": model, "prompt": prompt, "stream": False},
            text=lambda found: found["response"],
            headers={},
        )

    def __repr__(self) -> str:
        return f"OllamaFailureAnalyzer(model={self.model!r}, endpoint={self._service.endpoint.shown!r})"

    def analyze_failure(self, **question: Unpack[Question]) -> str | None:
        """Return an analysis, or None; see `FailureAnalyzer`."""
        return self._service.ask(**question)

    async def analyze_failure_async(self, **question: Unpack[Question]) -> str | None:
        """Do so without holding up the event loop."""
        return await self._service.ask_async(**question)
