"""The torture run itself: it passes over what is right, and finds every kind of damage that an assembler can do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType

import pytest

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines.assembly import assemble
from narrative_auto.recorder.layout import RETURN
from tests.conftest import ROOT, run
from tests.transparency import stripped, torture

Assembler = Callable[[CodeType, Callable[[int], object]], CodeType]

SAMPLE = """
import contextlib

def plain(a, b=2, *rest, c=3, **more):
    try:
        return [a, b] if c else a + (
            b)
    except (ValueError, KeyError) as error:
        raise RuntimeError("wrapped") from error
    finally:
        print(rest, more)

def generates(n):
    with contextlib.suppress(ValueError):
        for i in range(n):
            got = yield i
    yield from generates(n - 1)

async def awaits(other):
    async with other as opened:
        async for each in opened:
            await each

class Class:
    def __init__(self): self.x = 1
    def __repr__(self): return "a dunder"
    @property
    def doubled(self): return (lambda: [x * 2 for x in (self.x,)])()
"""
FUNCTIONS = 5


def test_the_command_on_a_part_of_the_standard_library() -> None:
    """The real command finds nothing and says how much it looked at."""
    done = run(sys.executable, "-m", "tests.transparency.torture", "--quick", "asyncio", "email", "json", cwd=ROOT)
    assert done.status == 0, done.out.decode() + done.err
    figures = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in done.out.decode().splitlines() if line}
    assert figures["differ"] == "0"
    assert int(figures["instrumented"]) > 20


def tortured(tmp_path: Path, *options: str) -> int:
    path = tmp_path / "sample.py"
    path.write_text(SAMPLE)
    return torture.main([str(path), *options])


@pytest.mark.parametrize("options", [[], ["--all-kinds"]])
def test_a_sound_assembler_passes(tmp_path: Path, options: list[str]) -> None:
    """Each of the sample's functions is counted, handed over and found the same."""
    assert tortured(tmp_path, *options) == 0


def test_what_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The functions of the rule are counted, from the compiler's own code objects."""
    tortured(tmp_path)
    assert f"functions by the rule{FUNCTIONS:19} of" in capsys.readouterr().out


def shifts_a_line(code: CodeType, probe: Callable[[int], object]) -> CodeType:
    new = assemble(code, probe)
    table = new.co_linetable
    second = next(index for index in range(1, len(table)) if table[index] & 0x80)  # the bit that begins an entry
    first = bytes([0x80 | 11 << 3 | table[0] & 7, 0, 0])  # of the same length, on the next line (code 11)
    return new.replace(co_linetable=first + table[second:])


def moves_the_first_line(code: CodeType, probe: Callable[[int], object]) -> CodeType:
    return assemble(code, probe).replace(co_firstlineno=code.co_firstlineno + 1)


def drops_an_instruction(code: CodeType, probe: Callable[[int], object]) -> CodeType:
    new = assemble(code, probe)
    steps = stripped.steps(code)
    at = new.co_code.rindex(code.co_code[steps[-1].offset :][:2])
    return new.replace(co_code=new.co_code[:at] + b"\x09\x00" + new.co_code[at + 2 :])


def forgets_the_handlers(code: CodeType, probe: Callable[[int], object]) -> CodeType:
    return assemble(code, probe).replace(co_exceptiontable=b"")


def keeps_the_program_s_handlers_only(code: CodeType, probe: Callable[[int], object]) -> CodeType:
    new = assemble(code, probe)
    return new.replace(co_exceptiontable=new.co_exceptiontable[: len(new.co_exceptiontable) // 2])


def forgets_the_returns(code: CodeType, probe: Callable[[int], object]) -> CodeType:
    return assemble(code, lambda transition: None if transition == RETURN else probe(transition))


def does_nothing(code: CodeType, _: Callable[[int], object]) -> CodeType:
    return code


def changes_a_name(code: CodeType, probe: Callable[[int], object]) -> CodeType:
    return assemble(code, probe).replace(co_qualname="another")


def changes_the_flags(code: CodeType, probe: Callable[[int], object]) -> CodeType:
    return assemble(code, probe).replace(co_flags=code.co_flags ^ 0x4)


def fails(code: CodeType, _: Callable[[int], object]) -> CodeType:
    raise ZeroDivisionError(code.co_name)


def declines(code: CodeType, _: Callable[[int], object]) -> CodeType:
    raise DeclinedError(f"{code.co_qualname} is too hard")


BROKEN: list[Assembler] = [
    shifts_a_line,
    moves_the_first_line,
    drops_an_instruction,
    forgets_the_handlers,
    keeps_the_program_s_handlers_only,
    forgets_the_returns,
    does_nothing,
    changes_a_name,
    changes_the_flags,
    fails,
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_assembler_is_found(
    tmp_path: Path, broken: Assembler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it breaks, each of the functions is listed with its place."""
    monkeypatch.setattr(torture, "assemble", broken)
    assert tortured(tmp_path) == 1
    out = capsys.readouterr().out
    assert f"differ{FUNCTIONS:34}" in out
    assert "sample.py:4 plain: " in out


def test_what_is_declined_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reasons are counted without the name of the function; too many are a failure."""
    monkeypatch.setattr(torture, "assemble", declines)
    assert tortured(tmp_path) == 1
    assert f"{FUNCTIONS:6} ... is too hard" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["no_such_module"], ["sys"], ["asyncio", "--jobs", "0"]])
def test_bad_input_is_one_line(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It says what was wrong."""
    assert torture.main(options) == 2
    assert capsys.readouterr().err.count("\n") == 1
