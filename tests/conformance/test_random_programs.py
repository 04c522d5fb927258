"""Random programs live under each engine as without, and report what a model that knows nothing of bytecode expects."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings

from narrative_auto.instrument.engines.base import SEES_CLOSE, SEES_THROW
from tests.conformance.harness import ENGINES, RECORDERS, bench
from tests.conformance.random_programs import (
    ASYNC_GENERATOR,
    PLAIN,
    RandomProgram,
    Surroundings,
    drive,
    programs,
)
from tests.conformance.reference_model import Model
from tests.conformance.test_broken_engines import _forgetful, _Miswiring, _naive


def outcome(act: Callable[[], object], *, places: bool = True) -> list[object]:
    """Return a call's result, or the exception and where each frame of its traceback stands, to the column."""
    try:
        return [repr(act())]
    except BaseException as error:  # noqa: BLE001 - programs fail in every way
        return [repr(error), *(places_of(error, set()) if places else ())]


def places_of(error: BaseException | None, seen: set[int]) -> Iterator[object]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    tb = error.__traceback__
    while tb is not None:
        code = tb.tb_frame.f_code
        if code.co_filename != __file__:
            columns = next(itertools.islice(code.co_positions(), tb.tb_lasti // 2, None))
            yield code.co_filename, code.co_qualname, tb.tb_lineno, columns
        tb = tb.tb_next
    yield repr(error), error.__suppress_context__
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from places_of(other, seen)


def live(program: RandomProgram, surroundings: Surroundings, load: Callable[[str], types.ModuleType]) -> list[object]:
    """Run a program; return what came of each act, and what was logged."""
    came: list[object] = []
    seen = functools.partial(outcome, places=surroundings.module.traced is surroundings.module.via)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: came.append(("unraisable", repr(args.exc_value)))
    sys.modules["surroundings"] = surroundings.module
    try:
        entry = getattr(load(program.source), program.entry)
        if program.kind == PLAIN:
            came.append(seen(entry))
        else:
            suspends = entry()
            del entry
            acts = iter([*program.acts, "close", "close", "close", "drop"])
            while (act := next(acts)) != "drop":
                came.append(seen(functools.partial(perform, program, suspends, act)))
            del suspends
    finally:
        del sys.modules["surroundings"]
        sys.unraisablehook = hook
    return [*came, surroundings.logged]


def perform(program: RandomProgram, suspends: Any, act: str) -> object:
    error: BaseException | None = None
    if act not in {"send", "value", "close"}:
        error = {"key": KeyError, "error": ValueError, "exit": GeneratorExit}[act]("thrown")
    if program.kind == ASYNC_GENERATOR:
        if act == "close":
            return drive(suspends.aclose(), program.reactions)
        step = suspends.athrow(error) if error else suspends.asend(7 if act == "value" else None)
        return drive(step, program.reactions)
    if act == "close":
        return suspends.close()
    return suspends.throw(error) if error else suspends.send(7 if act == "value" else None)


def check(program: RandomProgram, folder: Path, engines: dict[str, Any]) -> bool:
    """Compare a program's life under each engine with the plain one and the model's; return whether the model knew."""

    def load(source: str) -> types.ModuleType:
        path = folder / "program.py"
        module = types.ModuleType("program")
        module.__file__ = str(path)
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        return module

    plain = live(program, Surroundings(program.picks), load)
    model = Model()
    modelled = live(program, Surroundings(program.picks, model.traced, model.via, model.here), load)
    knew = not model.expected.unknown
    if knew:
        without_places = [one[:1] if isinstance(one, list) and one is not plain[-1] else one for one in plain]
        assert modelled == without_places, "the model"
    others: list[str] | None = None
    for name, engine in engines.items():
        for recorder in RECORDERS:
            with bench(engine, recorder, folder) as started:
                lived = live(program, Surroundings(program.picks), started.load)
                reports = [f"{each.qualname}.{each.transition}" for each in started.reports()]
                capabilities = started.engine.capabilities
                assert lived == plain, f"{name} with {recorder}"
                assert started.depth == 0, f"{name} with {recorder}"
            told = f"{name} with {recorder}:\n{' '.join(reports)}\nexpected:\n{model.expected}"
            assert not knew or model.expected.allows(reports, capabilities), told
            if {SEES_CLOSE, SEES_THROW} <= capabilities:
                assert others is None or others == reports, told
                others = reports
    if "rewrite" in engines:
        check_released(program, folder, plain)
    return knew


def check_released(program: RandomProgram, folder: Path, plain: list[object]) -> None:
    """Compare with the plain one its life where every function was released before it ran: probes are jumped over."""
    with bench("rewrite", "native", folder) as started:

        def load(source: str) -> types.ModuleType:
            module = started.load(source)
            for site in started.recorder.sites:
                started.engine.release(site)
            return module

        assert live(program, Surroundings(program.picks), load) == plain, "released"
        assert started.reports() == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with only_dropped_on_purpose():
        yield tmp_path_factory.mktemp("random")


@contextlib.contextmanager
def only_dropped_on_purpose() -> Iterator[None]:
    """What is dropped is dropped at once, and not at some time or other."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        collect(at_least=0)


def collect(at_least: int = 100_000) -> None:
    """Drop what is left in cycles, such as a generator that is held by the frame from which it was thrown into."""
    if gc.get_count()[0] < at_least:
        return
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = hook


QUIET = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def survives(engines: dict[str, Any], folder: Path, **more: Any) -> None:
    """Try the engines with as many programs as is told."""

    @settings(QUIET, **more)
    @given(program=programs())
    def attempt(program: RandomProgram) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `return` in `finally`, coroutines that are never awaited
            try:
                event(f"{program.kind}, {'known' if check(program, folder, engines) else 'unknown'} to the model")
            finally:
                collect()

    attempt()


def test_random_programs_live_as_before_and_report_what_the_model_expects(folder: Path) -> None:
    """Results, errors, places, logs; and each transition in its order."""
    survives(ENGINES, folder, max_examples=200)


@pytest.mark.parametrize("change", [_naive, _forgetful])
def test_a_broken_engine_is_noticed(folder: Path, change: Any) -> None:
    """An exception that is told as a return, or a resumption that is not told."""
    broken = {"broken": functools.partial(_Miswiring, change=change)}
    with pytest.raises(AssertionError, match="broken with native"):
        survives(broken, folder, max_examples=100, phases=[Phase.generate])
