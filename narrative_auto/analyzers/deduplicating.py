"""Asks an analyzer once about what fails again and again."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from narrative_auto.analyzers.base import ask_async, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Unpack

    from narrative_auto.analyzers.base import FailureAnalyzer, Question

_asking: ContextVar[frozenset[tuple[int, str]]] = ContextVar("narrative_asking", default=frozenset())
"""The questions that this context is in the middle of: to wait for one of them would be to wait for oneself."""


class DeduplicatingAnalyzer:
    """Keeps what another analyzer said, and says it again where the same fails at the same place.

    Failures are the same if they agree in their type, file, line and chain. Where that happens several times at once,
    one asks and the others wait for its answer. That there was none is not kept.

    Args:
        inner: the analyzer that is asked.
        max_cache_size: answers that are kept; the one that was not needed for longest goes first.
    """

    def __init__(self, inner: FailureAnalyzer, *, max_cache_size: int = 256) -> None:
        self._inner = inner
        self._most = max_cache_size
        self._memory = _Memory(max_cache_size)

    def __repr__(self) -> str:
        return f"DeduplicatingAnalyzer({self._inner!r}, max_cache_size={self._most})"

    def analyze_failure(self, **question: Unpack[Question]) -> str | None:
        """Return an analysis, or None; see `FailureAnalyzer`."""
        memory, key = self._memory_of_this_process(), fingerprint(question["failure"])
        while True:
            answer, asking, is_mine = memory.look(key, None, _running_loop())
            if asking is None:
                return answer
            if is_mine:
                with memory.answering(key, asking):
                    asking.answer = self._inner.analyze_failure(**question)
                return asking.answer
            was_asked, answer = asking.outcome.result()
            if was_asked:
                return answer

    async def analyze_failure_async(self, **question: Unpack[Question]) -> str | None:
        """Do so without holding up the event loop."""
        memory, key = self._memory_of_this_process(), fingerprint(question["failure"])
        loop = asyncio.get_running_loop()
        while True:
            answer, asking, is_mine = memory.look(key, loop, loop)
            if asking is None:
                return answer
            if is_mine:
                with memory.answering(key, asking):
                    asking.answer = await ask_async(self._inner, **question)
                return asking.answer
            # Shielded: whoever is cancelled while waiting takes nothing away from the others.
            was_asked, answer = await asyncio.shield(asyncio.wrap_future(asking.outcome))
            if was_asked:
                return answer

    def _memory_of_this_process(self) -> _Memory:
        """Return the memory; after a fork a new one, since whoever held its lock or was asking may not be here."""
        if self._memory.process != os.getpid():
            self._memory = _Memory(self._most)
        return self._memory


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Asking:
    """A question that is being asked.

    Attributes:
        loop: on which it is; None for in a thread.
        outcome: whether it came to an end, and the answer.
        answer: as long as nobody else may know it.
    """

    __slots__ = ("answer", "loop", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.outcome: Future[tuple[bool, str | None]] = Future()
        self.answer: str | None = None

    def may_be_waited_for(
        self, loop: asyncio.AbstractEventLoop | None, around: asyncio.AbstractEventLoop | None
    ) -> bool:
        """Return whether this goes on while somebody waits for it.

        Args:
            loop: on which would be waited; None for in a thread, which stands still.
            around: that runs in this thread, and stands still with it.
        """
        return (self.loop is None and around is loop) or (self.loop is not None and self.loop is loop)


class _Memory:
    """What is known, and who is asking, in one process."""

    def __init__(self, most: int) -> None:
        self.process = os.getpid()
        self._most = most
        self._lock = threading.RLock()  # a signal handler may fail, and ask, while it is held
        self._answers: OrderedDict[str, str] = OrderedDict()
        self._asking: dict[str, _Asking] = {}

    def look(
        self, key: str, loop: asyncio.AbstractEventLoop | None, around: asyncio.AbstractEventLoop | None
    ) -> tuple[str | None, _Asking | None, bool]:
        """Return what is known of a question.

        Args:
            key: the question.
            loop, around: see `_Asking.may_be_waited_for`.

        Returns:
            (the answer, None, False), or (None, who is asking already, False), or (None, who is to ask now, True).
        """
        mine = _Asking(loop)
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key], None, False
            first = self._asking.setdefault(key, mine)
        if first is mine or self._is_within(key) or not first.may_be_waited_for(loop, around):
            return None, mine, True
        return None, first, False

    def _is_within(self, key: str) -> bool:
        """Return whether this is asked by what answers it."""
        return (id(self), key) in _asking.get()

    @contextmanager
    def answering(self, key: str, mine: _Asking) -> Iterator[None]:
        """Keep the answer that is found within, if there is one, and let those have it who wait."""
        was_asked = False
        try:
            token = _asking.set(_asking.get() | {(id(self), key)})
            try:
                yield
            finally:
                _asking.reset(token)
            was_asked = True
        finally:
            with self._lock:
                if self._asking.get(key) is mine:
                    del self._asking[key]
                if mine.answer is not None:
                    self._keep(key, mine.answer)
            mine.outcome.set_result((was_asked, mine.answer))

    def _keep(self, key: str, answer: str) -> None:
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)
