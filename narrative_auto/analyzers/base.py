"""What an analyzer is, and what it is asked."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Protocol, TypedDict, runtime_checkable

if TYPE_CHECKING:
    from typing import Unpack

    from narrative_auto.failures.summary import FailureSummary


@runtime_checkable
class FailureAnalyzer(Protocol):
    """Says what to make of a failure.

    One that has a coroutine method `analyze_failure_async` with the same keywords as well is awaited by asynchronous
    stories; without it they call `analyze_failure` in a thread.
    """

    def analyze_failure(
        self,
        *,
        story_name: str,
        stage_name: str,
        failure: FailureSummary,
        stage_timeline: str,
        progress_percent: int,
    ) -> str | None:
        """Return an analysis of a failure, or None where there is none to be had.

        Args:
            story_name: the story that failed.
            stage_name: the stage that it failed in; "" for none.
            failure: what went wrong.
            stage_timeline: the story's stages, a line each.
            progress_percent: how far the story had come, from 0 to 100.
        """
        ...


class Question(TypedDict):
    """The keywords of `FailureAnalyzer.analyze_failure`."""

    story_name: str
    stage_name: str
    failure: FailureSummary
    stage_timeline: str
    progress_percent: int


async def ask_async(analyzer: FailureAnalyzer, **question: Unpack[Question]) -> str | None:
    """Ask any analyzer without holding up the event loop."""
    native = getattr(analyzer, "analyze_failure_async", None)
    if native is None:
        return await asyncio.to_thread(analyzer.analyze_failure, **question)
    said: str | None = await native(**question)
    return said


def fingerprint(failure: FailureSummary) -> str:
    """Return what is the same for the same failure: SHA-256 of its type, file, line and chain, in hexadecimal."""
    marks = [failure.error_type, failure.filename, failure.lineno, list(failure.exception_chain)]
    return hashlib.sha256(json.dumps(marks, default=str).encode()).hexdigest()
