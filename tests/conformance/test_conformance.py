"""Every engine with every recorder reports exactly what happened, but for what the table below excuses."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines import base
from narrative_auto.instrument.engines.base import (
    CAPABILITIES,
    KEEPS_CODE,
    KEEPS_MONITORING,
    KEEPS_TRACER,
    SEES_CLOSE,
    SEES_EXEC,
    SEES_EXISTING,
    SEES_THROW,
    SURVIVES_OVERFLOW,
)
from narrative_auto.instrument.engines.monitoring import MonitoringEngine
from narrative_auto.instrument.scope import Scope
from tests.conformance.harness import ENGINES, RECORDERS, Bench, bench
from tests.conformance.scenarios import SCENARIOS, Scenario


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """Let the collections that the tests ask for look at what they have made, not at pytest and all test modules."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


REQUIRED = {
    "rewrite": {SEES_CLOSE, SEES_THROW, SURVIVES_OVERFLOW, KEEPS_TRACER, KEEPS_MONITORING},
    "monitoring": {SEES_EXISTING, SEES_EXEC, SEES_CLOSE, SEES_THROW, SURVIVES_OVERFLOW, KEEPS_CODE, KEEPS_TRACER},
    "settrace": {SEES_EXISTING, SEES_EXEC, SEES_CLOSE, SEES_THROW, KEEPS_CODE, KEEPS_MONITORING},
}
"""What each engine has to be able to do."""

EXCUSED = {
    # python/cpython#140373: closing a generator gives no event.
    ("monitoring", (3, 13)): {SEES_CLOSE},
    ("settrace", (3, 13)): {SEES_CLOSE},
    # gen_throw finishes a `yield from` without a trace event for the one that goes on.
    ("settrace", (3, 11)): {SEES_THROW},
}
"""What it cannot because the interpreter does not say it: (engine, version)."""

COMBINATIONS = [(engine, recorder) for engine in ENGINES for recorder in RECORDERS]
if sys.version_info >= (3, 12):
    COMBINATIONS.append(("beside another", "native"))


def beside_another(scope: Scope) -> MonitoringEngine:
    """Monitoring as it works beside rewrite: it meets functions as they come to be."""
    return MonitoringEngine(scope, only_new=True)


def begin(combination: tuple[str, str], folder: Path) -> contextlib.AbstractContextManager[Bench]:
    """Start an engine with a recorder."""
    engine, recorder = combination
    return bench(engine if engine in ENGINES else beside_another, recorder, folder)


