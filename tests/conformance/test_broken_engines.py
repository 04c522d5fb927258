"""The suite notices an engine that is wrong: three that are, on purpose."""

from __future__ import annotations

import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from narrative_auto.instrument.engines.rewrite import RewriteEngine
from narrative_auto.instrument.in_place import instrument_existing
from narrative_auto.recorder.base import bind_copies
from narrative_auto.recorder.layout import RESUME, RETURN, UNWIND
from tests.conformance.harness import bench
from tests.conformance.scenarios import SCENARIOS
from tests.conformance.test_conformance import observe

if TYPE_CHECKING:
    from types import CodeType

    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.recorder.sites import Site

pytestmark = pytest.mark.usefixtures("quick_collections")


class _Miswired:
    """A recorder whose probes are not what was asked for."""

    def __init__(self, recorder: Recorder, change: Any) -> None:
        self._recorder = recorder
        self._change = change
        self.sites = recorder.sites

    def probes(self, site: Site, transitions: tuple[int, ...]) -> list[object]:
        return [self._change(self._recorder, site, each) for each in transitions]

    def bind(self, code: CodeType, plan: Any, module: str) -> CodeType:
        return bind_copies(self, code, plan, module)  # type: ignore[arg-type]


class _UnwindAsReturn:
    """Reports the end of a call that failed as a return, as naive tracing does."""

    def __init__(self, leave: object) -> None:
        self._leave = leave

    def __eq__(self, error: object) -> bool:
        return not self._leave

    __hash__ = object.__hash__


def _naive(recorder: Recorder, site: Site, transition: int) -> object:
    if transition == UNWIND:
        return _UnwindAsReturn(recorder.probes(site, (RETURN,))[0])
    return recorder.probes(site, (transition,))[0]


def _forgetful(recorder: Recorder, site: Site, transition: int) -> object:
    return True if transition == RESUME else recorder.probes(site, (transition,))[0]


class _Miswiring(RewriteEngine):
    def __init__(self, scope: Scope, change: Any) -> None:
        super().__init__(scope, lambda *_: None)
        self._change = change

    def start(self, recorder: Recorder) -> None:
        super().start(recorder)
        self._recorder = _Miswired(recorder, self._change)  # type: ignore[assignment]

    def stop(self) -> None:
        self._recorder = None
        super().stop()


class _Wrapping(RewriteEngine):
    """Takes functions by their names when the module is there, too late for whoever holds them by then."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope, lambda *_: None)

    def instrument(self, code: CodeType, module: str) -> CodeType:
        def last_words(names: dict[str, Any]) -> None:
            for name, value in list(names.items()):
                if isinstance(value, types.FunctionType):
                    names[name] = types.FunctionType(
                        super(_Wrapping, self).instrument(value.__code__, module),
                        names, name, value.__defaults__, value.__closure__,
                    )  # fmt: skip

        self.last_words = last_words
        return code


def noticed(engine: Any, folder: Path) -> set[str]:
    """Return the names of the scenarios whose reports are not what they have to be."""
    wrong = set()
    for scenario in SCENARIOS:
        if "65 535" in scenario.name or "stack" in scenario.name:
            continue
        with bench(engine, "native", folder) as started:
            if isinstance(started.engine, _Wrapping):
                plain_load, taker = started.load, started.engine

                def load(source: str, name: str = "program", *, instrument: bool = True) -> types.ModuleType:
                    module = plain_load(source, name, instrument=instrument)  # noqa: B023 - called in this round
                    taker.last_words(vars(module))  # noqa: B023 - the same
                    return module

                started.load = load  # type: ignore[method-assign]
            if observe(started, scenario) != scenario.reports:
                wrong.add(scenario.name)
    return wrong


def test_unwinding_that_is_told_as_a_return_is_noticed(tmp_path: Path) -> None:
    """In every scenario with an exception."""
    wrong = noticed(lambda scope: _Miswiring(scope, _naive), tmp_path)
    assert {"raises", "an exception through three calls and two handlers", "generator_closed"} <= wrong
    assert "plain" not in wrong


def test_a_missing_transition_is_noticed(tmp_path: Path) -> None:
    """Generators that never come back."""
    wrong = noticed(lambda scope: _Miswiring(scope, _forgetful), tmp_path)
    assert {"generator", "coroutine", "two tasks take turns"} <= wrong
    assert "plain" not in wrong


def test_functions_that_are_reached_too_late_are_noticed(tmp_path: Path) -> None:
    """A table of handlers holds the ones from before."""
    wrong = noticed(_Wrapping, tmp_path)
    assert "decorators that take the function before anyone could wrap it" in wrong
    assert "a class of every kind of method" in wrong


def test_in_place_reaches_what_names_do_not(tmp_path: Path) -> None:
    """The same, done right."""
    with bench("rewrite", "native", tmp_path) as started:
        module = started.load("def f(): return 1\nheld = [f]\ndel f\n", instrument=False)
        engine = started.engine
        assert isinstance(engine, RewriteEngine)
        assert instrument_existing(engine, [module]) == ["program"]
        module.held[0]()
        assert started.calls("f") == 1
        assert instrument_existing(engine, [module]) == []


if __name__ == "__main__":
    pytest.main([__file__])
