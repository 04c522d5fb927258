"""The governor: what it releases, what it never does, and how released functions are seen again."""

from __future__ import annotations

import gc
import marshal
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from narrative_auto.instrument.engines.monitoring import MonitoringEngine
from narrative_auto.instrument.engines.rewrite import RewriteEngine
from narrative_auto.instrument.originals import restore
from narrative_auto.instrument.scope import Scope
from narrative_auto.recorder.governor import AT_ONCE, INTERVAL, Sampler
from narrative_auto.recorder.native import NativeRecorder
from narrative_auto.recorder.sites import Site, SiteTable
from tests.conformance.harness import Bench, bench

PROGRAM = """
import threading, time
def tiny(x): return x + 1
def hot(n):
    for i in range(n): tiny(i)
def slow():
    until = time.perf_counter() + 50e-6
    while time.perf_counter() < until: pass
def mixed(n):
    for i in range(n):
        slow()
        for j in range(200): tiny(j)
def down(n): return down(n - 1) if n else hot(30_000)
def leaf(): return 1
def after():
    hot(300_000)
    return leaf()
def numbers(n):
    for i in range(n): yield i
def pull(n):
    for _ in numbers(n): pass
def turns(n, wait):
    for i in range(n): changes(wait)
def changes(wait):
    if wait: time.sleep(wait)
def forever():
    while True: yield 1
def crowd(n):
    threads = [threading.Thread(target=hot, args=(n,)) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""

ENGINES: list[Callable[[Scope], Any]] = [lambda scope: RewriteEngine(scope, lambda *_: None)]
if sys.version_info >= (3, 12):
    ENGINES.append(MonitoringEngine)


@pytest.fixture(params=ENGINES, ids=["rewrite", "monitoring"][: len(ENGINES)])
def governed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Bench, types.ModuleType]]:
    """An engine at work under a budget of 1 %, and the program above."""
    engine = request.param(Scope([str(tmp_path)], exclude=["tests.*", "conftest"]))
    recorder = NativeRecorder(1 << 62, None, 0.01)
    engine.start(recorder)
    try:
        started = Bench(engine, recorder, tmp_path)
        yield started, started.load(PROGRAM)
    finally:
        engine.stop()


def names(started: Bench, numbers: Sequence[int]) -> set[str]:
    return {started.recorder.sites[number].qualname for number in numbers}


def test_a_hot_tiny_function_is_released_within_ten_milliseconds(governed: tuple[Bench, types.ModuleType]) -> None:
    """Of CPU time; what calls it is not, and is counted exactly."""
    started, program = governed
    before = time.process_time()
    while not started.recorder.released:
        program.hot(2_000)
        assert time.process_time() - before < 1
    assert time.process_time() - before < 0.02  # 10 ms, and the calls that were begun
    counted = started.calls("tiny")
    program.hot(100_000)
    assert started.calls("tiny") == counted
    assert names(started, started.recorder.released) == names(started, started.recorder.sampled) == {"tiny"}


def test_what_does_work_of_its_own_is_exact(governed: tuple[Bench, types.ModuleType]) -> None:
    """A function of 50 us beside one that is released."""
    started, program = governed
    program.mixed(2_000)
    assert names(started, started.recorder.released) == {"tiny"}
    assert (started.calls("slow"), started.calls("mixed")) == (2_000, 1)
    assert started.calls("tiny") < 400_000


def test_calls_that_are_open_when_their_function_is_released(governed: tuple[Bench, types.ModuleType]) -> None:
    """They leave the stack of calls, so that what comes later has its true caller."""
    started, program = governed
    for _ in range(300):
        program.down(50)
    assert "tiny" in names(started, started.recorder.released)
    program.after()
    sites = started.recorder.sites
    callers = {sites[edge.caller].qualname for edge in started.recorder.edges() if sites[edge.site].qualname == "leaf"}
    assert callers == {"after"}
    assert started.depth == 0


def test_generators_are_released(governed: tuple[Bench, types.ModuleType]) -> None:
    """By what they cost a value, not a call; nothing of them stays suspended."""
    started, program = governed
    for _ in range(3):
        program.pull(200_000)
    assert "numbers" in names(started, started.recorder.released)
    assert started.recorder.open_calls() == []


def test_a_generator_that_lives_on_is_released_again_after_a_sample(governed: tuple[Bench, types.ModuleType]) -> None:
    """What was forgotten of it when it was released is taken up again, and seen by the governor."""
    started, program = governed
    source = program.forever()
    for _ in range(4):
        for _ in range(300_000):
            next(source)
        assert names(started, started.recorder.released) == {"forever"}
        written = started.recorder.records
        started.engine.restore([started.recorder.sites[number] for number in started.recorder.released])
        next(source)
        assert started.recorder.records > written
    assert started.recorder.records < 600_000  # of 2,400,000
    assert started.calls("forever") == 1


def test_threads_that_wait_for_each_other_seem_no_slower_than_they_are(
    governed: tuple[Bench, types.ModuleType],
) -> None:
    """With eight threads at work, a function of 50 ns takes 35 ms now and then."""
    started, program = governed
    program.crowd(200_000)
    assert "tiny" in names(started, started.recorder.released)


def test_a_released_function_that_turns_slow_is_seen(governed: tuple[Bench, types.ModuleType]) -> None:
    """Once it was taken back it stays; one that is as hot as ever is released again."""
    started, program = governed
    while not {"changes", "tiny"} <= names(started, started.recorder.released):
        program.turns(2_000, 0)
        program.hot(2_000)
    sampler = Sampler(started.recorder, started.engine.restore, clock=iter([0.0, INTERVAL, 2 * INTERVAL]).__next__)
    sampler.look()
    assert started.recorder.released == []
    counted = started.calls("changes")
    program.turns(20, 0.001)
    program.hot(200_000)
    assert started.calls("changes") == counted + 20
    assert names(started, started.recorder.released) == {"tiny"}
    assert names(started, started.recorder.sampled) == {"changes", "tiny"}


def test_without_a_budget_every_call_is_recorded(tmp_path: Path) -> None:
    """However hot."""
    with bench("rewrite", "native", tmp_path) as started:
        started.load(PROGRAM).hot(300_000)
        assert started.calls("tiny") == 300_000
        assert started.recorder.sampled == []


class _Released:
    """A recorder that says which sites are released."""

    def __init__(self, count: int) -> None:
        self.sites = SiteTable()
        self.released = [self.sites.add("m", f"f{n}", "m.py", n, "function").number for n in range(count)]


def test_many_released_sites_are_sampled_in_turn() -> None:
    """Each of them within two intervals, some at a time."""
    seconds = iter(range(100))
    recorder: Any = _Released(3 * AT_ONCE)
    restored: list[list[int]] = []

    def restore(sites: Sequence[Site]) -> None:
        restored.append([site.number for site in sites])

    sampler = Sampler(recorder, restore, clock=lambda: float(next(seconds)))
    for _ in range(4):
        sampler.look()
    assert [len(numbers) for numbers in restored] == [3 * AT_ONCE // 2] * 4
    assert set(restored[0]) | set(restored[1]) == set(restored[2]) | set(restored[3]) == set(recorder.released)


def test_nothing_is_sampled_before_it_is_due() -> None:
    """The narrator looks four times a second."""
    times = iter([0.0, 0.3, 0.6, 0.9, 1.2, 1.3, 2.1, 2.3])
    recorder: Any = _Released(1)
    restored: list[int] = []
    sampler = Sampler(recorder, lambda sites: restored.append(len(sites)), clock=times.__next__)
    for _ in range(7):
        sampler.look()
    assert restored == [1, 1]


TRACED = """
def work(n):
    total = 0
    for i in range(n):
        try:
            if i % 2: raise ValueError(i)
            total += i
        except ValueError:
            continue
        finally:
            total += 1
    if total > 5:
        return total
    return None
