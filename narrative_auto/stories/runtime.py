"""`story()`: a unit of work with a beginning, an end and an outcome; and what is known of it while it is open."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from functools import cached_property

from narrative_auto.errors import guarded, shielded
from narrative_auto.stories.events import StoryCompleted, StoryStarted
from narrative_auto.stories.leaving import Leavings
from narrative_auto.stories.narrator import process_story
from narrative_auto.stories.timeline import Timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextvars import Token
    from typing import Any

    from narrative_auto.failures.config import FailureDiagnosticsConfig
    from narrative_auto.failures.redaction import Redactor
    from narrative_auto.stories.delivery import Outlet
    from narrative_auto.stories.events import FailureOccurred
    from narrative_auto.stories.recorded import Place
    from narrative_auto.stories.stages import StageRecord
    from narrative_auto.stories.timeline import TimelineLine

KEPT_STAGES = 1_000
"""Records of stages that a story keeps: the newest. Its timeline counts all of them."""

current: ContextVar[StageRecord | StoryRuntime | None] = ContextVar("narrative_story", default=None)
"""What is innermost in this context: a stage that is open, else a story, else nothing."""

_COLLECTS_ANYWHERE = sys.version_info < (3, 12)

_default_renderers: list[Callable[[], Sequence[Any]]] = []


def percent(done: int, total: int) -> int:
    """Return how much is done, from 0 to 100."""
    return min(100, 100 * done // total) if total else 0


def provide_renderers(make: Callable[[], Sequence[Any]]) -> None:
    """Say what a story has for renderers that names none; the first provider counts."""
    if not _default_renderers:
        _default_renderers.append(make)


def _set_on_3_11(innermost: StageRecord | StoryRuntime | None) -> Token[StageRecord | StoryRuntime | None]:
    """Let something be innermost in this context.

    CPython 3.11 may collect garbage within the setting of a variable, and so close a generator that sets one, too: the
    values of the context would be freed while they are being used. Whoever has a copy of the context keeps them.
    """
    kept = copy_context()
    token = current.set(innermost)
    del kept
    return token


take = _set_on_3_11 if _COLLECTS_ANYWHERE else current.set
"""Lets something be innermost in this context; returns what `give_back` wants."""


def give_back(token: Token[Any]) -> None:
    """Let be innermost what was before; in another context, where a generator may end, there is nothing to give."""
    kept = copy_context() if _COLLECTS_ANYWHERE else None
    try:
        current.reset(token)
    except (ValueError, RuntimeError):
        pass
    finally:
        del kept


def default_renderers() -> Sequence[Any]:
    """Return what a story has for renderers that names none and has no story around it."""
    return _default_renderers[-1]() if _default_renderers else ()


def innermost_open() -> StageRecord | StoryRuntime | None:
    """Return what is innermost in this context, of a story, and has not ended.

    A task goes on after the stage that it began in. A stage that is of no story is in the recorder only.
    """
    around = current.get()
    while around is not None and (around.has_ended or around.story is None):
        around = around.around
    return around


def active_story() -> StoryRuntime | None:
    """Return the innermost open story of this context."""
    innermost = innermost_open()
    return innermost.story if innermost is not None else None


def active_stage() -> StageRecord | None:
    """Return the innermost open stage of the innermost open story."""
    innermost = innermost_open()
    return None if innermost is None or isinstance(innermost, StoryRuntime) else innermost


def has_active_story() -> bool:
    """Return whether a story is open in this context."""
    return innermost_open() is not None


def is_failure(kind: type[BaseException]) -> bool:
    """Return whether an exception that leaves a stage or a story is a failure of it: some are only ways to end."""
    if issubclass(kind, StopIteration | StopAsyncIteration | GeneratorExit | SystemExit):
        return False
    if issubclass(kind, Exception):
        return True
    import asyncio  # where an exception is on its way

    return not issubclass(kind, asyncio.CancelledError)


class StoryRuntime:
    """An open story, or one that has ended.

    Attributes:
        name, story_id: of the story.
        parent_story_id, root_story_id: of the story in which it was entered, None without one, and of the outermost.
        started_at: aware, UTC.
        stages: the newest `KEPT_STAGES` stages, in the order in which they began.
        renderers: who gets the events.
        failed_stage_name: the stage that a failure came from; None as long as there is none.
        completed_stages, begun, total_stages: how many stages have completed and begun; how many there will be, 0 where
            nobody said.
        dry_run: exceptions that leave a stage go no further.
        diagnostics: how much is said of a failure.
        place: where it is in the recorder of the process; None where it is not.
        story, line, around, has_ended: itself, the line above all of its timeline, what it was entered in, whether it
            is over: what a stage finds around it has these.
    """

    def __init__(
        self,
        name: str,
        parent: StoryRuntime | None,
        outlets: tuple[Outlet, ...],
        diagnostics: FailureDiagnosticsConfig,
        *,
        failure_analyzer: Any = None,
        background_analysis: bool = False,
        total_stages: int = 0,
        dry_run: bool = False,
    ) -> None:
        self.name: str = name
        self.story_id: str = os.urandom(16).hex()
        around = parent if parent is not None else process_story()
        self.parent_story_id: str | None = around.story_id if around is not None else None
        self.root_story_id: str = around.root_story_id if around is not None else self.story_id
        self.outlets = outlets
        self.diagnostics = diagnostics
        self.failure_analyzer = failure_analyzer
        self.background_analysis = background_analysis
        self.total_stages = total_stages
        self.dry_run = dry_run
        self.completed_stages = 0
        self.failed_stage_name: str | None = None
        self.stages: deque[StageRecord] = deque(maxlen=KEPT_STAGES)
        self._began = time.perf_counter_ns()
        self._offset = time.time() - self._began / 1e9
        self.started_at = self.moment(self._began)
        self._lock = threading.RLock()  # a signal handler may open a stage, too
        self.begun = self._ended = 0
        self._timeline = Timeline()
        self.line = self._timeline.root
        self.story = self
        self.around = innermost_open()
        self.has_ended = False
        self.place: Place | None = None
        self._left = Leavings()

    @cached_property
    def redaction_rules(self) -> tuple[object, ...] | None:
        """What this story takes for secrets beside what each does; None for nothing."""
        config = self.diagnostics
        rules = (config.redact_extra, config.redact_patterns, config.redact_callback)
        return rules if any(rules) else None

    @property
    def renderers(self) -> list[Any]:
        """Who gets the events."""
        return [outlet.renderer for outlet in self.outlets]

    @property
    def progress_percent(self) -> int:
        """How much is done: of the stages that were announced, else of those that have begun; 0 to 100."""
        return percent(self.completed_stages, self.total_stages or self.begun)

    def set_total_stages(self, number: int) -> None:
        """Say how many stages there will be.

        Raises:
            ValueError: a number below 0.
        """
        if number < 0:
            raise ValueError(f"a story has 0 stages or more, not {number}")
        self.total_stages = number

    def build_stage_timeline(self) -> str:
        """Return what has been done so far, a line for stages of one name: at most 200 lines."""
        with self._lock:
            return self._timeline.text()

    def moment(self, now: int) -> datetime:
        """Return a time of `time.perf_counter_ns()` as an aware UTC timestamp, counted from the story's start."""
        return datetime.fromtimestamp(self._offset + now / 1e9, UTC)

    # -- stages -------------------------------------------------------------------------------------------------

    def begin_stage(self, record: StageRecord, around: TimelineLine) -> None:
        """Take in a stage that begins; it gets its index and its line of the timeline.

        Args:
            record: the stage.
            around: the line of the stage around it, or of all.
        """
        name = record.name
        with self._lock:
            index = self.begun
            record.stage_index = index
            self.begun = index + 1
            line = record.line = around.below.get(name) or self._timeline.line(name, around)
            line.began += 1
        self.stages.append(record)

    def end_stage(self, record: StageRecord, nanoseconds: int) -> int:
        """Take in a stage that ended, and how long it was; return how many have completed."""
        line = record.line
        with self._lock:
            if line is not None:
                line.ended += 1
                line.nanoseconds += nanoseconds
                if record.failed:
                    line.failed += 1
            self._ended += 1
            if record.completed:
                self.completed_stages += 1
            return self.completed_stages

    def left_open(self) -> list[StageRecord]:
        """Return the stages that are open still, the innermost first."""
        if self.begun == self._ended:
            return []
        return [record for record in reversed(list(self.stages)) if not record.has_ended]

    def left_stage(self, name: str, error: BaseException) -> None:
        """Take in that an exception has left a stage: the first one that it leaves is the innermost."""
        if self._stage_of(error) is None:
            self._left.note(error, name)

    def swallows(self, kind: type[BaseException]) -> bool:
        """Whether an exception goes no further than its stage: in a dry run, and never one that ends the program."""
        return self.dry_run and issubclass(kind, Exception)

    def _stage_of(self, error: BaseException) -> str | None:
        """Return the innermost stage that an exception, or one that it was raised from, has left."""
        return next(self._left.stages(error), None)

    # -- events -------------------------------------------------------------------------------------------------

    def emit(self, event: Any) -> None:
        """Hand an event to all renderers; whatever they do, nothing is raised."""
        for outlet in self.outlets:
            outlet.deliver(event)

    async def emit_async(self, event: Any) -> None:
        """Hand an event to all renderers, and wait for those whose `handle` is a coroutine function."""
        for outlet in self.outlets:
            await outlet.deliver_async(event)

    def started(self) -> StoryStarted:
        """Return the event of its beginning."""
        return StoryStarted(self.story_id, self.name, self.started_at, self.parent_story_id, self.root_story_id)

    def ended(self, *, success: bool) -> StoryCompleted:
        """Return the event of its end."""
        now = time.perf_counter_ns()
        return StoryCompleted(
            self.story_id,
            self.name,
            success,
            100 if success else self.progress_percent,
            self.completed_stages,
            self.total_stages or self.begun,
            self.moment(now),
            (now - self._began) / 1e9,
            self.parent_story_id,
            self.root_story_id,
        )

    # -- failures -----------------------------------------------------------------------------------------------

    def record_failure(self, exc: BaseException, *, stage_name: str | None = None) -> Delivery:
        """Tell of a failure that the story survives, at once; awaited, it waits for renderers that work on the loop.

        Args:
            exc: the exception.
            stage_name: where it happened; without one the stage that the exception left, if any.
        """
        event = guarded("telling of a failure", self.failure_event, exc, stage_name)
        if event is not None:
            from narrative_auto.stories.analysis import analyze, is_in_loop

            shielded("analyzing a failure", analyze, self, event, may_wait=not is_in_loop())
            self.emit(event)
        return Delivery(self.outlets)

    def message_of(self, exc: BaseException) -> str:
        """Return an exception's message without its secrets."""
        from narrative_auto.failures.messages import message_of
        from narrative_auto.failures.values import MOST_MESSAGE_CHARACTERS, shortened

        return shortened(self.redactor.text(message_of(exc)), MOST_MESSAGE_CHARACTERS)

    @cached_property
    def redactor(self) -> Redactor:
        """What takes the secrets out of what is told."""
        from narrative_auto.failures.redaction import Redactor

        config = self.diagnostics
        return Redactor(config.redact_extra, config.redact_patterns, config.redact_callback)

    def failure_event(self, exc: BaseException, stage_name: str | None = None) -> FailureOccurred:
        """Return the event of a failure."""
        from narrative_auto.stories.failed import build_enriched_failure, failure_event

        failed_in = stage_name or self._stage_of(exc) or ""
        self.failed_stage_name = failed_in or self.failed_stage_name
        return failure_event(
            build_enriched_failure(type(exc), exc, exc.__traceback__, config=self.diagnostics, redactor=self.redactor),
            story_id=self.story_id,
            story_name=self.name,
            stage_name=failed_in,
            stage_timeline=self.redactor.text(self.build_stage_timeline()),
            timestamp=self.moment(time.perf_counter_ns()),
            progress_percent=self.progress_percent,
            completed_stages=self.completed_stages,
            total_stages=self.total_stages or self.begun,
            parent_story_id=self.parent_story_id,
            root_story_id=self.root_story_id,
        )


class Delivery:
    """What was handed to renderers; awaited, it waits until they have it."""

    def __init__(self, outlets: Iterable[Outlet]) -> None:
        self._outlets = tuple(outlets)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for the renderers that work on the running loop."""
        return self._settled().__await__()

    async def _settled(self) -> None:
        for outlet in self._outlets:
            await outlet.settled()
