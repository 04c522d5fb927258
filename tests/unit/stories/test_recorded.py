"""Explicit stories and stages in the recorder of an instrumented process: who is around whom."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrative_auto import story
from narrative_auto.stories.events import StageCompleted, StageFailed, StageStarted, StoryCompleted, StoryStarted
from narrative_auto.stories.narrator import Narrator
from narrative_auto.stories.recorded import MOST_NAMES, OTHER_NAMES
from narrative_auto.stories.stages import stage
from tests.conformance.harness import RECORDERS, Bench, bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(params=sorted(RECORDERS))
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A process that is instrumented, and has a story."""
    with bench("rewrite", request.param, tmp_path) as made:
        narrator = Narrator(made.recorder, "0" * 32, "app.py", "", "", 1 << 60, list)
        narrator.tell_of_process()
        try:
            yield made
        finally:
            narrator.tell_of_process(ends=True)


def edges(process: Bench) -> Counter[tuple[str, str]]:
    """Return {(caller or what is around, callee or stage): how often}."""
    recorder = process.recorder
    return Counter(
        {(recorder.sites[edge.caller].name, recorder.sites[edge.site].name): edge.calls for edge in recorder.edges()}
    )


class Events:
    """A renderer that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def handle(self, event: Any) -> None:
        self.events.append(event)

    def parents(self) -> dict[str, str | None]:
        return {event.stage_name: event.parent_stage_name for event in self.events if isinstance(event, StageStarted)}


def is_balanced(process: Bench) -> bool:
    """Whether nothing is open in any lane."""
    return process.recorder.open_calls() == []


SHOP = """
import asyncio
from narrative_auto import stage
def price(n): return n
def outer():
    with stage("Sum"):
        return price(1)
async def fetch(n):
    await asyncio.sleep(0)
    async with stage("Decode"):
        await asyncio.sleep(0)
        return price(n)
def rows():
    with stage("Read"):
        for n in range(2): yield price(n)
class Late:
    def open(self):
        self.stage = stage("Late")
        self.stage.__enter__()
    def close(self):
        self.stage.__exit__(None, None, None)
"""


def test_calls_and_stages_nest_as_they_happen(process: Bench) -> None:
    """A function within a stage names it as its caller, a stage within a function names that one as its parent."""
    shop = process.load(SHOP)
    heard = Events()
    with story("Day", renderers=[heard]), stage("Morning"):
        shop.outer()
    assert edges(process) == {
        ("", "Day"): 1,
        ("Day", "Morning"): 1,
        ("Morning", "outer"): 1,
        ("outer", "Sum"): 1,
        ("Sum", "price"): 1,
    }
    assert heard.parents() == {"Morning": None, "Sum": "Morning"}  # as in any process
    assert is_balanced(process)


def test_events_and_calls_know_each_other_by_their_ids(process: Bench) -> None:
    """The id that a stage has in events is what a call within it names as its caller's."""
    shop = process.load(SHOP)
    heard = Events()
    with story("Day", renderers=[heard]), stage("Morning"):
        shop.outer()
    calls, _ = process.recorder.drain()
    known = {process.recorder.sites[call.site].name: call for call in calls}
    morning, total = (event for event in heard.events if isinstance(event, StageStarted))
    assert morning.stage_id == f"{known['Morning'].lane}-{known['Morning'].started}"
    assert morning.stage_id == f"{known['outer'].caller_lane}-{known['outer'].caller_started}"
    assert total.parent_stage_id == morning.stage_id
    assert known["Sum"].caller_started == known["outer"].started
    assert total.stage_id == f"{known['price'].caller_lane}-{known['price'].caller_started}"
    assert total.lane == known["Sum"].lane > 0


def test_stages_are_suspended_with_their_coroutines(process: Bench) -> None:
    """Tasks that take turns within stages of their own are no parents of each other."""
    shop = process.load(SHOP)

    async def main() -> list[int]:
        async with stage("Crawl"):
            values = await asyncio.gather(*[shop.fetch(n) for n in range(5)])
        return list(values)

    with story("Day", renderers=[]):
        assert asyncio.run(main()) == [0, 1, 2, 3, 4]
    assert edges(process) == {
        ("", "Day"): 1, ("Day", "Crawl"): 1, ("Crawl", "fetch"): 5, ("fetch", "Decode"): 5, ("Decode", "price"): 5
    }  # fmt: skip
    assert is_balanced(process)


