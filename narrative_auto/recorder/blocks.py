"""Blocks in the recorder in Python: what the program opens itself, `with stage(...):`.

They stand on the stacks like calls, but keep to the context that they were opened in, as tasks and threads inherit it,
and not to the activation: it may end or go on without them. `c/blocks.h` and `c/explicit.h` are the compiled twin.
"""

from __future__ import annotations

import time

from narrative_auto.recorder.calls import NOTHING, note, resume, unwind, write
from narrative_auto.recorder.lane import (
    AWAITS,
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

    def place(self, lane: Lane) -> None:
        """Let the call that has just begun be within what its context says, if that is not what is beneath it."""
        stack = lane.stack
        entry = stack[-1]
        while _is_over(stack[-2]):
            del stack[-2]
        beneath = stack[-2]
        can_be_suspended = len(entry) > STARTED
        within = _within(beneath, stack)
        caller, block = beneath, within
        asks = len(beneath) > BLOCK or len(stack) == 2 or (can_be_suspended and entry[AWAITS])
        if asks and self._variable is not None:
            around = self._of_context(self._variable)
            if around[WITHIN] != within:
                caller, block = _nearest(stack, len(stack) - 2, around), around[WITHIN]
        if entry[ROW][CALLER] != caller[NUMBER]:
            entry[ROW][CALLS] -= 1
            entry[ROW] = lane.row(entry[NUMBER], caller[NUMBER], entry[SINCE])
            entry[ROW][CALLS] += 1
        if not can_be_suspended:
            if caller is beneath:
                return
            entry += (entry[SINCE], 0, False, lane.number)
        entry[WITHIN:] = (block, caller if caller is not beneath or len(beneath) > BLOCK else None)

    def _of_context(self, variable: ContextVar[Any]) -> list[Any]:
        """Return the entry of the innermost open block of this context: a task inherits what may be over."""
        block = variable.get(None)
        while block is not None:
            entry = self.known.get(id(block))
            if entry is not None:
                return entry
            block = getattr(block, "around", None)
        return NOTHING

    def enter(self, lane: Lane, number: int, block: object, around: object) -> tuple[int, int]:
        """Begin a block; see `Recorder.enter_block`."""
        now = time.perf_counter_ns()
        write(lane, now, number | START << 32)
        stack = lane.stack
        while _is_over(stack[-1]):
            del stack[-1]
        beneath = caller = stack[-1]
        outer = self.known.get(id(around), NOTHING)
        if outer[WITHIN] != _within(beneath, stack) and (outer is not NOTHING or len(beneath) > BLOCK):
            caller = _nearest(stack, len(stack) - 1, outer)
        row = lane.row(number, caller[NUMBER], now)
        row[CALLS] += 1
        linked = None if caller is beneath else caller
        entry = [number, now, row, 0, now, 0, True, lane.number, id(block), linked, block]
        self.known[id(block)] = entry
        stack.append(entry)
        return lane.number, now

    def forget(self, lane: Lane) -> None:
        """Forget the blocks that a thread which is over has left open: they keep what the program made."""
        for entry in lane.stack:
            if len(entry) > BLOCK:
                self.known.pop(id(entry[BLOCK]), None)

    def leave(self, lane: Lane, block: object, error: BaseException | None) -> None:
        """End a block, in whatever lane or coroutine it is."""
        entry = self.known.pop(id(block), None)
        if entry is None:
            return
        now = time.perf_counter_ns()
        write(lane, now, entry[NUMBER] | (RETURN if error is None else UNWIND) << 32)
        self._take(lane, entry, now)
        row = entry[ROW]
        duration = now - entry[STARTED]
        row[TOTAL] += duration
        row[LONGEST] = max(row[LONGEST], duration)
        name = unwind(lane, entry, now, id(error), type(error)) if error is not None else ""
        if name or row[CALLS] == 1 or duration >= self._limit:
            note(lane, entry, now, entry[RUNNING], name)
        entry[LINKED] = None  # else each would keep the one before it

    def _take(self, lane: Lane, entry: list[Any], now: int) -> None:
        """Take a block off and count it, wherever it is; its row is one of this lane's then.

        From the stack of another thread it is taken by that thread itself, with whatever it does next.
        """
        if not _take_off(lane, entry, now) and not self._take_carried(entry):
            entry[RUNNING] += now - entry[SINCE]
        if entry[LANE] != lane.number:
            entry[ROW] = lane.row(entry[NUMBER], entry[ROW][CALLER], now)
        entry[BLOCK] = None

    def _take_carried(self, entry: list[Any]) -> bool:
        for key, carried in list(self.carried.items()):
            kept = [one for one in carried if one is not entry]
            if len(kept) < len(carried):
                self.carried[key] = kept
                if not kept:
                    del self.carried[key]
                return True
        return False

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


def _is_over(entry: list[Any]) -> bool:
    """Whether an entry is a block that another thread has ended."""
    return len(entry) > BLOCK and entry[BLOCK] is None


def _within(entry: list[Any], stack: list[list[Any]]) -> int:
    """Return the identity of the block that an entry of the stack is within or is, 0 for none."""
    if len(entry) > WITHIN:
        return int(entry[WITHIN])
    at = len(stack) - 1
    while stack[at] is not entry:
        at -= 1
    while at > 0 and len(stack[at]) <= WITHIN:
        at -= 1
    return int(stack[at][WITHIN]) if at else 0


def _nearest(stack: list[list[Any]], at: int, block: list[Any]) -> list[Any]:
    """Return what is nearest on a stack of all that is within a block, or is it, past the blocks of others; else it."""
    while at > 0 and len(stack[at]) > BLOCK and stack[at][WITHIN] != block[WITHIN]:
        at -= 1
    return stack[at] if _within(stack[at], stack) == block[WITHIN] else block


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
