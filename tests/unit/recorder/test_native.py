"""What only the compiled recorder has: its clock, probes in place, lanes that serve again, memory of its own."""

from __future__ import annotations

import gc
import marshal
import os
import re
import resource
import threading
import time
import types
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from narrative_auto.instrument.engines.rewrite import RewriteEngine
from narrative_auto.instrument.scope import Scope
from narrative_auto.recorder import _native, lane, layout, sites
from narrative_auto.recorder.layout import RETURN, START, UNWIND
from narrative_auto.recorder.native import NativeRecorder
from narrative_auto.recorder.sites import FUNCTION

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
def plain(n):
    return n
def raises():
    raise ValueError
def numbers(n):
    for each in range(n):
        yield each
async def double(n):
    return await single(n) * 2
async def single(n):
    return n
"""


def load(recorder: NativeRecorder, source: str = PROGRAM) -> types.ModuleType:
    engine = RewriteEngine(Scope(["/"]), lambda *_: None)
    engine.start(recorder)
    module = types.ModuleType("program")
    exec(engine.instrument(compile(source, "/program.py", "exec"), "program"), module.__dict__)
    return module


def in_threads(count: int, work: Callable[[], object]) -> None:
    """Run `work` in threads, one after the other."""
    for _ in range(count):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


def calls(recorder: NativeRecorder) -> dict[str, int]:
    return {recorder.sites[edge.site].name: edge.calls for edge in recorder.edges()}


@pytest.fixture
def recorder() -> NativeRecorder:
    return NativeRecorder(1 << 60)


def test_both_recorders_have_the_same_limits() -> None:
    """What stands in C and in Python is the same number."""
    sources = Path(_native.__file__).parent
    text = "".join((sources / "c" / name).read_text() for name in ("lane.h", "totals.h", "box.h", "describe.h"))
    written = {name: int(number) for name, number in re.findall(r"#define (\w+) (\d+)u?\b", text)}
    for module in (layout, lane, sites):
        for name in written.keys() & vars(module).keys():
            assert written.pop(name) == getattr(module, name), name
    # What the recorder in Python has none of: ended threads that are kept, a black box that grows.
    assert written.keys() == {"ENDED_KEPT", "HAS_BOX", "BOX_SEGMENTS", "MOST_TEXT", "MADV_POPULATE_WRITE"}


def test_time_is_that_of_perf_counter(recorder: NativeRecorder) -> None:
    """Also where it comes from the processor's counter, and after the two were brought together again."""
    module = load(recorder)
    for _ in range(3):  # each brings them together within a second; in this process it may have been minutes
        recorder.drain()
        time.sleep(1.1)
    for _ in range(4):
        before = time.perf_counter_ns()
        module.plain(1)
        after = time.perf_counter_ns()
        lane = recorder.current_lane()
        assert lane is not None
        times = [at for at, _, _ in recorder.last_records(lane, 2)]
        # Somebody who sets the clock may let it run 500 millionths faster at once: 60,000 ns until the next look.
        assert before - 80_000 <= times[0] <= times[1] <= after + 80_000
        time.sleep(0.12)
        recorder.drain()


def test_time_never_goes_backwards(recorder: NativeRecorder) -> None:
    """Not at the second anchor either, which the first milliseconds of a process come by, nor at an adjustment."""
    module = load(recorder)
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        module.plain(1)
        recorder.drain()
    lane = recorder.current_lane()
    assert lane is not None
    times = [at for at, _, _ in recorder.last_records(lane, 65_536)]
    assert times == sorted(times)


def test_probes_are_put_in_place_once(recorder: NativeRecorder) -> None:
    """A module's prepared code that is bound a second time keeps the probes of the first."""
    engine = RewriteEngine(Scope(["/"]), lambda *_: None)
    engine.start(recorder)
    prepared = engine.prepare(compile(PROGRAM, "/program.py", "exec"))
    first = engine.bind(prepared, "first")
    assert first is prepared.code
    second = engine.bind(prepared, "second")
    assert second is not first
    for code, module in ((first, "first"), (second, "second")):
        function = next(each for each in code.co_consts if isinstance(each, types.CodeType))
        assert function.co_consts[-1].site.module == module


def test_code_that_is_not_what_the_plan_says_is_left_alone(recorder: NativeRecorder) -> None:
    """A plan that does not fit changes nothing: no place is empty, or there is none."""
    code = compile("x = 1", "/program.py", "exec")
    constants = code.co_consts
    for plan in (((START,), ()), ((START,) * 9, ()), ((), ((0, ((START,), ())),)), ((), ((99, ((), ())),))):
        assert not recorder.fill(code, plan, "program", recorder.sites.described)
    assert code.co_consts is constants
    assert len(recorder.sites) == 0


