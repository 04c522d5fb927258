"""Blocks in the recorder in Python: what the program opens itself, `with stage(...):`.

They stand on the stacks like calls, but keep to the context that they were opened in, as tasks and threads inherit it,
and not to the activation: it may end or go on without them. `c/blocks.h` and `c/explicit.h` are the compiled twin.
"""

from __future__ import annotations

import time

from narrative_auto.recorder.calls import NOTHING, note, resume, started_at, unwind, write
from narrative_auto.recorder.lane import (
    BELOW,
    BLOCK,
    CALLER,
    CALLS,
    LANE,
    LINKED,
    LONGEST,
    NUMBER,
    RESUMED,
    ROW,
    RUNNING,
    SELF,
    SINCE,
    STARTED,
    TOTAL,
    WITHIN,
)
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import ContextVar
    from typing import Any

    from narrative_auto.recorder.lane import Lane


class Blocks:
    """The open blocks of one recorder.

    Args:
        limit: ns from which a block that is over is notable.

    Attributes:
        known: their entries, by the identities of the blocks.
        carried: those that are suspended with a coroutine, by the identity of its frame, outermost first.
    """

    __slots__ = ("_limit", "_variable", "carried", "known")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._variable: ContextVar[Any] | None = None
        self.known: dict[int, list[Any]] = {}
        self.carried: dict[int, list[list[Any]]] = {}

    def follow(self, variable: ContextVar[Any]) -> None:
        """Know in which variable a context has its innermost block."""
        self._variable = variable

    def link(self, lane: Lane) -> None:
        """Let the call that has just begun be within the innermost block of its context, if that is another one."""
        if self._variable is None:
            return
        block = id(self._variable.get(None))
        around = self.known.get(block)
        if around is None:
            block, around = 0, NOTHING
        entry = lane.stack[-1]
        within = _within(lane, len(lane.stack) - 2)
        if block == within:
            beneath = lane.stack[-2]
            if len(entry) > WITHIN:
                entry[WITHIN:] = (within, beneath if len(beneath) > BLOCK else None)
            return
        if len(entry) == STARTED:  # of a plain function
            entry += (entry[SINCE], 0, False, lane.number)
        entry[ROW][CALLS] -= 1
        row = entry[ROW] = lane.row(entry[NUMBER], around[NUMBER], entry[SINCE])
        row[CALLS] += 1
        entry[WITHIN:] = (block, around)

    def enter(self, lane: Lane, number: int, block: object, around: object) -> tuple[int, int, int, int]:
        """Begin a block; see `Recorder.enter_block`."""
        now = time.perf_counter_ns()
        write(lane, now, number | START << 32)
        caller = lane.stack[-1]
        outer = self.known.get(id(around))
        linked: list[Any] | None = None
        if outer is not None and id(around) != _within(lane, len(lane.stack) - 1):
            caller = linked = outer
        row = lane.row(number, caller[NUMBER], now)
        row[CALLS] += 1
        entry = [number, now, row, 0, now, 0, True, lane.number, id(block), linked, block]
        self.known[id(block)] = entry
        lane.stack.append(entry)
        return lane.number, now, 0 if len(caller) > BLOCK else caller[NUMBER], started_at(caller)

    def leave(self, lane: Lane, lanes: list[Lane], block: object, error: BaseException | None) -> None:
        """End a block, in whatever lane or coroutine it is."""
        entry = self.known.pop(id(block), None)
        if entry is None:
            return
        now = time.perf_counter_ns()
        write(lane, now, entry[NUMBER] | (RETURN if error is None else UNWIND) << 32)
        self._take(lane, lanes, entry, now)
        row = entry[ROW]
        duration = now - entry[STARTED]
        row[TOTAL] += duration
        row[LONGEST] = max(row[LONGEST], duration)
        name = unwind(lane, entry, now, id(error), type(error)) if error is not None else ""
        if name or row[CALLS] == 1 or duration >= self._limit:
            note(lane, entry, now, entry[RUNNING], name)
        entry[LINKED] = None  # else each would keep the one before it

    def _take(self, lane: Lane, lanes: list[Lane], entry: list[Any], now: int) -> None:
        """Take a block off and count it, wherever it is; its row is one of this lane's then."""
        for other in [lane, *lanes]:
            if _take_off(other, entry, now):
                break
        else:
            for key, carried in list(self.carried.items()):
                carried[:] = [one for one in carried if one is not entry]
                if not carried:
                    del self.carried[key]
        if entry[LANE] != lane.number:
            entry[ROW] = lane.row(entry[NUMBER], entry[ROW][CALLER], now)

    def suspend(self, lane: Lane, block: object) -> None:
        """Let what follows be outside an open block, until `resume`."""
        entry = self.known.get(id(block))
        now = time.perf_counter_ns()
        if entry is not None and _take_off(lane, entry, now):
            write(lane, now, entry[NUMBER] | YIELD << 32)
            self.carried[id(block)] = [entry]

    def resume(self, lane: Lane, block: object) -> None:
        """Let what follows be within a suspended block again."""
        now = time.perf_counter_ns()
        for entry in self.carried.pop(id(block), ()):
            write(lane, now, entry[NUMBER] | RESUME << 32)
            resume(lane, entry, now)
            entry[ROW][RESUMED] += 1


def _within(lane: Lane, depth: int) -> int:
    """Return the identity of the block that an entry of the stack is within or is, 0 for none."""
    stack = lane.stack
    for at in range(depth, 0, -1):
        if len(stack[at]) > WITHIN:
            return int(stack[at][WITHIN])
    return 0


def _take_off(lane: Lane, entry: list[Any], now: int) -> bool:
    """Take a block off a lane's stack and count it up to now; what is above it stays. Return whether it was there."""
    stack = lane.stack
    at = next((at for at in range(len(stack) - 1, 0, -1) if stack[at] is entry), 0)
    if not at:
        return False
    segment = now - entry[SINCE]
    above = now - stack[at + 1][SINCE] if at + 1 < len(stack) else 0  # it adds its own when it ends
    entry[ROW][SELF] += segment - entry[BELOW] - above
    entry[RUNNING] += segment
    stack[at - 1][BELOW] += segment - above
    del stack[at]
    return True
