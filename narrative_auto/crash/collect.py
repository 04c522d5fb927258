"""Collects what is known when an exception goes unhandled: the failure, the stages that led to it, what came before."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from narrative_auto.failures.extract import Failure, codes_to_place, extract_failure
from narrative_auto.failures.values import clean
from narrative_auto.recorder.layout import RESUME, RETURN, START, TRANSITIONS, UNWIND, YIELD
from narrative_auto.recorder.sites import BLOCK, FUNCTION
from narrative_auto.stories.failed import failure_event, traceback_text
from narrative_auto.stories.recorded import was_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from narrative_auto.failures.redaction import Redactor
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.recorder.sites import Site
    from narrative_auto.stories.events import FailureOccurred

BEFORE = 5
"""Calls that are shown as what happened just before."""

RECORDS_IN_DUMP = 1_000
"""Records of the failing thread that a dump keeps."""

MOST_TRACEBACK_CHARACTERS = 12_000


@dataclass(frozen=True, slots=True)
class StageOnPath:
    """A stage that the exception went through.

    Attributes:
        name: the stage's name.
        seconds: how long it had run when the exception left it; None where that is not known any more.
        call: of the innermost stage, how many calls of it had begun; 0 for others, and for what can be suspended.
    """

    name: str
    seconds: float | None
    call: int


@dataclass(frozen=True, slots=True)
class CallBefore:
    """A call that ended shortly before the failure.

    Attributes:
        seconds_before: how long before.
        name: the stage's name.
        outcome: "ok" or "raised".
        seconds: its duration; None for the end of what had been suspended.
    """

    seconds_before: float
    name: str
    outcome: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Crash:
    """All that a dump and a report say; every text in it is redacted."""

    story_id: str
    story_name: str
    happened_at: str
    seconds: float
    failure: Failure
    failed_in: str
    path: tuple[StageOnPath, ...]
    before: tuple[CallBefore, ...]
    records: tuple[tuple[int, str, str], ...]
    traceback_text: str
    command: tuple[str, ...]
    python: str


def collect(
    error: BaseException,
    *,
    recorder: Recorder,
    story_id: str,
    story_name: str,
    started: int,
    now: int,
    is_application: Callable[[str], bool],
    redactor: Redactor,
) -> Crash:
    """Return what is known of an exception that nothing handled.

    Args:
        error: the exception.
        recorder: what it recorded of the calling thread.
        story_id, story_name: of the story that it ended.
        started, now: ns of the monotonic clock: when the story began, and now.
        is_application: whether a source file is application code.
        redactor: takes secrets out of every text.
    """
    failure = extract_failure(error, is_application=is_application, redactor=redactor)
    sites = [site for site in map(recorder.sites.of, codes_to_place(error)) if site is not None and not site.released]
    path, failed_at = _path(recorder, error, sites, now)
    lane = recorder.current_lane()
    records = recorder.last_records(lane, RECORDS_IN_DUMP) if lane is not None else []
    return Crash(
        story_id=story_id,
        story_name=story_name,
        happened_at=datetime.now(UTC).isoformat(),
        seconds=(now - started) / 1e9,
        failure=failure,
        failed_in=path[-1].name if path else "",
        path=tuple(path),
        before=tuple(_before(recorder, records, failed_at)),
        records=tuple((at - started, recorder.sites[site].name, TRANSITIONS[kind]) for at, site, kind in records),
        traceback_text=traceback_text(error, redactor, MOST_TRACEBACK_CHARACTERS)[0],
        command=tuple(map(clean, redactor.arguments(sys.orig_argv))),
        python=sys.version.split()[0],
    )


def _path(recorder: Recorder, error: BaseException, sites: list[Site], now: int) -> tuple[list[StageOnPath], int]:
    """Return the stages from the outermost to the innermost, and when the exception left the innermost (ns).

    Args:
        recorder: knows what exceptions left last in the calling thread.
        error: the exception.
        sites: those of the functions that it came through, the outermost first.
        now: ns.
    """
    left = sorted((one for lane in recorder.lanes for one in recorder.unwound(lane)), key=lambda one: one[3])
    path: list[tuple[tuple[int, int, int, int], StageOnPath]] = []
    position = len(left)
    one = (0, 0, 0, now)
    for site in sites:
        # The outermost stage was left last. What is further in was left earlier, so the search goes on from there.
        at = next((at for at in range(position - 1, -1, -1) if left[at][1] == site.number), None)
        if at is None:
            path.append((one, StageOnPath(site.name, None, 0)))
            continue
        position, one = at, left[at]
        calls = 0
        if site is sites[-1] and site.kind == FUNCTION:
            calls = sum(edge.calls for edge in recorder.edges() if edge.site == site.number)
        path.append((one, StageOnPath(site.name, (one[3] - one[2]) / 1e9, calls)))
    for one in left:
        explicit = recorder.sites[one[1]]
        if explicit.kind == BLOCK and was_left(one[2], error):
            within = 0
            while within < len(path) and _is_around(path[within][0], one):
                within += 1
            path.insert(within, (one, StageOnPath(explicit.name, (one[3] - one[2]) / 1e9, 0)))
    outer = [StageOnPath(stage.name, stage.seconds, 0) for _, stage in path[:-1]]
    return [*outer, *(stage for _, stage in path[-1:])], min((one[3] for one, _ in path), default=now)


def _is_around(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether an exception left one stage after another, or one began before what another exception left."""
    return one[3] >= other[3] if one[0] == other[0] else one[2] <= other[2]


def _before(recorder: Recorder, records: Iterable[tuple[int, int, int]], failed_at: int) -> list[CallBefore]:
    """Return the last calls that had ended when the failure began, oldest first."""
    known = list(records)
    while known and known[-1][2] == UNWIND:
        del known[-1]  # the failure itself on its way out
    running: list[tuple[int, int | None]] = []
    ended: list[tuple[int, int, int, float | None]] = []
    for at, site, transition in known:
        if at >= failed_at:
            break
        if transition in {START, RESUME}:
            running.append((site, at if transition == START else None))
        elif transition in {RETURN, UNWIND, YIELD}:
            while running:
                open_site, began = running.pop()
                if open_site == site:
                    if transition != YIELD:
                        ended.append((at, site, transition, None if began is None else (at - began) / 1e9))
                    break
    return [
        CallBefore((failed_at - at) / 1e9, recorder.sites[site].name, "raised" if kind == UNWIND else "ok", took)
        for at, site, kind, took in ended[-BEFORE:]
    ]


def to_event(crash: Crash) -> FailureOccurred:
    """Return a crash as the event that renderers know."""
    return failure_event(
        crash.failure,
        story_id=crash.story_id,
        story_name=crash.story_name,
        stage_name=crash.failed_in,
        stage_timeline=" > ".join(stage.name for stage in crash.path),
        timestamp=datetime.fromisoformat(crash.happened_at),
        traceback_text=crash.traceback_text,
        root_story_id=crash.story_id,
    )
