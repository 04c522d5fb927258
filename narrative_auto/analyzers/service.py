"""A language model behind plain HTTP: one question, one answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from narrative_auto.analyzers.answer import analysis_of
from narrative_auto.analyzers.prompt import build_prompt
from narrative_auto.analyzers.unanswered import said_if_unanswered
from narrative_auto.analyzers.waiting import within, within_async
from narrative_auto.records import field, record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack

    from narrative_auto.analyzers.base import Question
    from narrative_auto.analyzers.endpoint import Endpoint


@record(frozen=True, slots=True)
class Service:
    """What is asked, and how.

    Attributes:
        endpoint: where.
        timeout_seconds: for all of it.
        max_context_chars: of the prompt.
        content: makes what is sent of the prompt.
        text: finds the text in what comes back; may raise anything where it is not there.
        headers: of the request.
        secrets: must not be in the prompt.
    """

    endpoint: Endpoint
    timeout_seconds: float
    max_context_chars: int
    content: Callable[[str], Any]
    text: Callable[[Any], Any]
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def ask(self, **question: Unpack[Question]) -> str | None:
        """Return the analysis; None where there is none, which is said once. Ctrl-C cuts it short."""
        with said_if_unanswered(self.endpoint.shown, self.timeout_seconds):
            return analysis_of(within(self.timeout_seconds, self._exchange(question)), self.text)
        return None

    async def ask_async(self, **question: Unpack[Question]) -> str | None:
        """Do so without holding up the event loop."""
        with said_if_unanswered(self.endpoint.shown, self.timeout_seconds):
            return analysis_of(await within_async(self.timeout_seconds, self._exchange(question)), self.text)
        return None

    def _exchange(self, question: Question) -> Callable[[], bytes]:
        deadline = time.monotonic() + self.timeout_seconds
        content = self.content(build_prompt(self.max_context_chars, self.secrets, **question))
        headers = dict(self.headers)
        if self.endpoint.authorization:
            headers.setdefault("Authorization", self.endpoint.authorization)

        def exchange() -> bytes:
            # Not before something has failed: it imports `ssl`, which a program may want to replace first.
            from narrative_auto.analyzers.posting import post

            return post(self.endpoint.url, headers, content, deadline)

        return exchange
