"""Asks Claude, through Anthropic's own package."""

from __future__ import annotations

import asyncio
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from narrative_auto import settings
from narrative_auto.analyzers.answer import analysis_of, text_of
from narrative_auto.analyzers.endpoint import read_endpoint
from narrative_auto.analyzers.pausing import retry_after
from narrative_auto.analyzers.prompt import build_prompt
from narrative_auto.analyzers.unanswered import (
    MOST_BYTES,
    Unanswered,
    of_status,
    said_if_unanswered,
    too_long,
)
from narrative_auto.analyzers.waiting import within, within_async

if TYPE_CHECKING:
    from typing import Unpack

    from narrative_auto.analyzers.base import Question

MODEL = "claude-haiku-4-5-20251001"
MISSING = 'AnthropicFailureAnalyzer needs the package anthropic: pip install "narrative-auto[anthropic]"'
BASE_URL = "https://api.anthropic.com"
NO_KEY = "set ANTHROPIC_API_KEY, or give api_key"

_PIECE = 1 << 16
_TOO_MANY = 429


class AnthropicFailureAnalyzer:
    """Asks Claude.

    Args:
        model: its name; None for `NARRATIVE_MODEL`, else `RUNTIME_NARRATIVE_MODEL`, else claude-haiku-4-5-20251001.
        api_key: None for `ANTHROPIC_API_KEY`.
        max_tokens: of the answer.
        timeout_seconds: how long a question may take in all.
        max_context_chars: of the prompt; a longer traceback loses its upper lines.
        base_url: of the service; None for `ANTHROPIC_BASE_URL`, else Anthropic's.

    Raises:
        ModuleNotFoundError: the package anthropic is not installed; the message says which extra has it.
        SettingError: the base URL is no address.
    """

    __slots__ = ("_api_key", "_base_url", "_max_context_chars", "_max_tokens", "_shown", "_timeout_seconds", "model")

    def __init__(
        self,
        model: str | None = None,
        api_key: str | None = None,
        max_tokens: int = 1_024,
        timeout_seconds: float = 30.0,
        max_context_chars: int = 8_000,
        *,
        base_url: str | None = None,
    ) -> None:
        if "anthropic" not in sys.modules and find_spec("anthropic") is None:
            raise ModuleNotFoundError(MISSING, name="anthropic")
        environ = settings.current_environment()
        self.model = model or settings.either_variable("MODEL", MODEL)
        self._api_key = (api_key or environ.get("ANTHROPIC_API_KEY", "")).strip()
        self._base_url = base_url or environ.get("ANTHROPIC_BASE_URL") or BASE_URL
        self._shown = read_endpoint(self._base_url).shown
        self._max_tokens = max_tokens
        self._timeout_seconds = timeout_seconds
        self._max_context_chars = max_context_chars

    def __repr__(self) -> str:
        return f"AnthropicFailureAnalyzer(model={self.model!r}, base_url={self._shown!r})"

    def analyze_failure(self, **question: Unpack[Question]) -> str | None:
        """Return an analysis, or None; see `FailureAnalyzer`."""
        with said_if_unanswered(self._shown, self._timeout_seconds):
            deadline = time.monotonic() + self._timeout_seconds
            prompt = self._prompt(question)
            # In a thread, since a loop that has run here would change what `asyncio.get_event_loop` gives the program.
            return within(self._timeout_seconds, lambda: asyncio.run(self._ask(_package(), prompt, deadline)))
        return None

    async def analyze_failure_async(self, **question: Unpack[Question]) -> str | None:
        """Do so on the running loop."""
        with said_if_unanswered(self._shown, self._timeout_seconds):
            deadline = time.monotonic() + self._timeout_seconds
            prompt = self._prompt(question)
            package = await within_async(self._timeout_seconds, _package)  # a second of importing
            return await self._ask(package, prompt, deadline)
        return None

    def _prompt(self, question: Question) -> str:
        if not self._api_key:
            raise Unanswered("needs an API key", NO_KEY)
        return build_prompt(self._max_context_chars, (self._api_key,), **question)

    async def _ask(self, package: Any, prompt: str, deadline: float) -> str:
        has_paused = False
        async with asyncio.timeout(deadline - time.monotonic()):
            while True:
                try:
                    return analysis_of(await self._exchange(package, prompt), lambda found: text_of(found["content"]))
                except package.APIStatusError as refusal:
                    header = refusal.response.headers.get("retry-after", "")
                    pause = retry_after(header, deadline - time.monotonic())
                    if has_paused or refusal.status_code != _TOO_MANY or pause is None:
                        raise of_status(refusal.status_code) from None
                except package.APIConnectionError:
                    raise Unanswered("cannot be reached", "check the address, the network and the proxy") from None
                has_paused = True
                await asyncio.sleep(pause)

    async def _exchange(self, package: Any, prompt: str) -> bytes:
        """Return what the service answers, read in pieces: how long it is is only known at its end."""
        content = bytearray()
        async with (
            package.AsyncAnthropic(
                api_key=self._api_key,
                base_url=self._base_url,
                max_retries=0,
                timeout=None,  # for each read; `_ask` has one for all of them
                # A redirection would take the key along: HTTP libraries only hold back the header Authorization.
                http_client=package.DefaultAsyncHttpxClient(follow_redirects=False),
            ) as client,
            client.messages.with_streaming_response.create(
                model=self.model, max_tokens=self._max_tokens, messages=[{"role": "user", "content": prompt}]
            ) as response,
        ):
            pieces = aiter(response.iter_bytes(_PIECE))
            while len(content) <= MOST_BYTES:
                try:
                    content += await anext(pieces)
                except StopAsyncIteration:
                    return bytes(content)
                except Exception:  # noqa: BLE001 - of the HTTP library under the package, whichever that is
                    raise Unanswered("broke off", "try again later") from None
        raise too_long()


def _package() -> Any:
    import anthropic  # takes a second

    return anthropic
