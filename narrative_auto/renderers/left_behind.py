"""Writes the end of a story that its process could not tell, by the black box that it left behind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from narrative_auto.renderers.sqlite import SqliteStoryRenderer
from narrative_auto.stories.events import StageStarted, StoryStarted

if TYPE_CHECKING:
    from narrative_auto.recorder.black_box import BlackBox

_MOST = (1 << 63) - 1
"""The largest number that SQLite has."""

OUTCOME = "no goodbye"
"""How such a story ended."""


def keep_end(database: str, box: BlackBox) -> None:
    """Write what is known: when the story ended, and which stages were open."""

    def moment(now: int) -> datetime:
        return datetime.fromtimestamp(box.wall(now), UTC)

    story_id, root = box.story_id, box.fact("root_story_id") or box.story_id
    parent = box.fact("parent_story_id") or None
    run = {"pid": box.pid, "folder": box.fact("folder"), "python": box.fact("python")}
    renderer = SqliteStoryRenderer(database, run)
    open_stages: list[StageStarted] = []
    for lane in box.lanes:
        caller_id, caller = "", None
        for call in lane.calls:
            stage_id = f"{lane.number}-{call.started}"
            open_stages.append(
                StageStarted(
                    story_id,
                    call.site.name,
                    moment(call.started),
                    len(open_stages),
                    parent_stage_name=caller,
                    story_name=box.name,
                    root_story_id=root,
                    stage_id=stage_id,
                    parent_stage_id=caller_id,
                    lane=lane.number,
                )
            )
            caller_id, caller = stage_id, call.site.name
    try:
        renderer.end_story(
            StoryStarted(story_id, box.name, moment(box.started_ns), parent, root),
            OUTCOME,
            moment(box.seen_ns),
            min(sum(lane.written for lane in box.lanes), _MOST),
            open_stages,
        )
    finally:
        renderer.close()
