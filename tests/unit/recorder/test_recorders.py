"""The recorders: what their probes write, and what it gives to its readers."""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from narrative_auto.recorder import lane as lanes
from narrative_auto.recorder.base import cost_per_record
from narrative_auto.recorder.layout import RECORD, RETURN, START, UNWIND
from narrative_auto.recorder.native import NativeRecorder
from narrative_auto.recorder.pure import PureRecorder
from narrative_auto.recorder.sites import FUNCTION, Site

if TYPE_CHECKING:
    from narrative_auto.recorder.base import Recorder

    Make = Callable[..., Recorder]


class Function:
    """A function as a recorder sees one: its probes, asked within an activation of its own."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.site: Site = recorder.sites.add("shop", name, "/app/shop.py", 1, FUNCTION)
        kinds = (START, RETURN, UNWIND)
        self._probes: dict[int, Any] = dict(zip(kinds, recorder.probes(self.site, kinds), strict=True))
        self._running: list[Generator[None, tuple[int, object]]] = []

    def _activation(self) -> Generator[None, tuple[int, object]]:
        while True:
            kind, error = yield
            if kind == UNWIND:
                assert (self._probes[kind] == error) is False
            else:
                not self._probes[kind]

    def start(self) -> None:
        self._running.append(self._activation())
        next(self._running[-1])
        self._running[-1].send((START, None))

    def leave(self) -> None:
        self._end(RETURN, None)

    def unwind(self, error: BaseException) -> None:
        self._end(UNWIND, error)

    def _end(self, kind: int, error: object) -> None:
        if not self._running:  # it was running before anything was recorded
            self._running.append(self._activation())
            next(self._running[-1])
        self._running.pop().send((kind, error))


@pytest.fixture(params=[NativeRecorder, PureRecorder])
def make(request: pytest.FixtureRequest) -> Make:
    chosen: Make = request.param
    return chosen


@pytest.fixture
def recorder(make: Make) -> Recorder:
    return make(min_duration=1 << 60)


def counts(recorder: Recorder) -> dict[tuple[str, str], int]:
    """Return {(caller, callee): calls}."""
    return {(recorder.sites[edge.caller].name, recorder.sites[edge.site].name): edge.calls for edge in recorder.edges()}


def test_a_record_of_the_pure_recorder_is_sixteen_bytes() -> None:
    """The binary format is fixed: time, site, transition."""
    recorder = PureRecorder()
    function = Function(recorder, "f")
    function.start()
    lane = recorder.current_lane()
    assert lane is not None
    at, site, transition = RECORD.unpack(bytes(recorder._lane(lane).ring[:2]))
    assert (site, transition) == (function.site.number, START)
    assert RECORD.size == 16
    assert recorder.last_records(lane, 1) == [(at, site, transition)]


def test_ring_holds_each_transition_in_order(recorder: Recorder) -> None:
    """Every probe hit is one record of its thread's ring."""
    outer, inner = Function(recorder, "outer"), Function(recorder, "inner")
    outer.start()
    inner.start()
    inner.unwind(ValueError())
    outer.leave()
    lane = recorder.current_lane()
    assert lane is not None
    records = recorder.last_records(lane, 10)
    assert [(site, kind) for _, site, kind in records] == [
        (outer.site.number, START),
        (inner.site.number, START),
        (inner.site.number, UNWIND),
        (outer.site.number, RETURN),
    ]
    assert [at for at, _, _ in records] == sorted(at for at, _, _ in records)
    assert recorder.records == 4


def test_ring_wraps_and_totals_stay_exact(recorder: Recorder) -> None:
    """Totals count every call, however far the ring has wrapped; the ring keeps the last records."""
    function = Function(recorder, "f")
    for _ in range(70_000):
        function.start()
        function.leave()
    lane = recorder.current_lane()
    assert lane is not None
    assert counts(recorder) == {("", "f"): 70_000}
    assert recorder.records == 140_000
    kept = recorder.last_records(lane, 1_000_000)
    assert len(kept) == 65_536
    assert kept[-1][2] == RETURN


def test_totals_are_kept_per_caller(recorder: Recorder) -> None:
    """A function that is called from two places has two edges, and self time leaves out what was called."""
    main, load, check = (Function(recorder, name) for name in ("main", "load", "check"))
    main.start()
    for _ in range(3):
        load.start()
        check.start()
        check.leave()
        load.leave()
    check.start()
    check.leave()
    main.leave()
    assert counts(recorder) == {("", "main"): 1, ("main", "load"): 3, ("load", "check"): 3, ("main", "check"): 1}
    by_name = {recorder.sites[edge.site].name: edge for edge in recorder.edges() if edge.caller == main.site.number}
    whole = next(edge for edge in recorder.edges() if edge.site == main.site.number)
    assert whole.own == whole.total - by_name["load"].total - by_name["check"].total


def test_exceptions_are_counted_by_type_and_control_flow_is_no_failure(recorder: Recorder) -> None:
    """ValueError is a failure; StopIteration, GeneratorExit and SystemExit end a call without being one."""
    function = Function(recorder, "f")
    for error in (ValueError(), ValueError(), KeyError(), StopIteration(), GeneratorExit(), SystemExit(3)):
        function.start()
        function.unwind(error)
    (edge,) = recorder.edges()
    assert (edge.calls, edge.raised, edge.errors) == (6, 3, {"ValueError": 2, "KeyError": 1})


