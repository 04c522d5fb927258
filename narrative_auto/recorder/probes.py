"""The probes of the pure recorder.

A probe is an object with a truth value (`__bool__`); the one for UNWIND is compared with the exception (`__eq__`).
They are the hot path: what looks repeated or inlined below is so because a call costs more than the work.

Unlike a compiled probe, a Python `__bool__` is a Python call: it needs one level of recursion, a `sys.settrace`
function sees it, and a signal handler may raise in it. Exits are therefore matched by searching the shadow stack.
"""

from __future__ import annotations

import sys
import time

from narrative_auto.recorder.lane import (
    AWAITS,
    BELOW,
    CALLER,
    CALLS,
    ERRORS,
    LANE,
    LONGEST,
    NOTABLE_LIMIT,
    NUMBER,
    RAISED,
    RESUMED,
    ROW,
    RUNNING,
    SELF,
    SINCE,
    STARTED,
    SUSPENDED_LIMIT,
    TOTAL,
    UNWOUND_LIMIT,
)
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD
from narrative_auto.recorder.sites import COROUTINE, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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


class SilentProbe(bytearray):
    """What a released probe turns into: the class is exchanged, so that silence costs no test on the hot path.

    It is an empty buffer because `marshal` writes whatever has one as `bytes`: code that holds probes stays writable,
    and is silent where it is read again.
    """

    __slots__ = ("limit", "number", "site", "word")
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, site: Site, number: int, word: int, limit: int) -> None:
        self.site = site
        self.number = number
        self.word = word
        self.limit = limit

    def __eq__(self, other: object) -> bool:
        return self is other  # an exception's own `__eq__` must not be asked next

    def __reduce_ex__(self, _: object) -> tuple[type[tuple[()]], tuple[()]]:
        # Pickled by value, in a function's constants, into a process that may lack this package:
        # an empty tuple has a truth value and compares with anything.
        return (tuple, ())


def started_at(entry: list[Any]) -> int:
    """Return when an entry's call started (ns); entries of plain functions are shorter."""
    started: int = entry[STARTED] if len(entry) > STARTED else entry[SINCE]
    return started


def lane_of(entry: list[Any], lane: Lane) -> int:
    """Return the number of the lane in which an entry's call started: a generator may end in another."""
    number: int = entry[LANE] if len(entry) > STARTED else lane.number
    return number


def _is_failure(kind: type) -> bool:
    if _issubclass(kind, NOT_FAILURES):
        return False
    if _issubclass(kind, Exception):
        return True
    return not any(
        _type_name(one) == "CancelledError" and _type_members(one).get("__module__") == "asyncio.exceptions"
        for one in _type_order(kind)
    )


def _find(lane: Lane, number: int) -> list[Any] | None:
    """Pop and return the innermost entry of a site, with all that was left above it without an exit."""
    stack = lane.stack
    for depth in range(len(stack) - 1, 0, -1):
        if stack[depth][NUMBER] == number:
            entry = stack[depth]
            lane.disordered += len(stack) - depth - 1
            del stack[depth:]
            return entry
    return None


def _note(lane: Lane, entry: list[Any], now: int, running: int, error: str) -> None:
    """Queue a finished call as notable."""
    if lane.wake is not None:
        lane.woken()
    if len(lane.notable) >= NOTABLE_LIMIT:
        lane.dropped += 1
        return
    lane.notable.append(
        (
            entry[NUMBER],
            entry[ROW][CALLER],
            lane_of(entry, lane),
            started_at(entry),
            now,
            running,
            error,
            started_at(lane.stack[-1]),
        )
    )


def _unwind(lane: Lane, entry: list[Any], now: int, identity: int, kind: type) -> str:
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


def _end(
    lane: Lane,
    probe: SilentProbe,
    entry: list[Any] | None,
    now: int,
    identity: int = 0,
    kind: type | None = None,
    frame: FrameType | None = None,
) -> None:
    """Account for the end of a call that failed, or that could have been suspended; its entry has been popped.

    Args:
        lane, probe, entry: whose end it is; the entry is None if it was not the innermost one.
        now: ns.
        identity, kind: of the exception that left the call, its type None for a return.
        frame: the frame that is being left by an exception.
    """
    write(lane, now, probe.word)
    stack = lane.stack
    if entry is None:
        entry = _find(lane, probe.number)
    if entry is None:
        return
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
    name = _unwind(lane, entry, now, identity, kind) if kind is not None else ""
    if kind is RecursionError and frame is not None:
        _resynchronise(stack, probe.number, frame)
    if name or row[CALLS] == 1 or duration >= probe.limit:
        _note(lane, entry, now, running, name)


def write(lane: Lane, now: int, word: int) -> None:
    """Put one record into the lane's ring."""
    at = lane.head & lane.mask
    lane.ring[at] = now
    lane.ring[at + 1] = word
    lane.head += 2