@pytest.fixture(params=COMBINATIONS, ids="-".join)
def at_work(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with begin(request.param, tmp_path) as started:
        yield started


def _counts(scenario: Scenario, qualname: str) -> bool:
    return not scenario.nested_only or ("<locals>" in qualname and qualname.rpartition(".")[2][0] not in "<_")


def observe(started: Bench, scenario: Scenario) -> list[str]:
    """Load a scenario, run it, and return its reports, as scenarios write them."""
    return play(started, scenario, started.load(scenario.source), 0)


def play(started: Bench, scenario: Scenario, module: types.ModuleType, since: int) -> list[str]:
    """Run a scenario that is loaded and return what was reported since then (ns), as scenarios write it."""
    with contextlib.suppress(Exception, GeneratorExit):
        getattr(module, scenario.start)()
    gc.collect()
    reports = started.reports(lambda qualname: _counts(scenario, qualname), since)
    if scenario.by_lane:
        reports.sort(key=lambda report: report.lane)
    if scenario.nested_only:
        return [f"{report.qualname.rpartition('.')[2]}.{report.transition}" for report in reports]
    return [str(report) for report in reports if report.qualname != "down"]


def required(engine: str) -> set[str]:
    return REQUIRED[engine] - EXCUSED.get((engine, sys.version_info[:2]), set())


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_declare_what_they_must(engine: str) -> None:
    """No capability is declared away, and none is claimed that nobody checks."""
    assert set(ENGINES[engine](Scope([])).capabilities) == required(engine)
    assert required(engine) <= CAPABILITIES


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenarios(at_work: Bench, scenario: Scenario, request: pytest.FixtureRequest) -> None:
    """The exact list of transitions, functions and lanes; the shadow stack is empty at the end."""
    missing = scenario.needs - at_work.engine.capabilities
    if missing:
        request.applymarker(pytest.mark.xfail(strict=True, reason=f"{at_work.engine.name} lacks: {', '.join(missing)}"))
    assert observe(at_work, scenario) == scenario.reports
    assert at_work.depth == 0


@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
def test_functions_that_exist_already(
    combination: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What was imported before the engine started reports its next call, whoever holds the function."""
    with begin(combination, tmp_path) as earlier:
        module = earlier.load("def f(): return 1\nheld = [f]\ndel f\n", instrument=False)
    with begin(combination, tmp_path) as at_work:
        if SEES_EXISTING not in at_work.engine.capabilities:
            reason = "instrument/in_place.py reaches them, or the engine that it stands beside"
            request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
        module.held[0]()
        assert at_work.calls("f") == 1


def test_new_code_in_an_old_function(at_work: Bench) -> None:
    """As a tool puts it there that patches a function in place; the new code is not the engine's."""
    if SEES_EXEC not in at_work.engine.capabilities:
        pytest.skip("an engine that instruments what it is given does not see it")
    module = at_work.load("def f(): return 1\ndef g(): return 2\n")
    module.f()
    module.f.__code__ = module.g.__code__
    assert module.f() == 2
    assert (at_work.calls("f"), at_work.calls("g")) == (1, 1)


def test_a_released_site_is_silent_until_it_is_restored(at_work: Bench) -> None:
    """By the site, which is found by the function."""
    module = at_work.load("def f(): return 1\ndef g(): return f()\n")
    module.g()
    site = at_work.engine.site(module.f)
    assert site is not None
    at_work.engine.release(site)
    assert site.released
    module.g()
    module.f()
    assert (at_work.calls("f"), at_work.calls("g")) == (1, 2)
    at_work.engine.restore([site])
    module.f()
    assert (at_work.calls("f"), at_work.calls("g")) == (2, 2)


# What runs code by exec has new functions each time, which nobody has released.
@pytest.mark.parametrize(
    "scenario", [each for each in SCENARIOS if SEES_EXEC not in each.needs], ids=lambda each: each.name
)
# The compiled recorder is the one that releases by itself; with the other one a site falls silent as the tests around this one show.
@pytest.mark.parametrize(
    "at_work",
    [each for each in COMBINATIONS if each[1] == "native" and each[0] != "settrace"],
    ids="-".join,
    indirect=True,
)
def test_released_sites_are_silent_and_come_back(at_work: Bench, scenario: Scenario) -> None:
    """The same programs with every site released, twice, then with every site restored."""
    module = at_work.load(scenario.source)

    def again() -> list[str]:
        return play(at_work, scenario, module, time.perf_counter_ns())

    first = again()
    for site in at_work.recorder.sites:
        at_work.engine.release(site)
    assert again() == []
    assert again() == []
    at_work.engine.restore(list(at_work.recorder.sites))
    assert again() == first
    assert at_work.depth == 0


def test_a_function_can_be_released_before_it_ran(at_work: Bench) -> None:
    """As `@no_stage` does, which sees it when its module is loaded."""
    module = at_work.load("def f(): return 1\n")
    site = at_work.engine.site(module.f)
    assert site is not None
    at_work.engine.release(site)
    module.f()
    assert at_work.calls("f") == 0


def test_equal_code_objects_are_not_the_same_site(at_work: Bench) -> None:
    """Code objects compare by structure; two modules of the same text are two."""
    source = "def f(): return 1\n"
    first, second = at_work.load(source), at_work.load(source)
    first.f()
    second.f()
    for module in (first, second):
        site = at_work.engine.site(module.f)
        assert site is not None
    assert at_work.calls("f") == 2


def test_what_the_scope_leaves_out_is_silent(at_work: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file outside the app roots, and functions that are no stages."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "lib.py"
    names: dict[str, Any] = {"__name__": "lib", "__file__": str(elsewhere)}
    exec(compile("def f(): return 1\n", str(elsewhere), "exec"), names)
    names["f"]()
    module = at_work.load("class A:\n    def __len__(self): return 1\nf = lambda: len(A())\n")
    module.f()
    assert at_work.reports() == []


def test_after_stop_nothing_is_reported_and_nothing_is_left(tmp_path: Path) -> None:
    """Tool ids, trace functions and the list of engines are as before."""
    for combination in COMBINATIONS:
        tracer, engines = (sys.gettrace(), threading.gettrace()), list(base.started)
        with begin(combination, tmp_path) as started:
            module = started.load("def f(): return 1\n")
            module.f()
            assert started.engine in base.started
        module.f()
        assert started.calls("f") == 1
        assert (sys.gettrace(), threading.gettrace()) == tracer
        assert base.started == engines
        if sys.version_info >= (3, 12):
            assert [sys.monitoring.get_tool(tool) for tool in (3, 4)] == [None, None]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with CPython 3.12")
@pytest.mark.parametrize("recorder", RECORDERS)
def test_monitoring_comes_and_goes_while_threads_run(tmp_path: Path, recorder: str) -> None:
    """python/cpython#137030: arming code that other threads are running."""
    ended = threading.Event()
    with bench("monitoring", recorder, tmp_path) as started:
        module = started.load("def f(n):\n    return [g(each) for each in range(n)]\ndef g(n):\n    return n + 1\n")

    def work() -> None:
        while not ended.is_set():
            assert module.f(20) == list(range(1, 21))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 1.5
        rounds = 0
        while time.monotonic() < until:
            with bench("monitoring", recorder, tmp_path) as started:
                module.f(3)
                site = started.engine.site(module.g)
                assert site is not None
                started.engine.release(site)
                started.engine.restore([site])
                module.f(3)
                rounds += 1
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert rounds > 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with CPython 3.12")
def test_monitoring_takes_a_free_tool_id_or_none(tmp_path: Path) -> None:
    """Never that of a debugger, a coverage tool, a profiler or an optimizer, nor one that somebody has."""
    if sys.version_info >= (3, 12):
        monitoring = sys.monitoring
        monitoring.use_tool_id(4, "somebody")
        try:
            with bench("monitoring", "pure", tmp_path):
                assert monitoring.get_tool(3) == "narrative_auto"
                with (
                    pytest.raises(DeclinedError, match="taken by somebody and narrative_auto"),
                    bench("monitoring", "pure", tmp_path),
                ):
                    pass
            assert [monitoring.get_tool(tool) for tool in (0, 1, 2, 3, 5)] == [None] * 5
        finally:
            monitoring.free_tool_id(4)
