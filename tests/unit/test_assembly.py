"""What code with probes must keep: results, tracebacks, lines, metadata; and what it must report."""

from __future__ import annotations

import bisect
import contextlib
import dis
import gc
import importlib.util
import inspect
import itertools
import opcode
import os
import re
import signal
import subprocess
import sys
import traceback
import types
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines import facts
from narrative_auto.instrument.engines.assembly import assemble
from narrative_auto.recorder.layout import RESUME, RETURN, START, TRANSITIONS, UNWIND, YIELD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

PROGRAMS = Path(__file__).parent.parent / "conformance" / "programs.py"
SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
HAS_JUMP = {*opcode.hasjrel, *opcode.hasjabs}


class Probe:
    """Notes each report that it gets, as text, in a list."""

    __slots__ = ("log", "name", "transition")

    def __init__(self, log: list[str], name: str, transition: int) -> None:
        self.log = log
        self.name = name
        self.transition = transition

    def __bool__(self) -> bool:
        if self.transition == UNWIND:
            return False  # room for the comparison, on CPython 3.11
        self.log.append(f"{self.name}.{TRANSITIONS[self.transition]}")
        return True

    def __eq__(self, exception: object) -> bool:
        self.log.append(f"{self.name}.{TRANSITIONS[self.transition]}({type(exception).__name__})")
        return False

    __hash__ = object.__hash__


def is_class_body(code: CodeType) -> bool:
    return not code.co_flags & inspect.CO_OPTIMIZED and code.co_name != "<module>"


def assembled_within(
    code: CodeType, probe: Callable[[CodeType, int], object | None], wanted: Callable[[CodeType], bool]
) -> CodeType:
    """Assemble `code` and what is nested in it, as far as it is wanted."""
    constants = tuple(
        assembled_within(each, probe, wanted) if isinstance(each, types.CodeType) else each for each in code.co_consts
    )
    if any(new is not old for new, old in zip(constants, code.co_consts, strict=True)):
        code = code.replace(co_consts=constants)
    return assemble(code, lambda transition: probe(code, transition)) if wanted(code) else code


def is_nested_function(code: CodeType) -> bool:
    return "<locals>" in code.co_qualname and code.co_name[0] not in "<_" and not is_class_body(code)


def load(code: CodeType, name: str = "under_test") -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, code.co_filename)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(code, module.__dict__)
    return module


SOURCE = PROGRAMS.read_text()
PLAIN_CODE = compile(SOURCE, str(PROGRAMS), "exec", dont_inherit=True)
PLAIN = load(PLAIN_CODE).__dict__
NAMES = [
    name
    for name, value in PLAIN.items()
    if isinstance(value, types.FunctionType) and value.__doc__ is not None and not value.__code__.co_argcount
]


class Outcome(NamedTuple):
    """What a caller can see of a call."""

    result: str
    traceback: str
    positions: list[object]


def outcome(function: Callable[[], object]) -> Outcome:
    try:
        return Outcome(repr(function()), "", [])
    except (Exception, GeneratorExit) as error:  # noqa: BLE001 - programs fail in every way
        while error.__traceback__ is not None and error.__traceback__.tb_frame.f_code.co_filename == __file__:
            error.__traceback__ = error.__traceback__.tb_next
        told = "".join(traceback.TracebackException.from_exception(error).format())
        return Outcome(repr(error), told, list(positions_of(error)))


