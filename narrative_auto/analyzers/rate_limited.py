"""Asks an analyzer at most once a minute about the same failure, however many processes fail."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

from narrative_auto.analyzers.answer import MOST_CHARACTERS
from narrative_auto.analyzers.base import ask_async, fingerprint
from narrative_auto.analyzers.waiting import within
from narrative_auto.errors import attempted, say
from narrative_auto.failures.values import clean, shortened

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from narrative_auto.analyzers.base import FailureAnalyzer, Question

ANALYSES = "analyses"
"""The folder below the store's where it stands what was asked lately: a file for each failure and minute."""

MINUTE = 60

KEPT_FILES = 200
KEPT_SECONDS = 3_600

_MOST_BYTES = 8 * MOST_CHARACTERS


class RateLimited:
    """Asks another analyzer, unless some process with the same store did so within the last minute.

    Then it says again what was said then, marked as such; nothing where there was no answer, or is none yet.

    Args:
        inner: the analyzer that is asked.
        folder: the store's.
        timeout_seconds: how long the inner one may take, in all; None for as long as it likes.
        clock: seconds since the epoch, which processes have in common.
    """

    __slots__ = ("_clock", "_folder", "_inner", "_timeout_seconds")

    def __init__(
        self,
        inner: FailureAnalyzer,
        folder: str,
        *,
        timeout_seconds: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inner = inner
        self._folder = os.path.join(folder, ANALYSES)
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    def __repr__(self) -> str:
        return f"RateLimited({self._inner!r}, {os.path.dirname(self._folder)!r})"

    def analyze_failure(self, **question: Unpack[Question]) -> str | None:
        """Return an analysis, or None; see `FailureAnalyzer`."""
        asked_at = self._clock()
        path, earlier = self._claim(fingerprint(question["failure"]), asked_at)
        if path is None:
            return earlier
        try:
            if self._timeout_seconds is None:
                said = self._inner.analyze_failure(**question)
            else:
                said = within(self._timeout_seconds, lambda: self._inner.analyze_failure(**question))
        except TimeoutError:
            self._say_too_late()
            return None
        self._keep(path, asked_at, said)
        return said

    async def analyze_failure_async(self, **question: Unpack[Question]) -> str | None:
        """Do so without holding up the event loop."""
        asked_at = self._clock()
        path, earlier = self._claim(fingerprint(question["failure"]), asked_at)
        if path is None:
            return earlier
        try:
            async with asyncio.timeout(self._timeout_seconds):
                said = await ask_async(self._inner, **question)
        except TimeoutError:
            self._say_too_late()
            return None
        self._keep(path, asked_at, said)
        return said

    def _say_too_late(self) -> None:
        say(f"no analysis of the failure: there was none within {self._timeout_seconds:g} s")

    def _claim(self, key: str, now: float) -> tuple[str | None, str | None]:
        """Return the file for the answer ("" where none can be made), or None and what was said within the minute.

        A file stands for one minute of the clock, and only one process can make it. That of the minute before counts
        as long as it is not a minute old.
        """
        minute = int(now // MINUTE)
        path, before = (os.path.join(self._folder, f"{key[:32]}-{one}.json") for one in (minute, minute - 1))
        past = attempted(_read, before, minute - 1)
        if past is not None and now - past["asked_at"] < MINUTE:
            return None, _again(past, now)
        attempted(os.makedirs, self._folder, 0o700, exist_ok=True)
        attempted(_forget_old, self._folder, time.time())
        try:
            _create(path, asked_at=now, answer=None)
        except FileExistsError:
            past = attempted(_read, path, minute)  # None: it is being written
            return None, None if past is None else _again(past, now)
        except OSError as error:
            fault = error.strerror or type(error).__name__
            say(f"{self._folder} cannot be written ({fault}), so each process asks about the same failure anew")
            return "", None
        return path, None

    @staticmethod
    def _keep(path: str, asked_at: float, answer: str | None) -> None:
        if path and answer is not None:
            attempted(_replace, path, asked_at, answer)


def _again(past: dict[str, Any], now: float) -> str | None:
    if not isinstance(past["answer"], str):
        return None
    seconds = max(0, round(now - past["asked_at"]))
    return f"(This was said {seconds} s ago, when the same failed.)\n\n{past['answer']}"


def _read(path: str, minute: int) -> dict[str, Any]:
    """Return what the file of a minute says.

    Raises:
        Exception: it is missing or damaged.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        said = json.loads(file.read(_MOST_BYTES))
    if int(said["asked_at"] // MINUTE) != minute:
        raise ValueError("damaged")
    return {"asked_at": said["asked_at"], "answer": said["answer"]}


def _create(path: str, *, asked_at: float, answer: str | None) -> None:
    """Make a new file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"asked_at": asked_at, "answer": answer}, file, ensure_ascii=False)


def _replace(path: str, asked_at: float, answer: str) -> None:
    """Put the answer into a file; who reads it meanwhile has the old one whole."""
    new = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    try:
        _create(new, asked_at=asked_at, answer=shortened(clean(answer), MOST_CHARACTERS))
        os.replace(new, path)
    except OSError:
        attempted(os.remove, new)
        raise


def _forget_old(folder: str, now: float) -> None:
    """Delete what nobody asks for any more, and the oldest of too much."""
    with os.scandir(folder) as entries:
        files = sorted((entry.stat(follow_symlinks=False).st_mtime, entry.path) for entry in entries)
    for position, (changed, path) in enumerate(files):
        if now - changed > KEPT_SECONDS or len(files) - position >= KEPT_FILES:
            attempted(os.remove, path)
