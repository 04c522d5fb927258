"""The lines of source around the place of a failure, cut to a width, with what failed marked."""

from __future__ import annotations

import linecache

from narrative_auto.errors import attempted
from narrative_auto.failures.shapes import REDACTED
from narrative_auto.page import columns
from narrative_auto.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from narrative_auto.failures.shapes import Span

    Positions = tuple[int | None, int | None, int | None, int | None]

WIDTH = 64
"""Columns of a snippet's lines."""

# Secrets are searched for in more lines than are shown: what opened a string or a key block may stand far above.
_LINES_BEFORE = 200
_LINES_AFTER = 40
_MOST_LINE_CHARACTERS = 5_000
_TAB = 8


@record(frozen=True, slots=True)
class SourceLine:
    """A line of source as it is shown.

    Attributes:
        number: in its file, from 1.
        text: without the indentation that all lines of the snippet share, tabs expanded, cut to the width.
        marked: whether it is the line that failed.
        caret: the columns of the failing part in `text`, first and past the last; wide characters count two.
    """

    number: int
    text: str
    marked: bool
    caret: tuple[int, int] | None


def snippet(
    filename: str,
    lineno: int,
    context: int = 2,
    positions: Positions | None = None,
    module_globals: dict[str, Any] | None = None,
    *,
    width: int = WIDTH,
    secrets: Callable[[str], Sequence[Span]] | None = None,
) -> tuple[SourceLine, ...]:
    """Return the source around a line; nothing where there is no such source.

    Args:
        filename: as the code object has it.
        lineno: the line that failed, from 1.
        context: lines before and after it.
        positions: first line, last line, first column, last column of the failing part, as `co_positions()` gives
            them: columns in UTF-8 bytes.
        module_globals: the module's, so that its loader can be asked for source that is in no file.
        width: columns that a line takes at most.
        secrets: where lines of source have what must not be shown, in order and without overlap. It is asked here
            and not by the caller since a secret that was cut in half is not recognised.
    """
    lines = attempted(_lines_of, filename, module_globals)
    if not lines or not 1 <= lineno <= len(lines):
        return ()
    first = max(1, lineno - context)
    last = min(len(lines), lineno + context)
    while first < lineno and not lines[first - 1].strip():
        first += 1
    while last > lineno and not lines[last - 1].strip():
        last -= 1
    hidden = _hidden(lines, first, last, secrets)
    shown = []
    for number in range(first, last + 1):
        line = lines[number - 1]
        caret = _caret(line, number, positions) if number == lineno else None
        text, caret = _without(line, hidden.get(number, []), caret)
        shown.append((number, *_expanded(text, caret)))
    indents = [len(text) - len(text.lstrip()) for _, text, _ in shown if text.strip()]
    margin = min(indents, default=0)
    result = []
    for number, text, caret in shown:
        moved = None if caret is None else (max(0, caret[0] - margin), max(0, caret[1] - margin))
        cut_text, columns = _cut(text[margin:].rstrip(), moved, width)
        result.append(SourceLine(number, cut_text, number == lineno, columns))
    return tuple(result)