def values(n):
    for i in range(n): yield i
def main(): return [work(4), work(1), list(values(2))]
"""


def lines_of(function: Callable[[], object]) -> list[tuple[str, str, int]]:
    """Return what a tracer sees: event, function and line."""
    seen: list[tuple[str, str, int]] = []

    def trace(frame: types.FrameType, event: str, _argument: object) -> Any:
        seen.append((event, frame.f_code.co_name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return [one for one in seen if one[1] in {"work", "values", "main"}]


def test_jumps_over_probes_are_unseen(tmp_path: Path) -> None:
    """Lines that a tracer sees, copies of the code, and the code as `marshal` writes it."""
    plain: dict[str, Any] = {}
    exec(compile(TRACED, str(tmp_path / "program.py"), "exec"), plain)
    with bench("rewrite", "native", tmp_path) as started:
        engine, recorder = started.engine, started.recorder
        program = started.load(TRACED)
        wanted = lines_of(plain["main"])
        assert lines_of(program.main) == wanted
        for site in recorder.sites:
            engine.release(site)
        for _ in range(2):
            assert program.main() == plain["main"]()  # the jumps are written
        assert lines_of(program.main) == wanted
        copy = types.FunctionType(program.work.__code__.replace(co_name="copy"), vars(program))
        loaded = types.FunctionType(marshal.loads(marshal.dumps(program.work.__code__)), vars(program))
        assert copy(4) == loaded(4) == plain["work"](4)
        engine.restore(list(recorder.sites))
        assert copy(4) == loaded(4) == plain["work"](4)
        assert lines_of(program.main) == wanted
        program.main()  # where the tracer has left something over a jump, it goes now
        engine.restore(list(recorder.sites))
        counted = started.calls("work")
        program.work(3)
        copy(3)
        assert started.calls("work") == counted + 2
        engine.release(recorder.sites[1])
        program.work(3)
        assert restore(program.work)  # `numba`, say, gets the function's own code


def test_code_that_is_gone_is_left_alone(tmp_path: Path) -> None:
    """Its probes may live on, among constants that somebody keeps."""
    with bench("rewrite", "native", tmp_path) as started:
        engine = started.engine
        kept = []
        for n in range(200):
            program = started.load(f"def f():\n    return {n}\n")
            site = engine.site(program.f)
            assert site is not None
            engine.release(site)
            assert program.f() + program.f() == 2 * n
            kept.append((site, program.f.__code__.co_consts))
            del program
        gc.collect()
        engine.restore([site for site, _ in kept])
        for site, _ in kept:
            engine.release(site)
