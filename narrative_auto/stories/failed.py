"""A failure in the fields that renderers and analyzers know."""

from __future__ import annotations

from narrative_auto.failures.config import effective_diagnostics_mode
from narrative_auto.failures.shapes import REDACTED
from narrative_auto.failures.summary import FailureSummary
from narrative_auto.failures.tracebacks import traceback_text
from narrative_auto.records import record
from narrative_auto.stories.events import FailureOccurred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType
    from typing import Any

    from narrative_auto.failures.config import FailureDiagnosticsConfig
    from narrative_auto.failures.extract import Failure
    from narrative_auto.failures.redaction import Redactor

_MOST_SHOWN_FRAMES = 8


@record(frozen=True, slots=True)
class EnrichedFailure:
    """What is told of a failure; every text is redacted.

    Attributes:
        summary: what an analyzer is told.
        diagnostics_mode: "lean" or "rich".
        primary_frame_reason: why the summary names that place: as "application" code, or as the "leaf".
        stack_frames: `file:line in function`, outermost first.
        source_snippet: the lines around the place, the failing one marked with ">".
        compressed_stack_summary: the way to the failure in one line, libraries and recursion folded.
        hidden_frame_count: frames that are left out of a long stack.
        traceback_truncated: the summary's traceback is only the end of it.
        locals_by_frame: names and texts of variables, by `file:line in function`; None unless the mode is rich.
        redaction_removed_keys: variables that are not shown because of their names.
    """

    summary: FailureSummary
    diagnostics_mode: str
    primary_frame_reason: str
    stack_frames: list[str]
    source_snippet: str | None
    compressed_stack_summary: str
    hidden_frame_count: int
    traceback_truncated: bool
    locals_by_frame: dict[str, dict[str, str]] | None
    redaction_removed_keys: int


def build_enriched_failure(
    exc_type: type[BaseException],  # noqa: ARG001 - the three values of sys.exc_info()
    exc: BaseException,
    tb: TracebackType | None,
    *,
    config: FailureDiagnosticsConfig,
    redactor: Redactor | None = None,
) -> EnrichedFailure:
    """Return what is told of an exception.

    Args:
        exc_type, exc, tb: as `sys.exc_info()` gives them.
        config: how much is told.
        redactor: takes secrets out; without one, one by the rules of `config`.
    """
    from narrative_auto.failures.extract import extract_failure
    from narrative_auto.failures.redaction import Redactor
    from narrative_auto.failures.variables import Variables
    from narrative_auto.instrument.scope import Scope

    kept = BaseException.__dict__["__traceback__"]
    if tb is not None and kept.__get__(exc) is None:
        kept.__set__(exc, tb)
    if redactor is None:
        redactor = Redactor(config.redact_extra, config.redact_patterns, config.redact_callback)
    scope = Scope(config.app_roots or ["."])
    mode = effective_diagnostics_mode(config)
    failure = extract_failure(
        exc,
        is_application=lambda path: scope.module("", path).instrument,
        redactor=redactor,
        variables=Variables(redactor, config) if mode == "rich" else None,
        context_lines=config.snippet_context_lines,
    )
    in_production = config.runtime_environment == "production"
    most = config.production_traceback_cap if in_production else config.max_traceback_chars
    text, was_cut = traceback_text(exc, redactor, most)
    return enriched(failure, mode, text, was_cut=was_cut)