def test_a_task_that_outlives_the_stage_that_it_began_in(process: Bench) -> None:
    """It still knows where it came from."""
    shop = process.load(SHOP)

    async def main() -> None:
        async with stage("Start"):
            task = asyncio.create_task(shop.fetch(1))
            await asyncio.sleep(0)
        await task

    with story("Day", renderers=[]):
        asyncio.run(main())
    calls, _ = process.recorder.drain()
    known = {process.recorder.sites[call.site].name: call for call in calls}
    assert known["fetch"].caller_started == known["Start"].started
    assert edges(process)["Start", "fetch"] == 1


@pytest.mark.parametrize("way", ["thread", "executor", "to_thread"])
def test_threads_that_are_given_the_context(process: Bench, way: str) -> None:
    """What begins in a thread is within the stage of its context, in another lane."""
    shop = process.load(SHOP)
    heard = Events()
    with story("Day", renderers=[heard]), stage("Fan out"):
        context = contextvars.copy_context()
        if way == "thread":
            thread = threading.Thread(target=context.run, args=(shop.outer,))
            thread.start()
            thread.join()
        elif way == "executor":
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(context.run, shop.outer).result() == 1
        else:
            asyncio.run(asyncio.to_thread(shop.outer))
    assert heard.parents() == {"Fan out": None, "Sum": "Fan out"}
    assert edges(process)["Fan out", "outer"] == 1
    calls, _ = process.recorder.drain()
    known = {process.recorder.sites[call.site].name: call for call in calls}
    assert known["outer"].lane != known["outer"].caller_lane == known["Fan out"].lane
    assert known["outer"].caller_started == known["Fan out"].started
    assert is_balanced(process)


def test_a_thread_without_the_context_is_within_nothing(process: Bench) -> None:
    """Its first call has nothing around it."""
    shop = process.load(SHOP)
    with story("Day", renderers=[]), stage("Fan out"):
        thread = threading.Thread(target=contextvars.Context().run, args=(shop.price, 1))
        thread.start()
        thread.join()
    assert edges(process)["", "price"] == 1
    assert is_balanced(process)


def test_what_a_generator_has_opened_stays_open_for_whoever_takes_its_values(process: Bench) -> None:
    """As its context does; the generator itself is not running meanwhile."""
    shop = process.load(SHOP + "def use(n): return n\ndef main():\n    for n in rows(): use(n)\n")
    with story("Day", renderers=[]):
        shop.main()
    assert edges(process)["Read", "use"] == 2
    assert edges(process)["rows", "Read"] == 1
    assert is_balanced(process)


def test_a_stage_that_outlives_the_function_that_opened_it(process: Bench) -> None:
    """What is called before it is closed is within it."""
    shop = process.load(SHOP)
    with story("Day", renderers=[]):
        late = shop.Late()
        late.open()
        shop.price(1)
        late.close()
        shop.price(2)
    assert edges(process) == {
        ("", "Day"): 1, ("Day", "Late.open"): 1, ("Late.open", "Late"): 1, ("Late", "price"): 1,
        ("Late", "Late.close"): 1, ("Day", "price"): 1,
    }  # fmt: skip
    assert is_balanced(process)


def test_a_stage_that_is_closed_in_another_thread(process: Bench) -> None:
    """It ends, once, wherever it was."""
    shop = process.load(SHOP)
    with story("Day", renderers=[]):
        late = shop.Late()
        late.open()
        thread = threading.Thread(target=late.close)
        thread.start()
        thread.join()
        shop.price(1)
    totals = edges(process)
    assert totals["Late.open", "Late"] == 1
    assert ("Late", "price") not in totals
    assert is_balanced(process)


def test_an_optional_stage_without_a_story_is_recorded(process: Bench) -> None:
    """In an instrumented process the process is a story."""
    shop = process.load(SHOP)
    with stage("Alone", optional=True):
        shop.price(1)
    assert edges(process) == {("", "Alone"): 1, ("Alone", "price"): 1}
    with pytest.raises(RuntimeError, match="must run inside an active story"), stage("Alone"):
        pass
    assert is_balanced(process)


def test_an_exception_is_known_to_have_left_a_stage(process: Bench) -> None:
    """It counts as one that the stage raised, and is on the way of the exception."""
    process.load(SHOP)
    error = ValueError("no")
    with pytest.raises(ValueError, match="no"), story("Day", renderers=[]), stage("Fails"):
        raise error
    with story("Dry", renderers=[], dry_run=True), stage("Fails"):
        raise ValueError
    recorder = process.recorder
    lane = recorder.current_lane()
    assert lane is not None
    left = [recorder.sites[site].name for identity, site, _, _ in recorder.unwound(lane) if identity == id(error)]
    assert left == ["Fails", "Day"]
    assert {recorder.sites[edge.site].name: edge.errors for edge in recorder.edges() if edge.raised} == {
        "Fails": {"ValueError": 1}, "Day": {"ValueError": 1}
    }  # fmt: skip


