"""Stories and stages as a program opens them."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import gc
import io
import logging
import pickle
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from narrative_auto import (
    ConsoleRenderer,
    FailureDiagnosticsConfig,
    FailureOccurred,
    FailureSummary,
    LLMAnalysisReady,
    LogRecorded,
    NarrativeLogHandler,
    NarrativeTaskGroup,
    NarrativeTaskGroupError,
    StageCompleted,
    StageFailed,
    StageRecord,
    StageStarted,
    StoryCompleted,
    StoryStarted,
    has_active_story,
    stage,
    story,
)
from narrative_auto.stories.runtime import active_stage
from narrative_auto.testing import StoryRecorder

if TYPE_CHECKING:
    from collections.abc import Iterator


def names(recorder: StoryRecorder) -> list[str]:
    """Return the events as "kind name"."""
    return [f"{type(event).__name__} {getattr(event, 'stage_name', event.story_name)}" for event in recorder.events]


class Later:
    """A renderer that takes its time."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def handle(self, event: Any) -> None:
        """Take an event after a moment."""
        await asyncio.sleep(0.001)
        self.got.append(type(event).__name__)


class Broken:
    """A renderer that raises."""

    def handle(self, event: object) -> None:
        """Raise."""
        raise ZeroDivisionError(f"no {type(event).__name__}")


# -- stories and stages ---------------------------------------------------------------------------------------------


def test_events_come_in_order() -> None:
    """Each stage begins before it ends, inside its story; indices count, parents are named."""
    with StoryRecorder("Import", total_stages=2) as recorder:
        with stage("Load") as load, stage("Parse") as parse:
            time.sleep(0.002)
        with stage("Insert"):
            pass
    assert names(recorder) == [
        "StoryStarted Import",
        "StageStarted Load",
        "StageStarted Parse",
        "StageCompleted Parse",
        "StageCompleted Load",
        "StageStarted Insert",
        "StageCompleted Insert",
        "StoryCompleted Import",
    ]
    started = [event for event in recorder.events if isinstance(event, StageStarted)]
    assert [(event.stage_index, event.parent_stage_name) for event in started] == [(0, None), (1, "Load"), (2, None)]
    assert started[1].parent_stage_id == started[0].stage_id
    assert len({event.stage_id for event in started}) == 3
    assert all(event.timestamp.tzinfo is UTC for event in recorder.events)
    times = [event.timestamp for event in recorder.events]
    assert times == sorted(times)
    assert isinstance(load, StageRecord)
    assert load.duration_seconds is not None
    assert parse.duration_seconds is not None
    assert load.duration_seconds >= parse.duration_seconds >= 0.002
    assert (load.completed, load.failed, parse.parent_stage_name) == (True, False, "Load")
    assert [event.progress_percent for event in recorder.events if isinstance(event, StageCompleted)] == [50, 100, 100]
    recorder.assert_story_completed(success=True)


def test_events_of_stages_are_ordinary_ones() -> None:
    """They compare with, are copied into and pickled as the dataclasses that they are."""
    with StoryRecorder() as recorder, stage("Load"):
        pass
    started, completed = recorder.events[1:3]
    plain = StageStarted(**dataclasses.asdict(started))
    assert plain == started
    assert started == plain
    assert repr(started) == repr(plain)
    assert pickle.loads(pickle.dumps(completed)) == completed
    assert dataclasses.replace(completed, stage_name="Other").stage_name == "Other"
    assert type(completed).__name__ == "StageCompleted"
    completed.stage_name = "Renamed"
    assert (completed.stage_name, started.stage_name) == ("Renamed", "Load")
    completed.stage_name = "Load"
    match completed:
        case StageCompleted(stage_name="Load"):
            pass
        case _:
            pytest.fail("does not match")


def test_time_runs_from_where_the_block_begins() -> None:
    """Not from where the stage is made, nor by a clock that somebody sets."""
    with StoryRecorder():
        late = stage("Late")
        time.sleep(0.02)
        with late as record:
            pass
    assert record.duration_seconds is not None
    assert record.duration_seconds < 0.01