def enriched(
    failure: Failure, mode: str, traceback_text: str, *, was_cut: bool, crumbs: tuple[str, ...] = ()
) -> EnrichedFailure:
    """Return what is told of a failure that was extracted.

    Args:
        failure: what is known of the exception.
        mode: "lean" or "rich".
        traceback_text, was_cut: as `traceback_text` gives them.
        crumbs: what came before, a line each.
    """
    place = failure.place
    cause = next((link for link in reversed(failure.chain) if link.relation == "cause"), None)
    summary = FailureSummary(
        error_type=failure.error_type,
        error_message=failure.error_message,
        filename=place.filename if place else "",
        lineno=place.lineno if place else 0,
        function=place.function if place else "",
        source_line=next((line.text for line in failure.snippet if line.marked), "").strip(),
        exception_chain=[f"{link.relation_words} {link.error_type}: {link.message}" for link in failure.chain],
        exact_cause=f"{cause.error_type}: {cause.message}"
        if cause
        else f"{failure.error_type}: {failure.error_message}",
        traceback_text=traceback_text,
        crumbs=crumbs,
    )
    return EnrichedFailure(
        summary=summary,
        diagnostics_mode=mode,
        primary_frame_reason="application" if place is not None and place.is_application else "leaf",
        stack_frames=[f"{frame.filename}:{frame.lineno} in {frame.function}" for frame in failure.frames],
        source_snippet="\n".join(
            f"{'>' if line.marked else ' '} {line.number:>4} {line.text}" for line in failure.snippet
        ),
        compressed_stack_summary=_stack_summary(failure),
        hidden_frame_count=failure.frames_left_out,
        traceback_truncated=was_cut,
        locals_by_frame=_locals_by_frame(failure),
        redaction_removed_keys=sum(text == REDACTED for frame in failure.variables for _, text in frame.values),
    )


def failure_event(
    told: EnrichedFailure,
    *,
    story_id: str,
    story_name: str,
    stage_name: str,
    stage_timeline: str,
    timestamp: datetime,
    **more: Any,
) -> FailureOccurred:
    """Return the event of a failure.

    Args:
        told: what is told of it.
        story_id, story_name, stage_name, stage_timeline, timestamp: as in the event.
        more: further fields of it.
    """
    own = {name: getattr(told, name) for name in EnrichedFailure.__match_args__ if name != "summary"}
    of_summary = {name: getattr(told.summary, name) for name in FailureSummary.__match_args__}
    rest = {"llm_analysis": None, "progress_percent": 0, "completed_stages": 0, "total_stages": 0, **more}
    return FailureOccurred(
        story_id=story_id,
        story_name=story_name,
        stage_name=stage_name,
        stage_timeline=stage_timeline,
        timestamp=timestamp,
        **of_summary,
        **own,
        **rest,
    )


def _locals_by_frame(failure: Failure) -> dict[str, dict[str, str]] | None:
    """Return the variables by frame, `file:line in function`; None where nobody asked for them."""
    if not failure.variables:
        return None
    return {f"{one.filename}:{one.lineno} in {one.function}": dict(one.values) for one in failure.variables}


def _stack_summary(failure: Failure) -> str:
    """Return the way to the failure in one line: libraries folded, recursion too."""
    steps: list[tuple[str, int]] = []
    for frame in failure.frames:
        top = frame.module.partition(".")[0] or "?"
        name = frame.function if frame.is_application else f"[{top}]"
        if steps and steps[-1][0] == name:
            steps[-1] = (name, steps[-1][1] + 1)
        else:
            steps.append((name, 1))
    steps = _without_cycles(steps)
    names = [name if count == 1 else f"{name} ×{count}" for name, count in steps]
    left_out = max(0, len(names) - _MOST_SHOWN_FRAMES)
    return " > ".join([*([f"… {left_out} more"] if left_out else []), *names[left_out:]])


def _without_cycles(steps: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return steps in which functions that call each other in turns are told once."""
    shown: list[tuple[str, int]] = []
    at = 0
    while at < len(steps):
        for length in (2, 3):
            cycle = steps[at : at + length]
            times = 1
            while cycle == steps[at + times * length : at + (times + 1) * length]:
                times += 1
            if times > 1:
                shown.append((f"({' > '.join(name for name, _ in cycle)})", times))
                at += times * length
                break
        else:
            shown.append(steps[at])
            at += 1
    return shown