def test_each_probe_is_written_as_other_bytes(recorder: NativeRecorder) -> None:
    """Who takes constants for equal when `marshal` writes the same must not merge two probes."""
    code = load(recorder).numbers.__code__
    probes = [each for each in code.co_consts if hasattr(type(each), "site")]
    assert len(probes) == 5
    assert len({marshal.dumps(each) for each in probes}) == 5
    assert len(set(probes)) == 5
    again = marshal.loads(marshal.dumps(code))
    assert list(types.FunctionType(again, {"range": range})(3)) == [0, 1, 2]


def test_threads_that_end_leave_their_totals_and_not_their_memory(recorder: NativeRecorder) -> None:
    """A few rings stay readable; the totals stay exact."""
    module = load(recorder)
    in_threads(300, lambda: module.plain(1))
    assert calls(recorder) == {"plain": 300}
    assert recorder.records == 600
    assert len(recorder.lanes) <= 17
    assert len(recorder.drain()[0]) == 300


def test_a_generator_outlives_the_thread_that_began_it(recorder: NativeRecorder) -> None:
    """Its totals go on where it goes on, also after the lane of its thread serves another."""
    module = load(recorder)
    running: list[Any] = []

    def begin() -> None:
        generator = module.numbers(3)
        next(generator)
        running.append(generator)

    in_threads(40, begin)
    gc.collect()
    assert [list(generator) for generator in running] == [[1, 2]] * 40
    assert calls(recorder) == {"numbers": 40}
    assert recorder.open_calls() == []
    in_threads(20, begin)
    in_threads(20, lambda: list(running.pop()))
    assert calls(recorder) == {"numbers": 60}
    assert recorder.open_calls() == []


@pytest.mark.usefixtures("quick_collections")
def test_recorders_come_and_go_beside_threads() -> None:
    """A thread that has a lane of a recorder that is gone takes none of another's for it."""
    wanted, done = threading.Semaphore(0), threading.Semaphore(0)
    work: list[types.ModuleType] = []

    def serve() -> None:
        while True:
            wanted.acquire()
            if not work:
                return
            work[-1].plain(1)
            done.release()

    thread = threading.Thread(target=serve)
    thread.start()
    gone = []
    for _ in range(50):
        recorder = NativeRecorder(1 << 60)
        gone.append(weakref.ref(recorder))
        work.append(load(recorder))
        work[-1].plain(1)
        wanted.release()
        done.acquire()
        assert calls(recorder) == {"plain": 2}
        assert sorted(recorder.lanes) == [1, 2]
        work[-1].__dict__.clear()
        work.pop()
        del recorder
        gc.collect()
    wanted.release()
    thread.join()
    from narrative_auto.instrument.engines import base

    base.started[:] = [engine for engine in base.started if engine.name != "rewrite"]
    gc.collect()
    assert [ref() for ref in gone if ref() is not None] == []


def test_a_million_of_each_leave_nothing(recorder: NativeRecorder) -> None:
    """Calls, exceptions, suspensions and what reads them neither hold references nor take memory."""
    module = load(recorder)
    error = ValueError()
    site = recorder.sites.add("m", "f", "/f.py", 1, FUNCTION)
    start, leave, unwind = recorder.probes(site, (START, RETURN, UNWIND))

    def drive(rounds: int) -> None:
        for _ in range(rounds):
            module.plain(None)
            try:
                module.raises()
            except ValueError:
                pass
            for _ in module.numbers(2):
                pass
            try:
                module.double(1).send(None)
            except StopIteration:
                pass
            not start  # noqa: B018 - the same
            not leave  # noqa: B018 - the same
            unwind == error  # noqa: B015 - what instrumented code does
            unwind.left(1, ValueError)
            recorder.current_lane()

    def read() -> None:
        for _ in range(200):
            recorder.edges(), recorder.drain(), recorder.open_calls(), recorder.lanes, recorder.records
            recorder.last_records(1, 50), recorder.unwound(1), recorder.depth(1), recorder.is_empty
            recorder.probes(site, (START, RETURN, UNWIND))
            hash(start), start == 1, bytes(start), start.site, start.__reduce_ex__(4)

    drive(20_000)
    read()
    gc.collect()
    grown = []
    for _ in range(3):  # what is lost is lost each time
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        objects = len(gc.get_objects())
        drive(120_000)
        read()
        gc.collect()
        assert len(gc.get_objects()) - objects < 50
        grown.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert min(grown) < 1_500  # KiB


