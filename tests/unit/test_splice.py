"""The splicer against `bytecode`: whatever both know, both write alike; what only one knows, that one gets."""

from __future__ import annotations

import dis
import opcode
import re
import subprocess
import sys
from itertools import accumulate
from types import CodeType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines import assembly, body, facts, splice
from narrative_auto.instrument.engines.assembly import assemble
from narrative_auto.instrument.engines.tables import (
    Locations,
    UnknownShapeError,
    read_exception_table,
    write_exception_table,
)
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD
from tests.conftest import ROOT
from tests.unit.test_assembly import BIG, PLAIN_CODE, TORTURE, function_from, functions_in, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[CodeType], assembly.Original]

PROBES = {transition: object() for transition in (START, RETURN, UNWIND, YIELD, RESUME)}


def woven(read: Read, code: CodeType, probes: Mapping[int, object] = PROBES) -> CodeType:
    """Assemble code with one of the two readers alone."""
    weaver = assembly._Weaver(read(code))
    return weaver.weave({each: probes[each] for each in weaver.transitions() if each in probes})


def lines(code: CodeType) -> list[int | None]:
    """Return the line of each code unit as tracebacks find it, by the quick search through the table."""
    return [line for begin, end, line in code.co_lines() for _ in range(begin, end, 2)]


def handlers(code: CodeType) -> list[object]:
    return list(dis._parse_exception_table(code))  # type: ignore[attr-defined]


def assert_alike(code: CodeType, probes: Mapping[int, object] = PROBES) -> None:
    ours, oracles = woven(splice.Original, code, probes), woven(body.Original, code, probes)
    assert ours.co_code == oracles.co_code
    assert all(one is other for one, other in zip(ours.co_consts, oracles.co_consts, strict=True))
    assert ours.co_stacksize == oracles.co_stacksize
    assert handlers(ours) == handlers(oracles)
    positions = list(ours.co_positions())
    assert positions == list(oracles.co_positions())
    assert lines(ours) == lines(oracles) == [line for line, *_ in positions]


@pytest.mark.parametrize("module", TORTURE)
def test_the_splicer_writes_what_bytecode_writes(module: str) -> None:
    """Instructions, constants, handlers, lines and columns are the same for all functions of the standard library."""
    for code in functions_in(compile(*source_of(module), "exec", dont_inherit=True)):
        assert_alike(code)


@pytest.mark.parametrize("left_out", [(), (UNWIND,), (START, RESUME), (RETURN, YIELD, UNWIND)])
def test_the_sample_programs_are_alike_whatever_is_left_out(left_out: tuple[int, ...]) -> None:
    """The same holds for every shape of function, and for any choice of transitions."""
    probes = {transition: probe for transition, probe in PROBES.items() if transition not in left_out}
    for code in functions_in(PLAIN_CODE):
        assert_alike(code, probes)


def test_code_that_was_assembled_before_is_alike() -> None:
    """Probes are code like any other."""
    for code in functions_in(PLAIN_CODE):
        try:
            once = assemble(code, PROBES.get)
            oracles = woven(body.Original, once)
        except DeclinedError as declined:
            assert facts.THROW_READS_SEND
            with pytest.raises(DeclinedError, match=re.escape(str(declined))):
                woven(splice.Original, once)
        else:
            assert woven(splice.Original, once).co_code == oracles.co_code
            assert_alike(once)


@pytest.mark.parametrize("number", range(len(BIG)))
def test_big_functions_are_alike(number: int) -> None:
    """Hundreds of constants, and jumps that have EXTENDED_ARGs or come to need them."""
    assert_alike(function_from(BIG[number], None).__code__)