def positions_of(error: BaseException) -> Iterator[object]:
    """Yield where each frame of the traceback stands, to the column, for an error and those behind it."""
    seen: BaseException | None = error
    while seen is not None:
        tb = seen.__traceback__
        while tb is not None:
            positions = tb.tb_frame.f_code.co_positions()
            yield tb.tb_frame.f_code.co_name, tb.tb_lineno, next(itertools.islice(positions, tb.tb_lasti // 2, None))
            tb = tb.tb_next
        seen = seen.__cause__ or seen.__context__


@pytest.mark.parametrize("name", NAMES)
def test_programs_report_their_transitions_and_nothing_else_changes(name: str) -> None:
    """Every transition is reported in its order, and result, traceback, lines and columns are the plain ones."""
    log: list[str] = []
    code = assembled_within(PLAIN_CODE, lambda code, each: Probe(log, code.co_name, each), is_nested_function)
    expected = PLAIN[name].__doc__
    if facts.VERSION == (3, 11) and name == "generator_raises_stop_iteration":
        expected = expected.replace(
            "RuntimeError", "StopIteration"
        )  # 3.12 moved the exchange into the generator's code
    assert outcome(getattr(load(code), name)) == outcome(PLAIN[name])
    assert log == expected.split()


CLOSED_AT_A_BARE_YIELD = {"generator_closed", "generator_dropped", "yields_from_closed"}
"""Since 3.13 a plain generator is finished without being run when no `try` encloses the yield, and a tracer sees none
of it. With probes it runs once more to report its end, and the tracer sees GeneratorExit pass, as up to 3.12."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile])
def test_tracers_and_profilers_see_no_probe(name: str, install: Callable[[object], None]) -> None:
    """A tracer sees the same events on the same lines, with probes whose truth value needs no Python code."""

    def events(code: CodeType) -> list[object]:
        seen: list[object] = []

        def tracer(frame: types.FrameType, event: str, arg: object) -> object:
            if frame.f_code.co_filename == code.co_filename:
                told = arg[0] if event == "exception" and isinstance(arg, tuple) else None
                seen.append((frame.f_code.co_name, event, frame.f_lineno, told))
            return tracer

        program = getattr(load(code), name)
        before = sys.gettrace() if install is sys.settrace else sys.getprofile()
        install(tracer)
        try:
            outcome(program)
        finally:
            install(before)
        return seen

    plain = events(PLAIN_CODE)
    probed = events(assembled_within(PLAIN_CODE, lambda *_: True, is_nested_function))
    if name in CLOSED_AT_A_BARE_YIELD and facts.VERSION >= (3, 13):
        remaining = iter(probed)
        assert all(event in remaining for event in plain)
        probed = plain
    assert probed == plain


def functions_in(code: CodeType) -> Iterator[CodeType]:
    """Yield every code object that can be assembled, innermost first."""
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from functions_in(each)
    if not is_class_body(code):
        yield code


class Step(NamedTuple):
    """An instruction: its argument (EXTENDED_ARGs folded in), positions, jump target and handler by offset."""

    offset: int
    name: str
    argument: int
    positions: tuple[int | None, ...]
    target: int | None
    handler: tuple[int, int, bool] | None


def steps(code: CodeType) -> list[Step]:
    """Read code without help from the library that wrote it."""
    handlers: dict[int, tuple[int, int, bool]] = {}
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        handlers.update(dict.fromkeys(range(entry.start, entry.end, 2), (entry.target, entry.depth, bool(entry.lasti))))
    found = []
    positions = list(code.co_positions())
    argument, begin = 0, 0
    units = code.co_code
    for offset in range(0, len(units), 2):
        argument |= units[offset + 1]
        name = opcode.opname[units[offset]]
        if name == "EXTENDED_ARG":
            argument <<= 8
            continue
        if name != "CACHE":
            behind = offset + 2
            while units[behind : behind + 1] == b"\0":
                behind += 2
            target = None
            if units[offset] in HAS_JUMP:
                target = behind + 2 * (-argument if "BACKWARD" in name or name == "END_ASYNC_FOR" else argument)
                argument = 0
            found.append(Step(begin, name, argument, positions[offset // 2], target, handlers.get(offset)))
        argument, begin = 0, offset + 2
    return found


def without_probes(code: CodeType, constants: int) -> list[Step]:
    """Return the steps of assembled code that are not ours, by what a probe is known to look like."""
    kept: list[Step] = []
    every = steps(code)
    skip = 0
    for index, step in enumerate(every):
        if skip:
            skip -= 1
        elif step.name == "NOP" and every[index + 1].name == "LOAD_CONST" and every[index + 1].argument >= constants:
            assert {each.positions for each in every[index : index + 4]} == {step.positions}
            names = [each.name for each in every[index : index + 4]]
            assert names == ["NOP", "LOAD_CONST", facts.TRUTH_TEST, "POP_TOP"]
            skip = 3
        elif step.name == "LOAD_CONST" and step.argument >= constants:
            names = [each.name for each in every[index : index + 8]]
            room = ["LOAD_CONST", "UNARY_NOT", "POP_TOP"] if facts.COMPARISON_RECURS else []
            assert names[: 5 + len(room)] == [*room, "LOAD_CONST", "COPY", "COMPARE_OP", "POP_TOP", "RERAISE"]
            assert {each.positions for each in every[index : index + 4 + len(room)]} == {step.positions}
            skip = 3 + len(room)
        elif step.name == "JUMP_FORWARD" and [each.name for each in every[index + 1 : index + 3]] == [
            "SEND",
            "YIELD_VALUE",
        ]:
            assert facts.THROW_READS_SEND
            assert step.target == every[index + 2].offset
            skip = 1
        else:
            kept.append(step)
    return kept


def unmarked(step: Step) -> tuple[str, int]:
    """Return name and argument without the mark of a suspension that no `try` encloses."""
    if step.name == "RESUME":
        return step.name, step.argument & facts.RESUME_PLACE_BITS
    return step.name, 2 if step.name == "YIELD_VALUE" and facts.MARKS_BARE_YIELD_AT_YIELD else step.argument


def assert_same_but_for_probes(code: CodeType, assembled: CodeType) -> None:
    old, new = steps(code), without_probes(assembled, len(code.co_consts))
    ours = new[len(old) :]
    new = new[: len(old)]
    assert {each.name for each in ours} == {"RERAISE"}
    assert [unmarked(each) for each in old if each.name != "YIELD_VALUE"] == [
        unmarked(each) for each in new if each.name != "YIELD_VALUE"
    ]
    assert [each.positions for each in old] == [each.positions for each in new]
    place = {step.offset: index for index, step in enumerate(old)}
    starts = [step.offset for step in new]

    def landed(offset: int | None) -> int | None:
        """Return which of the original's steps runs first after a jump to this offset of the new code."""
        return None if offset is None else bisect.bisect_left(starts, offset)

    for before, after in zip(old, new, strict=True):
        if before.target is not None or after.target is not None:
            assert landed(after.target) == place[before.target or 0]
        if before.handler is not None and before.name not in REPORT_THROW:
            assert after.handler is not None
            assert (landed(after.handler[0]), *after.handler[1:]) == (
                place[before.handler[0]],
                *before.handler[1:],
            )
    assert assembled.co_consts[: len(code.co_consts)] == code.co_consts
    assert all(new is old for new, old in zip(assembled.co_consts, code.co_consts, strict=False))
    for attribute in dir(code):
        if attribute.startswith("co_") and attribute not in CHANGED:
            assert getattr(assembled, attribute) == getattr(code, attribute), attribute


REPORT_THROW = {"YIELD_VALUE", "RESUME", *({"JUMP_BACKWARD_NO_INTERRUPT"} if facts.THROW_READS_SEND else ())}
CHANGED = {
    *("co_code", "co_consts", "co_exceptiontable", "co_linetable", "co_lnotab", "co_stacksize"),
    *("co_lines", "co_positions", "co_branches", "_co_code_adaptive"),
}

TORTURE = [
    name
    for names in (
        "argparse ast asyncio.base_events asyncio.locks asyncio.queues",
        "asyncio.runners asyncio.streams asyncio.tasks asyncio.taskgroups asyncio.timeouts",
        "collections contextlib csv dataclasses difflib",
        "email._header_value_parser email.message email.parser enum fractions",
        "functools heapq http.client http.cookiejar http.server",
        "inspect json.decoder json.encoder logging logging.config",
        "logging.handlers pathlib pickle random re._parser",
        "shutil statistics string subprocess tarfile",
        "tempfile textwrap threading tokenize traceback",
        "typing unittest.case unittest.mock urllib.parse zipfile",
        "_pydecimal",
    )
    for name in names.split()
]


def source_of(module: str) -> tuple[str, str]:
    """Return the source text of a standard-library module and the file's path."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8"), spec.origin


@pytest.mark.parametrize("module", TORTURE)
def test_standard_library_is_the_same_without_the_probes(module: str) -> None:
    """Nothing in the standard library is declined, and what was inserted can be taken out again without a trace."""
    for code in functions_in(compile(*source_of(module), "exec", dont_inherit=True)):
        assert_same_but_for_probes(code, assemble(code, lambda _: object()))


def test_programs_are_the_same_without_the_probes() -> None:
    """The same holds for the sample programs, and for code that was assembled before."""
    for code in functions_in(PLAIN_CODE):
        once = assemble(code, lambda _: object())
        assert_same_but_for_probes(code, once)
        with contextlib.suppress(DeclinedError) if facts.THROW_READS_SEND else contextlib.nullcontext():
            twice = assemble(once, lambda _: object())
            assert len(without_probes(twice, len(once.co_consts))) >= len(steps(once))


class Count:
    """Counts what is reported, in C alone: neither a tracer nor a signal handler comes between."""

    def __init__(self) -> None:
        self._counters: list[tuple[int, itertools.count[int]]] = []
        self._unwound: list[object] = []

    def probe(self, _: CodeType, transition: int) -> object:
        """Return an object whose truth value and comparison are C functions (`__len__` stands in for `__bool__`)."""
        counter = itertools.count()
        self._counters.append((transition, counter))
        answers = {
            "__len__": counter.__next__ if transition != UNWIND else int,
            "__eq__": self._unwound.append,
            "__hash__": object.__hash__,
        }
        return type("Probe", (), answers)()

    def of(self, transition: int) -> int:
        if transition == UNWIND:
            return len(self._unwound)
        return sum(int(repr(counter)[6:-1]) for each, counter in self._counters if each == transition)

    def assert_balanced(self) -> None:
        gc.collect()
        assert self.of(START) == self.of(RETURN) + self.of(UNWIND) > 0
        assert self.of(YIELD) == self.of(RESUME)


def decimals(module: Any) -> object:
    module.getcontext().prec = 40
    roots = [module.Decimal(each).sqrt() for each in range(1, 20)]
    with module.localcontext() as context:
        context.prec = 60
        exact = module.Decimal(2).exp() ** 3 / module.Decimal("0.7").ln()
    failed = outcome(lambda: module.Decimal(1) / 0).result
    return repr((roots, exact, failed, f"{exact:.10e}", module.Decimal("NaN").is_nan(), hash(roots[3])))


def fractions(module: Any) -> object:
    parts = [module.Fraction(1, each) ** 2 for each in range(1, 60)]
    return str(sum(parts)), str(sum(parts).limit_denominator(100)), outcome(lambda: module.Fraction(1, 0)).result


def json_encoded(module: Any) -> object:
    module.c_make_encoder = None
    nested = {"list": [1, 2.5, None, True, {"deep": ["text", "\u00e9"]}], "empty": [], "mapping": {}}
    loop: list[object] = []
    loop.append(loop)
    encoder = module.JSONEncoder(indent=2, sort_keys=True)
    failed = [outcome(partial(encoder.encode, each)).result for each in (loop, {1: object})]
    return [encoder.encode(nested) for _ in range(20)], [each[:30] for each in failed]


def wrapped_text(module: Any) -> object:
    text = SOURCE[:3000]
    return module.fill(text, 40), module.dedent(text), module.shorten(text, 60), module.indent(text, "> ")


def differences(module: Any) -> object:
    old, new = SOURCE.splitlines()[:120], SOURCE.replace("generator", "stream").splitlines()[:130]
    return (
        list(module.unified_diff(old, new)),
        list(module.ndiff(old[:40], new[:40])),
        module.get_close_matches("f", old),
    )


def tokens(module: Any) -> object:
    lines = iter(SOURCE.splitlines(keepends=True))
    return [tuple(each) for each in module.generate_tokens(lambda: next(lines))][:5000]


def merged(module: Any) -> object:
    heap: list[int] = []
    for each in (5, 1, 4, 2, 3):
        module.heappush(heap, each)
    return list(module.merge([1, 4], [2, 3], [0, 9])), module.nsmallest(2, heap), module.heappop(heap)


def split_words(module: Any) -> object:
    return module.split("a 'b c' \"d\" e#f", comments=True), outcome(lambda: module.split("'open")).result


def pretty(module: Any) -> object:
    return module.pformat({"key": list(range(40)), "set": {1, 2}, "text": "word " * 40, "deep": [[[{1: {2: 3}}]]]})


@pytest.mark.parametrize(
    ("module", "work"),
    [
        ("_pydecimal", decimals),
        ("fractions", fractions),
        ("json.encoder", json_encoded),
        ("textwrap", wrapped_text),
        ("difflib", differences),
        ("tokenize", tokens),
        ("heapq", merged),
        ("shlex", split_words),
        ("pprint", pretty),
    ],
)
def test_assembled_libraries_compute_what_plain_ones_do(module: str, work: Callable[[Any], object]) -> None:
    """Real modules, every function of theirs and the module itself assembled, give the same results, and balance."""
    code = compile(*source_of(module), "exec", dont_inherit=True)
    count = Count()
    assembled = assembled_within(code, count.probe, lambda code: not is_class_body(code))
    assert work(load(assembled)) == work(load(code))
    count.assert_balanced()


def run_module(source: str) -> tuple[list[str], Outcome]:
    log: list[str] = []
    code = compile(source, "module.py", "exec", dont_inherit=True)
    module = assemble(code, lambda each: Probe(log, "module", each))
    return log, outcome(lambda: sorted(key for key in vars(load(module)) if key[0] != "_"))


def test_a_module_starts_and_returns_or_unwinds() -> None:
    """A module's code reports its start and its end, and keeps its traceback."""
    assert run_module("a = 1\nb = a") == (["module.START", "module.RETURN"], Outcome("['a', 'b']", "", []))
    assert run_module("")[0] == ["module.START", "module.RETURN"]
    log, failed = run_module("a = 1\n\nb = (\n  a / 0)")
    assert log == ["module.START", "module.UNWIND(ZeroDivisionError)"]
    assert ("<module>", 4, (4, 4, 2, 7)) in failed.positions


def function_from(source: str, probe: Callable[[CodeType, int], object | None] | None) -> Any:
    """Compile one function `f`, assembled where a probe is given."""
    code = compile(source, "generated.py", "exec", dont_inherit=True)
    if probe is not None:
        code = assembled_within(code, probe, lambda code: code.co_name in {"f", "g"})
    return load(code).f


BIG = [
    "def f(n):\n    total = 0\n"
    + "".join(f"    total += {each + 1000}.5 * n\n" for each in range(700))
    + "    return total",
    "def f(n):\n"
    + "".join(f"    if n == {each}: return 'is {each}'\n" for each in range(400))
    + "    raise KeyError(n)",
    "def f(n):\n    while n:\n        n -= 1\n"
    + "".join(f"        if n == {each * 3}: continue\n" for each in range(350))
    + "        if n % 7 == 5: break\n    return n",
    "def f(n):\n    try:\n        for each in range(n):\n"
    + "".join(f"            name_{each} = each and {each}\n" for each in range(300))
    + "        return name_0 / (n - 350)\n    finally:\n        n = None",
]


@pytest.mark.parametrize("number", range(len(BIG)))
@pytest.mark.parametrize("argument", [0, 1, 299, 350, 399, 1000])
def test_big_functions_keep_their_jumps(number: int, argument: int) -> None:
    """Hundreds of constants and jumps, with arguments of two and three bytes, still lead where they did."""
    log: list[str] = []
    function = function_from(BIG[number], lambda code, each: Probe(log, code.co_name, each))
    assert outcome(lambda: function(argument)) == outcome(lambda: function_from(BIG[number], None)(argument))
    assert len(log) == 2


@pytest.mark.parametrize("number", range(len(BIG)))
def test_big_functions_are_the_same_without_the_probes(number: int) -> None:
    """What was inserted into a big function can be taken out again too."""
    code = function_from(BIG[number], None).__code__
    assert_same_but_for_probes(code, assemble(code, lambda _: object()))


def test_a_jump_that_outgrows_its_byte_gets_another() -> None:
    """Probes that push a jump's distance over 255 make room for a longer argument, whatever the distance was."""
    for length in range(30, 130):
        source = "def f(n):\n    while n:\n        n -= 1\n" + "        if n == 0: return\n" * (length // 10)
        source += "        n += 0\n" * (length % 10) + "        n = n\n" * length
        function = function_from(source, None)
        plain = function.__code__
        log: list[str] = []
        function.__code__ = assemble(plain, lambda each, log=log: Probe(log, "f", each))  # type: ignore[misc]
        function(2)
        assert log == ["f.START", "f.RETURN"]
        assert_same_but_for_probes(plain, function.__code__)


class Interrupted(Exception):  # noqa: N818 - not an error
    """What the signal handler below raises."""


def test_signal_handlers_that_raise_leave_nothing_open() -> None:
    """Wherever a signal handler raises in a function or generator, its start has an end and its yield a resumption."""
    source = """
def g(n):
    try:
        for each in range(n):
            yield each
    finally:
        n = None

def bare(n):
    yield n

def f(n):
    total = 0
    for each in g(n):
        total += each
    for each in bare(n):
        total += each
    return total
"""
    count = Count()
    code = compile(source, "generated.py", "exec", dont_inherit=True)
    function = load(assembled_within(code, count.probe, lambda code: code.co_name in {"f", "g", "bare"})).f

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    caught = 0
    gc.disable()  # the callbacks of a collection are other people's Python: what is raised there is ignored aloud
    try:
        while caught < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
                # Not for ever: what is raised while a generator is dropped is ignored, and the timer rings once.
                for _ in range(20_000):
                    function(3)
            except Interrupted:
                caught += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    count.assert_balanced()


def test_transitions_can_be_left_out() -> None:
    """A probe that is None leaves out its transition alone, and with none at all the code is what it was."""
    code = next(each for each in functions_in(PLAIN_CODE) if each.co_qualname == "generator_throw_caught.<locals>.f")
    everything = PLAIN["generator_throw_caught"].__doc__.split()
    assert assemble(code, lambda _: None) is code
    for chosen in itertools.product([False, True], repeat=5):
        wanted = {transition for transition, is_chosen in enumerate(chosen, 1) if is_chosen}
        log: list[str] = []

        def probe(_: CodeType, each: int, log: list[str] = log, wanted: set[int] = wanted) -> object | None:
            return Probe(log, "f", each) if each in wanted else None

        load(assembled_within(PLAIN_CODE, probe, lambda each: each == code)).generator_throw_caught()
        assert log == [each for each in everything if TRANSITIONS.index(each[2:]) in wanted]


def test_a_probe_is_asked_for_once_for_each_transition_that_can_happen() -> None:
    """Only what the code can do is asked for: no YIELD of a plain function, no RETURN of one that always raises."""

    def asked(qualname: str) -> list[int]:
        found: list[int] = []
        assemble(next(each for each in functions_in(PLAIN_CODE) if each.co_qualname == qualname), found.append)
        return found

    assert asked("early_returns.<locals>.f") == [START, RETURN, UNWIND]
    assert asked("always_raises.<locals>.f") == [START, UNWIND]
    assert asked("generator_throw_caught.<locals>.f") == [START, RETURN, UNWIND, YIELD, RESUME]
    assert asked("<module>") == [START, RETURN, UNWIND]


def test_a_recursion_is_as_deep_as_before() -> None:
    """Probes take no part of the recursion limit, also when RecursionError passes through them."""
    source = "def f(n):\n    global deepest\n    deepest = n\n    f(n + 1)"
    depths = []
    for probe in (None, lambda *_: True):
        function = function_from(source, probe)
        with pytest.raises(RecursionError):
            function(0)
        depths.append(function.__globals__["deepest"])
    assert depths[0] == depths[1]


def test_the_argument_for_equality_is_the_compilers() -> None:
    """The comparison with an exception is encoded as the compiler encodes `==`."""
    assert [each.argument for each in steps(compile("a == b", "", "eval")) if each.name == "COMPARE_OP"] == [
        facts.EQUALS_ARGUMENT
    ]


def test_importing_the_assembler_does_not_import_the_library() -> None:
    """A start that finds everything assembled pays nothing for the library that assembles."""
    program = "import sys, narrative_auto.instrument.engines.assembly; sys.exit('bytecode' in sys.modules)"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})


def test_an_unknown_interpreter_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that nobody has tried gives a reason, not broken code."""
    monkeypatch.setattr(facts, "KNOWN_INTERPRETER", False)
    with pytest.raises(DeclinedError, match=r"CPython 3\.11 to 3\.15 only"):
        assemble(PLAIN_CODE, lambda _: object())


def test_code_of_an_unknown_make_is_declined() -> None:
    """Code that no compiler makes is left alone, with a reason that names it."""
    code: CodeType = PLAIN["drive"].__code__
    nothing = bytes([opcode.opmap["NOP"], 0]) * 2
    headless = code.replace(co_code=nothing + code.co_code[-2:], co_exceptiontable=b"")
    with pytest.raises(DeclinedError, match="drive does not begin as compiled functions begin"):
        assemble(headless, lambda _: object())
    astray = code.replace(co_exceptiontable=b"\x80\x01\x00\x00\x80\x01\x00\x00")
    with pytest.raises(DeclinedError, match="overlapping"):
        assemble(astray, lambda _: object())
    with pytest.raises(DeclinedError, match="was not understood"):
        assemble(code.replace(co_exceptiontable=b"\x80\x01\x7f\x3f\x00"), lambda _: object())


SIMPLE = [
    ["log.append((yield 'yielded'))"],
    ["log.append((yield from g()))"],
    ["log.append('here')"],
    ["raise KeyError('key')"],
    ["raise ValueError('value')", "log.append('never')"],
    ["return 'returned'"],
    ["if pick(): break"],
    ["if pick(): continue"],
]
COMPOUND = [
    ["if pick():", "else:"],
    ["for each in range(2):"],
    ["while pick():", "else:"],
    ["with manager(pick()):"],
    ["try:", "except KeyError as error:"],
    ["try:", "except (ValueError, GeneratorExit):", "else:"],
    ["try:", "finally:"],
    ["try:", "except ValueError:", "finally:"],
]


@st.composite
def bodies(draw: st.DrawFn, depth: int = 3) -> list[str]:
    """Draw the lines of up to three statements, nested at most so deep."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        heads = draw(st.sampled_from(COMPOUND)) if depth and draw(st.booleans()) else []
        lines += [] if heads else draw(st.sampled_from(SIMPLE))
        for head in heads:
            lines += [head, *(f"    {line}" for line in draw(bodies(depth - 1)))]
    return lines


SETTING = """
import contextlib

def world(picks):
    log = []
    picks = iter(picks)

    def pick():
        return next(picks, False)

    @contextlib.contextmanager
    def manager(swallows):
        try:
            yield
        except ValueError:
            log.append("manager")
            if not swallows:
                raise

    def g():
        try:
            log.append((yield "from g"))
        except KeyError:
            return "g caught"
        finally:
            log.append("g ends")

    def f():
        for once in range(1):
"""


def live(code: CodeType, picks: list[bool], acts: list[str]) -> tuple[list[object], list[object]]:
    """Run a generated world: call `f` or drive the generator, and return what was logged and what came out."""
    f, log = load(code).world(picks)
    came: list[object] = []
    if not f.__code__.co_flags & inspect.CO_GENERATOR:
        return log, [outcome(f)]
    generator = f()
    for act in acts:
        step: Callable[[], object] = {
            "send": partial(next, generator),
            "key": partial(generator.throw, KeyError("thrown")),
            "value": partial(generator.throw, ValueError("thrown")),
            "close": generator.close,
        }[act]
        came.append(outcome(step))
    for _ in range(30):  # whatever it yields instead of ending
        if outcome(generator.close).result == "None":
            break
        came.append("went on")
    return log, came


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(
    body=bodies(),
    picks=st.lists(st.booleans(), max_size=12),
    acts=st.lists(st.sampled_from(["send", "send", "send", "key", "value", "close"]), max_size=8),
)
def test_random_programs_live_as_before(body: list[str], picks: list[bool], acts: list[str]) -> None:
    """Whatever is nested in whatever, results, errors and their positions stay, and each start has its end."""
    source = SETTING + "".join(f"            {line}\n" for line in body) + "\n    return f, log\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # 3.14 minds `return` in `finally`
        code = compile(source, "generated.py", "exec", dont_inherit=True)
    reports: dict[str, list[str]] = {"f": [], "g": []}
    assembled = assembled_within(
        code, lambda code, each: Probe(reports[code.co_name], code.co_name, each), lambda code: code.co_name in reports
    )
    assert live(assembled, picks, acts) == live(code, picks, acts)
    for name, reported in reports.items():
        story = "".join(each.removeprefix(f"{name}.")[:3] + " " for each in reported)
        assert re.fullmatch(r"(STA (YIE RES )*(RET|UNW) )*", story), story
