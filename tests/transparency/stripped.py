"""Takes the probes out of new code and compares what is left with the original, without help from who put them in."""

from __future__ import annotations

import dis
import opcode
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from narrative_auto.recorder.layout import RESUME, RETURN, START, TRANSITIONS, UNWIND, YIELD

VERSION = sys.version_info[:2]
HAS_JUMP = {*opcode.hasjrel, *opcode.hasjabs}
RETURNS = {"RETURN_VALUE", "RETURN_CONST"}
REPORT_THROW = {"YIELD_VALUE", "RESUME", *({"JUMP_BACKWARD_NO_INTERRUPT"} if VERSION == (3, 11) else ())}
PLACE = 7 if VERSION >= (3, 15) else 3
"""The bits of RESUME's argument that say where it stands; 0 is the beginning of the function."""
BEFORE_GENERATOR = 4
"""RESUME's place where a generator expression takes its iterator (3.15): the generator has not begun."""

MAY_CHANGE = {
    *("co_code", "co_consts", "co_exceptiontable", "co_linetable", "co_lnotab", "co_stacksize"),
    *("co_lines", "co_positions", "co_branches", "_co_code_adaptive"),
}
"""What of a code object is not compared as a whole; all other attributes must be equal."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Stands for the probe of one transition."""

    transition: int


class Handler(NamedTuple):
    """An entry of the exception table: the handler's offset, the depth of the stack, whether the offset is pushed."""

    target: int
    depth: int
    keeps_offset: bool


class Step(NamedTuple):
    """An instruction with its EXTENDED_ARGs folded in; `offset` is that of the first of them."""

    offset: int
    name: str
    argument: int
    positions: tuple[int | None, ...]
    line: int | None
    target: int | None
    handler: Handler | None


