"""The two tables beside a code object's instructions, in the bytes that the interpreter keeps them in.

An offset is counted in code units of two bytes. The exception table says who handles what a range of instructions
raises (`Objects/exception_handling_notes.txt` in CPython), the location table where in the source they come from
(`Objects/locations.md`, later `InternalDocs/code_objects.md`). Neither format has changed from 3.11 to 3.15.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, compress, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Handled = tuple[int, int, int, int, bool]
    """Where a range begins and ends, its handler, the depth to which the stack is cut for that, and whether the offset
    of what raised is pushed."""


class UnknownShapeError(Exception):
    """Something that the splicer does not know, be it valid or not; another reader may."""


def read_exception_table(table: bytes) -> list[Handled]:
    """Return the entries of an exception table in their order.

    Raises:
        IndexError: the table ends within an entry.
    """
    numbers = []
    index = 0
    while index < len(table):
        byte = table[index]
        number = byte & 63
        while byte & 64:
            index += 1
            byte = table[index]
            number = number << 6 | byte & 63
        numbers.append(number)
        index += 1
    return [
        (numbers[first], numbers[first] + numbers[first + 1], numbers[first + 2], last >> 1, bool(last & 1))
        for first in range(0, len(numbers), 4)
        for last in [numbers[first + 3]]
    ]


def write_exception_table(entries: Iterable[Handled]) -> bytes:
    """Return the table of these entries."""
    table = bytearray()
    for begin, end, target, depth, keeps_offset in entries:
        mark = 128  # the first byte of an entry has it, so that a search can begin in the middle
        for number in (begin, end - begin, target, depth << 1 | keeps_offset):
            if number < 64:
                table.append(number | mark)
            elif number < 4096:
                table.append(number >> 6 | 64 | mark)
                table.append(number & 63)
            else:
                shifts = range((number.bit_length() - 1) // 6 * 6, -1, -6)
                piece = bytearray(number >> shift & 63 | 64 for shift in shifts)
                piece[0] |= mark
                piece[-1] &= 63
                table += piece
            mark = 0
    return bytes(table)


_FIRST = bytes(byte >> 7 for byte in range(256))
"""What is true of the first byte of an entry alone."""

_NOT_FIRST = bytes(range(128))
_UNITS = bytes((byte & 7) + 1 for byte in range(256))
"""How many code units an entry covers, by its first byte."""

_ONE_LINE, _NO_COLUMNS, _LONG, _NONE = 10, 13, 14, 15
"""Kinds of entries: below `_ONE_LINE` the line is that of the entry before, from there to `_NO_COLUMNS` up to two
lines below, the next two begin with a difference of lines, the last has no location."""

_MOST = 8  # code units in one entry


def _bare(units: int) -> bytes:
    """Return the entries of code without a location."""
    full, rest = divmod(units, _MOST)
    return bytes([255]) * full + (bytes([0x80 | _NONE << 3 | rest - 1]) if rest else b"")


class Locations:
    """A location table, and what is added to it: code units with the location of an entry, or with none.

    Args:
        table: the bytes of the table.
        units: how many code units it covers.

    Raises:
        UnknownShapeError: an entry has bytes that look like the first one of another.
    """

    __slots__ = ("_added", "_begins", "_ends", "_place", "_table")

    def __init__(self, table: bytes, units: int) -> None:
        self._table = table
        self._begins = list(compress(count(), table.translate(_FIRST)))
        self._ends = list(accumulate(table.translate(_UNITS, _NOT_FIRST)))
        # Columns from 128 on belong into the long form, which the interpreter's own search for lines relies on.
        if not self._ends or self._ends[-1] != units:
            raise UnknownShapeError("a location table of another length than the code")
        # How many code units are added to entry n, at 2 * n, and without a location behind it, at 2 * n + 1.
        self._added: dict[int, int] = {}
        self._place = 0

    def line(self, unit: int) -> int | None:
        """Return the line of a code unit, counted from that of the code object; None where it has none."""
        entry = bisect_right(self._ends, unit)
        line = 0
        for begin in self._begins[: entry + 1]:
            kind = self._table[begin] >> 3 & 15
            if _ONE_LINE <= kind < _NO_COLUMNS:
                line += kind - _ONE_LINE
            elif _NO_COLUMNS <= kind < _NONE:
                line += self._signed(begin + 1)
        return None if kind == _NONE else line

    def _signed(self, index: int) -> int:
        """Return the signed number that begins at a byte of the table."""
        number = shift = 0
        byte = 64
        while byte & 64:
            byte = self._table[index]
            number |= (byte & 63) << shift
            shift += 6
            index += 1
        return -(number >> 1) if number & 1 else number >> 1

    def add_bare(self, at: int, units: int) -> None:
        """Add code units without a location in front of one of the table's.

        Raises:
            UnknownShapeError: an entry is to be parted for it. No compiler's code asks for that.
        """
        entry = bisect_right(self._ends, at - 1)
        if at and bisect_right(self._ends, at) == entry:
            raise UnknownShapeError("a location that goes on behind code without one")
        self._add(2 * entry + 1, units)

    def add_before(self, at: int, units: int) -> None:
        """Add code units in front of one of the table's, with its location."""
        self._add(2 * bisect_right(self._ends, at), units)

    def add_behind(self, at: int, units: int) -> None:
        """Add code units behind one of the table's, with its location."""
        self._add(2 * bisect_right(self._ends, at), units)

    def _add(self, place: int, units: int) -> None:
        if place < self._place:
            raise UnknownShapeError("a location in front of one that comes later")
        self._place = place
        self._added[place] = self._added.get(place, 0) + units

    def lengthen(self, unit: int, units: int) -> None:
        """Add code units to the entry of one of the table's, whatever was added before."""
        place = 2 * bisect_right(self._ends, unit)
        self._added[place] = self._added.get(place, 0) + units

    def table(self) -> bytes:
        """Return the table with what was added."""
        table, begins = self._table, [*self._begins, len(self._table)]
        pieces = []
        kept = 0
        for place, units in sorted(self._added.items()):
            entry = place >> 1
            if place & 1:
                pieces += [table[kept : begins[entry + 1]], _bare(units)]
                kept = begins[entry + 1]
            else:
                begin, end = begins[entry], begins[entry + 1]
                pieces += [table[kept:begin], self._longer(begin, end, units)]
                kept = end
        pieces.append(table[kept:])
        return b"".join(pieces)

    def _longer(self, begin: int, end: int, units: int) -> bytes:
        """Return the entry between two bytes of the table for so many more code units."""
        first, rest = self._table[begin], self._table[begin + 1 : end]
        units += (first & 7) + 1
        if units <= _MOST:
            return bytes([first & 0xF8 | units - 1]) + rest
        kind = first >> 3 & 15
        pieces = [bytes([first | 7]), rest]
        # What follows is on the line that the first entry came to.
        if _ONE_LINE <= kind < _NO_COLUMNS:
            kind = _ONE_LINE
        elif _NO_COLUMNS <= kind < _NONE:
            skipped = 0
            while rest[skipped] & 64:
                skipped += 1
            rest = b"\0" + rest[skipped + 1 :]
        units -= _MOST
        while units > 0:
            pieces += [bytes([0x80 | kind << 3 | min(units, _MOST) - 1]), rest]
            units -= _MOST
        return b"".join(pieces)
