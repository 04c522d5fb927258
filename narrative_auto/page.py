"""Lines for a terminal: how wide, in which characters and colours, and on which stream."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

Line = list[tuple[str, str]]
"""One line as pieces of (text, style); a style is a rich style such as "bold red", or ""."""

_ASCII = str.maketrans(
    {
        "├": "|",
        "└": "`",
        "─": "-",
        "│": "|",
        "×": "x",
        "µ": "u",
        "≥": ">",
        "…": "~",
        "²": "2",
        "▶": ">",
        "✔": "[ok]",
        "❌": "[FAIL]",
        "━": "=",
    }
)

WIDEST = 100
"""Columns used at most."""

NARROW = 80
"""Columns used where there is no terminal to ask."""


class Page:
    """Where lines go to.

    Args:
        stream: the text stream; None for stderr as the interpreter made it, whatever the program put in its place.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.__stderr__

    @property
    def is_terminal(self) -> bool:
        """Whether a person is likely to look at it."""
        stream = self._stream
        try:
            return stream is not None and stream.isatty()
        except (ValueError, AttributeError):  # the program has closed it, or put something small in its place
            return False

    @property
    def width(self) -> int:
        """Columns: the terminal's up to 100, else 80."""
        if not self.is_terminal or self._stream is None:
            return NARROW
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError, AttributeError):
            return NARROW
        return min(columns, WIDEST) if columns > 0 else NARROW

    def write(self, lines: Iterable[Line]) -> None:
        """Write lines beside a program's own output; what cannot be written is left out without a word."""
        try:
            self.show(lines)
        except (OSError, ValueError, UnicodeError):
            return

    def show(self, lines: Iterable[Line]) -> None:
        """Write lines, in colour on a terminal (unless `NO_COLOR` is set), in ASCII where the encoding is not UTF-8.

        Raises:
            OSError, ValueError: what the stream raises. One that is closed takes nothing and says nothing.
        """
        stream = self._stream
        if stream is None or getattr(stream, "closed", False):
            return
        unicode = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
        shown = [[(text if unicode else to_ascii(text), style) for text, style in line] for line in lines]
        if self.is_terminal:
            self._write_styled(stream, shown)
        else:
            stream.write("".join("".join(text for text, _ in line) + "\n" for line in shown))
        stream.flush()

    def _write_styled(self, stream: TextIO, lines: list[Line]) -> None:
        from rich.console import Console
        from rich.text import Text

        console = Console(file=stream, width=self.width, highlight=False, markup=False, emoji=False)
        for line in lines:
            console.print(Text.assemble(*line), no_wrap=True, overflow="ignore", crop=False)


def to_ascii(text: str) -> str:
    """Return the text in ASCII: our own glyphs by their likes, other characters as escapes."""
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def printable(text: str) -> str:
    """Return the text without control characters, which could move a terminal's cursor: they become spaces."""
    if text.isprintable():
        return text
    import unicodedata

    return "".join(" " if unicodedata.category(one) in {"Cc", "Cf", "Cs"} else one for one in text)


def cut(text: str, width: int) -> str:
    """Return the text in at most `width` columns; what is cut off leaves an ellipsis."""
    if columns(text) <= width:
        return text
    kept = ""
    used = 0
    for one in text:
        used += columns(one)
        if used > width - 1:
            break
        kept += one
    return kept + "…"


def columns(text: str) -> int:
    """Return how many terminal columns a text takes; wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in {"W", "F"} else 1 for one in text
    )


def rule(parts: list[str], width: int, style: str = "bold") -> Line:
    """Return a heading such as `-- narrative -- app.py ------- ok -- 2.41 s --`.

    Args:
        parts: from left to right; the first two stand left, the others right.
        width: columns.
        style: of the whole line.
    """
    right = "".join(f" {part} --" for part in parts[2:])
    room = width - columns(right) - columns(f"-- {parts[0]} -- ") - 3
    left = f"-- {parts[0]} -- {cut(parts[1], max(room, 8))} "
    return [(left + "-" * max(2, width - columns(left) - columns(right)) + right, style)]


def fact_lines(label: str, text: str, indent: int, width: int | None, style: str = "") -> list[Line]:
    """Return a fact in two columns.

    Args:
        label: the left column.
        text: the right one; control characters become spaces.
        indent: columns of the left one.
        width: columns of both, what is longer goes on below; None for one line however long, as a pipe wants it.
        style: of the text.
    """
    words = printable(text)
    if width is None or indent + columns(words) <= width:
        pieces = [words]
    else:
        from textwrap import wrap

        pieces = wrap(words, max(width - indent, 20), break_long_words=False, break_on_hyphens=False) or [""]
    return [[(f"{label if index == 0 else '':<{indent}}", "dim"), (piece, style)] for index, piece in enumerate(pieces)]


def duration(seconds: float) -> str:
    """Return a duration as a person reads it: `41 µs`, `4.1 ms`, `2.41 s`, `12 min 08 s`, `3 h 05 min`."""
    if seconds < 0.000_999_5:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.0995:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.009_95 else f"{seconds * 1e3:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes = int(seconds + 0.5) // 60
    if minutes < 60:
        return f"{minutes} min {int(seconds + 0.5) % 60:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def thousands(number: int) -> str:
    """Return a whole number with thin groups: `9 003`."""
    return f"{number:,}".replace(",", " ")


def counted(number: int, noun: str, *, more: bool = False) -> str:
    """Return a number with its noun: `1 site`, `9 003 calls`; `9 003+ calls` where there may have been more."""
    return f"{thousands(number)}{'+' if more else ''} {noun}{'' if number == 1 and not more else 's'}"


def relative(path: str, here: str) -> str:
    """Return a path as it is typed with the fewest characters: relative to the folder `here`, or whole.

    From the root folder it is whole: nobody would take it for relative to that.
    """
    try:
        seen_from_here = os.path.relpath(path, here) if os.path.isabs(path) and here != os.sep else path
    except ValueError:  # on another drive
        return path
    return min(seen_from_here, path, key=len)