class LinesAsFound:
    """A context that leaves `linecache` as it finds it: what Python, or the program, shows later it reads then.

    What others put there meanwhile stays, if it is not in a file.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        """Begin."""
        self._before = attempted(dict, linecache.cache)

    def __exit__(self, *_: object) -> None:
        """End."""
        if self._before is not None:
            attempted(self._put_back, self._before)

    @staticmethod
    def _put_back(before: dict[str, Any]) -> None:
        cache: dict[str, Any] = linecache.cache
        for name, entry in list(cache.items()):
            if name not in before and len(entry) > 1 and entry[1] is not None:  # with a time: read from a file
                cache.pop(name, None)
        cache.update(before)


def _lines_of(filename: str, module_globals: dict[str, Any] | None) -> list[str]:
    # The file may have been edited since the program read it, or since another traceback did.
    linecache.checkcache(filename)
    return [line.rstrip("\r\n")[:_MOST_LINE_CHARACTERS] for line in linecache.getlines(filename, module_globals)]


def _hidden(
    lines: list[str], first: int, last: int, secrets: Callable[[str], Sequence[Span]] | None
) -> dict[int, list[Span]]:
    """Return, by line number, the parts of lines that must not be shown."""
    if secrets is None:
        return {}
    start = max(1, first - _LINES_BEFORE)
    block = lines[start - 1 : last + _LINES_AFTER]
    # Nearer lines are worth more than far ones where lines are long: the search has a bound of its own.
    while len(block) > last - start + 1 and sum(map(len, block)) > 4 * _MOST_LINE_CHARACTERS:
        block.pop()
    while start < first and sum(map(len, block)) > 4 * _MOST_LINE_CHARACTERS:
        block.pop(0)
        start += 1
    spans = secrets("\n".join(block))
    hidden: dict[int, list[Span]] = {}
    offset = 0
    for number, line in enumerate(block, start):
        end = offset + len(line)
        if first <= number <= last:
            hidden[number] = [
                (max(span[0], offset) - offset, min(span[1], end) - offset)
                for span in spans
                if span[0] < end and span[1] > offset
            ]
        offset = end + 1
    return hidden


def _caret(line: str, number: int, positions: Positions | None) -> Span | None:
    """Return the failing part of a line in characters, None where the interpreter does not know it."""
    if positions is None:
        return None
    first, last, start, end = positions
    if first != number or last is None or start is None or end is None:
        return None
    encoded = line.encode("utf-8", "surrogatepass")
    begin = len(encoded[:start].decode("utf-8", "ignore"))
    stop = len(encoded[:end].decode("utf-8", "ignore")) if last == number else len(line.rstrip())
    return (begin, stop) if begin < stop else None


def _without(line: str, hidden: list[Span], caret: Span | None) -> tuple[str, Span | None]:
    """Return a line with its hidden parts replaced, and its caret where it belongs afterwards."""
    pieces = []
    position = 0
    shift = 0
    begin, stop = caret or (0, 0)
    for start, end in hidden:
        pieces += [line[position:start], REDACTED]
        position = end
        if caret is None:
            continue
        if caret[0] >= end:
            begin += len(REDACTED) - (end - start)
        elif caret[0] > start:
            begin = start + shift
        if caret[1] >= end:
            stop += len(REDACTED) - (end - start)
        elif caret[1] > start:
            stop = start + shift + len(REDACTED)
        shift += len(REDACTED) - (end - start)
    return "".join([*pieces, line[position:]]), (begin, stop) if caret else None


def _expanded(text: str, caret: Span | None) -> tuple[str, Span | None]:
    """Return a line with its tabs expanded, other control characters as blanks, and the caret moved along."""
    text = "".join(" " if mark < " " and mark != "\t" else mark for mark in text)
    if caret is not None:
        caret = (len(text[: caret[0]].expandtabs(_TAB)), len(text[: caret[1]].expandtabs(_TAB)))
    return text.expandtabs(_TAB), caret


def _cut(text: str, caret: Span | None, width: int) -> tuple[str, Span | None]:
    """Return a line in at most `width` columns around its caret, and the caret in columns."""
    start = 0
    if caret is not None and columns(text) > width and columns(text[: caret[1]]) > width - 1:
        # The caret's end is out of sight. Its beginning comes to the first third, further right where all of it fits.
        lead = max(width // 3, width - 2 - columns(text[caret[0] : caret[1]]))
        start = caret[0] - _fitting(reversed(text[: caret[0]]), lead - 1)
    head = "…" if start else ""
    kept = head + text[start:]
    if columns(kept) > width:
        kept = kept[: _fitting(kept, width - 1)] + "…"
    if caret is None:
        return kept, None
    begin, stop = (min(caret_end - start + len(head), len(kept)) for caret_end in caret)
    marked = (columns(kept[:begin]), columns(kept[:stop]))
    return kept, marked if marked[0] < marked[1] else None


def _fitting(marks: Iterable[str], width: int) -> int:
    """Return how many characters, from the first on, take at most `width` columns."""
    count = 0
    used = 0
    for mark in marks:
        used += columns(mark)
        if used > width:
            break
        count += 1
    return count
