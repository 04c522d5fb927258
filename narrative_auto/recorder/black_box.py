"""A black box, of a dead process or of a live one, as it was read."""

from __future__ import annotations

import os
import re

from narrative_auto.errors import NarrativeError
from narrative_auto.recorder import layout
from narrative_auto.records import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_BYTES = 1 << 28
"""What is read of a file at most."""

MOST_PROBLEMS = 20
"""Problems that are named one by one."""


class BoxError(NarrativeError):
    """There is no black box, or nothing of it can be read."""


@record(frozen=True, slots=True)
class BoxSite:
    """What a site is.

    Attributes:
        number: its number in records.
        module, name, filename, line: as in `Site`; the name is the qualified name or the one that the program gave it.
        suspends: its calls can be suspended.
        awaits: it is a coroutine.
    """

    number: int
    module: str
    name: str
    filename: str
    line: int
    suspends: bool = False
    awaits: bool = False


@record(frozen=True, slots=True)
class BoxCall:
    """A call that had begun and not ended.

    Attributes:
        site: its site.
        started: ns of the monotonic clock.
        suspended: ns of the monotonic clock since when it is suspended; 0 for a call that runs.
    """

    site: BoxSite
    started: int
    suspended: int = 0


@record(frozen=True, slots=True)
class BoxLane:
    """A thread.

    Attributes:
        number: of the lane, from 1.
        thread: the system's number of the thread.
        name: as the program knows it; "" where it has none.
        ended: it had ended before.
        written: records that it ever wrote.
        calls: what it was inside, outermost first.
        records: what its ring holds, oldest first, as (ns, site number, transition).
        torn: records of the ring that cannot be told.
    """

    number: int
    thread: int
    name: str
    ended: bool
    written: int
    calls: tuple[BoxCall, ...]
    records: tuple[tuple[int, int, int], ...]
    torn: int


@record(frozen=True, slots=True)
class BoxCrumb:
    """A crumb.

    Attributes:
        wall_ns: ns since 1970.
        thread, event: as the program knows them.
        data, context: names and texts.
    """

    wall_ns: int
    thread: str
    event: str
    data: dict[str, str]
    context: dict[str, str]


@record(slots=True)
class BlackBox:
    """What a black box holds.

    Attributes:
        path: of the file.
        pid: of the process; 0 where that cannot be read.
        state: `layout.OPEN`, `ENDED` or `COPY`; 0 where that cannot be read.
        identity: what is known of the run; empty where that cannot be read.
        clock_ns, wall_ns: the same moment by the monotonic and by the wall clock; 0 where that cannot be read.
        seen_ns: ns of the monotonic clock when the process is known to have lived last.
        sampled: functions that were released at least once to keep the budget, so not all of their calls are here.
        sites: by number.
        lanes: in the order in which the threads first recorded.
        tasks: chains of suspended calls, outermost first.
        crumbs: the last ones, oldest first.
        problems: what could not be read, a line each.
    """

    path: str
    pid: int = 0
    state: int = 0
    identity: dict[str, Any] = field(default_factory=dict)
    clock_ns: int = 0
    wall_ns: int = 0
    seen_ns: int = 0
    sampled: int = 0
    sites: dict[int, BoxSite] = field(default_factory=dict)
    lanes: list[BoxLane] = field(default_factory=list)
    tasks: list[tuple[BoxCall, ...]] = field(default_factory=list)
    crumbs: list[BoxCrumb] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def story_id(self) -> str:
        """The story's id, "" where that cannot be read."""
        story_id = self.fact("story_id")
        return story_id if re.fullmatch("[0-9a-f]+", story_id) else ""

    @property
    def name(self) -> str:
        """The story's name."""
        return self.fact("name") or "?"

    def fact(self, name: str) -> str:
        """Return a text of the identity; "" where there is none."""
        value = self.identity.get(name)
        return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""

    @property
    def started_ns(self) -> int:
        """When the story began, as far as that is known."""
        started = self.identity.get("started_ns")
        return started if isinstance(started, int) and 0 < started <= self.clock_ns else self.clock_ns

    @property
    def last_record_ns(self) -> int:
        """When the last record was written; 0 for none."""
        return max((lane.records[-1][0] for lane in self.lanes if lane.records), default=0)

    @property
    def last_lane(self) -> BoxLane | None:
        """The lane that wrote last."""
        return max((lane for lane in self.lanes if lane.records), key=lambda lane: lane.records[-1][0], default=None)

    def wall(self, now: int) -> float:
        """Return a time of the monotonic clock (ns) as seconds since 1970; 0.0 where that is not known."""
        return (self.wall_ns + now - self.clock_ns) / 1e9 if self.wall_ns and now else 0.0

    def site(self, number: int) -> BoxSite:
        """Return what a site is, with its number for a name where that is not known."""
        return self.sites.get(number) or BoxSite(number, "", f"site {number}", "", 0)

    def say(self, problem: str) -> None:
        """Note a problem."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        elif len(self.problems) == MOST_PROBLEMS:
            self.problems.append("and more")


def read(path: str) -> BlackBox:
    """Return what a black box holds, as far as it can be read.

    Raises:
        BoxError: there is no such file, or nothing of a black box is in it.
    """
    from narrative_auto.recorder.box_parser import parse

    return parse(_bytes(path), path)


def read_head(path: str) -> BlackBox:
    """Return what the header of a black box says, with nothing of its content.

    Raises:
        BoxError: there is no such file, or it does not begin as a black box does.
    """
    data = _bytes(path, layout.BOX_PAGE)
    from narrative_auto.recorder.box_parser import parse_header

    box = BlackBox(path)
    if not parse_header(box, data):
        raise BoxError(f"{path} is no black box")
    return box


def _bytes(path: str, most: int = MOST_BYTES) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe has no writer, perhaps
        with os.fdopen(descriptor, "rb") as file:
            return file.read(most) or b""
    except OSError as error:
        raise BoxError(f"{path} cannot be read: {error.strerror or error}") from None
