"""What the ends of calls do to a lane of the recorder in Python, and what is rare about their beginnings."""

from __future__ import annotations

from narrative_auto.recorder.lane import (
    AWAITS,
    BELOW,
    BLOCK,
    CALLER,
    CALLS,
    ERRORS,
    LANE,
    LINKED,
    LONGEST,
    NOTABLE_LIMIT,
    NUMBER,
    RAISED,
    ROW,
    RUNNING,
    SELF,
    SINCE,
    STARTED,
    TOTAL,
    UNWOUND_LIMIT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from narrative_auto.recorder.lane import Lane

NOT_FAILURES = (StopIteration, StopAsyncIteration, GeneratorExit, SystemExit)
"""Exceptions that end a call without being a failure; `asyncio.CancelledError`, seldom imported, is another."""

# A metaclass may override these attributes, not what reads them here.
_type_name: Any = type.__dict__["__name__"].__get__
_type_order: Any = type.__dict__["__mro__"].__get__
_issubclass = issubclass
_type_members: Any = type.__dict__["__dict__"].__get__


def started_at(entry: list[Any]) -> int:
    """Return when an entry's call started (ns); entries of plain functions are shorter."""
    started: int = entry[STARTED] if len(entry) > STARTED else entry[SINCE]
    return started


def lane_of(entry: list[Any], lane: Lane) -> int:
    """Return the number of the lane in which an entry's call started: a generator may end in another."""
    number: int = entry[LANE] if len(entry) > STARTED else lane.number
    return number


def caller_of(entry: list[Any], beneath: list[Any]) -> list[Any]:
    """Return the entry around one: the block that it is linked to, or what is beneath it, if it began there."""
    linked: list[Any] | None = entry[LINKED] if len(entry) > LINKED else None
    if linked is not None:
        return linked
    return beneath if beneath[NUMBER] == entry[ROW][CALLER] else NOTHING


NOTHING: list[Any] = [0, 0, [], 0, 0, 0, False, 0, 0, None]
"""Stands for the entry of no block."""


def write(lane: Lane, now: int, word: int) -> None:
    """Put one record into the lane's ring."""
    at = lane.head & lane.mask
    lane.ring[at] = now
    lane.ring[at + 1] = word
    lane.head += 2


def suspend(lane: Lane, entry: list[Any], now: int) -> None:
    """Count the time since a call began or went on; its entry has been taken off."""
    segment = now - entry[SINCE]
    entry[ROW][SELF] += segment - entry[BELOW]
    entry[RUNNING] += segment
    lane.stack[-1][BELOW] += segment


def resume(lane: Lane, entry: list[Any], now: int) -> None:
    """Let a call go on, in this lane."""
    entry[SINCE] = now
    entry[BELOW] = 0
    if entry[LANE] != lane.number:
        # Begun in another thread, whose totals may be folded away already: they go on here.
        entry[ROW] = lane.row(entry[NUMBER], entry[ROW][CALLER], now)
    lane.stack.append(entry)


def take_at(lane: Lane, depth: int, now: int) -> tuple[list[Any], list[list[Any]]]:
    """Take an entry off the stack, and with it what was left above it without an exit.

    Returns:
        The entry, and the blocks that were opened above it and are open still, which are off as well.
    """
    stack = lane.stack
    blocks = [other for other in stack[depth + 1 :] if len(other) > BLOCK]
    lane.disordered += len(stack) - depth - 1 - len(blocks)
    stack[depth + 1 :] = blocks
    while len(stack) > depth + 1:
        suspend(lane, stack.pop(), now)
    return stack.pop(), blocks


def pop(lane: Lane, number: int) -> list[Any] | None:
    """Take the innermost entry off the stack, if it is of a site; else return None."""
    entry = lane.stack[-1]
    if entry[0] != number:
        return None
    del lane.stack[-1]
    return entry


def take(lane: Lane, number: int, now: int) -> tuple[list[Any] | None, list[list[Any]]]:
    """Take the innermost entry of a site off the stack; as `take_at`, None if there is none."""
    stack = lane.stack
    for depth in range(len(stack) - 1, 0, -1):
        if stack[depth][NUMBER] == number:
            return take_at(lane, depth, now)
    return None, []


def _is_failure(kind: type) -> bool:
    if _issubclass(kind, NOT_FAILURES):
        return False
    if _issubclass(kind, Exception):
        return True
    return not any(
        _type_name(one) == "CancelledError" and _type_members(one).get("__module__") == "asyncio.exceptions"
        for one in _type_order(kind)
    )


def note(lane: Lane, entry: list[Any], now: int, running: int, error: str) -> None:
    """Queue a finished call as notable."""
    if lane.wake is not None:
        lane.woken()
    if len(lane.notable) >= NOTABLE_LIMIT:
        lane.dropped += 1
        return
    caller = caller_of(entry, lane.stack[-1])
    lane.notable.append(
        (
            entry[NUMBER],
            entry[ROW][CALLER],
            lane_of(entry, lane),
            started_at(entry),
            now,
            running,
            error,
            lane_of(caller, lane),
            started_at(caller),
        )
    )


def unwind(lane: Lane, entry: list[Any], now: int, identity: int, kind: type) -> str:
    """Remember that an exception left a call; return its type's name, or "" if it is no failure."""
    row = entry[ROW]
    lane.unwound.append((identity, entry[NUMBER], started_at(entry), now))
    if len(lane.unwound) > 2 * UNWOUND_LIMIT:
        del lane.unwound[:UNWOUND_LIMIT]
    if not _is_failure(kind):
        return ""
    name: str = _type_name(kind)
    row[RAISED] += 1
    row[ERRORS][name] = row[ERRORS].get(name, 0) + 1
    return name


def _resynchronise(stack: list[list[Any]], number: int, frame: FrameType) -> None:
    """Take entries off that a RecursionError left behind: at the very bottom a probe cannot be called to report it.

    Looked at where at most two entries of the site are left, so that a deep recursion is not walked at each level.
    """
    left = 0
    while left < len(stack) - 1 and stack[-1 - left][NUMBER] == number:
        left += 1
        if left > 2:
            return
    caller = frame.f_back
    while caller is not None and left:
        left -= caller.f_code is frame.f_code
        caller = caller.f_back
    if left:
        del stack[-left:]


def end(
    lane: Lane,
    number: int,
    limit: int,
    entry: list[Any] | None,
    now: int,
    identity: int = 0,
    kind: type | None = None,
    frame: FrameType | None = None,
) -> None:
    """Account for the end of a call that failed, could have been suspended or has blocks above it.

    Args:
        lane: where it ends.
        number, limit: of its site, and ns from which it is notable.
        entry: its entry, which is off the stack; None if it was not the innermost one and has to be looked for.
        now: ns.
        identity, kind: of the exception that left the call, its type None for a return.
        frame: the frame that is being left by an exception.
    """
    blocks: list[list[Any]] = []
    if entry is None:
        entry, blocks = take(lane, number, now)
        if entry is None:
            return
    stack = lane.stack
    row = entry[ROW]
    segment = now - entry[SINCE]
    row[SELF] += segment - entry[BELOW]
    stack[-1][BELOW] += segment
    duration = running = segment
    if len(entry) > STARTED:
        running += entry[RUNNING]
        # While a coroutine awaits it is at work for whoever awaits it; a generator between two values is not.
        duration = now - entry[STARTED] if entry[AWAITS] else running
    row[TOTAL] += duration
    if duration > row[LONGEST]:
        row[LONGEST] = duration
    name = unwind(lane, entry, now, identity, kind) if kind is not None else ""
    if kind is RecursionError and frame is not None:
        _resynchronise(stack, number, frame)
    if name or row[CALLS] == 1 or duration >= limit:
        note(lane, entry, now, running, name)
    for block in blocks:
        resume(lane, block, now)