@pytest.mark.parametrize("length", range(20, 135))
def test_growing_jumps_are_alike(length: int) -> None:
    """A jump that grows makes others grow, at every distance around 255, also within handlers."""
    source = "def f(n):\n    for n in n:\n        try:\n" + "            if n == 0: return\n" * (length // 10)
    source += "            while n: n = n\n" * (length % 10) + "            n = n\n" * length
    source += "        except ValueError:\n            if n: continue\n" + "            n = n\n" * length
    assert_alike(function_from(source, None).__code__)


def test_a_very_long_function_is_alike() -> None:
    """Beyond 65,535 code units, jumps have arguments of three bytes, and some come to need them."""
    source = "def f(n):\n    for each in n:\n        try:\n"
    source += "".join(f"            n.method(each, {number}.5)\n" for number in range(1500)) * 3
    source += "            if n: return 1\n        finally:\n            n = 1\n    return n"
    code = function_from(source, None).__code__
    assert len(code.co_code) > 2 * 65_535
    assert_alike(code)


def test_ranges_that_begin_behind_extended_arguments_are_alike() -> None:
    """Other compilers, `bytecode` among them, leave the EXTENDED_ARGs out of a handler's range."""
    source = "def f(n):\n" + "".join(f"    n = {each}.5\n" for each in range(300))
    source += "    try:\n        n = 1e5\n        n()\n    except ValueError:\n        n = 2e5\n    return n"
    code = function_from(source, None).__code__
    ranges = read_exception_table(code.co_exceptiontable)
    assert code.co_code[2 * ranges[0][0]] == opcode.EXTENDED_ARG
    behind = [(ranges[0][0] + 1, *ranges[0][1:]), *ranges[1:]]
    other = code.replace(co_exceptiontable=write_exception_table(behind))
    assert_alike(other)
    assert handlers(woven(splice.Original, other)) == handlers(woven(splice.Original, code))


WIDE = "def f(n):\n    n(1,\n" + " " * 130 + "2)\n    return n\n"


def test_lines_are_right_in_wide_sources() -> None:
    """Columns from 128 on let no line come out wrong; where `bytecode` does that (0.19.1), its code is declined."""
    code = function_from(WIDE, None).__code__
    assembled = [assemble(code, PROBES.get)]
    try:
        assembled.append(woven(body.Original, code))
    except DeclinedError as declined:
        assert "other lines than planned" in str(declined)  # noqa: PT017 - it may also come out right
    for each in assembled:
        assert lines(each) == [line for line, *_ in each.co_positions()]
        assert {line for line in lines(each) if line} == {1, 2, 3, 4}


def asking(asked: list[int]) -> Callable[[int], object]:
    """Return what gives the probes, and notes what it was asked for."""

    def probe(transition: int) -> object:
        asked.append(transition)
        return PROBES[transition]

    return probe


def strange(code: CodeType) -> dict[str, CodeType]:
    """Return code that no compiler writes and that is valid all the same."""
    eighths = len(code.co_code) // 16 + 1
    return {
        "no locations at all": code.replace(co_linetable=b""),
        "locations beyond the end": code.replace(co_linetable=b"\xff" * eighths),
        "a line for everything and more": code.replace(co_linetable=b"\xef\0" * eighths),
    }


@pytest.mark.parametrize("kind", strange(PLAIN_CODE))
def test_what_the_splicer_does_not_know_goes_to_bytecode(kind: str) -> None:
    """Code of another make is assembled all the same, and each probe is still asked for once."""
    code = strange(function_from("def f(n):\n    if n:\n        return n.x\n    return 2", None).__code__)[kind]
    with pytest.raises(UnknownShapeError):
        woven(splice.Original, code)
    asked: list[int] = []
    assembled = assemble(code, asking(asked))
    assert asked == [START, RETURN, UNWIND]
    assert assembled.co_code == woven(body.Original, code).co_code


def test_a_splicer_that_gives_up_late_goes_to_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds when it notices with the probes in hand."""

    def give_up(_: splice.Draft) -> CodeType:
        raise UnknownShapeError("nothing in particular")

    code = function_from(BIG[0], None).__code__
    spliced = assemble(code, PROBES.get)
    monkeypatch.setattr(splice.Draft, "code", give_up)
    asked: list[int] = []
    assembled = assemble(code, asking(asked))
    assert asked == [START, RETURN, UNWIND]
    assert assembled.co_code == spliced.co_code


def test_ordinary_code_is_assembled_without_bytecode() -> None:
    """The library is not even imported for it, nor what costs milliseconds."""
    program = (
        "import sys; before = set(sys.modules)\n"
        "from narrative_auto.instrument.engines.assembly import assemble\n"
        "assemble(compile('for each in range(3): print(each)', 'a', 'exec'), lambda _: object())\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    assert not {"bytecode", "dis", "inspect", "re", "typing", "dataclasses", "functools", "collections"} & set(
        done.stdout.split()
    )


numbers = st.one_of(st.integers(0, 70), st.integers(0, 5000), st.integers(0, 2**30))


@given(st.lists(st.tuples(numbers, numbers, numbers, st.integers(0, 300), st.booleans())))
@settings(max_examples=200, deadline=None, database=None, derandomize=True)
def test_exception_tables_are_what_the_interpreter_reads(drawn: list[tuple[int, int, int, int, bool]]) -> None:
    """Numbers of any size come back, here and in the interpreter's own reader."""
    entries = [(begin, begin + size, target, depth, keeps) for begin, size, target, depth, keeps in drawn]
    table = write_exception_table(entries)
    assert read_exception_table(table) == entries
    code = PLAIN_CODE.replace(co_exceptiontable=table)
    assert [(e.start // 2, e.end // 2, e.target // 2, e.depth, e.lasti) for e in handlers(code)] == entries  # type: ignore[attr-defined]
    assert sum(byte >> 7 for byte in table) == len(entries)  # by which a search in the middle finds the next one


def varint(number: int) -> bytes:
    return varint_from(number, 64) if number > 63 else bytes([number])


def varint_from(number: int, mark: int) -> bytes:
    return bytes([number & 63 | mark]) + varint(number >> 6)


def signed(number: int) -> bytes:
    return varint(-number << 1 | 1 if number < 0 else number << 1)


columns = st.one_of(st.integers(0, 127), st.integers(128, 9000))
deltas = st.one_of(st.integers(-3, 3), st.integers(-200, 200))
contents = st.one_of(
    st.tuples(st.integers(0, 9), st.integers(0, 127).map(lambda byte: bytes([byte]))),
    st.tuples(st.integers(10, 12), st.tuples(st.integers(0, 127), st.integers(0, 127)).map(bytes)),
    st.tuples(st.just(13), deltas.map(signed)),
    st.tuples(
        st.just(14),
        st.tuples(deltas, st.integers(0, 99), columns, columns).map(
            lambda long: signed(long[0]) + varint(long[1]) + varint(long[2] + 1) + varint(long[3] + 1)
        ),
    ),
    st.tuples(st.just(15), st.just(b"")),
)
entries = st.tuples(st.integers(1, 8), contents)
NOP = bytes([opcode.opmap["NOP"], 0])
FIRST_LINE = 20_000


def located(table: bytes, units: int) -> CodeType:
    return PLAIN_CODE.replace(co_code=NOP * units, co_linetable=table, co_firstlineno=FIRST_LINE, co_exceptiontable=b"")


@given(st.lists(entries, min_size=1, max_size=12), st.data())
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_locations_of_every_kind_can_be_added_to(
    drawn: list[tuple[int, tuple[int, bytes]]], data: st.DataObject
) -> None:
    """Wherever code is added, it has the location that was asked for, and all other code keeps its own."""
    table = b"".join(bytes([0x80 | kind << 3 | size - 1]) + rest for size, (kind, rest) in drawn)
    units = sum(size for size, _ in drawn)
    plain = list(located(table, units).co_positions())
    ends = set(accumulate(size for size, _ in drawn))
    locations = Locations(table, units)
    expected: list[object] = []
    sizes = st.one_of(st.just(0), st.integers(0, 20))
    lengthened = data.draw(st.dictionaries(st.integers(0, units - 1), st.integers(1, 9), max_size=2))
    for at in range(units + 1):
        if at and (size := data.draw(sizes)):
            locations.add_behind(at - 1, size)
            expected += [plain[at - 1]] * size
        if at in ends and (size := data.draw(sizes)):
            locations.add_bare(at, size)
            expected += [(None, None, None, None)] * size
        if at < units:
            size = data.draw(sizes)
            if size:
                locations.add_before(at, size)
            expected += [plain[at]] * (size + 1 + lengthened.get(at, 0))
            line = plain[at][0]
            assert locations.line(at) == (None if line is None else line - FIRST_LINE)
    for unit, size in lengthened.items():
        locations.lengthen(unit, size)
    longer = located(locations.table(), len(expected))
    assert list(longer.co_positions()) == expected
    assert lines(longer) == [line for line, *_ in longer.co_positions()]


def test_an_entry_is_not_parted() -> None:
    """What would need a new entry in the middle of another is left to `bytecode`."""
    locations = Locations(b"\x83\x00\x82\x00", 7)
    with pytest.raises(UnknownShapeError, match="goes on behind"):
        locations.add_bare(2, 1)
    locations.add_before(4, 1)
    with pytest.raises(UnknownShapeError, match="comes later"):
        locations.add_behind(3, 1)