def steps(code: types.CodeType) -> list[Step]:
    """Read code without help from the library that may have written it."""
    handlers: dict[int, Handler] = {}
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        handler = Handler(entry.target, entry.depth, bool(entry.lasti))
        handlers.update(dict.fromkeys(range(entry.start, entry.end, 2), handler))
    lines = {offset: line for start, end, line in code.co_lines() for offset in range(start, end, 2)}
    positions = list(code.co_positions())
    units, found = code.co_code, []
    argument = begin = 0
    for offset in range(0, len(units), 2):
        argument |= units[offset + 1]
        name = opcode.opname[units[offset]]
        if name == "EXTENDED_ARG":
            argument <<= 8
            continue
        if name != "CACHE":
            target = None
            if units[offset] in HAS_JUMP:
                behind = offset + 2
                while units[behind : behind + 1] == b"\0":  # inline caches
                    behind += 2
                target = behind + 2 * (-argument if "BACKWARD" in name or name == "END_ASYNC_FOR" else argument)
                argument = 0
            where = (positions[offset // 2], lines.get(offset))
            found.append(Step(begin, name, argument, *where, target, handlers.get(offset)))
        argument, begin = 0, offset + 2
    return found


class Different(Exception):  # noqa: N818 - a finding, not a fault
    """What was found when new code was compared with the original."""


class Stripped:
    """New code with its probes taken out.

    Attributes:
        kept: the steps that are left: those of the original, and behind them the RERAISEs of our own handlers.
        reports: for each of the kept steps, and the end, the transitions that are reported in front of it.
        entries: for each of the kept steps where a jump to it must lead: to what it reports before it does its work.
        chains: by offset of a handler of ours: what it reports, and the handler that it hands the exception on to.
    """

    def __init__(self, code: types.CodeType) -> None:
        self.kept: list[Step] = []
        self.reports: list[list[int]] = [[]]
        self.entries: list[int] = []
        self.chains: dict[int, tuple[int, Handler | None]] = {}
        every, index, before = steps(code), 0, -1
        while index < len(every):
            step = every[index]
            length, transition = self._inserted(code, every, index)
            if length and {each.positions for each in every[index : index + length]} != {step.positions}:
                raise Different("a probe with more than one position")
            if transition is not None:
                self.reports[-1].append(transition)
                before = step.offset if transition in {RETURN, YIELD} and before < 0 else before
                behind = every[index + length] if index + length < len(every) else None
                if behind is not None and behind.name == "RERAISE":
                    self.chains[step.offset] = (transition, behind.handler)
            if not length:
                self.kept.append(step)
                self.entries.append(before if before >= 0 else step.offset)
                self.reports.append([])
                before, length = -1, 1
            index += length

    @staticmethod
    def _inserted(code: types.CodeType, every: Sequence[Step], index: int) -> tuple[int, int | None]:
        """Return how many steps were inserted here, and which transition they report; 0 for one of the original's."""
        step, names = every[index], [each.name for each in every[index : index + 8]]
        room_for_jump = step.name == "NOP" and names[1:2] == ["LOAD_CONST"]
        if room_for_jump:
            step, names = every[index + 1], names[1:]
        if step.name == "LOAD_CONST" and isinstance(probe := code.co_consts[step.argument], Probe):
            if room_for_jump != (probe.transition != UNWIND):
                raise Different("a NOP in front of the probe for UNWIND, or none in front of another")
            if names[1:5] == ["COPY", "COMPARE_OP", "POP_TOP", "RERAISE"] and probe.transition == UNWIND:
                return 4, UNWIND
            room = ["LOAD_CONST", "UNARY_NOT", "POP_TOP", "LOAD_CONST", "COPY", "COMPARE_OP", "POP_TOP", "RERAISE"]
            if VERSION == (3, 11) and names == room and probe.transition == UNWIND:
                return 7, UNWIND
            if names[1:3] in (["UNARY_NOT", "POP_TOP"], ["TO_BOOL", "POP_TOP"]) and probe.transition != UNWIND:
                return 4, probe.transition
            raise Different(f"a probe of an unknown shape: {' '.join(names)}")
        if VERSION == (3, 11) and names[:3] == ["JUMP_FORWARD", "SEND", "YIELD_VALUE"]:
            if step.target != every[index + 2].offset:
                raise Different("the SEND for `throw()` to read is not jumped over")
            return 2, None  # `throw()` reads it where the interpreter of 3.11 expects it; it is never run
        return 0, None

    def landing(self, handler: Handler | None) -> tuple[Handler | None, list[int]]:
        """Follow our own handlers to the program's, or out of the function; return it and what is reported."""
        told: list[int] = []
        while handler is not None and handler.target in self.chains:
            transition, handler = self.chains[handler.target]
            told.append(transition)
            if len(told) > len(TRANSITIONS):
                raise Different("handlers of ours that lead in a circle")
        return handler, told


def _expected_reports(step: Step | None, previous: Step | None) -> list[int]:
    """Return the transitions that have to be reported between two steps of the original."""
    found = []
    if previous is not None and previous.name == "RESUME" and previous.argument & PLACE != BEFORE_GENERATOR:
        found.append(RESUME if previous.argument & PLACE else START)
    if VERSION == (3, 11) and previous is not None and previous.name == "JUMP_BACKWARD_NO_INTERRUPT":
        found.append(RESUME)  # where `throw()` leaves the loop of a `yield from`
    if step is not None and (step.name in RETURNS or step.name == "YIELD_VALUE"):
        found.append(YIELD if step.name == "YIELD_VALUE" else RETURN)
    return found


def _same_argument(old: Step, new: Step) -> bool:
    """Whether the arguments agree, but for the mark of a suspension that no `try` encloses: it has to go."""
    if old.name == "RESUME":
        return new.argument in {old.argument, old.argument & PLACE}
    if old.name == "YIELD_VALUE" and VERSION == (3, 12):
        return new.argument in {old.argument, 2 if old.argument == 1 else old.argument}
    return new.argument == old.argument


def compare(code: types.CodeType, assembled: types.CodeType) -> None:
    """Raise `Different` unless `assembled` is `code` with all its probes and nothing else."""
    for attribute in dir(code):
        if attribute.startswith(("co_", "_co_")) and attribute not in MAY_CHANGE:
            was, came = getattr(code, attribute), getattr(assembled, attribute)
            if was != came:
                raise Different(f"{attribute} was {was!r}, is {came!r}")
    ours = assembled.co_consts[len(code.co_consts) :]
    pairs = zip(code.co_consts, assembled.co_consts, strict=False)
    if not all(isinstance(each, Probe) for each in ours) or not all(
        new is old or isinstance(old, types.CodeType) for old, new in pairs
    ):
        raise Different("other constants than the original's and the probes")
    old, stripped = steps(code), Stripped(assembled)
    kept = stripped.kept[: len(old)]
    if len(kept) < len(old) or any(step.name != "RERAISE" for step in stripped.kept[len(old) :]):
        raise Different(f"{len(old)} instructions became {len(stripped.kept)}")
    place = {step.offset: index for index, step in enumerate(old)}
    begun = False
    for index, (before, after) in enumerate(zip(old, kept, strict=True)):
        where = f"{before.name} at {before.offset}, line {before.line}:"
        for name in ("name", "positions", "line"):
            if getattr(before, name) != getattr(after, name):
                raise Different(f"{where} {name} was {getattr(before, name)!r}, is {getattr(after, name)!r}")
        if not _same_argument(before, after):
            raise Different(f"{where} the argument was {before.argument}, is {after.argument}")
        wanted = None if before.target is None else stripped.entries[place[before.target]]
        if after.target != wanted:
            raise Different(f"{where} the jump to {before.target} has to go to {wanted} and goes to {after.target}")
        expected = _expected_reports(before, old[index - 1] if index else None)
        if stripped.reports[index] != expected:
            raise Different(f"{where} reports {_names(stripped.reports[index])}, not {_names(expected)}")
        _compare_handler(where, before, after, stripped, place, begun=begun)
        begun = begun or (before.name == "RESUME" and not before.argument & PLACE)


def _compare_handler(
    where: str, before: Step, after: Step, stripped: Stripped, place: dict[int, int], *, begun: bool
) -> None:
    """Compare who handles what an instruction raises; ours may come first, and must where nobody else does."""
    landing, told = stripped.landing(after.handler)
    if before.handler is not None:
        wanted = before.handler._replace(target=stripped.entries[place[before.handler.target]])
        if landing != wanted:
            raise Different(f"{where} the handler has to be {wanted} and is {landing}")
    elif landing is not None:
        raise Different(f"{where} nothing handled its exceptions, now {landing} does")
    thrown = [RESUME] if begun and before.name in REPORT_THROW else []
    if not begun:  # a signal handler may raise at the first RESUME: before START, or behind it with all of the story
        may = [[], [START], [START, UNWIND]]
    elif before.handler is not None or before.name in RETURNS:
        may = [thrown]
    else:
        may = [[*thrown, UNWIND]]
    if told not in may:
        raise Different(f"{where} what it raises is reported as {_names(told)}, not {_names(may[0])}")


def _names(transitions: list[int]) -> str:
    return " ".join(TRANSITIONS[each] for each in transitions) or "nothing"
