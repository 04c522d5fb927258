"""`stage()`: one step of a story."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

from narrative_auto.errors import shielded
from narrative_auto.stories.events import StageCompleted, StageFailed
from narrative_auto.stories.recorded import enter, leave, resume, suspend
from narrative_auto.stories.runtime import current, give_back, innermost_open, is_failure, take
from narrative_auto.stories.stage_events import completed, started

if TYPE_CHECKING:
    from contextvars import Token
    from datetime import datetime
    from types import TracebackType

    from narrative_auto.stories.recorded import Place
    from narrative_auto.stories.runtime import StoryRuntime
    from narrative_auto.stories.timeline import TimelineLine


class StageRecord:
    """A stage that is open, or has ended.

    Attributes:
        name: its name.
        completed, failed: how it ended.
        stage_index: how many stages of the story began before it.
        story: whose it is; None before it begins.
        line: where it counts in the story's timeline.
        around, has_ended: what it was opened in, and whether it is over.
        place: where it is in the recorder of the process; None where it is not.
    """

    completed = failed = False
    stage_index = 0
    story: StoryRuntime | None = None
    line: TimelineLine | None = None
    has_ended = False
    around: StageRecord | StoryRuntime | None = None
    place: Place | None = None
    _began = _ended = 0

    def __init__(self, name: str) -> None:
        self.name: str = name

    @property
    def _parent(self) -> StageRecord | None:
        around = self.around
        return around if isinstance(around, StageRecord) else None

    @property
    def stage_id(self) -> str:
        """What it is known by in events; "" before it begins."""
        if self.place is not None:
            return f"{self.place[0]}-{self.place[1]}"
        return f"{self.story.story_id[:8]}-{self.stage_index}" if self.story is not None else ""

    @property
    def parent_stage_id(self) -> str:
        """That of the stage around it; "" for an outermost one."""
        parent = self._parent
        return parent.stage_id if parent is not None else ""

    @property
    def lane(self) -> int:
        """The number of its thread in the recorder of the process; 0 where it is not recorded."""
        return self.place[0] if self.place is not None else 0

    @property
    def started_at(self) -> datetime | None:
        """When it began: aware, UTC."""
        return self.story.moment(self._began) if self.story is not None else None

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, None as long as it is open."""
        return self.story.moment(self._ended) if self.story is not None and self._ended else None

    @property
    def duration_seconds(self) -> float | None:
        """From its beginning to its end, None as long as it is open."""
        return (self._ended - self._began) / 1e9 if self._ended else None

    @property
    def parent_stage_name(self) -> str | None:
        """The stage around it; None for an outermost one."""
        parent = self._parent
        return parent.name if parent is not None else None

    def __repr__(self) -> str:
        state = "failed" if self.failed else "completed" if self.completed else "open" if self._began else "not begun"
        return f"StageRecord(name={self.name!r}, stage_index={self.stage_index}, {state})"


