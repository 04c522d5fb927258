"""Lines for a terminal."""

from __future__ import annotations

import io

import pytest

from narrative_auto.page import Page, columns, cut, duration, fact_lines, printable, rule, thousands, to_ascii


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (0.000_041, "41 µs"),
        (0.000_999_9, "1.0 ms"),
        (0.0041, "4.1 ms"),
        (0.009_96, "10 ms"),
        (0.038, "38 ms"),
        (0.0996, "0.10 s"),
        (2.41, "2.41 s"),
        (59.999, "1 min 00 s"),
        (728.2, "12 min 08 s"),
        (11_100, "3 h 05 min"),
    ],
)
def test_durations_as_a_person_reads_them(seconds: float, text: str) -> None:
    """Two or three significant digits, and the unit that fits."""
    assert duration(seconds) == text


def test_a_heading_fills_the_line() -> None:
    """The heading is as wide as the page, whatever the name; a long name is cut."""
    ((text, _),) = rule(["narrative", "app.py", "ok", "2.41 s"], 80)
    assert text.startswith("-- narrative -- app.py ---")
    assert text.endswith("-- ok -- 2.41 s --")
    assert len(text) == 80
    ((long, _),) = rule(["narrative", "x" * 200, "ok", "2.41 s"], 80)
    assert len(long) == 80


def test_wide_characters_take_two_columns() -> None:
    """A cut never exceeds the width, also for wide characters."""
    assert columns("日本") == 4
    assert cut("日本語テキスト", 6) == "日本…"
    assert cut("short", 6) == "short"


def test_control_characters_do_not_reach_the_terminal() -> None:
    """An escape sequence in a message cannot move the cursor or hide text."""
    assert printable("a\x1b[2Jb\r\u202ec") == "a [2Jb  c"


def test_ascii_where_the_encoding_is_not_utf_8() -> None:
    """Our own glyphs have likes in ASCII, other characters become escapes."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    Page(stream).write([[("├─ ×3 é", "")]])
    stream.seek(0)
    assert stream.read() == "|- x3 \\xe9\n"
    assert to_ascii("…") == "~"


def test_a_closed_stream_takes_nothing() -> None:
    """A program may have closed its stderr."""
    stream = io.StringIO()
    stream.close()
    page = Page(stream)
    page.write([[("x", "")]])
    assert page.width == 80
    assert not page.is_terminal


def test_groups_of_thousands() -> None:
    """9 003 is easier to read than 9003."""
    assert thousands(9003) == "9 003"


def test_a_fact_goes_on_below_where_there_is_a_width() -> None:
    """Two columns; in a pipe one line, control characters as spaces, no word ever parted."""

    def text(width: int | None, words: str) -> list[str]:
        return ["".join(piece for piece, _ in line) for line in fact_lines("label", words, 8, width)]

    assert text(30, "short") == ["label   short"]
    assert text(30, "as many words as do not fit in it") == ["label   as many words as do", "        not fit in it"]
    assert text(None, "word " * 40) == ["label   " + "word " * 40]
    assert text(30, "/a/path/that/has/no/place/to/break/at") == ["label   /a/path/that/has/no/place/to/break/at"]
    assert text(None, "one\x1b[2Jtwo\n") == ["label   one [2Jtwo "]
    assert text(30, "") == ["label   "]
