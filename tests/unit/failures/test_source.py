"""Source around a failure is shown as it stands in the file, in the width that there is, with carets that line up."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrative_auto.failures.redaction import Redactor
from narrative_auto.failures.source import SourceLine, _cut, snippet

Write = Callable[[str, str], Path]


def failing(lines: tuple[SourceLine, ...]) -> SourceLine:
    """Return the one line that is marked."""
    (line,) = [line for line in lines if line.marked]
    return line


def under_caret(line: SourceLine) -> str:
    """Return what the caret marks, for lines without wide characters."""
    assert line.caret is not None
    return line.text[slice(*line.caret)]


def positions(source: str, lineno: int, part: str) -> tuple[int, int, int, int]:
    """Return where a part of a line is, as the interpreter counts."""
    line = source.splitlines()[lineno - 1]
    start = len(line[: line.index(part)].encode())
    return lineno, lineno, start, start + len(part.encode())


def test_lines_around(write: Write) -> None:
    """Two lines before and after are shown, but no blank ones at the ends, and no indentation that they share."""
    path = write("a.py", "def f():\n\n    try:\n        g(1)\n    finally:\n        h()\n    k()\n")
    assert snippet(str(path), 4) == (
        SourceLine(3, "try:", marked=False, caret=None),
        SourceLine(4, "    g(1)", marked=True, caret=None),
        SourceLine(5, "finally:", marked=False, caret=None),
        SourceLine(6, "    h()", marked=False, caret=None),
    )


def test_caret(write: Write) -> None:
    """The caret marks the failing part of the line."""
    source = "if x:\n    a = b + c[0] + d\n"
    path = write("a.py", source)
    line = failing(snippet(str(path), 2, positions=positions(source, 2, "c[0]")))
    assert under_caret(line) == "c[0]"


def test_caret_after_tabs(write: Write) -> None:
    """Tabs are expanded, and the caret goes along."""
    source = "if x:\n\tif y:\n\t\ta\t= boom()\n"
    path = write("a.py", source)
    line = failing(snippet(str(path), 3, positions=positions(source, 3, "boom()")))
    assert "\t" not in line.text
    assert under_caret(line) == "boom()"


def test_caret_after_wide_characters(write: Write) -> None:
    """The caret is in columns: what is of two bytes takes one, what is wide takes two."""
    source = "é = '日本' + boom()\n"
    path = write("a.py", source)
    assert failing(snippet(str(path), 1, positions=positions(source, 1, "boom()"))).caret == (13, 19)


def test_caret_of_several_lines(write: Write) -> None:
    """What goes on for several lines is marked to the end of its first."""
    source = "x = boom(\n    1,\n)\n"
    path = write("a.py", source)
    line = failing(snippet(str(path), 1, positions=(1, 3, 4, 1)))
    assert under_caret(line) == "boom("


@pytest.mark.parametrize("unknown", [(1, None, None, None), (None, None, None, None), (2, 2, 0, 1), (1, 1, 3, 3)])
def test_unknown_positions(write: Write, unknown: tuple[int | None, int | None, int | None, int | None]) -> None:
    """Where the interpreter does not know the columns, or means another line, there is no caret."""
    path = write("a.py", "x = 1\ny = 2\n")
    assert failing(snippet(str(path), 1, positions=unknown)).caret is None


def test_long_line(write: Write) -> None:
    """A long line is cut around what failed, to the width."""
    source = f"x = [{'1, ' * 100}boom(), {'2, ' * 100}]\n"
    path = write("a.py", source)
    line = failing(snippet(str(path), 1, positions=positions(source, 1, "boom()")))
    assert under_caret(line) == "boom()"
    assert len(line.text) <= 70
    assert line.text.startswith("…")
    assert line.text.endswith("…")


@given(st.text("ab日é\u0301 "), st.text("xy日", min_size=1), st.text("ab日é "), st.integers(8, 40))
def test_cut_fits(before: str, part: str, after: str, width: int) -> None:
    """However a line is made, it fits, and its caret lies in it."""
    text, caret = _cut(before + part + after, (len(before), len(before + part)), width)
    columns = sum({"日": 2, "\u0301": 0}.get(mark, 1) for mark in text)
    assert columns <= width
    assert caret is not None
    assert 0 <= caret[0] < caret[1] <= columns


def test_secrets_before_the_caret(write: Write) -> None:
    """Secrets are gone, and the caret still marks what failed."""
    source = "connect(password='hunter2').boom(x)\n"
    path = write("a.py", source)
    where = positions(source, 1, "boom(x)")
    line = failing(snippet(str(path), 1, positions=where, secrets=Redactor().source_spans))
    assert line.text == "connect(password=[redacted]).boom(x)"
    assert under_caret(line) == "boom(x)"


@pytest.mark.parametrize(
    ("part", "marked"),
    [
        ("connect(password='hunter2')", "connect(password=[redacted])"),
        ("'hunter2'", "[redacted]"),
        ("hunter", "[redacted]"),
        ("password", "password"),
    ],
)
def test_secrets_in_the_caret(write: Write, part: str, marked: str) -> None:
    """A caret over a secret marks what stands in its place."""
    source = "connect(password='hunter2')\n"
    path = write("a.py", source)
    where = positions(source, 1, part)
    line = failing(snippet(str(path), 1, positions=where, secrets=Redactor().source_spans))
    assert under_caret(line) == marked


def test_secrets_that_a_cut_would_hide(write: Write) -> None:
    """A key whose beginning is out of sight is gone all the same."""
    key = "ghp_" + "aB3dE6gH9jK2" * 12
    source = f"{'x' * 60}('{key}', boom())\n"
    path = write("a.py", source)
    where = positions(source, 1, "boom()")
    line = failing(snippet(str(path), 1, positions=where, secrets=Redactor().source_spans))
    assert "aB3d" not in line.text
    assert under_caret(line) == "boom()"


def test_secrets_that_began_above(write: Write) -> None:
    """Lines from the midst of a key block or a long string are recognised by what stands above the snippet."""
    body = "\n".join(["MIIEpAIBAAKCAQEAq7BFUpkGp3mAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] * 12)
    block = f"KEY = '''-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----'''\nboom()\n"
    password = f"password = '''\n{'hunter2' * 5}\n'''\nboom()\n"
    for name, source in (("block.py", block), ("password.py", password)):
        path = write(name, source)
        lines = snippet(str(path), len(source.splitlines()), secrets=Redactor().source_spans)
        assert [line.text for line in lines][-1] == "boom()"
        assert not any("MII" in line.text or "hunter2" in line.text for line in lines)


def test_source_of_a_loader() -> None:
    """Source that is in no file comes from the module's loader."""

    class Loader:
        def get_source(self, name: str) -> str:
            return f"# {name}\nboom()\n"

    spec = importlib.machinery.ModuleSpec("packed", Loader())  # type: ignore[arg-type]
    names = {"__name__": "packed", "__spec__": spec, "__loader__": spec.loader}
    assert failing(snippet("packed.zip/packed.py", 2, module_globals=names)).text == "boom()"