def probe_types(
    local: Any, open_lane: Callable[[], Lane], suspended: dict[int, list[Any]], depth: int
) -> dict[bool, dict[int, Any]]:
    """Make the probes' classes for one recorder: {whether the function can be suspended: {transition: class}}.

    They are closures so that the recorder's parts are cells, which are read faster than attributes.
    A RecursionError at the very end of the stack is swallowed here: the program's own next call meets it.

    Args:
        local: thread-local storage, with the thread's `lane` once it has one.
        open_lane: gives the thread its lane.
        suspended: the entries of suspended activations by the identity of their frames.
        depth: how many frames above the function a probe runs: 1 where the function's own code asks it, 2 where an
            engine's callback does.
    """
    clock = time.perf_counter_ns
    frame = sys._getframe  # noqa: SLF001 - the identity of an activation

    class StartProbe(SilentProbe):
        __slots__ = ()

        def __bool__(self) -> bool:
            try:
                try:
                    lane = local.lane
                except AttributeError:
                    lane = open_lane()
                now = clock()
                head = lane.head
                at = head & lane.mask
                lane.ring[at] = now
                lane.ring[at + 1] = self.word
                lane.head = head + 2
                stack = lane.stack
                caller = stack[-1]
                number = self.number
                row = caller[2][5].get(number)  # ROW, CALLEES
                if row is None:
                    row = lane.row(number, caller[0], now)
                row[0] += 1  # CALLS
                stack.append([number, now, row, 0])
            except RecursionError:
                pass
            return True

    class StartSuspendableProbe(StartProbe):
        __slots__ = ()

        def __bool__(self) -> bool:
            try:
                super().__bool__()
                lane = local.lane
                entry = lane.stack[-1]
                if entry[NUMBER] == self.number and len(entry) == STARTED:
                    entry += (entry[SINCE], 0, self.site.kind == COROUTINE, lane.number)
            except RecursionError:
                pass
            return True

    class ReturnProbe(SilentProbe):
        __slots__ = ()

        def __bool__(self) -> bool:
            try:
                try:
                    lane = local.lane
                except AttributeError:  # a generator that another thread began, say
                    return True
                stack = lane.stack
                entry = stack[-1]
                if entry[0] == self.number:
                    del stack[-1]  # before anything that may fail at the end of the interpreter's stack
                else:
                    entry = _find(lane, self.number)
                    if entry is None:
                        return True
                now = clock()
                head = lane.head
                at = head & lane.mask
                lane.ring[at] = now
                lane.ring[at + 1] = self.word
                lane.head = head + 2
                row = entry[2]  # ROW
                duration = now - entry[1]  # SINCE
                row[1] += duration  # TOTAL
                row[2] += duration - entry[3]  # SELF, BELOW
                stack[-1][3] += duration
                if duration > row[3]:  # LONGEST
                    row[3] = duration
                if duration >= self.limit or row[0] == 1:
                    _note(lane, entry, now, duration, "")
            except RecursionError:
                pass
            return True

    class ReturnSuspendableProbe(SilentProbe):
        __slots__ = ()

        def __bool__(self) -> bool:
            try:
                try:
                    lane = local.lane
                except AttributeError:
                    return True
                entry = lane.stack[-1]
                if entry[0] == self.number:
                    del lane.stack[-1]
                else:
                    entry = None
                _end(lane, self, entry, clock())
            except RecursionError:
                pass
            return True

    class UnwindProbe(SilentProbe):
        __slots__ = ()
        __hash__ = object.__hash__

        def __eq__(self, error: object) -> bool:
            try:
                try:
                    lane = local.lane
                except AttributeError:
                    return False
                kind = type(error)  # isinstance would ask the exception for its __class__
                if _issubclass(kind, BaseException):
                    entry = lane.stack[-1]
                    if entry[0] == self.number:
                        del lane.stack[-1]
                    else:
                        entry = None
                    _end(lane, self, entry, clock(), id(error), kind, frame(depth))
            except RecursionError:
                pass
            return self is error

        def left(self, identity: int, kind: type) -> None:
            """Report an exception that the engine does not have at hand any more."""
            try:
                try:
                    lane = local.lane
                except AttributeError:
                    return
                entry = lane.stack[-1]
                if entry[0] == self.number:
                    del lane.stack[-1]
                else:
                    entry = None
                _end(lane, self, entry, clock(), identity, kind, frame(depth))
            except RecursionError:
                pass

    class YieldProbe(SilentProbe):
        __slots__ = ()

        def __bool__(self) -> bool:
            try:
                try:
                    lane = local.lane
                except AttributeError:
                    return True
                stack = lane.stack
                entry = stack[-1]
                if entry[0] == self.number:
                    del stack[-1]
                else:
                    entry = _find(lane, self.number)
                now = clock()
                write(lane, now, self.word)
                if entry is not None:
                    segment = now - entry[SINCE]
                    entry[ROW][SELF] += segment - entry[BELOW]
                    entry[RUNNING] += segment
                    stack[-1][BELOW] += segment
                    suspended[id(frame(depth))] = entry
                    if len(suspended) > SUSPENDED_LIMIT:
                        suspended.pop(next(iter(suspended), 0), None)
            except RuntimeError:  # RecursionError is one; and another thread may change the dictionary just then
                pass
            return True

    class ResumeProbe(SilentProbe):
        __slots__ = ()

        def __bool__(self) -> bool:
            try:
                try:
                    lane = local.lane
                except AttributeError:
                    lane = open_lane()
                now = clock()
                write(lane, now, self.word)
                entry = suspended.pop(id(frame(depth)), None)
                if entry is not None:
                    entry[SINCE] = now
                    entry[BELOW] = 0
                    if entry[LANE] != lane.number:
                        # Begun in another thread, whose totals may be folded away already: they go on here.
                        entry[ROW] = lane.row(entry[NUMBER], entry[ROW][CALLER], now)
                    entry[ROW][RESUMED] += 1
                    lane.stack.append(entry)
            except RecursionError:
                pass
            return True

    return {
        False: {START: StartProbe, RETURN: ReturnProbe, UNWIND: UnwindProbe},
        True: {
            START: StartSuspendableProbe,
            RETURN: ReturnSuspendableProbe,
            UNWIND: UnwindProbe,
            YIELD: YieldProbe,
            RESUME: ResumeProbe,
        },
    }