def test_names_are_bounded_and_have_no_secrets(process: Bench) -> None:
    """Names with numbers in them do not grow for ever."""
    with story("Many", renderers=[]):
        with stage("login password=hunter2secret"):
            pass
        for number in range(MOST_NAMES + 100):
            with stage(f"Row {number}"):
                pass
    names = Counter(edge.site for edge in process.recorder.edges())
    assert len(names) == MOST_NAMES + 1
    totals = edges(process)
    assert totals["Many", OTHER_NAMES] >= 100
    assert not any("hunter2secret" in name for _, name in totals)


def test_a_million_stages_take_no_memory(process: Bench) -> None:
    """Beside what the story itself keeps: here, some ten thousand, twice."""
    import tracemalloc

    def many() -> None:
        for _ in range(10_000):
            with stage("Row"):
                pass

    with story("Many", renderers=[]):
        many()
        process.recorder.drain()
        tracemalloc.start()
        many()
        process.recorder.drain()
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert grown < 1_000_000


def test_a_stage_that_is_used_within_itself(process: Bench) -> None:
    """Outside every story an optional one is nothing, so it may be; its first use is recorded, again and again."""
    shop = process.load(SHOP)
    shared = stage("Walk", optional=True)

    def walk(depth: int) -> None:
        with shared:
            shop.price(depth)
            if depth:
                walk(depth - 1)

    walk(3)
    walk(3)
    assert edges(process) == {("", "Walk"): 2, ("Walk", "price"): 8}
    assert is_balanced(process)


def test_stories_of_tasks_whose_coroutines_are_not_recorded(process: Bench) -> None:
    """They take turns, and none is within another."""
    shop = process.load(SHOP)

    async def request(number: int) -> None:
        async with story("Request", renderers=[]):
            await asyncio.sleep(0)
            async with stage("Handle"):
                await asyncio.sleep(0.001 * (number % 3))
                await shop.fetch(number)

    async def main() -> None:
        await asyncio.gather(*[request(number) for number in range(20)])

    asyncio.run(main())
    totals = edges(process)
    assert totals["", "Request"] == totals["Request", "Handle"] == totals["Handle", "fetch"] == 20
    assert totals["fetch", "Decode"] == totals["Decode", "price"] == 20
    assert len(totals) == 5
    assert process.recorder.disordered == 0
    assert is_balanced(process)


def test_a_task_that_begins_after_its_stage_is_over(process: Bench) -> None:
    """It is within what was around that."""
    shop = process.load(SHOP)

    async def main() -> None:
        with stage("Spawn"):
            tasks = [asyncio.create_task(shop.fetch(number)) for number in range(3)]
        with stage("Wait"):
            await asyncio.gather(*tasks)

    with story("Day", renderers=[]):
        asyncio.run(main())
    totals = edges(process)
    assert totals["Day", "fetch"] == totals["fetch", "Decode"] == 3


def test_many_blocks_at_once(process: Bench) -> None:
    """However many are open in one activation, each is counted, and known while it is open."""
    shop = process.load(SHOP)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            for number in range(40):
                await stack.enter_async_context(stage(f"Stage {number}"))
            await asyncio.sleep(0)
            for _ in range(1_100):
                with stage("Other"):
                    pass
            await asyncio.create_task(shop.fetch(1))

    with story("Day", renderers=[]):
        asyncio.run(main())
    totals = edges(process)
    assert [totals[f"Stage {number}", f"Stage {number + 1}"] for number in range(39)] == [1] * 39
    assert totals["Stage 39", "Other"] == 1_100
    calls, _ = process.recorder.drain()
    known = {process.recorder.sites[call.site].name: call for call in calls}
    assert known["fetch"].caller_started == known["Stage 39"].started
    assert all(edge.total > 0 for edge in process.recorder.edges())
    assert is_balanced(process)


def test_a_stage_whose_thread_is_over(process: Bench) -> None:
    """It is counted when it ends."""
    shop = process.load(SHOP)
    with story("Day", renderers=[]):
        late = shop.Late()
        thread = threading.Thread(target=contextvars.copy_context().run, args=(late.open,))
        thread.start()
        thread.join()
        gc.collect()
        late.close()
    (edge,) = (edge for edge in process.recorder.edges() if process.recorder.sites[edge.site].name == "Late")
    assert edge.calls == 1
    assert edge.total > 0
    assert is_balanced(process)