def test_outside_a_story() -> None:
    """An error that says what to do; nothing at all where that was said to be right."""
    with pytest.raises(RuntimeError, match="must run inside an active story"), stage("Load"):
        pass
    with stage("Load", optional=True) as record:
        assert not has_active_story()
    assert (record.started_at, record.stage_id) == (None, "")


def test_each_block_takes_its_own() -> None:
    """A story or a stage is open once."""
    with StoryRecorder() as recorder:
        one = stage("One")
        with one:
            pass
        with pytest.raises(RuntimeError, match="was open before"), one:
            pass
    assert names(recorder).count("StageStarted One") == 1
    again = story("Again", renderers=[])
    with again, pytest.raises(RuntimeError, match="is open already"), again:
        pass


def test_progress() -> None:
    """Of the stages that were announced, at any time; else of those that have begun."""
    with story("Import", renderers=[]) as runtime:
        with stage("One"):
            assert runtime.progress_percent == 0
        assert runtime.progress_percent == 100
        runtime.set_total_stages(4)
        assert runtime.progress_percent == 25
        assert (runtime.completed_stages, runtime.total_stages) == (1, 4)
        with pytest.raises(ValueError, match="not -1"):
            runtime.set_total_stages(-1)


def test_nobody_hears_of_it() -> None:
    """`renderers=[]` is nobody, not the default; and what has no renderers prints to stdout."""
    stream, before = io.StringIO(), sys.stdout
    sys.stdout = stream
    try:
        with story("Silent", renderers=[]), stage("Load"):
            pass
        assert stream.getvalue() == ""
        with story("Told"), stage("Load"):
            pass
    finally:
        sys.stdout = before
    assert "Story started: Told" in stream.getvalue()
    assert "Stage completed: Load" in stream.getvalue()


# -- failures -------------------------------------------------------------------------------------------------------


def test_the_innermost_stage_is_named() -> None:
    """A failure comes from where it happened, and goes on unchanged."""
    error = ValueError("bad schema")
    recorder = StoryRecorder("ETL")
    with pytest.raises(ValueError, match="bad schema") as caught, recorder, stage("Outer"), stage("Inner"):
        raise error
    assert caught.value is error
    assert error.__context__ is None
    recorder.assert_stage_failed("Inner", error_type="ValueError")
    recorder.assert_story_completed(success=False)
    failed = [event for event in recorder.events if isinstance(event, StageFailed)]
    assert [(event.stage_name, event.error_type, event.error_message) for event in failed] == [
        ("Inner", "ValueError", "bad schema"),
        ("Outer", "ValueError", "bad schema"),
    ]
    (failure,) = [event for event in recorder.events if isinstance(event, FailureOccurred)]
    assert failure.filename == __file__
    assert failure.source_line == "raise error"
    assert "Inner" in failure.stage_timeline
    assert recorder.runtime.failed_stage_name == "Inner"
    assert not has_active_story()


def test_a_handled_failure_is_not_blamed_later() -> None:
    """A later one, outside every stage, is nobody's; one that was raised from it is."""

    def risky() -> None:
        raise KeyError("again")

    def handled_and_again() -> None:
        with suppress(KeyError), stage("Handled"):
            risky()
        risky()

    def raised_from() -> None:
        try:
            with stage("Insert"):
                raise ValueError("one")
        except ValueError as error:
            with stage("Clean up"):
                pass
            raise KeyError("two") from error

    with pytest.raises(KeyError), StoryRecorder() as recorder:
        handled_and_again()
    (failure,) = [event for event in recorder.events if isinstance(event, FailureOccurred)]
    assert failure.stage_name == ""
    with pytest.raises(KeyError), StoryRecorder() as recorder:
        raised_from()
    recorder.assert_stage_failed("Insert", error_type="KeyError")


@pytest.mark.parametrize("way", [SystemExit(0), SystemExit(), GeneratorExit()])
def test_ways_to_end_that_are_no_failures(way: BaseException) -> None:
    """`sys.exit(0)` is a way to end well."""
    with pytest.raises(type(way)), StoryRecorder() as recorder, stage("Last"):
        raise way
    recorder.assert_no_failure()
    recorder.assert_stages_completed(["Last"])
    recorder.assert_story_completed(success=True)


