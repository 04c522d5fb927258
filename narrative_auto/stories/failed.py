"""A failure as the event that renderers know."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from narrative_auto.errors import attempted
from narrative_auto.failures.redaction import MOST_CHARACTERS
from narrative_auto.failures.shapes import REDACTED
from narrative_auto.failures.values import clean, is_slow, name_of_type
from narrative_auto.stories.events import FailureOccurred

if TYPE_CHECKING:
    from datetime import datetime

    from narrative_auto.failures.extract import Failure
    from narrative_auto.failures.redaction import Redactor

_MOST_SHOWN_FRAMES = 8


def traceback_text(error: BaseException, redactor: Redactor, most: int | None) -> tuple[str, bool]:
    """Return an exception's traceback without secrets, of a long one the end; and whether anything is missing.

    Args:
        error: the exception.
        redactor: takes secrets out.
        most: characters; None for as many as can be searched for secrets, `MOST_CHARACTERS`.
    """
    format_whole = traceback.format_exception if not is_slow(error) else _format_frames
    whole = attempted(lambda: "".join(format_whole(error))) or ""
    searched = redactor.text(_tail(whole, MOST_CHARACTERS))
    shown = clean(searched if most is None else _tail(searched, most)[-most:])
    return shown, len(whole) > MOST_CHARACTERS or len(shown) < len(searched)


def _format_frames(error: BaseException) -> list[str]:
    """Return the traceback of an exception whose text cannot be had in time."""
    steps = BaseException.__dict__["__traceback__"].__get__(error)
    return [
        "Traceback (most recent call last):\n",
        *traceback.format_tb(steps),
        f"{name_of_type(type(error))}: <its text takes too long>\n",
    ]


def _tail(text: str, most: int) -> str:
    """Return the end of a text, from a line's beginning: half a secret is none that can be recognised."""
    if len(text) <= most:
        return text
    return text[-most:].partition("\n")[2] or text


def failure_event(
    failure: Failure,
    *,
    story_id: str,
    story_name: str,
    stage_name: str,
    stage_timeline: str,
    timestamp: datetime,
    traceback_text: str,
    **more: Any,
) -> FailureOccurred:
    """Return the event of a failure.

    Args:
        failure: what is known of the exception.
        story_id, story_name, stage_name, stage_timeline, timestamp, traceback_text: as in the event.
        more: further fields of it.
    """
    place = failure.place
    cause = next((link for link in reversed(failure.chain) if link.relation == "cause"), None)
    return FailureOccurred(
        story_id=story_id,
        story_name=story_name,
        stage_name=stage_name,
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
        llm_analysis=more.pop("llm_analysis", None),
        stage_timeline=stage_timeline,
        progress_percent=more.pop("progress_percent", 0),
        completed_stages=more.pop("completed_stages", 0),
        total_stages=more.pop("total_stages", 0),
        timestamp=timestamp,
        traceback_text=traceback_text,
        primary_frame_reason="application" if place is not None and place.is_application else "leaf",
        stack_frames=[f"{frame.filename}:{frame.lineno} in {frame.function}" for frame in failure.frames],
        source_snippet="\n".join(
            f"{'>' if line.marked else ' '} {line.number:>4} {line.text}" for line in failure.snippet
        ),
        compressed_stack_summary=_stack_summary(failure),
        hidden_frame_count=failure.frames_left_out,
        locals_by_frame=_locals_by_frame(failure),
        redaction_removed_keys=sum(text == REDACTED for frame in failure.variables for _, text in frame.values),
        **more,
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
