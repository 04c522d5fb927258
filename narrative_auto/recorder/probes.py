"""The probes of the pure recorder.

A probe is an object with a truth value (`__bool__`); the one for UNWIND is compared with the exception (`__eq__`).
They are the hot path: what looks repeated or inlined below is so because a call costs more than the work.

Unlike a compiled probe, a Python `__bool__` is a Python call: it needs one level of recursion, a `sys.settrace`
function sees it, and a signal handler may raise in it. Exits are therefore matched by searching the shadow stack.
"""

from __future__ import annotations

import sys
import time

from narrative_auto.recorder.calls import end, note, pop, resume, suspend, take, write
from narrative_auto.recorder.lane import AWAITS, BLOCK, NUMBER, RESUMED, ROW, SINCE, STARTED, SUSPENDED_LIMIT
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD
from narrative_auto.recorder.sites import COROUTINE, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from narrative_auto.recorder.blocks import Blocks
    from narrative_auto.recorder.lane import Lane

_issubclass = issubclass


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


class Watcher:
    """A constant of a library function that we watch: hands on the frame that asks for its truth value; it is true."""

    __slots__ = ("_meet",)

    def __init__(self, meet: Callable[[FrameType], object]) -> None:
        self._meet = meet

    def __bool__(self) -> bool:
        self._meet(sys._getframe(1))  # noqa: SLF001 - the watched function's own frame
        return True


def probe_types(
    local: Any, open_lane: Callable[[], Lane], suspended: dict[int, list[Any]], blocks: Blocks, depth: int
) -> dict[bool, dict[int, Any]]:
    """Make the probes' classes for one recorder: {whether the function can be suspended: {transition: class}}.

    They are closures so that the recorder's parts are cells, which are read faster than attributes.
    A RecursionError at the very end of the stack is swallowed here: the program's own next call meets it.

    Args:
        local: thread-local storage, with the thread's `lane` once it has one.
        open_lane: gives the thread its lane.
        suspended: the entries of suspended activations by the identity of their frames.
        blocks: those that are open.
        depth: how many frames above the function a probe runs: 1 where the function's own code asks it, 2 where an
            engine's callback does.
    """
    clock = time.perf_counter_ns
    frame = sys._getframe  # noqa: SLF001 - the identity of an activation
    known, carried = blocks.known, blocks.carried

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
                if len(caller) > BLOCK or (known and len(stack) == 2):
                    blocks.place(lane)
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
                if entry[NUMBER] == self.number and len(entry) <= BLOCK:
                    if len(entry) == STARTED:
                        entry += (entry[SINCE], 0, False, lane.number, 0, None)
                    entry[AWAITS] = self.site.kind == COROUTINE
                    if known:
                        blocks.place(lane)
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
                    now = clock()
                    write(lane, now, self.word)
                    end(lane, self.number, self.limit, None, now)
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
                    note(lane, entry, now, duration, "")
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
                now = clock()
                write(lane, now, self.word)
                end(lane, self.number, self.limit, pop(lane, self.number), now)
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
                    entry = pop(lane, self.number)
                    now = clock()
                    write(lane, now, self.word)
                    end(lane, self.number, self.limit, entry, now, id(error), kind, frame(depth))
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
                entry = pop(lane, self.number)
                now = clock()
                write(lane, now, self.word)
                end(lane, self.number, self.limit, entry, now, identity, kind, frame(depth))
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
                entry = pop(lane, self.number)
                above: list[list[Any]] = []
                now = clock()
                write(lane, now, self.word)
                if entry is None:
                    entry, above = take(lane, self.number, now)
                if entry is not None:
                    suspend(lane, entry, now)
                    suspended[id(frame(depth))] = entry
                    if above and entry[AWAITS]:
                        carried[id(frame(depth))] = above
                    else:  # what a generator has opened stays open for whoever takes its values
                        for block in above:
                            resume(lane, block, now)
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
                    resume(lane, entry, now)
                    entry[ROW][RESUMED] += 1
                    for block in carried.pop(id(frame(depth)), ()) if carried else ():
                        resume(lane, block, now)
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
