"""One thread's part of the pure recorder's memory."""

from __future__ import annotations

from narrative_auto.recorder.layout import WORDS_PER_RECORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NOTABLE_LIMIT = 16_384
"""Notable calls kept until they are drained; more are counted and dropped."""

SUSPENDED_LIMIT = 100_000
"""Suspended calls that are remembered; where an engine misses the end of a dropped generator, its entry stays."""

UNWOUND_LIMIT = 256
"""Calls left by an exception that a lane remembers, for the path to a failure."""

# A row holds the totals of one edge (a site called from another) in one lane.
CALLS, TOTAL, SELF, LONGEST, RAISED, CALLEES, SITE, CALLER, FIRST, ERRORS, RESUMED = range(11)

# An entry of the shadow stack is a call that is running, or a block that is open. From the fifth on they exist for what
# can be suspended, and for what the context says to be within another block than the stack; the last one for blocks.
# WITHIN is the identity of the innermost block that it is within, or is, 0 for none; LINKED the entry of the block that
# is its caller, None where what is beneath it is.
NUMBER, SINCE, ROW, BELOW, STARTED, RUNNING, AWAITS, LANE, WITHIN, LINKED, BLOCK = range(11)


class Lane:
    """One thread's recorder memory: its ring, shadow stack, totals and notable calls.

    Attributes:
        number: from 1, in the order in which threads first reached a probe.
        ring: the flight ring as 64-bit words, two a record.
        head: the word at which the next record goes; counts on for ever, so `head // 2` is the number of records.
        stack: the calls that are running, a sentinel below them.
        callees: per caller's site the rows of what it called.
        notable: finished calls, as `NotableCall` describes them.
        unwound: calls left by exceptions, as `PureRecorder.unwound` describes them.
        disordered: calls whose caller was left before them.
        dropped: notable calls for which there was no room.
        wake: called, once, when there is something to tell; None when somebody listens.
    """

    __slots__ = (
        "callees",
        "disordered",
        "dropped",
        "head",
        "mask",
        "notable",
        "number",
        "ring",
        "stack",
        "unwound",
        "wake",
    )

    def __init__(self, number: int, records: int, wake: Callable[[], object] | None = None) -> None:
        self.number = number
        self.ring = memoryview(bytearray(records * WORDS_PER_RECORD * 8)).cast("Q")
        self.mask = records * WORDS_PER_RECORD - 1
        self.head = 0
        top: dict[int, list[Any]] = {}
        self.callees: dict[int, dict[int, list[Any]]] = {0: top}
        self.stack: list[list[Any]] = [[0, 0, [0, 0, 0, 0, 0, top, 0, 0, 0, {}, 0], 0]]
        self.notable: list[tuple[Any, ...]] = []
        self.unwound: list[tuple[Any, ...]] = []
        self.dropped = self.disordered = 0
        self.wake = wake

    def row(self, number: int, caller: int, now: int) -> list[Any]:
        """Return the row of an edge, made if need be: the site `number`, called from the site `caller`."""
        callees = self.callees.setdefault(caller, {})
        row = callees.get(number)
        if row is None:
            row = callees[number] = [0, 0, 0, 0, 0, self.callees.setdefault(number, {}), number, caller, now, {}, 0]
            self.woken()
        return row

    def woken(self) -> None:
        """Call whoever waits for something to tell."""
        wake, self.wake = self.wake, None
        if wake is not None:
            wake()

    def forget(self) -> None:
        """Take the totals apart, which refer to each other: a program may have switched the collector off."""
        for callees in self.callees.values():
            callees.clear()

    def rows(self) -> list[list[Any]]:
        """Return all rows, also while the lane's thread adds to them."""
        return [row for callees in list(self.callees.values()) for row in list(callees.values())]
