"""Collects what is known when an exception goes unhandled: the failure, the stages that led to it, what came before."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from narrative_auto.failures.config import effective_diagnostics_mode
from narrative_auto.failures.extract import Failure, codes_to_place, extract_failure
from narrative_auto.failures.tracebacks import traceback_text
from narrative_auto.failures.values import clean
from narrative_auto.recorder.layout import RESUME, RETURN, START, TRANSITIONS, UNWIND, YIELD
from narrative_auto.recorder.sites import BLOCK, FUNCTION
from narrative_auto.records import Record, changed, record
from narrative_auto.stories.failed import enriched, failure_event
from narrative_auto.stories.recorded import was_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from narrative_auto.crumbs.memory import Crumb
    from narrative_auto.failures.config import FailureDiagnosticsConfig
    from narrative_auto.failures.redaction import Redactor
    from narrative_auto.failures.variables import Variables
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.recorder.sites import Site
    from narrative_auto.stories.events import FailureOccurred

BEFORE = 5
"""Calls that are shown as what happened just before."""

RECORDS_IN_DUMP = 1_000
"""Records of the failing thread that a dump keeps."""


@record(frozen=True, slots=True)
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


@record(frozen=True, slots=True)
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


@record(frozen=True, slots=True)
class CrumbBefore:
    """A crumb, those that nobody had to leave among them.

    Attributes:
        seconds_before: how long before the failure; negative for what was left while it was on its way.
        line: for a person.
        crumb: as `snapshot()` gives it.
    """

    seconds_before: float
    line: str
    crumb: dict[str, Any]


@record(frozen=True, slots=True)
class Crash:
    """All that a dump and a report say; every text in it is redacted.

    Attributes:
        story_id, story_name: of the process's story.
        happened_at: ISO 8601, UTC.
        seconds: since the story began.
        failure: the exception.
        failed_in: the innermost stage, "" for none.
        path, before, records, crumbs: how it came to it.
        where: the thread or the task in which nobody handled it; "" where it ended the program.
        diagnostics_mode: "lean" or "rich".
        traceback_text, traceback_truncated: as Python prints it; whether that is only its end.
        command, python: what ran.
    """

    story_id: str
    story_name: str
    happened_at: str
    seconds: float
    failure: Failure
    failed_in: str
    path: tuple[StageOnPath, ...]
    before: tuple[CallBefore, ...]
    records: tuple[tuple[int, str, str], ...]
    crumbs: tuple[CrumbBefore, ...]
    where: str
    diagnostics_mode: str
    traceback_text: str
    traceback_truncated: bool
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
    config: FailureDiagnosticsConfig,
    variables: Variables,
    where: str = "",
    crumbs: Sequence[Crumb] = (),
) -> Crash:
    """Return what is known of an exception that nothing handled.

    Args:
        error: the exception.
        recorder: what it recorded of the calling thread.
        story_id, story_name: of the story that it ended.
        started, now: ns of the monotonic clock: when the story began, and now.
        is_application: whether a source file is application code.
        redactor: takes secrets out of every text.
        config: how much is said.
        variables: shows local variables; in lean mode they are looked at for secrets alone.
        where: the thread or the task in which nobody handled it; "" where it ends the program.
        crumbs: oldest first.
    """
    failure = extract_failure(
        error,
        is_application=is_application,
        redactor=redactor,
        variables=variables,
        context_lines=config.snippet_context_lines,
    )
    mode = effective_diagnostics_mode(config)
    if mode != "rich":
        failure = changed(failure, variables=())
    sites = [site for site in map(recorder.sites.of, codes_to_place(error)) if site is not None and not site.released]
    path, failed_at = _path(recorder, error, sites, now)
    lane = recorder.current_lane()
    records = recorder.last_records(lane, RECORDS_IN_DUMP) if lane is not None else []
    in_production = config.runtime_environment == "production"
    most = config.production_traceback_cap if in_production else config.max_traceback_chars
    text, was_cut = traceback_text(error, redactor, most)
    failed_wall = time.time_ns() - (time.perf_counter_ns() - failed_at)
    crash = Crash(
        story_id=story_id,
        story_name=story_name,
        happened_at=datetime.now(UTC).isoformat(),
        seconds=(now - started) / 1e9,
        failure=failure,
        failed_in=path[-1].name if path else "",
        path=tuple(path),
        before=tuple(_before(recorder, records, failed_at)),
        records=tuple((at - started, recorder.sites[site].name, TRANSITIONS[kind]) for at, site, kind in records),
        crumbs=tuple(_crumb_before(one, failed_wall, redactor) for one in crumbs),
        where=redactor.text(clean(where)),
        diagnostics_mode=mode,
        traceback_text=text,
        traceback_truncated=was_cut,
        command=tuple(map(clean, redactor.arguments(sys.orig_argv))),
        python=sys.version.split()[0],
    )
    return _without_remembered(crash, redactor) if redactor.memory else crash


def _crumb_before(one: Crumb, failed_wall: int, redactor: Redactor) -> CrumbBefore:
    """Return a crumb as a dump has it, given when the failure began (ns since 1970)."""
    seconds = (failed_wall - one.at) / 1e9 if one.at else 0.0
    return CrumbBefore(seconds, redactor.text(one.line()), redactor.nested(one.as_dict()))


def _without_remembered(value: Any, redactor: Redactor) -> Any:
    """Return a value in which secrets that were found late are taken out of what was written down early."""
    if isinstance(value, str):
        return redactor.without_remembered(value)
    if isinstance(value, Record):
        told = {
            name: _without_remembered(getattr(value, name), redactor)
            for name in value.__match_args__
            if name not in {"records", "positions"}
        }
        return changed(value, **told)
    if isinstance(value, dict):
        return {name: _without_remembered(one, redactor) for name, one in value.items()}
    if isinstance(value, tuple):
        return tuple(_without_remembered(one, redactor) for one in value)
    return value


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
        enriched(
            crash.failure,
            crash.diagnostics_mode,
            crash.traceback_text,
            was_cut=crash.traceback_truncated,
            crumbs=tuple(one.line for one in crash.crumbs),
        ),
        story_id=crash.story_id,
        story_name=crash.story_name,
        stage_name=crash.failed_in,
        stage_timeline=" > ".join(stage.name for stage in crash.path),
        timestamp=datetime.fromisoformat(crash.happened_at),
        root_story_id=crash.story_id,
    )