def test_loader_that_raises() -> None:
    """A loader that fails is the same as no source."""

    class Loader:
        def get_source(self, _: str) -> str:
            raise RuntimeError

    names = {"__name__": "packed", "__loader__": Loader()}
    assert snippet("packed.zip/other.py", 2, module_globals=names) == ()


def test_missing_source(write: Write) -> None:
    """A file that is gone, has become shorter, or never was gives no lines."""
    path = write("a.py", "x = 1\n")
    assert len(snippet(str(path), 1)) == 1
    assert snippet(str(path), 2) == ()
    assert snippet(str(path), 0) == ()
    path.unlink()
    assert snippet(str(path), 1) == ()
    assert snippet("<nowhere>", 1) == ()


def test_edited_source(write: Write) -> None:
    """A file that has changed since it was last shown is read again."""
    path = write("a.py", "x = 1\n")
    snippet(str(path), 1)
    path.write_text("longer = 12345\n", "utf-8")
    assert failing(snippet(str(path), 1)).text == "longer = 12345"


def test_control_characters(write: Write) -> None:
    """A form feed and its like cannot move a terminal's cursor, and count as one column."""
    path = write("a.py", "\x0cx = '\x1b[2J'\n")
    assert "\x1b" not in failing(snippet(str(path), 1)).text


def test_program_text_stays_untouched(write: Write) -> None:
    """Looking at source imports no module of the program."""
    path = write("looked_at.py", "x = 1\n")
    snippet(str(path), 1)
    assert "looked_at" not in sys.modules