def test_what_a_story_leaves_open_ends_with_it(process: Bench) -> None:
    """What comes later is not within it."""
    shop = process.load(SHOP)
    with story("First", renderers=[]):
        shop.Late().open()
    with story("Second", renderers=[]):
        shop.price(1)
    assert edges(process)["", "Second"] == edges(process)["Second", "price"] == 1
    assert is_balanced(process)


def test_stages_of_one_name_in_two_functions_are_two(process: Bench) -> None:
    """Each is where it was opened."""
    shop = process.load(
        SHOP + "def one():\n    with stage('Load'): price(1)\ndef two():\n    with stage('Load'): price(2)\n"
    )
    with story("Day", renderers=[]):
        shop.one()
        shop.two()
    sites = process.recorder.sites
    loads = {
        (edge.site, sites[edge.caller].name) for edge in process.recorder.edges() if sites[edge.site].name == "Load"
    }
    assert sorted(caller for _, caller in loads) == ["one", "two"]
    assert len({site for site, _ in loads}) == 2


@pytest.mark.parametrize("name", [5, None, ("a", "b")])
def test_names_that_are_no_text(process: Bench, name: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Are what they are in events, and their type in the recorder."""
    heard = Events()
    with story("Day", renderers=[heard]), stage(name):
        pass
    assert heard.events[1].stage_name == name
    assert edges(process)["Day", f"<{type(name).__name__}>"] == 1
    assert capsys.readouterr().err == ""


def test_decorated_coroutines_are_suspended_too(process: Bench) -> None:
    """Though it is our code that opens their stages."""
    shop = process.load(
        SHOP
        + "from narrative_auto import NarrativeTaskGroup, runtime_narrative_stage\n"
        + "@runtime_narrative_stage('Poll')\nasync def poll(n):\n"
        + "    for _ in range(3): await asyncio.sleep(0)\n    return price(n)\n"
        + "async def main():\n    async with NarrativeTaskGroup() as group:\n"
        + "        for n in range(3): group.create_task(poll(n), name='Task')\n"
    )
    seen: list[int] = []
    with story("Day", renderers=[]):

        async def look() -> None:
            task = asyncio.create_task(shop.main())
            for _ in range(4):
                await asyncio.sleep(0)
                seen.append(process.depth)
            await task

        asyncio.run(look())
    assert set(seen) == {1}  # nothing but the story is open where nothing runs
    totals = edges(process)
    assert totals["Task", "Poll"] == totals["Poll", "price"] == 3
    assert is_balanced(process)


# -- random nestings ------------------------------------------------------------------------------------------------

NODES = """
import asyncio
def call(node, run): run(node)
async def acall(node, run):
    await asyncio.sleep(0)
    await run(node)
    await asyncio.sleep(0)
"""

SYNC, ASYNC = (
    ("call", "stage", "story", "thread", "raise"),
    ("call", "acall", "stage", "story", "task", "to_thread", "raise"),
)
PLAINLY = {"acall": "call", "task": "thread", "to_thread": "thread"}
Node = tuple[str, int, list[Any]]


def nodes(kinds: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Return trees of what a program does: (what, a seed, what it does within)."""
    return st.recursive(
        st.tuples(st.sampled_from(kinds), st.integers(0, 99), st.just([])),
        lambda inner: st.tuples(st.sampled_from(kinds), st.integers(0, 99), st.lists(inner, max_size=4)),
        max_leaves=12,
    )


class Oops(Exception):  # noqa: N818
    """What a node raises."""


class World:
    """Runs trees, and notes what is expected of each.

    Attributes:
        expected: how often what is to be called from where.
        parents: of each explicit stage, what is to be around it.
        heard: gets the events.
    """

    def __init__(self, shop: ModuleType) -> None:
        self.shop = shop
        self.expected: Counter[tuple[str, str]] = Counter()
        self.parents: dict[str, str | None] = {}
        self.heard = Events()
        self.count = 0
        self.around: contextvars.ContextVar[tuple[str, str, str | None]]
        self.around = contextvars.ContextVar("around", default=("", "", None))
        self.lock = threading.Lock()

    def begin(self, kind: str) -> str:
        """Note that something begins where the calling code is; return its name."""
        with self.lock:
            self.count += 1
            name = kind if kind in {"call", "acall"} else f"{kind} {self.count}"
            innermost, block, explicit = self.around.get()
            self.expected[innermost, name] += 1
            if kind == "stage":
                self.parents[name] = explicit
        if kind in {"stage", "story"}:
            block, explicit = name, name if kind == "stage" else None
        self.around.set((name, block, explicit))
        return name

    def elsewhere(self) -> None:
        """Note that a thread or a task begins, which is within what its context says."""
        _, block, explicit = self.around.get()
        self.around.set((block, block, explicit))

    def run(self, node: Node) -> None:
        """Do what a tree says, in plain code."""
        kind, _, inner = node
        kind = PLAINLY.get(kind, kind)
        if kind == "raise":
            raise Oops
        before = self.around.get()
        if kind == "thread":
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(self._in_thread, inner))
            thread.start()
            thread.join()
            return
        name = self.begin(kind)
        try:
            if kind == "stage":
                with stage(name):
                    self.all(inner)
            elif kind == "story":
                with story(name):
                    self.all(inner)
            else:
                self.shop.call(inner, self.all)
        finally:
            self.around.set(before)

    def _in_thread(self, inner: list[Node]) -> None:
        self.elsewhere()
        with suppress(Oops):
            self.all(inner)

    def all(self, inner: list[Node]) -> None:
        """Do all of them; what one raises may end them all."""
        for node in inner:
            try:
                self.run(node)
            except Oops:
                if node[1] % 2:
                    raise

    async def arun(self, node: Node) -> None:
        """Do the same in coroutines, which take turns."""
        kind, _, inner = node
        await asyncio.sleep(0)
        if kind == "raise":
            raise Oops
        before = self.around.get()
        if kind == "task":
            await asyncio.gather(*[self._in_task(one) for one in inner], return_exceptions=True)
            return
        if kind == "to_thread":
            await asyncio.to_thread(self._in_thread, inner)
            return
        name = self.begin(kind)
        try:
            if kind == "stage":
                async with stage(name):
                    await self.aall(inner)
            elif kind == "story":
                async with story(name):
                    await self.aall(inner)
            elif kind == "acall":
                await self.shop.acall(inner, self.aall)
            else:
                self.shop.call([], self.all)
        finally:
            self.around.set(before)

    async def _in_task(self, node: Node) -> None:
        self.elsewhere()
        await self.arun(node)

    async def aall(self, inner: list[Node]) -> None:
        """Do all of them; what one raises may end them all."""
        for node in inner:
            try:
                await self.arun(node)
            except Oops:
                if node[1] % 2:
                    raise

    def check(self, process: Bench) -> None:
        """Compare what was expected with what was recorded and told."""
        assert edges(process) == self.expected
        assert self.heard.parents() == self.parents
        assert is_balanced(process)
        assert process.depth == 0
        check_order(self.heard.events)


