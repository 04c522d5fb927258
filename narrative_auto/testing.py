"""For tests of programs that tell stories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narrative_auto.stories.events import FailureOccurred, StageCompleted, StoryCompleted
from narrative_auto.stories.opening import story

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType


class StoryRecorder:
    """A story whose events are kept for assertions, `with` or `async with`; nothing is printed.

    Args:
        name: of the story.
        renderers: who gets the events besides.
        story_keywords: as for `story()`.

    Attributes:
        events: in order.
        runtime: the story's `StoryRuntime`, once it has begun.
    """

    def __init__(self, name: str = "test", *, renderers: Sequence[Any] | None = None, **story_keywords: Any) -> None:
        self.events: list[Any] = []
        self.runtime: Any = None
        self._story = story(name, renderers=[self, *(renderers or ())], **story_keywords)

    def handle(self, event: Any) -> None:
        """Keep an event."""
        self.events.append(event)

    def __enter__(self) -> StoryRecorder:
        """Begin the story."""
        self.runtime = self._story.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """End it."""
        self._story.__exit__(*error)

    async def __aenter__(self) -> StoryRecorder:
        """Begin the story."""
        self.runtime = await self._story.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        await self._story.__aexit__(kind, error, traceback)

    def _of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def assert_stages_completed(self, names: Iterable[str]) -> None:
        """Stages of all these names have completed."""
        completed = [event.stage_name for event in self._of(StageCompleted)]
        missing = [name for name in names if name not in completed]
        assert not missing, f"not completed: {', '.join(missing)}; completed: {', '.join(completed) or 'none'}"

    def assert_no_failure(self) -> None:
        """No failure was told."""
        failures = [_shown(event) for event in self._of(FailureOccurred)]
        assert not failures, f"there was a failure: {'; '.join(failures)}"

    def assert_stage_failed(self, name: str, *, error_type: str | type[BaseException] | None = None) -> None:
        """A failure was told of this stage, of this type (or its name) if one is named."""
        failures = self._of(FailureOccurred)
        kind = error_type.__name__ if isinstance(error_type, type) else error_type
        found = [event for event in failures if event.stage_name == name and kind in {None, event.error_type}]
        wanted = f"{name} ({kind})" if kind else name
        seen = "; ".join(map(_shown, failures)) or "no failure"
        assert found, f"no failure at {wanted}; there was: {seen}"

    def assert_story_completed(self, *, success: bool | None = None) -> None:
        """The story has ended, well or not if that is said."""
        ends = self._of(StoryCompleted)
        assert ends, (
            f"the story has not ended; the last event was {type(self.events[-1]).__name__ if self.events else 'none'}"
        )
        own = [event for event in ends if self.runtime is None or event.story_id == self.runtime.story_id] or ends
        assert success is None or own[-1].success == success, (
            f"the story ended with success={own[-1].success}, not {success}"
        )


def _shown(event: FailureOccurred) -> str:
    return f"{event.error_type} at {event.stage_name or 'no stage'}: {event.error_message}"
