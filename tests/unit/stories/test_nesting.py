"""Random nestings of stories, stages, threads and tasks have the tree that their blocks have."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from narrative_auto import has_active_story, stage, story
from narrative_auto.stories.events import StageCompleted, StageFailed, StageStarted, StoryCompleted, StoryStarted
from narrative_auto.stories.runtime import active_stage


@dataclass
class Block:
    """What a program does: open something, run what is inside, and perhaps fail.

    Attributes:
        kind: "stage", "story", "thread" with this context, "tasks" that take turns, or "fails", which is handled here.
        inside: in order; of tasks each is one.
    """

    kind: str
    inside: list[Block]


BLOCKS = st.recursive(
    st.builds(Block, st.just("stage"), st.just([])),
    lambda inside: st.builds(
        Block, st.sampled_from(["stage", "story", "thread", "tasks", "fails"]), st.lists(inside, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


class Told:
    """Keeps events; threads may tell at the same time."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def handle(self, event: Any) -> None:
        """Keep one."""
        self.events.append(event)


class Program:
    """Runs blocks, and takes down which stage is inside which."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.expected: dict[str, tuple[str, str | None]] = {}
        self.failed: set[str] = set()

    async def run(self, block: Block, of_story: str, around: str | None) -> None:
        """Run a block."""
        name = f"{block.kind} {next(self.numbers)}"
        if block.kind == "stage":
            self.expected[name] = (of_story, around)
            async with stage(name):
                await self.run_all(block.inside, of_story, name)
        elif block.kind == "fails":
            self.expected[name] = (of_story, around)
            self.failed.add(name)
            try:
                with stage(name):
                    await self.run_all(block.inside, of_story, name)
                    raise ValueError(name)
            except ValueError:
                pass
        elif block.kind == "story":
            with story(name):
                await self.run_all(block.inside, name, None)
        elif block.kind == "tasks":
            await asyncio.gather(*(self.run(one, of_story, around) for one in block.inside))
        else:
            context = contextvars.copy_context()
            thread = threading.Thread(
                target=context.run, args=(asyncio.run, self.run_all(block.inside, of_story, around))
            )
            thread.start()
            thread.join()

    async def run_all(self, blocks: list[Block], of_story: str, around: str | None) -> None:
        """Run blocks, one after the other; others have their turn in between."""
        for block in blocks:
            await asyncio.sleep(0)
            await self.run(block, of_story, around)


@given(st.lists(BLOCKS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_the_tree_is_that_of_the_blocks(blocks: list[Block]) -> None:
    """Each stage is in the story and the stage in which it was opened, begins before it ends, and ends once."""
    told, program = Told(), Program()

    async def main() -> None:
        async with story("root", renderers=[told]):
            await program.run_all(blocks, "root", None)
            assert active_stage() is None

    asyncio.run(main())
    assert not has_active_story()
    started = {event.stage_id: event for event in told.events if isinstance(event, StageStarted)}
    by_id = {identity: event.stage_name for identity, event in started.items()}
    assert {
        event.stage_name: (event.story_name, by_id.get(event.parent_stage_id)) for event in started.values()
    } == program.expected
    assert all(by_id.get(event.parent_stage_id) == event.parent_stage_name for event in started.values())
    open_now: set[str] = set()
    for event in told.events:
        if isinstance(event, StoryStarted):
            open_now.add(event.story_id)
        elif isinstance(event, StageStarted):
            assert event.story_id in open_now
            assert not event.parent_stage_id or event.parent_stage_id in open_now
            open_now.add(event.stage_id)
        elif isinstance(event, StageCompleted | StageFailed):
            open_now.remove(event.stage_id)
            assert isinstance(event, StageFailed) == (event.stage_name in program.failed)
        elif isinstance(event, StoryCompleted):
            open_now.remove(event.story_id)
            assert event.completed_stages == sum(
                one.story_id == event.story_id and one.stage_name not in program.failed for one in started.values()
            )
    assert open_now == set()
