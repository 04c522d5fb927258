"""`story()`: opens a story for a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narrative_auto.errors import guarded, shielded
from narrative_auto.failures.config import FailureDiagnosticsConfig
from narrative_auto.stories.analysis import analyze, analyze_async
from narrative_auto.stories.delivery import outlets_for
from narrative_auto.stories.recorded import enter, leave, resume, suspend
from narrative_auto.stories.runtime import (
    StoryRuntime,
    active_story,
    current,
    default_renderers,
    give_back,
    is_failure,
    take,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Token
    from types import TracebackType

    from narrative_auto.stories.stages import StageRecord


class story:  # noqa: N801 - it is used as a function: `with story("Import"):`
    """Open a story for a block, `with` or `async with`; gives its `StoryRuntime`.

    Entered while another story is open in this context, it is a sub-story of that one, and takes from it what it is not
    given: renderers, analyzer, diagnostics, `dry_run`.

    Args:
        name: what it is called.
        renderers: who gets its events, in this order; `[]` for nobody. Without any: those of the story around it, else
            the default.
        failure_analyzer: asked what to make of a failure.
        background_analysis: the failure is told before the analysis is there; `LLMAnalysisReady` brings it.
        diagnostics_config: how much is said of a failure; without one what the environment asks for.
        runtime_environment, failure_diagnostics, allow_rich_in_production, app_roots, redact_extra: replace single
            values of it.
        total_stages: how many stages there will be.
        dry_run: exceptions that leave a stage go no further, and the stage counts as completed.

    Raises:
        ValueError: a value of the diagnostics, here or in the environment, is none.
    """

    def __init__(
        self,
        name: str,
        *,
        renderers: Sequence[Any] | None = None,
        failure_analyzer: Any = None,
        background_analysis: bool | None = None,
        diagnostics_config: FailureDiagnosticsConfig | None = None,
        runtime_environment: str | None = None,
        failure_diagnostics: str | None = None,
        allow_rich_in_production: bool | None = None,
        app_roots: Sequence[str] | None = None,
        redact_extra: Sequence[str] | None = None,
        total_stages: int | None = None,
        dry_run: bool | None = None,
    ) -> None:
        self._name = name
        self._renderers = None if renderers is None else list(renderers)
        self._inherited = {
            "failure_analyzer": failure_analyzer,
            "background_analysis": background_analysis,
            "dry_run": dry_run,
        }
        self._config = diagnostics_config
        self._overrides = {
            "runtime_environment": runtime_environment,
            "failure_diagnostics": failure_diagnostics,
            "allow_rich_in_production": allow_rich_in_production,
            "app_roots": None if app_roots is None else tuple(app_roots),
            "redact_extra": None if redact_extra is None else tuple(redact_extra),
        }
        self._total_stages = total_stages or 0
        self._merged(None)  # what is wrong is said here, not where the block begins
        self._runtime: StoryRuntime | None = None
        self._token: Token[Any] | None = None
        self._innermost: StageRecord | StoryRuntime | None = None

    def _merged(self, parent: StoryRuntime | None) -> FailureDiagnosticsConfig:
        base = self._config
        if base is None:
            base = parent.diagnostics if parent is not None else FailureDiagnosticsConfig.from_env()
        return FailureDiagnosticsConfig.merge(base, **self._overrides)

    def _given(self, name: str, parent: StoryRuntime | None) -> Any:
        """Return what was asked for, else what the story around has."""
        value = self._inherited[name]
        return getattr(parent, name, None) if value is None else value

    def _begin(self) -> StoryRuntime:
        if self._runtime is not None:
            raise RuntimeError(f"story {self._name!r} is open already: each block takes a story of its own")
        parent = active_story()
        if self._renderers is not None:
            outlets = outlets_for(self._renderers)
        elif parent is not None:
            outlets = parent.outlets
        else:
            outlets = outlets_for(guarded("preparing the renderers", default_renderers) or ())
        runtime = StoryRuntime(
            self._name,
            parent,
            outlets,
            self._merged(parent),
            failure_analyzer=self._given("failure_analyzer", parent),
            background_analysis=bool(self._given("background_analysis", parent)),
            total_stages=self._total_stages,
            dry_run=bool(self._given("dry_run", parent)),
        )
        enter(runtime, runtime.around)
        self._runtime = runtime
        self._token = take(runtime)
        return runtime

    def suspend(self) -> None:
        """Let the context be outside the story, until `resume`."""
        if self._token is not None:
            self._innermost = current.get()
            give_back(self._token)
            self._token = None
            if self._runtime is not None:
                suspend(self._runtime)

    def resume(self) -> None:
        """Let the context be where it was inside."""
        if self._runtime is not None:
            resume(self._runtime)
            self._token = take(self._runtime)
            if self._innermost is not None:
                take(self._innermost)

    def _end(self, error: BaseException | None = None) -> StoryRuntime | None:
        runtime, self._runtime = self._runtime, None
        token, self._token = self._token, None
        if token is not None:
            give_back(token)
        if runtime is not None:
            runtime.has_ended = True
            for record in runtime.left_open():
                leave(record)
            leave(runtime, error)
        return runtime

    def __enter__(self) -> StoryRuntime:
        """Begin the story."""
        runtime = self._begin()
        try:
            runtime.emit(runtime.started())
        except BaseException:  # Ctrl-C: the block does not begin
            self._end()
            raise
        return runtime

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the story; the exception goes on."""
        runtime = self._end(error)
        if runtime is None:
            return
        if error is None:
            runtime.emit(runtime.ended(success=True))
        else:
            shielded("ending a story", self._finish, runtime, error)

    @staticmethod
    def _finish(runtime: StoryRuntime, error: BaseException) -> None:
        if is_failure(type(error)):
            event = shielded("telling of a failure", runtime.failure_event, error)
            if event is not None:
                shielded("analyzing a failure", analyze, runtime, event)
                runtime.emit(event)
        runtime.emit(runtime.ended(success=_is_success(error)))

    async def __aenter__(self) -> StoryRuntime:
        """Begin the story."""
        runtime = self._begin()
        try:
            await runtime.emit_async(runtime.started())
        except BaseException:  # cancelled: the block does not begin
            self._end()
            raise
        return runtime

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """End the story; the exception goes on. Cancelled meanwhile, it tells the rest without waiting."""
        runtime = self._end(error)
        if runtime is None:
            return
        left: list[Any] = []
        if error is not None and is_failure(type(error)):
            event = shielded("telling of a failure", runtime.failure_event, error)
            left += [] if event is None else [event]
        left.append(runtime.ended(success=_is_success(error)))
        try:
            if len(left) > 1:
                await analyze_async(runtime, left[0])
            while left:
                await runtime.emit_async(left.pop(0))
        except BaseException:
            for event in left:
                shielded("ending a story", runtime.emit, event)
            raise


def _is_success(error: BaseException | None) -> bool:
    """Whether a story that an exception has left went well: `sys.exit()` and `sys.exit(0)` are ways to end well."""
    if isinstance(error, SystemExit):
        return error.code is None or (isinstance(error.code, int) and error.code == 0)
    return error is None or isinstance(error, GeneratorExit)
