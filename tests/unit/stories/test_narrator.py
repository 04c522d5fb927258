"""The narrator: events from what the recorder holds, in order, bounded; by a fake clock."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from narrative_auto.recorder.layout import RETURN, START, UNWIND
from narrative_auto.recorder.pure import PureRecorder
from narrative_auto.recorder.sites import FUNCTION
from narrative_auto.stories.events import (
    StageCompleted,
    StageFailed,
    StageStarted,
    StoryCompleted,
    StoryStarted,
    StoryTotals,
)
from narrative_auto.stories.narrator import Narrator

MS = 1_000_000


class Clock:
    """A clock that only the test moves; ns."""

    def __init__(self) -> None:
        self.now = 1_000 * MS

    def __call__(self) -> int:
        return self.now


class Kept:
    """A renderer that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.flushed = self.closed = 0

    def handle(self, event: Any) -> None:
        self.events.append(event)

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1

    @property
    def told(self) -> list[str]:
        """The events as words."""
        return [f"{type(one).__name__} {getattr(one, 'stage_name', '')}".strip() for one in self.events]


class World:
    """A recorder and its narrator in a test's hands."""

    def __init__(self, clock: Clock, *renderers: Any, min_duration: int = MS) -> None:
        self.clock = clock
        self.recorder = PureRecorder(min_duration)
        self.kept = Kept()
        self.lines: list[str] = []
        self.narrator = Narrator(
            self.recorder, "s1", "app.py", "", "", min_duration, lambda: [*renderers, self.kept], self.lines.append
        )
        self._probes: dict[str, dict[int, Any]] = {}

    def _probe(self, name: str, transition: int) -> Any:
        if name not in self._probes:
            site = self.recorder.sites.add("shop", name, "shop.py", 1, FUNCTION)
            kinds = (START, RETURN, UNWIND)
            self._probes[name] = dict(zip(kinds, self.recorder.probes(site, kinds), strict=True))
        return self._probes[name][transition]

    def start(self, name: str) -> None:
        assert self._probe(name, START)

    def leave(self, name: str, after: int = 0) -> None:
        self.clock.now += after
        assert self._probe(name, RETURN)

    def fail(self, name: str, error: BaseException) -> None:
        assert (self._probe(name, UNWIND) == error) is False

    def finish(self, outcome: str = "ok", status: int | None = 0) -> None:
        self.narrator.finish(outcome, status, [], ("/app",), 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter_ns", clock)
    monkeypatch.setattr("narrative_auto.stories.narrator.cost_per_record", lambda _: 100.0)
    return clock


def test_a_story_from_start_to_end(clock: Clock) -> None:
    """Each stage starts before it ends, with its true times, its caller and its place in the order."""
    world = World(clock)
    world.start("main")
    clock.now += 2 * MS
    world.start("load")
    world.leave("load", 5 * MS)
    world.leave("main", 1 * MS)
    world.finish()
    assert world.kept.told == [
        "StoryStarted",
        "StageStarted load",
        "StageCompleted load",
        "StageStarted main",
        "StageCompleted main",
        "StoryTotals",
        "StoryCompleted",
    ]
    began, load, loaded, main, done, totals, completed = world.kept.events
    assert isinstance(began, StoryStarted)
    assert isinstance(load, StageStarted)
    assert isinstance(loaded, StageCompleted)
    assert (load.parent_stage_name, load.parent_stage_id, load.stage_id) == ("main", main.stage_id, loaded.stage_id)
    assert (load.stage_index, loaded.stage_index, main.stage_index) == (0, 0, 1)
    assert (loaded.timestamp - load.timestamp).total_seconds() == pytest.approx(0.005, abs=2e-6)
    assert (load.timestamp - main.timestamp).total_seconds() == pytest.approx(0.002, abs=2e-6)
    assert done.duration_seconds == pytest.approx(0.008)
    assert load.timestamp.tzinfo is UTC
    assert abs((datetime.now(UTC) - began.timestamp).total_seconds()) < 60
    assert isinstance(totals, StoryTotals)
    assert [(one.name, one.calls) for one in totals.totals] == [("main", 1), ("load", 1)]
    assert totals.own_cost == pytest.approx(4 * 100e-9 / 0.008)
    assert isinstance(completed, StoryCompleted)
    assert completed.success
    assert completed.duration_seconds == pytest.approx(0.008)
    assert world.kept.closed == 1


def test_an_open_stage_starts_while_it_runs_and_ends_once(clock: Clock) -> None:
    """A call that is open after min_duration is told when it is seen, with its true start, and not again at its end."""
    world = World(clock)
    world.start("main")
    world.narrator.tick()
    assert world.kept.events == []
    clock.now += 3 * MS
    world.start("wait")
    clock.now += 2 * MS
    world.narrator.tick()
    world.narrator.tick()
    assert world.kept.told == ["StoryStarted", "StageStarted main", "StageStarted wait"]
    assert world.kept.events[2].parent_stage_name == "main"
    world.leave("wait", 1 * MS)
    world.leave("main")
    world.narrator.tick()
    assert world.kept.told[3:] == ["StageCompleted wait", "StageCompleted main"]
    assert [one.stage_index for one in world.kept.events[1:]] == [0, 1, 1, 0]


def test_a_failed_stage_says_which_exception(clock: Clock) -> None:
    """Only the exception's type is kept."""
    world = World(clock)
    world.start("load")
    world.fail("load", ValueError("a secret"))
    world.finish("failed", 1)
    failed = world.kept.events[2]
    assert isinstance(failed, StageFailed)
    assert (failed.error_type, failed.error_message) == ("ValueError", "")
    assert world.kept.events[-1].success is False


def test_a_line_when_a_stage_stays_open(clock: Clock) -> None:
    """After 2, 10 and 60 seconds, once each; the innermost stage speaks for those above it."""
    world = World(clock)
    world.start("main")
    world.start("load_orders")
    clock.now += 1_999 * MS
    world.narrator.tick()
    assert world.lines == []
    for seconds in (2, 3, 10, 11, 60, 600):
        clock.now = 1_000 * MS + seconds * 1_000 * MS
        world.narrator.tick()
    assert world.lines == [
        "narrative: main > load_orders is open for 2 s",
        "narrative: main > load_orders is open for 10 s",
        "narrative: main > load_orders is open for 60 s",
    ]


def test_a_stage_with_quick_calls_inside_speaks_for_itself(clock: Clock) -> None:
    """A long loop over short calls is what is open."""
    world = World(clock)
    world.start("main")
    clock.now += 2_001 * MS
    world.start("step")
    world.narrator.tick()
    assert world.lines == ["narrative: main is open for 2 s"]


def test_at_most_fifty_a_second_of_one_site(clock: Clock) -> None:
    """The rest is folded into the totals, and counted."""
    world = World(clock, min_duration=0)
    for _ in range(80):
        world.start("step")
        world.leave("step")
    world.finish()
    assert world.kept.told.count("StageCompleted step") == 50
    totals = world.kept.events[-2]
    assert (totals.totals[0].calls, totals.folded) == (80, 30)


def test_at_most_two_thousand_a_second_in_all(clock: Clock) -> None:
    """However many sites there are."""
    world = World(clock, min_duration=0)
    for number in range(2_500):
        world.start(f"f{number}")
        world.leave(f"f{number}")
    world.finish()
    assert sum(told.startswith("StageCompleted") for told in world.kept.told) == 2_000
    assert world.kept.events[-2].folded == 500


def test_a_renderer_that_raises_is_named_once_and_the_next_goes_on(
    clock: Clock, lenient: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program's story reaches the other renderers; the one that raised is asked no more."""
    import sys

    class BrokenRenderer:
        calls = 0

        def handle(self, event: Any) -> None:
            self.calls += 1
            raise RuntimeError("no")

    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    broken = BrokenRenderer()
    world = World(clock, broken)
    world.start("main")
    world.leave("main", MS)
    world.finish()
    assert world.kept.told[-1] == "StoryCompleted"
    assert broken.calls == 1
    assert (
        capsys.readouterr().err
        == "narrative_auto: BrokenRenderer failed (RuntimeError: no), the program goes on without it\n"
    )


def test_names_that_two_modules_share_get_the_module_in_front(clock: Clock) -> None:
    """`load` of two modules are told apart."""
    world = World(clock)
    for module in ("shop.a", "shop.b"):
        site = world.recorder.sites.add(module, "load", f"{module}.py", 1, FUNCTION)
        assert world.recorder.probes(site, (START,))[0]
    assert [one.name for one in world.narrator.totals()] == ["shop.a.load", "shop.b.load"]


def test_the_thread_is_unseen_and_gone_when_it_is_stopped() -> None:
    """`threading` does not know the narrator's thread, and the system forgets it before stop() returns."""
    world = World(Clock())
    before = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
    known = threading.enumerate()
    world.narrator.ticker.start()
    world.narrator.ticker.start()
    assert threading.enumerate() == known
    world.narrator.ticker.stop()
    world.narrator.ticker.stop()
    if before:
        assert len(os.listdir("/proc/self/task")) == before