def check_order(events: list[Any]) -> None:
    """Each stage begins within its story, once, before it ends, once; and it ends before the story does."""
    open_stories: set[str] = set()
    open_stages: dict[str, str] = {}
    for event in events:
        if isinstance(event, StoryStarted):
            assert event.story_id not in open_stories
            open_stories.add(event.story_id)
        elif isinstance(event, StageStarted):
            assert event.story_id in open_stories
            assert event.stage_id not in open_stages
            open_stages[event.stage_id] = event.story_id
        elif isinstance(event, StageCompleted | StageFailed):
            assert open_stages.pop(event.stage_id) == event.story_id
        elif isinstance(event, StoryCompleted):
            assert event.story_id not in open_stages.values()
            open_stories.remove(event.story_id)
    assert not open_stories
    assert not open_stages


@pytest.mark.parametrize("recorder", sorted(RECORDERS))
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "coroutines"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_nestings(
    recorder: str, is_async: bool, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The tree, the order of the events, and the stacks, whatever is nested in whatever."""
    tree = data.draw(st.lists(nodes(ASYNC if is_async else SYNC), max_size=4))
    with bench("rewrite", recorder, tmp_path_factory.mktemp("app")) as process:
        world = World(process.load(NODES))
        narrator = Narrator(process.recorder, "0" * 32, "app.py", "", "", 1 << 60, list)
        narrator.tell_of_process()
        try:
            name = world.begin("story")
            with story(name, renderers=[world.heard]), suppress(Oops):
                asyncio.run(world.aall(tree)) if is_async else world.all(tree)
            world.check(process)
        finally:
            narrator.tell_of_process(ends=True)
