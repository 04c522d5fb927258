"""The events of explicit stages: made in a moment, and worked out where somebody asks for a field.

A stage takes a microsecond or two, most of which would be the making of two events with a dozen fields and two
timestamps, for renderers that may look at none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narrative_auto.stories.events import StageCompleted, StageStarted
from narrative_auto.stories.runtime import percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from narrative_auto.stories.runtime import StoryRuntime
    from narrative_auto.stories.stages import StageRecord


def _field(slot: Any, read: Callable[[Any], Any]) -> Any:
    """Return what works a field out, unless somebody has put another value into its slot."""

    def get(event: Any) -> Any:
        try:
            return slot.__get__(event)
        except AttributeError:
            return read(event)

    return property(get, slot.__set__)


def _of_stage(read: Callable[[StageRecord], Any]) -> Callable[[Any], Any]:
    return lambda event: read(event._record)  # noqa: SLF001


def _story(record: StageRecord) -> StoryRuntime:
    assert record.story is not None  # it has begun
    return record.story


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "story_id": _of_stage(lambda record: _story(record).story_id),
    "story_name": _of_stage(lambda record: _story(record).name),
    "root_story_id": _of_stage(lambda record: _story(record).root_story_id),
    "stage_name": _of_stage(lambda record: record.name),
    "stage_index": _of_stage(lambda record: record.stage_index),
    "parent_stage_name": _of_stage(lambda record: record.parent_stage_name),
    "stage_id": _of_stage(lambda record: record.stage_id),
    "parent_stage_id": _of_stage(lambda record: record.parent_stage_id),
    "lane": _of_stage(lambda record: record.lane),
}


def _plain(event: Any) -> Any:
    """Let an event be copied and pickled with its fields worked out."""
    kind = event.__class__
    return kind, tuple(getattr(event, name) for name in kind.__match_args__)


def _kind(base: Any, slots: tuple[str, ...], own: dict[str, Callable[[Any], Any]]) -> type:
    """Return a class whose fields are worked out, and which passes for the event, also where classes are compared."""
    fields = {name: _field(getattr(base, name), read) for name, read in {**_FIELDS, **own}.items()}
    assert set(base.__match_args__) == set(fields)
    passing = {"__class__": property(lambda _: base), "__module__": base.__module__, "__qualname__": base.__qualname__}
    return type(base.__name__, (base,), {"__slots__": slots, "__reduce__": _plain, **passing, **fields})


def _progress(event: Any) -> int:
    return percent(event._done, event._total or event._begun)  # noqa: SLF001


_Started: Any = _kind(
    StageStarted,
    ("_record",),
    {
        "timestamp": _of_stage(lambda record: record.started_at),
    },
)
_Completed: Any = _kind(
    StageCompleted,
    ("_begun", "_done", "_record", "_total"),
    {
        "timestamp": _of_stage(lambda record: record.ended_at),
        "duration_seconds": _of_stage(lambda record: record.duration_seconds),
        "running_seconds": lambda _: 0.0,
        "progress_percent": _progress,
        "total_stages": lambda event: event._total,  # noqa: SLF001
    },
)
_new = object.__new__


def started(record: StageRecord) -> StageStarted:
    """Return the event of a stage's beginning."""
    event: StageStarted = _new(_Started)
    event._record = record  # type: ignore[attr-defined]  # noqa: SLF001
    return event


def completed(record: StageRecord, done: int, total: int, begun: int) -> StageCompleted:
    """Return the event of a stage's end.

    Args:
        record: the stage.
        done, total, begun: how many of its story have completed by then, were announced, and have begun.
    """
    event: StageCompleted = _new(_Completed)
    event._record = record  # type: ignore[attr-defined]  # noqa: SLF001
    event._done = done  # type: ignore[attr-defined]  # noqa: SLF001
    event._begun = begun  # type: ignore[attr-defined]  # noqa: SLF001
    event._total = total  # type: ignore[attr-defined]  # noqa: SLF001
    return event
