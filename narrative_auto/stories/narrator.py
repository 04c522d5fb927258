"""Turns what the recorder holds into events, off the hot path: while the program runs, and at its end."""

from __future__ import annotations

import time

from narrative_auto.errors import guarded
from narrative_auto.recorder.base import cost_per_record
from narrative_auto.stories.ticker import Ticker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Any

    from narrative_auto.recorder.base import Recorder
    from narrative_auto.recorder.readings import NotableCall, OpenCall
    from narrative_auto.stories.events import StageTotal

INTERVAL = 0.25
"""Seconds between two looks at the recorder."""

OPEN_AFTER = (2.0, 10.0, 60.0)
"""Seconds after which a stage that is still open gets a line."""

PER_SITE_AND_SECOND = 50
PER_SECOND = 2_000
"""Notable stages that are told one by one; the rest is folded into the totals."""


_of_process: list[Narrator] = []


def process_story() -> Narrator | None:
    """Return who tells the story of this process; None where it has none."""
    return _of_process[-1] if _of_process else None


class Narrator:
    """Tells one automatic story: the process, from the first to the last stage.

    Args:
        recorder: what to read.
        story_id, story_name: of the story.
        parent_story_id: the story of the process that started this one, or "".
        root_story_id: the story of the process that a person started; "" where that is this one.
        min_duration: ns after which an open stage gets its `StageStarted`.
        make_renderers: called once, when the first event is to be delivered; imports what renderers need.
        tell_open: given one line about a stage that stays open, or None not to look for any.
        may_work: whether what renderers need may be imported while the program runs; asked until they are made.
        look: called each time the recorder is looked at.
    """

    def __init__(
        self,
        recorder: Recorder,
        story_id: str,
        story_name: str,
        parent_story_id: str,
        root_story_id: str,
        min_duration: int,
        make_renderers: Callable[[], list[Any]],
        tell_open: Callable[[str], None] | None = None,
        may_work: Callable[[], bool] = lambda: True,
        look: Sequence[Callable[[], object]] = (),
    ) -> None:
        self.recorder = recorder
        self.story_id = story_id
        self.story_name = story_name
        self.parent_story_id = parent_story_id
        self.root_story_id = root_story_id or story_id
        self.started = time.perf_counter_ns()
        self._started_wall = time.time()
        self._min_duration = min_duration
        self._make_renderers = make_renderers
        self._renderers: list[Any] | None = None
        self._tell_open = tell_open
        self._may_work = may_work
        self._look = look
        self._expected: list[Any] = []
        self._tells_at_once = True
        self.failed = False
        self._told_open: dict[tuple[int, int, int], int] = {}
        self._announced: dict[tuple[int, int, int], int] = {}
        self._index = 0
        self._folded = 0
        self._second = (0, 0)
        self._site_second: dict[int, int] = {}
        self._completed = 0
        self.ticker = Ticker(recorder, self._work, INTERVAL)

    def tell_of_process(self, *, ends: bool = False) -> None:
        """Become the story in which the outermost stories of the program are entered, or be it no more."""
        _of_process[:] = [] if ends else [self]

    def _work(self) -> bool:
        for look in self._look:
            guarded("looking at the recorder", look)
        if self._tells_at_once and (self._renderers is not None or guarded("looking at the program", self._may_work)):
            self._tells_at_once = guarded("telling the story while it runs", self.tick) is not None
        return True  # what is not told now is told at the end

    def before_fork(self) -> None:
        """End the thread and let go of files; both come back when they are needed."""
        self.ticker.stop()
        for renderer in list(self._renderers or ()):
            self._call(renderer, "detach")

    def begin_child(self, story_id: str) -> None:
        """Go on as the story of a child of fork, which tells nothing and starts a thread only when asked to."""
        self.parent_story_id, self.story_id = self.story_id, story_id
        self.started = time.perf_counter_ns()
        self._started_wall = time.time()
        self._renderers = None
        self._tell_open = None
        self._completed = self._folded = self._index = 0
        self._announced.clear()
        self._expected.clear()
        self.failed = False
        self.ticker.forget()

    # -- what is told while the program runs --------------------------------------------------------------------

    def tick(self) -> bool:
        """Look once: tell what is open for long, deliver what is notable. Returns True."""
        calls = self.recorder.open_calls()
        if self._tell_open is not None:
            self._tell_long_open(calls)
        self._deliver_open(calls)
        self._deliver_notable()
        self._flush()
        still_open = {(call.lane, call.started, call.site) for call in calls}
        self._announced = {key: index for key, index in self._announced.items() if key in still_open}
        self._told_open = {key: told for key, told in self._told_open.items() if key in still_open}
        return True

    def _tell_long_open(self, calls: list[OpenCall]) -> None:
        now = time.perf_counter_ns()
        path: list[str] = []
        for position, call in enumerate(calls):
            path = [*path[: call.depth], self.recorder.sites[call.site].name]
            seconds = (now - call.started) / 1e9
            due = sum(seconds >= limit for limit in OPEN_AFTER)
            key = (call.lane, call.started, call.site)
            if due <= self._told_open.get(key, 0):
                continue
            self._told_open[key] = due
            inside = calls[position + 1] if position + 1 < len(calls) else None
            limit = OPEN_AFTER[due - 1]
            if inside is not None and inside.depth > call.depth and (now - inside.started) / 1e9 >= limit / 2:
                continue  # it is about to get its own line, which names this one too
            if self._tell_open is not None:
                self._tell_open(f"narrative: {' > '.join(path[-4:])} is open for {limit:.0f} s")

    def _deliver_open(self, calls: list[OpenCall]) -> None:
        now = time.perf_counter_ns()
        for call in calls:
            key = (call.lane, call.started, call.site)
            if key not in self._announced and now - call.started >= self._min_duration:
                self._announce(key, call)

    def _announce(self, key: tuple[int, int, int], call: OpenCall | NotableCall) -> None:
        """Deliver the `StageStarted` of a call."""
        _, started, site = key
        index = self._announced[key] = self._index
        self._index += 1
        if not self._is_heard():
            return
        from narrative_auto.stories.events import StageStarted

        common = self._common(call)
        self._deliver(StageStarted(self.story_id, self._name(site), self.moment(started), index, **common))

    def _common(self, call: OpenCall | NotableCall) -> dict[str, Any]:
        """Return the fields that all events of one stage have; a stage is known by its lane and its start."""
        return {
            "parent_stage_name": self._name(call.caller) or None,
            "story_name": self.story_name,
            "root_story_id": self.root_story_id,
            "stage_id": f"{call.lane}-{call.started}",
            "parent_stage_id": f"{call.caller_lane}-{call.caller_started}" if call.caller_started else "",
            "lane": call.lane,
        }

    def _name(self, site: int) -> str:
        return self.recorder.sites[site].name

    def _deliver_notable(self) -> None:
        while self._expected:
            self._deliver(self._expected.pop(0))
        calls, dropped = self.recorder.drain()
        self._folded += dropped
        for call in calls:
            if (call.lane, call.started, call.site) in self._announced or self._within_limits(call):
                self._deliver_finished(call)
            else:
                self._folded += 1

    def _within_limits(self, call: NotableCall) -> bool:
        second = call.ended // 1_000_000_000
        if second != self._second[0]:
            self._second = (second, 0)
            self._site_second.clear()
        of_site = self._site_second.get(call.site, 0) + 1
        if of_site > PER_SITE_AND_SECOND or self._second[1] >= PER_SECOND:
            return False
        self._site_second[call.site] = of_site
        self._second = (second, self._second[1] + 1)
        return True

    def _deliver_finished(self, call: NotableCall) -> None:
        key = (call.lane, call.started, call.site)
        if key not in self._announced:
            self._announce(key, call)
        self._completed += not call.error
        if not self._is_heard():
            del self._announced[key]
            return
        from narrative_auto.stories.events import StageCompleted, StageFailed

        common = self._common(call)
        common["stage_index"] = self._announced.pop(key)
        common["running_seconds"] = call.running / 1e9
        name, ended, duration = self._name(call.site), self.moment(call.ended), (call.ended - call.started) / 1e9
        if call.error:
            self._deliver(StageFailed(self.story_id, name, ended, duration, call.error, **common))
        else:
            self._deliver(StageCompleted(self.story_id, name, ended, duration, **common))

    # -- delivery -----------------------------------------------------------------------------------------------

    def moment(self, now: int) -> datetime:
        """Return a time of the monotonic clock (ns) as an aware UTC timestamp, counted from the story's start."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self._started_wall + (now - self.started) / 1e9, UTC)

    def has(self, renderer: Any) -> bool:
        """Return whether a renderer gets events still: one that raised gets none."""
        return self._renderers is not None and renderer in self._renderers

    def _is_heard(self) -> bool:
        """Return whether there are renderers; the first time, make them and let the story begin."""
        if self._renderers is None:
            self._renderers = guarded("preparing the renderers", self._make_renderers) or []
            if self._renderers:
                from narrative_auto.stories.events import StoryStarted

                parent = self.parent_story_id or None
                began = self.moment(self.started)
                self._send(StoryStarted(self.story_id, self.story_name, began, parent, self.root_story_id))
        return bool(self._renderers)

    def _deliver(self, event: Any) -> None:
        if self._is_heard():
            self._send(event)

    def _send(self, event: Any) -> None:
        for renderer in list(self._renderers or ()):
            self._call(renderer, "handle", event)

    def _flush(self) -> None:
        for renderer in list(self._renderers or ()):
            self._call(renderer, "flush")

    def _call(self, renderer: Any, method: str, *arguments: Any) -> None:
        """Call a renderer's method, if it has it; one that raises is named and gets nothing any more."""

        def call() -> bool:
            function = getattr(renderer, method, None)
            if function is not None:
                function(*arguments)
            return True

        if guarded(type(renderer).__name__, call) is None and self._renderers is not None:
            self._renderers.remove(renderer)

    # -- the end ------------------------------------------------------------------------------------------------

    def expect_failure(self, event: Any) -> None:
        """Deliver a failure that the program survives, when the recorder is looked at next."""
        self.failed = True
        self._expected.append(event)

    def deliver_late(self, event: Any) -> None:
        """Deliver what belongs to a failure that was delivered."""
        self._deliver(event)
        self._flush()

    def deliver_failure(self, event: Any) -> None:
        """Deliver the story's `FailureOccurred`, after all stages that ended before it."""
        self.failed = True
        self._deliver_notable()
        self._deliver(event)
        self._flush()

    def finish(
        self,
        outcome: str,
        exit_status: int | None,
        left_plain: list[tuple[str, str, str]],
        app_roots: tuple[str, ...],
        other_cost: float,
        modules: int = 0,
    ) -> None:
        """Deliver all that is left: the last stages, the totals, the story's end.

        Args:
            outcome, exit_status, left_plain, app_roots, modules: as in `StoryTotals`.
            other_cost: seconds that this package took beside recording: starting, reading and rewriting modules.
        """
        from narrative_auto.stories.events import StoryCompleted, StoryTotals

        ended = time.perf_counter_ns()
        self._deliver_notable()
        totals = self.totals()
        seconds = (ended - self.started) / 1e9
        cost = self.recorder.records * cost_per_record(self.recorder) / 1e9 + other_cost
        share = min(1.0, cost / seconds) if seconds else 0.0
        self._deliver(
            StoryTotals(
                self.story_id,
                tuple(totals),
                share,
                tuple(left_plain),
                app_roots,
                outcome,
                exit_status,
                self.recorder.records,
                self._folded,
                modules,
                self.recorder.disordered,
            )
        )
        calls = sum(total.calls for total in totals)
        parent = self.parent_story_id or None
        self._deliver(
            StoryCompleted(
                self.story_id,
                self.story_name,
                outcome in {"ok", "ended"},
                100 if outcome == "ok" else 0,
                self._completed,
                calls,
                self.moment(ended),
                seconds,
                parent,
                self.root_story_id,
            )
        )
        for renderer in list(self._renderers or ()):
            self._call(renderer, "close")

    def totals(self) -> list[StageTotal]:
        """Return the totals so far; a name that two functions share gets its module in front, or its line behind."""
        from narrative_auto.stories.events import StageTotal

        edges = self.recorder.edges()
        sampled = set(self.recorder.sampled)
        sites = self.recorder.sites
        files: dict[str, set[str]] = {}
        lines: dict[tuple[str, str], set[int]] = {}
        for edge in edges:
            site = sites[edge.site]
            files.setdefault(site.name, set()).add(site.filename)
            lines.setdefault((site.name, site.filename), set()).add(site.line)
        totals = []
        for edge in edges:
            site = sites[edge.site]
            name = f"{site.module}.{site.name}" if len(files[site.name]) > 1 else site.name
            if len(lines[site.name, site.filename]) > 1:
                name += f":{site.line}"
            totals.append(
                StageTotal(
                    edge.site,
                    edge.caller,
                    name,
                    site.module,
                    site.filename,
                    site.line,
                    site.is_private,
                    edge.calls,
                    edge.total / 1e9,
                    edge.own / 1e9,
                    edge.longest / 1e9,
                    edge.raised,
                    edge.errors,
                    edge.site not in sampled,
                    2 * (edge.calls + edge.resumed),
                )
            )
        return totals
