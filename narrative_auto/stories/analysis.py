"""Asks a story's analyzer what to make of a failure; whatever it does, the failure is told."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from narrative_auto.errors import shielded
from narrative_auto.failures.summary import FailureSummary
from narrative_auto.stories.events import LLMAnalysisReady

if TYPE_CHECKING:
    from narrative_auto.stories.events import FailureOccurred
    from narrative_auto.stories.runtime import StoryRuntime


def question_of(event: FailureOccurred) -> dict[str, Any]:
    """Return what `analyze_failure` takes."""
    return {
        "story_name": event.story_name,
        "stage_name": event.stage_name,
        "failure": FailureSummary(**{name: getattr(event, name) for name in FailureSummary.__match_args__}),
        "stage_timeline": event.stage_timeline,
        "progress_percent": event.progress_percent,
    }


async def _answer(analyzer: Any, event: FailureOccurred) -> str | None:
    """Ask in a coroutine: natively where the analyzer can, else in a thread."""
    native = getattr(analyzer, "analyze_failure_async", None)
    question = question_of(event)
    said = await (native(**question) if native is not None else asyncio.to_thread(analyzer.analyze_failure, **question))
    return None if said is None else str(said)


def is_in_loop() -> bool:
    """Return whether an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _ask(analyzer: Any, event: FailureOccurred) -> str | None:
    if not hasattr(analyzer, "analyze_failure"):
        if not is_in_loop():
            return asyncio.run(_answer(analyzer, event))
        with ThreadPoolExecutor(1) as pool:  # which has no loop yet
            return pool.submit(_ask, analyzer, event).result()
    said = analyzer.analyze_failure(**question_of(event))
    return None if said is None else str(said)


def analyze(runtime: StoryRuntime, event: FailureOccurred, *, may_wait: bool = True) -> None:
    """Put the analysis of a failure into its event; where it is not to be waited for, it follows."""
    if runtime.failure_analyzer is None:
        return
    if runtime.background_analysis or not may_wait:
        _analyze_later(runtime, event)
    else:
        event.llm_analysis = shielded("analyzing a failure", _ask, runtime.failure_analyzer, event)


async def analyze_async(runtime: StoryRuntime, event: FailureOccurred) -> None:
    """Do so without holding up the event loop."""
    if runtime.failure_analyzer is None:
        return
    if runtime.background_analysis:
        shielded("analyzing a failure", _analyze_later, runtime, event)
        return
    try:
        event.llm_analysis = await _answer(runtime.failure_analyzer, event)
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise
    except BaseException as fault:  # noqa: BLE001 - whatever the analyzer does
        shielded("analyzing a failure", _raise, fault)


def _raise(fault: BaseException) -> None:
    raise fault


def _analyze_later(runtime: StoryRuntime, event: FailureOccurred) -> None:
    """Analyze in a thread of its own, which the end of the program waits for; a loop that closes takes nothing away."""

    def work() -> None:
        said = shielded("analyzing a failure", _ask, runtime.failure_analyzer, event)
        if said is not None:
            now = datetime.now(UTC)
            runtime.emit(LLMAnalysisReady(event.story_id, event.story_name, event.stage_name, said, now))

    threading.Thread(target=work, name="narrative-analysis").start()