def test_what_a_signal_handler_raises_comes_through() -> None:
    """Where somebody is told that there is something to tell, a handler of the program's may run; it is asked again."""
    told: list[int] = []

    def interrupted() -> None:
        told.append(1)
        if len(told) == 1:
            raise KeyboardInterrupt
        if len(told) == 2:
            raise RecursionError  # the end of the stack

    recorder = NativeRecorder(1 << 60, interrupted)
    module = load(recorder)
    with pytest.raises(KeyboardInterrupt):
        module.plain(3)
    assert module.plain(4) == 4
    assert list(module.numbers(1)) == [0]
    assert len(told) == 3
    assert calls(recorder)["plain"] == 2


def test_a_call_that_ends_in_another_thread_counts_once(recorder: NativeRecorder) -> None:
    """Its time too, which belongs to the lane where it passed."""
    module = load(recorder, "import time\ndef slow():\n    yield\n    time.sleep(0.02)\n")
    running: list[Any] = []

    def begin() -> None:
        running.append(module.slow())
        next(running[-1])

    in_threads(1, begin)
    in_threads(1, lambda: list(running.pop()))
    (edge,) = recorder.edges()
    assert (edge.calls, edge.raised) == (1, 0)
    assert edge.total >= 20_000_000


def test_reading_while_other_code_runs(recorder: NativeRecorder) -> None:
    """Lists that are made for readers may start a collection, whose finalizers may let other threads record and end."""
    site = recorder.sites.add("m", "f", "/f.py", 1, FUNCTION)
    modules = [load(recorder, "".join(f"def f{each}(): pass\n" for each in range(60))) for _ in range(20)]

    def work() -> None:
        for module in modules:
            for each in range(60):
                vars(module)[f"f{each}"]()

    in_threads(3, work)

    class Nasty:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            in_threads(12, modules[0].f0)

    before = gc.get_threshold()
    gc.set_threshold(50)
    try:
        for _ in range(10):
            Nasty()
            assert sum(edge.calls for edge in recorder.edges()) >= 3 * 20 * 60
            recorder.drain(), recorder.open_calls(), recorder.lanes
            assert recorder.probes(site, (START,))
    finally:
        gc.set_threshold(*before)


def test_a_thread_of_ours_forks(recorder: NativeRecorder) -> None:
    """A thread that recorded and then was muted: its child begins anew, and goes on."""
    module = load(recorder)
    results: list[int] = []

    def work() -> None:
        module.plain(1)
        recorder.mute_thread()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a process with threads forks
            child = os.fork()
        if child == 0:
            recorder.begin_child()
            recorder.mute_thread()
            other = NativeRecorder(1 << 60)
            load(other).plain(2)
            os._exit(0 if calls(other) == {"plain": 1} and recorder.edges() == [] else 1)
        results.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    in_threads(1, work)
    assert results == [0]


def test_threads_of_ours_leave_nothing(recorder: NativeRecorder) -> None:
    """The narrator's thread comes and goes."""
    in_threads(50, recorder.mute_thread)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    in_threads(2_000, recorder.mute_thread)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500  # KiB
    assert recorder.is_empty


def test_names_of_exceptions_are_plain_text(recorder: NativeRecorder) -> None:
    """A class may have been given a name that runs code of its own."""

    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            raise RuntimeError("hashed")

    class OddError(Exception):
        pass

    OddError.__name__ = Name("Odd")
    module = load(recorder, "def fails(error): raise error")
    with pytest.raises(OddError):
        module.fails(OddError())
    (edge,) = recorder.edges()
    assert edge.errors == {"Odd": 1}
    assert [type(name) for name in edge.errors] == [str]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda recorder: recorder.last_records(7, 1),
        lambda recorder: recorder.unwound(0),
        lambda recorder: recorder.depth(1 << 40),
        lambda recorder: recorder.depth("1"),
        lambda recorder: recorder.probes(None, (START,)),
        lambda recorder: recorder.silence(object()),
        lambda recorder: recorder.fill(None, ((), ()), "m", []),
        lambda recorder: recorder.fill(compile("1", "f", "exec"), None, "m", []),
        lambda recorder: recorder.fill(compile("1", "f", "exec"), ((), (1,)), "m", []),
    ],
)
def test_what_makes_no_sense_is_an_error_or_nothing(recorder: NativeRecorder, wrong: Callable[[Any], object]) -> None:
    """Never the end of the process."""
    try:
        assert wrong(recorder) is False
    except (LookupError, TypeError, AttributeError, OverflowError, ValueError):
        pass