def test_exits_are_matched_by_searching_down(recorder: Recorder) -> None:
    """A call whose exit was never reported (a signal handler raised in the probe) does not shift the others."""
    outer, lost = Function(recorder, "outer"), Function(recorder, "lost")
    outer.start()
    lost.start()
    outer.leave()
    outer.start()
    outer.leave()
    lane = recorder.current_lane()
    assert lane is not None
    assert recorder.depth(lane) == 0
    assert counts(recorder) == {("", "outer"): 2, ("outer", "lost"): 1}


def test_an_exit_without_a_start_is_harmless(recorder: Recorder) -> None:
    """A function that was running when recording began may return."""
    first, never = Function(recorder, "first"), Function(recorder, "never")
    first.start()
    never.leave()
    never.unwind(ValueError())
    first.leave()
    assert counts(recorder) == {("", "first"): 1}


def test_notable_calls_are_the_first_the_long_and_the_failed(recorder: Recorder) -> None:
    """A finished call is queued if it is the first of its place, lasted long, failed, or has a name of its own."""
    plain, named = Function(recorder, "plain"), Function(recorder, "named")
    recorder.mark(named.site, "Named")
    for _ in range(3):
        plain.start()
        plain.leave()
        named.start()
        named.leave()
    plain.start()
    plain.unwind(OSError())
    calls, dropped = recorder.drain()
    assert [(recorder.sites[call.site].name, call.error) for call in calls] == [
        ("plain", ""),
        ("Named", ""),
        ("Named", ""),
        ("Named", ""),
        ("plain", "OSError"),
    ]
    assert dropped == 0
    assert recorder.drain() == ([], 0)


def test_the_queue_of_notable_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody drains is counted, not kept."""
    monkeypatch.setattr("narrative_auto.recorder.calls.NOTABLE_LIMIT", 5)
    recorder = PureRecorder(min_duration=0)
    function = Function(recorder, "f")
    for _ in range(8):
        function.start()
        function.leave()
    calls, dropped = recorder.drain()
    assert (len(calls), dropped) == (5, 3)


def test_open_calls_are_seen_from_outside(recorder: Recorder) -> None:
    """Another thread sees what is running, outermost first."""
    outer, inner = Function(recorder, "outer"), Function(recorder, "inner")
    outer.start()
    inner.start()
    seen = recorder.open_calls()
    assert [(recorder.sites[call.site].name, call.depth) for call in seen] == [("outer", 0), ("inner", 1)]
    assert seen[1].caller_started == seen[0].started


def test_threads_have_lanes_of_their_own_and_leave_their_totals_behind(recorder: Recorder) -> None:
    """Two threads never become each other's callers, and a thread that has ended still counts."""
    function = Function(recorder, "f")
    function.start()

    def work() -> None:
        function.start()
        function.leave()

    for _ in range(5):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    gc.collect()
    assert counts(recorder) == {("", "f"): 6}
    assert recorder.records == 11
    calls, _ = recorder.drain()
    assert len(calls) == 5


def test_released_site_is_silent(recorder: Recorder) -> None:
    """After release nothing is recorded, and the probes still have a truth value."""
    function = Function(recorder, "f")
    function.start()
    function.leave()
    recorder.silence(function.site)
    function.start()
    function.unwind(ValueError())
    assert recorder.records == 2
    recorder.unsilence(function.site)
    function.start()
    assert recorder.records == 3


def test_muted_thread_records_nothing(recorder: Recorder) -> None:
    """Our own threads are not the program's story."""
    function = Function(recorder, "f")
    recorder.mute_thread()
    function.start()
    function.leave()
    assert recorder.edges() == []
    assert recorder.records == 0


def test_probes_pickle_into_something_harmless(recorder: Recorder) -> None:
    """A function that is pickled by value takes along constants with a truth value, not a recorder."""
    site = recorder.sites.add("m", "f", "f.py", 1, FUNCTION)
    copied = pickle.loads(pickle.dumps(recorder.probes(site, (START,))[0]))
    assert copied == ()


def test_child_of_fork_begins_anew(recorder: Recorder) -> None:
    """A child forgets the parent's totals; what was running when it began still runs."""
    outer, inner = Function(recorder, "outer"), Function(recorder, "inner")
    outer.start()
    inner.start()
    inner.leave()
    recorder.before_fork()
    recorder.begin_child()
    assert counts(recorder) == {("", "outer"): 1}
    outer.leave()
    assert recorder.records == 1


def test_sites_get_numbers_of_their_own_in_threads(recorder: Recorder) -> None:
    """Two threads that import modules at once never share a number."""
    numbers: list[int] = []

    def add() -> None:
        numbers.extend(recorder.sites.add("m", "f", "f.py", 1, FUNCTION).number for _ in range(500))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 2001))
    assert all(recorder.sites[number].number == number for number in numbers)


def test_metaclass_cannot_disturb_a_probe(recorder: Recorder) -> None:
    """The type's name is read without running code of the program's."""

    class Nasty(type):
        def __getattribute__(cls, name: str) -> object:
            raise RuntimeError(name)

    class OddError(Exception, metaclass=Nasty):
        pass

    function = Function(recorder, "f")
    function.start()
    function.unwind(OddError())
    (edge,) = recorder.edges()
    assert edge.errors == {"OddError": 1}


def test_memory_of_unwound_calls_is_bounded(recorder: Recorder) -> None:
    """Exceptions that are raised all the time do not pile up."""
    function = Function(recorder, "f")
    for _ in range(2_000):
        function.start()
        function.unwind(ValueError())
    lane = recorder.current_lane()
    assert lane is not None
    assert len(recorder.unwound(lane)) <= 2 * lanes.UNWOUND_LIMIT


def test_cost_is_measured(recorder: Recorder) -> None:
    """The cost of a record is a measured figure of this machine: some to some thousand ns."""
    assert 1 < cost_per_record(recorder) < 100_000