def test_an_exit_with_a_status_is_no_success() -> None:
    """Nor is it a failure of the code."""
    with pytest.raises(SystemExit), StoryRecorder() as recorder:
        sys.exit(3)
    recorder.assert_no_failure()
    recorder.assert_story_completed(success=False)


def test_dry_run() -> None:
    """What leaves a stage goes no further; what ends the program does."""
    with StoryRecorder(dry_run=True) as recorder:
        with stage("Load"):
            raise OSError("would connect")
        with stage("Transform"):
            raise RuntimeError("would run")
        with story("Inner") as inner, stage("Too"):
            raise ValueError("inherited")
    assert inner.dry_run
    recorder.assert_stages_completed(["Load", "Transform", "Too"])
    recorder.assert_no_failure()
    recorder.assert_story_completed(success=True)
    with pytest.raises(KeyboardInterrupt), StoryRecorder(dry_run=True), stage("Load"):
        raise KeyboardInterrupt


class Unprintable(Exception):  # noqa: N818 - it is no error of ours
    """An exception of which nothing can be said."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


def test_whatever_goes_wrong_the_exception_goes_on() -> None:
    """Renderers that raise, an exception without a text, an odd code: the story ends, and the next renderer hears it."""
    error = Unprintable()
    with pytest.raises(Unprintable) as caught, StoryRecorder(renderers=[Broken()]) as recorder, stage("Load"):
        raise error
    assert caught.value is error
    assert not has_active_story()
    recorder.assert_stage_failed("Load")


def test_a_failure_that_the_story_survives() -> None:
    """It is told at once, awaited or not."""
    with StoryRecorder() as recorder:
        try:
            with stage("Reserve"):
                raise ValueError("none left")
        except ValueError as error:
            recorder.runtime.record_failure(error)
        recorder.assert_stage_failed("Reserve")
    recorder.assert_story_completed(success=True)

    async def saga() -> list[str]:
        later = Later()
        async with story("Saga", renderers=[later]) as runtime:
            await runtime.record_failure(ValueError("none left"), stage_name="Refund")
            assert later.got == ["StoryStarted", "FailureOccurred"]
        return later.got

    assert asyncio.run(saga())[-1] == "StoryCompleted"


def test_secrets_stay_where_they_are() -> None:
    """In messages, source and tracebacks, by name and by pattern."""
    config = FailureDiagnosticsConfig(redact_patterns=("^badge$",))
    secrets = {"pin": "4711", "badge": "0815", "password": "hunter2"}
    recorder = StoryRecorder(diagnostics_config=config, redact_extra=["pin"])
    with pytest.raises(ValueError, match="pin="), recorder, stage("Pay"):
        raise ValueError(", ".join(f"{name}={value}" for name, value in secrets.items()))
    told = "".join(map(repr, recorder.events))
    assert "badge=[redacted]" in told
    for secret in secrets.values():
        assert secret not in told


def test_diagnostics_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused where the story is made."""
    with pytest.raises(ValueError, match="'lean' or 'rich', not 'loud'"):
        story("x", failure_diagnostics="loud")
    monkeypatch.setenv("RUNTIME_NARRATIVE_FAILURE_DIAGNOSTICS", "loud")
    with pytest.raises(ValueError, match="loud"):
        story("x")
    monkeypatch.setenv("NARRATIVE_FAILURE_DIAGNOSTICS", "rich")
    monkeypatch.setenv("NARRATIVE_ENV", "production")
    with story("x", renderers=[]) as runtime:
        assert runtime.diagnostics == FailureDiagnosticsConfig("production", "rich")


# -- sub-stories, threads, tasks --------------------------------------------------------------------------------------


def test_sub_stories() -> None:
    """They belong to the story in which they are entered, not made, and take its renderers."""
    inner = story("Inner")
    with StoryRecorder("Outer") as recorder:
        with stage("Persist"), inner as runtime, stage("Query") as query:
            assert query.parent_stage_name is None
        outer = recorder.runtime
        with stage("After") as after:
            assert after.parent_stage_name is None
    assert (runtime.parent_story_id, runtime.root_story_id) == (outer.story_id, outer.story_id)
    assert [event.story_name for event in recorder.events if isinstance(event, StoryStarted)] == ["Outer", "Inner"]
    (own,) = [event for event in recorder.events if isinstance(event, StoryCompleted) and event.story_name == "Inner"]
    assert own.parent_story_id == outer.story_id
    assert own.completed_stages == 1