class stage(StageRecord):  # noqa: N801 - it is used as a function: `with stage("Load"):`
    """Open a stage of the story that is open in this context, for a block, `with` or `async with`.

    Gives its `StageRecord`; with `optional`, outside every story, one that is in the recorder of an instrumented
    process and nowhere else.

    Args:
        name: what it is called.
        optional: outside every story it is no error.

    Raises:
        RuntimeError: where the block begins, outside every story; or because the stage was open before.
    """

    _token: Token[StageRecord | StoryRuntime | None] | None = None
    _times = 0
    _innermost: StageRecord | StoryRuntime | None

    def __init__(self, name: str, *, optional: bool = False) -> None:
        self.name = name
        self._optional = optional

    def _begin(self) -> StoryRuntime | None:
        """Begin; return the story, None without one."""
        around = current.get()
        if around is None or around.has_ended or around.story is None:
            around = innermost_open()
            if around is None:
                if self._optional:
                    self._times += 1
                    if self._times == 1:
                        enter(self, self._around_alone())
                        self._begin_alone()
                    return None
                raise RuntimeError(
                    f"stage({self.name!r}) must run inside an active story: open one with `with story(...):` around "
                    "it, or use stage(..., optional=True)"
                )
        if self._began:
            raise RuntimeError(f"stage {self.name!r} was open before: each block takes a stage of its own")
        self.around = around
        self.story = runtime = around.story
        runtime.begin_stage(self, around.line)  # type: ignore[union-attr,arg-type]  # what is open has both
        enter(self, around)
        self._began = perf_counter_ns()
        self._token = take(self)
        return runtime

    @staticmethod
    def _around_alone() -> StageRecord | StoryRuntime | None:
        around = current.get()
        while around is not None and around.has_ended:
            around = around.around
        return around

    def _begin_alone(self) -> None:
        """Begin outside every story, in the recorder, where there is one; a block may be used again, even within."""
        if self.place is not None:
            self.around, self.has_ended = self._around_alone(), False
            self._token = take(self)

    def _end_alone(self, error: BaseException | None) -> None:
        self._times -= 1
        if self._times or self.place is None:
            return
        self.has_ended = True
        self._give_back()
        leave(self, error)
        self.place = None

    def _give_back(self) -> None:
        """Let be innermost what was before; that is kept no longer, as a chain of tasks would keep them all."""
        token, self._token = self._token, None
        if token is not None:
            give_back(token)

    def _end(self, kind: type[BaseException] | None, error: BaseException | None) -> StageCompleted | StageFailed:
        """Return the event of the stage's end."""
        self._ended = ended = perf_counter_ns()
        self.has_ended = True
        runtime = self.story
        assert runtime is not None
        self._give_back()
        if self.place is not None:
            leave(self, None if kind is not None and runtime.swallows(kind) else error)
        if kind is None or error is None or not is_failure(kind) or runtime.swallows(kind):
            self.completed = True
            return completed(self, runtime.end_stage(self, ended - self._began), runtime.total_stages, runtime.begun)
        self.failed = True
        runtime.end_stage(self, ended - self._began)
        return self._failed(runtime, error)

    def _failed(self, runtime: StoryRuntime, error: BaseException) -> StageFailed:
        from narrative_auto.failures.values import name_of_type

        runtime.left_stage(self.name, error)
        return StageFailed(
            runtime.story_id,
            self.name,
            runtime.moment(self._ended),
            (self._ended - self._began) / 1e9,
            name_of_type(type(error)),
            runtime.message_of(error),
            self.stage_index,
            self.parent_stage_name,
            runtime.name,
            runtime.root_story_id,
            self.stage_id,
            self.parent_stage_id,
            self.lane,
        )

    def suspend(self) -> None:
        """Let the context be outside the stage, until `resume`."""
        if self.story is not None or self.place is not None:
            self._innermost = current.get()
            self._give_back()
        suspend(self)

    def resume(self) -> None:
        """Let the context be where it was inside."""
        if self.story is not None or self.place is not None:
            self._token = take(self)
            if self._innermost is not self:
                take(self._innermost)
        resume(self)

    def __enter__(self) -> StageRecord:
        """Begin the stage."""
        runtime = self._begin()
        if runtime is not None:
            try:
                runtime.emit(started(self))
            except BaseException:  # Ctrl-C: the block does not begin
                self._give_up()
                raise
        return self

    def _give_up(self) -> None:
        self.has_ended = True
        self._give_back()
        leave(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        """End the stage; the exception goes on, but in a dry run."""
        runtime = self.story
        if runtime is None:
            self._end_alone(error)
            return False
        if kind is None:
            runtime.emit(self._end(None, None))
            return False
        event = shielded("ending a stage", self._end, kind, error)
        if event is not None:
            shielded("telling of a stage", runtime.emit, event)
        return runtime.swallows(kind)

    async def __aenter__(self) -> StageRecord:
        """Begin the stage."""
        runtime = self._begin()
        if runtime is not None:
            try:
                await runtime.emit_async(started(self))
            except BaseException:  # cancelled: the block does not begin
                self._give_up()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        """End the stage; the exception goes on, but in a dry run."""
        runtime = self.story
        if runtime is None:
            self._end_alone(error)
            return False
        event = self._end(None, None) if kind is None else shielded("ending a stage", self._end, kind, error)
        if event is not None:
            await runtime.emit_async(event)
        return kind is not None and runtime.swallows(kind)