def test_threads_have_stories_of_their_own() -> None:
    """Unless the context is carried over."""
    seen: list[tuple[bool, str | None]] = []

    def work() -> None:
        with stage("Work", optional=True) as record:
            seen.append((has_active_story(), record.parent_stage_name))

    with StoryRecorder(), stage("Start"):
        for target in (work, partial(contextvars.copy_context().run, work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    expected_bare = sys.version_info >= (3, 14) and bool(getattr(sys.flags, "thread_inherit_context", 0))
    assert seen == [(True, "Start") if expected_bare else (False, None), (True, "Start")]


def test_tasks_do_not_become_each_others_parents() -> None:
    """Stages of tasks that take turns belong to the stage in which the task began."""

    async def fetch(name: str) -> None:
        async with stage(f"Fetch {name}"):
            await asyncio.sleep(0.001)
            async with stage(f"Parse {name}"):
                await asyncio.sleep(0.001)

    async def main() -> StoryRecorder:
        async with StoryRecorder() as recorder, stage("All"):
            await asyncio.gather(fetch("a"), fetch("b"), asyncio.to_thread(sync))
        return recorder

    def sync() -> None:
        with stage("In a thread"):
            pass

    started = [event for event in asyncio.run(main()).events if isinstance(event, StageStarted)]
    assert {event.stage_name: event.parent_stage_name for event in started} == {
        "All": None,
        "Fetch a": "All",
        "Fetch b": "All",
        "In a thread": "All",
        "Parse a": "Fetch a",
        "Parse b": "Fetch b",
    }


def test_task_groups() -> None:
    """All are waited for; what failed is named, what was cancelled too; the story goes on."""

    async def fail() -> None:
        await asyncio.sleep(0.001)
        raise ValueError("risky")

    async def main() -> tuple[NarrativeTaskGroupError, StoryRecorder]:
        async with StoryRecorder() as recorder:
            with pytest.raises(NarrativeTaskGroupError) as caught:
                await grouped()
        return caught.value, recorder

    async def grouped() -> None:
        async with NarrativeTaskGroup() as group:
            group.create_task(fail(), name="Risky")
            group.create_task(asyncio.sleep(0.01), name="Calm")
            group.create_task(asyncio.sleep(10), name="Cut").cancel()
            group.create_task(asyncio.sleep(0), name="Calm")

    error, recorder = asyncio.run(main())
    assert set(error.failed_tasks) == {"Risky", "Cut"}
    assert isinstance(error.failed_tasks["Risky"], ValueError)
    assert isinstance(error.failed_tasks["Cut"], asyncio.CancelledError)
    assert "Risky (ValueError)" in str(error)
    recorder.assert_stages_completed(["Calm"])
    recorder.assert_story_completed(success=True)
    with pytest.raises(RuntimeError, match="inside of"):
        NarrativeTaskGroup().create_task(asyncio.sleep(0))


# -- renderers --------------------------------------------------------------------------------------------------------

ALL = ["StoryStarted", "StageStarted", "StageCompleted", "StoryCompleted"]


def test_asynchronous_renderers_lose_nothing() -> None:
    """In synchronous code, in a loop under `with`, and under `async with`; also where the loop ends right after."""
    later = Later()
    with story("Sync", renderers=[later]), stage("One"):
        pass
    assert later.got == ALL

    async def under_with() -> None:
        with story("In a loop", renderers=[later]), stage("One"):
            pass

    later.got.clear()
    asyncio.run(under_with())
    assert later.got == ALL

    async def mixed() -> None:
        async with story("Both", renderers=[later]):
            with stage("One"):
                pass

    later.got.clear()
    asyncio.run(mixed())
    assert later.got == ALL


def test_the_others_hear_what_a_broken_renderer_does_not() -> None:
    """And it is asked again each time."""
    later = Later()
    with StoryRecorder(renderers=[Broken(), later]) as recorder, stage("One"):
        pass
    assert later.got == ALL
    assert len(recorder.events) == 4


# -- logging ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of its own."""
    made = logging.getLogger("narrative-test")
    made.propagate = False
    yield made
    made.handlers.clear()


def test_records_of_logging(logger: logging.Logger) -> None:
    """Inside a story they are events, redacted; outside they go to the fallback, also those of renderers."""
    outside: list[str] = []

    class Fallback(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            outside.append(record.getMessage())

    class Logs:
        def handle(self, event: object) -> None:
            logger.warning("got %s", type(event).__name__)

    logger.addHandler(NarrativeLogHandler(level=logging.WARNING, fallback=Fallback()))
    logger.warning("before")
    with StoryRecorder("Job", renderers=[Logs()]) as recorder, stage("Work"):
        logger.info("too low")
        try:
            raise ValueError("deep")
        except ValueError:
            logger.exception("password=%s", "hunter2")
    (record, *more) = [event for event in recorder.events if isinstance(event, LogRecorded) and event.level == "ERROR"]
    assert not more
    assert (record.story_name, record.stage_name, record.logger_name) == ("Job", "Work", "narrative-test")
    assert "hunter2" not in record.message
    assert record.exc_text is not None
    assert "ValueError: deep" in record.exc_text
    assert outside[0] == "before"
    assert "got LogRecorded" in outside


# -- a long life --------------------------------------------------------------------------------------------------------


def test_a_story_of_many_stages_stays_small() -> None:
    """Records of the newest are kept, all are counted; names that hold numbers do not fill it either."""
    with story("Long", renderers=[]) as runtime, stage("Outer"):
        for number in range(20_000):
            with stage("Row"), stage(f"Row {number}"):
                pass
        gc.collect()
        assert len(runtime.stages) == 1_000
        timeline = runtime.build_stage_timeline()
    assert len(timeline.splitlines()) <= 202
    assert timeline.startswith("Outer 0.000s open\n  Row ×20000 ")
    assert runtime.completed_stages == 40_001


def test_lines_for_a_person() -> None:
    """A short id, the depth, glyphs in the stream's characters; a story's progress where it said its total."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = ConsoleRenderer(stream)

    def serve() -> None:
        with stage("Persist"), story("DB"), stage("Query"):
            pass
        with stage("Reply"):
            raise ValueError("no\x1b[2Jbody")

    with pytest.raises(ValueError, match="body"), story("POST /orders", renderers=[console], total_stages=2):
        serve()
    stream.seek(0)
    lines = stream.read().splitlines()
    outer, sub = lines[0][:8], lines[2].strip()[:8]
    assert outer != sub
    assert [line.partition(" (")[0] for line in lines[:8]] == [
        f"{outer} ▶ Story started: POST /orders",
        f"  {outer} ▶ Stage started: Persist",
        f"    {sub} ▶ Story started: DB",
        f"      {sub} ▶ Stage started: Query",
        f"      {sub} ✔ Stage completed: Query",
        f"    {sub} ▶ Story ended: SUCCESS",
        f"  {outer} ✔ Stage completed: Persist",
        f"  {outer} ▶ Stage started: Reply",
    ]
    assert lines[6].endswith("50 %")
    assert f"  {outer} ❌ Failure at: Reply" in lines
    assert "\x1b" not in "\n".join(lines)
    assert lines[-1].startswith(f"{outer} ▶ Story ended: FAILED")
    ascii_stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with story("Ascii", renderers=[ConsoleRenderer(ascii_stream)]), stage("One"):
        pass
    ascii_stream.seek(0)
    assert "[ok] Stage completed: One" in ascii_stream.read()


# -- analysis -----------------------------------------------------------------------------------------------------------


class Analyzer:
    """Says what it was asked."""

    def analyze_failure(self, *, story_name: str, stage_name: str, failure: FailureSummary, **more: object) -> str:
        """Answer."""
        assert set(more) == {"stage_timeline", "progress_percent"}
        return f"{story_name}, {stage_name}: {failure.error_type} in {failure.function}"


class NativeAnalyzer:
    """The same in a coroutine."""

    async def analyze_failure_async(self, **question: Any) -> str:
        """Answer after a moment."""
        await asyncio.sleep(0.001)
        return Analyzer().analyze_failure(**question)


@pytest.mark.parametrize("analyzer", [Analyzer(), NativeAnalyzer()], ids=["sync", "async"])
@pytest.mark.parametrize("in_background", [False, True])
def test_an_analysis(analyzer: object, in_background: bool) -> None:
    """It is in the failure, or follows it; in synchronous stories and in coroutines, also where the loop ends."""
    keywords: dict[str, Any] = {"failure_analyzer": analyzer, "background_analysis": in_background}
    before = set(threading.enumerate())

    def sync(recorder: StoryRecorder) -> None:
        with recorder, stage("Insert"):
            raise ValueError("duplicate")

    async def run(recorder: StoryRecorder) -> None:
        async with recorder, stage("Insert"):
            raise ValueError("duplicate")

    for way in (sync, lambda recorder: asyncio.run(run(recorder))):
        recorder = StoryRecorder("Import", **keywords)
        with pytest.raises(ValueError, match="duplicate"):
            way(recorder)
        for thread in set(threading.enumerate()) - before:
            if thread.name == "narrative-analysis":
                thread.join()
        (failure,) = [event for event in recorder.events if isinstance(event, FailureOccurred)]
        later = [event for event in recorder.events if isinstance(event, LLMAnalysisReady)]
        said = later[0].llm_analysis if in_background else failure.llm_analysis
        assert said is not None
        assert said.startswith("Import, Insert: ValueError in test_an_analysis")
        assert (failure.llm_analysis is None, len(later)) == (in_background, int(in_background))


def test_an_analyzer_that_fails() -> None:
    """The failure is told without it."""

    class Failing:
        def analyze_failure(self, **_: object) -> str:
            raise SystemExit("no")

    recorder = StoryRecorder(failure_analyzer=Failing())
    with pytest.raises(ValueError, match="mine"), recorder, stage("Insert"):
        raise ValueError("mine")
    recorder.assert_stage_failed("Insert")
    recorder.assert_story_completed(success=False)


# -- what is hard on renderers and stories ------------------------------------------------------------------------------


def test_a_loop_that_stops_takes_no_event_with_it() -> None:
    """Our loop goes on where one that was being used is not run any more."""
    later = Later()
    loop = asyncio.new_event_loop()

    async def inside() -> None:
        with stage("In the loop"):
            pass

    with story("Around", renderers=[later]):
        loop.run_until_complete(inside())
        with stage("After"):
            pass
    loop.close()
    assert sorted(set(later.got)) == sorted(ALL)
    assert later.got[-1] == "StoryCompleted"
    assert later.got.count("StageCompleted") >= 2


def test_a_renderer_that_logs_does_not_hear_itself(logger: logging.Logger) -> None:
    """Neither while a story runs nor in the loop that its coroutines run on, and nobody waits for a lock."""
    logger.addHandler(NarrativeLogHandler())

    class Logs(Later):
        async def handle(self, event: Any) -> None:
            logger.warning("got it")
            await super().handle(event)

    renderer = Logs()
    with story("Quiet", renderers=[renderer]):
        logger.warning("once")
    assert renderer.got == ["StoryStarted", "LogRecorded", "StoryCompleted"]


def test_a_renderer_that_cancels_itself() -> None:
    """It has failed, and nothing else has."""

    class Cancels:
        async def handle(self, event: object) -> None:
            raise asyncio.CancelledError

    async def run() -> None:
        async with StoryRecorder(renderers=[Cancels()]), stage("Work"):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        asyncio.run(run())
    with pytest.raises(ValueError, match="mine"), StoryRecorder(renderers=[Cancels()]), stage("Work"):
        raise ValueError("mine")


def test_a_block_that_does_not_begin_leaves_nothing_open() -> None:
    """Ctrl-C while its beginning is told."""

    class Interrupts:
        def __init__(self, at: str) -> None:
            self.at = at

        def handle(self, event: object) -> None:
            if type(event).__name__ == self.at:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), story("Never", renderers=[Interrupts("StoryStarted")]):
        pass
    assert not has_active_story()
    with story("Around", renderers=[Interrupts("StageStarted")]):
        with pytest.raises(KeyboardInterrupt), stage("Never"):
            pass
        assert active_stage() is None


def test_ctrl_c_at_a_good_end_is_not_lost() -> None:
    """The story ends well, the program does not go on."""

    class Interrupts:
        def handle(self, event: object) -> None:
            if isinstance(event, StoryCompleted):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), story("Well", renderers=[Interrupts()]):
        pass
    assert not has_active_story()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals that come by themselves")
def test_stages_in_signal_handlers() -> None:
    """They come at any moment, and neither hang nor raise."""
    seen = []

    def handler(_: int, __: object) -> None:
        with stage("In a handler", optional=True):
            seen.append(True)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with story("Busy", renderers=[]) as runtime:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                with stage("Outer"), stage("Inner"):
                    pass
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) > 10
    assert runtime.completed_stages == runtime.begun


def test_tasks_that_outlive_their_stage() -> None:
    """They belong to what is still open, and keep nothing alive that is over."""
    seen: list[str | None] = []

    async def tick(left: int) -> None:
        with stage("Tick", optional=True) as record:
            seen.append(record.parent_stage_name)
            if left:
                tasks.append(asyncio.create_task(tick(left - 1)))

    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        async with story("Ticking", renderers=[]):
            await tick(100)
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0)
            assert len(tasks) == 100
            gc.collect()
        await asyncio.create_task(tick(0))

    asyncio.run(main())
    assert set(seen) == {None}


def test_a_pattern_that_is_none() -> None:
    """It is refused at once."""
    with pytest.raises(ValueError, match="no regular expression"):
        FailureDiagnosticsConfig(redact_patterns=("(",))


def test_a_long_line_is_not_lost() -> None:
    """Of one that is longer than a traceback may be, the end is there."""
    with pytest.raises(ValueError, match="xx"), StoryRecorder() as recorder, stage("Work"):
        raise ValueError("x" * 50_000)
    (failure,) = [event for event in recorder.events if isinstance(event, FailureOccurred)]
    assert failure.traceback_truncated
    assert 0 < len(failure.traceback_text) <= 12_000


def test_an_exception_that_compares_oddly() -> None:
    """It is told like any other."""

    class Odd(Exception):  # noqa: N818
        __hash__ = Exception.__hash__

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

    with pytest.raises(Odd), StoryRecorder() as recorder, stage("Work"):
        raise Odd from Odd()
    recorder.assert_stage_failed("Work")


class Names:
    """Takes long to say which names it has."""

    def __dir__(self) -> list[str]:
        time.sleep(5)
        return []


class SlowError(ValueError):
    """Takes long to say what is wrong."""

    def __str__(self) -> str:
        time.sleep(5)
        return "late"


class JoinedError(ValueError):
    """Puts itself together."""

    def __str__(self) -> str:
        return ", ".join(map(str, self.args))


def test_a_traceback_has_its_time_too() -> None:
    """What Python would ask while it formats one is not asked, or asked in time; the chain is there all the same."""

    def fail() -> None:
        try:
            try:
                raise SlowError
            except SlowError as error:
                joined = JoinedError("a", "b")
                joined.add_note("seen twice")
                raise joined from error
        except JoinedError:
            _ = Names().nothing  # type: ignore[attr-defined]

    began = time.perf_counter()
    with pytest.raises(AttributeError), StoryRecorder() as recorder, stage("Work"):
        fail()
    with pytest.raises(ExceptionGroup), StoryRecorder() as groups, stage("Work"):
        raise ExceptionGroup("many", [JoinedError(), SlowError()])
    assert time.perf_counter() - began < 3
    (text, group) = [
        event.traceback_text for one in (recorder, groups) for event in one.events if isinstance(event, FailureOccurred)
    ]
    assert f"{__name__}.SlowError: <unprintable {__name__}.SlowError>\n\nThe above exception was the direct" in text
    assert f"{__name__}.JoinedError: a, b\nseen twice\n\nDuring handling of the above" in text
    assert text.endswith("AttributeError: 'Names' object has no attribute 'nothing'\n")
    assert f"ExceptionGroup: many (2 sub-exceptions)\n  | {__name__}.JoinedError\n" in group
