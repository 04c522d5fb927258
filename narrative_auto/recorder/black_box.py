"""Reads a black box, of a dead process or of a live one: what is sound, and what is not.

Nothing in the file is believed: it may be torn, cut off, foreign, or written to at this moment.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from narrative_auto.errors import NarrativeError
from narrative_auto.recorder import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 1 << 28
"""What is read of a file at most."""

MOST_PROBLEMS = 20
"""Problems that are named one by one."""

_NATIVE = "<" if sys.byteorder == "little" else ">"
_SKEW = 1_000_000
"""ns by which the times of two records may be in the wrong order: clocks are set, processors differ."""


class BoxError(NarrativeError):
    """There is no black box, or nothing of it can be read."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(slots=True)
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
    problems: list[str] = field(default_factory=list)

    @property
    def story_id(self) -> str:
        """The story's id, "" where that cannot be read."""
        return _text(self.identity.get("story_id"))

    @property
    def name(self) -> str:
        """The story's name."""
        return _text(self.identity.get("name")) or "?"

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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def read(path: str) -> BlackBox:
    """Return what a black box holds, as far as it can be read.

    Raises:
        BoxError: there is no such file, or nothing of a black box is in it.
    """
    return parse(_bytes(path), path)


def read_head(path: str) -> BlackBox:
    """Return what the header of a black box says, with nothing of its content.

    Raises:
        BoxError: there is no such file, or it does not begin as a black box does.
    """
    data = _bytes(path, layout.BOX_PAGE)
    box = BlackBox(path)
    if not _header(box, data):
        raise BoxError(f"{path} is no black box")
    return box


def _bytes(path: str, most: int = MOST_BYTES) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe has no writer, perhaps
        with os.fdopen(descriptor, "rb") as file:
            return file.read(most) or b""
    except OSError as error:
        raise BoxError(f"{path} cannot be read: {error.strerror or error}") from None


def parse(data: bytes, path: str = "") -> BlackBox:
    """Return what the content of a file holds, as `read` does."""
    box = BlackBox(path)
    order = _header(box, data)
    if not order:
        order = _order_of_blocks(data)
        if not order:
            raise BoxError(f"{path} is no black box, or nothing of it is left")
        box.say("the header cannot be read: whose box it is, and when things happened, is not known")
    blocks = list(_blocks(box, data, order))
    for kind, at, size, used in blocks:
        if kind == layout.SITES:
            _sites(box, data[at : at + min(size, used)], order)
    for kind, at, size, _ in blocks:
        if kind == layout.LANES:
            _lanes(box, data, at, size, order)
    box.lanes.sort(key=lambda lane: lane.number)
    suspended = [(at, size) for kind, at, size, _ in blocks if kind == layout.SUSPENDED]
    if suspended:
        _tasks(box, data, *suspended[-1], order)
    box.seen_ns = max(box.seen_ns, box.last_record_ns)
    return box


# -- header and blocks --------------------------------------------------------------------------------------------


def _header(box: BlackBox, data: bytes) -> str:
    """Take in the header; return its byte order, "" where there is none."""
    head = struct.Struct("<" + layout.HEADER)
    if len(data) < head.size or not data.startswith(layout.BOX_MAGIC):
        return ""
    order = next((one for one in "<>" if struct.unpack_from(one + "I", data, 8)[0] == layout.BYTE_ORDER), "")
    if not order:
        return ""
    values = struct.unpack_from(order + layout.HEADER, data)
    _, _, version, box.pid, state, size, box.clock_ns, box.wall_ns, box.seen_ns, length, box.sampled = values
    box.state = state if state in {layout.OPEN, layout.ENDED, layout.COPY} else 0
    if version != layout.BOX_VERSION:
        box.say(f"it has version {version} of the format, and this is for version {layout.BOX_VERSION}")
    if order != _NATIVE:
        box.say("it was written by a machine of the other byte order")
    if len(data) > layout.BOX_PAGE and len(data) < size:
        box.say(f"it is cut off: {len(data)} of {size} bytes are there")
    text = data[layout.IDENTITY_AT : layout.IDENTITY_AT + min(length, layout.BOX_PAGE - layout.IDENTITY_AT)]
    try:
        identity = json.loads(text)
    except (ValueError, RecursionError):
        identity = None
    if isinstance(identity, dict):
        box.identity = identity
    else:
        box.say("what is known of the run cannot be read")
    return order


def _order_of_blocks(data: bytes) -> str:
    """Return the byte order in which there is a block, "" for none."""
    for order in "<>":
        magic = struct.pack(order + "Q", layout.BLOCK_MAGIC)
        at = data.find(magic)
        while at >= 0:
            if at % layout.BLOCK_SIZE == 0:
                return order
            at = data.find(magic, at + 1)
    return ""


def _blocks(box: BlackBox, data: bytes, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield (kind, position of the content, its bytes, bytes in use) of all blocks that can be found."""
    head = struct.Struct(order + layout.BLOCK)
    magic = struct.pack(order + "Q", layout.BLOCK_MAGIC)
    at = layout.BOX_PAGE
    while at + layout.BLOCK_SIZE <= len(data):
        _, kind, _, size, used = head.unpack_from(data, at)
        content = at + layout.BLOCK_SIZE
        if not data.startswith(magic, at) or size % layout.BLOCK_SIZE or not size:
            if any(data[at : at + layout.BLOCK_SIZE]):
                box.say(f"the block at {at} cannot be read")
            at = _next_block(data, magic, at + layout.BLOCK_SIZE)
            continue
        if content + size > len(data):
            box.say(f"the block at {at} is cut off")
            size = len(data) - content
        yield kind, content, size, used
        at = content + size


def _next_block(data: bytes, magic: bytes, at: int) -> int:
    while True:
        at = data.find(magic, at)
        if at < 0:
            return len(data)
        if at % layout.BLOCK_SIZE == 0:
            return at
        at += 1


# -- sites --------------------------------------------------------------------------------------------------------


def _sites(box: BlackBox, data: bytes, order: str) -> None:
    head = struct.Struct(order + layout.DESCRIPTION)
    at, filename = 0, ""
    while at + head.size <= len(data):
        size, number, line, module, name, file, kind = head.unpack_from(data, at)
        own = 0 if file == layout.SAME_FILE else file
        if size < head.size + module + name + own or size % 4 or at + size > len(data):
            box.say("some functions have no name here: their descriptions cannot be read")
            return
        texts = []
        position = at + head.size
        for length in (module, name, own):
            texts.append(data[position : position + length].decode("utf-8", "replace"))
            position += length
        filename = filename if file == layout.SAME_FILE else texts[2]
        box.sites[number] = BoxSite(number, texts[0], texts[1], filename, line, bool(kind & 1), bool(kind & 2))
        at += size


# -- lanes --------------------------------------------------------------------------------------------------------


def _lanes(box: BlackBox, data: bytes, at: int, size: int, order: str) -> None:
    head = struct.Struct(order + layout.LANE)
    step = size // layout.LANES_PER_BLOCK
    if step < head.size + layout.LANE_NAME_SIZE:
        box.say(f"the threads at {at} cannot be read")
        return
    for position in range(at, at + step * layout.LANES_PER_BLOCK, step):
        written, mask, ring_at, stack_at, top, room, number, thread, muted, ended = head.unpack_from(data, position)
        if not number or muted:
            continue
        name = data[position + step - layout.LANE_NAME_SIZE : position + step].partition(b"\0")[0]
        records, torn = _ring(box, data, number, ring_at, mask, written, order)
        calls = _stack(box, data, number, stack_at, top, room, order)
        box.lanes.append(
            BoxLane(number, thread, name.decode("utf-8", "ignore"), bool(ended), written, calls, records, torn)
        )


def _ring(
    box: BlackBox, data: bytes, lane: int, at: int, mask: int, written: int, order: str
) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """Return the records of a ring, oldest first, and how many cannot be told."""
    size = mask + 1
    if not written:
        return (), 0
    if not at:
        box.say(f"thread {lane}: there was no room here for its records")
        return (), 0
    if size & mask or not 0 < size <= layout.RING_RECORDS or at < layout.BOX_PAGE or at + 16 * size > len(data):
        box.say(f"thread {lane}: its records cannot be read")
        return (), 0
    words = struct.unpack_from(f"{order}{2 * min(size, written)}Q", data, at)
    # Of a live process: what was written after the number of records was read has taken the place of the oldest.
    newest = words[2 * ((written - 1) & mask)]
    records: list[tuple[int, int, int]] = []
    torn = 0
    for position in range(max(0, written - size), written):
        index = 2 * (position & mask)
        time, word = words[index], words[index + 1]
        site, kind = word & 0xFFFFFFFF, word >> 32
        before = records[-1][0] if records else time
        if not (layout.START <= kind <= layout.RESUME and site and before - _SKEW <= time <= newest + _SKEW):
            torn += 1
            continue
        records.append((time, site, kind))
    return tuple(records), torn


def _stack(box: BlackBox, data: bytes, lane: int, at: int, top: int, room: int, order: str) -> tuple[BoxCall, ...]:
    """Return the calls of a stack, outermost first."""
    if not top:
        return ()
    if not at:
        box.say(f"thread {lane}: there was no room here for what it was inside ({top} calls)")
        return ()
    if top >= room or at < layout.BOX_PAGE or at + layout.ENTRY_SIZE * (top + 1) > len(data):
        box.say(f"thread {lane}: what it was inside cannot be read")
        return ()
    calls = []
    for depth in range(1, top + 1):
        entry = _entry(data, at + depth * layout.ENTRY_SIZE, order)
        started = entry.started if entry.suspends else entry.since
        if not (entry.frame and entry.site and started):
            box.say(f"thread {lane}: call {depth} of what it was inside cannot be read")
            break
        calls.append(BoxCall(box.site(entry.site), started))
    return tuple(calls)


@dataclass(frozen=True, slots=True)
class _Entry:
    frame: int
    since: int
    below: int
    started: int
    site: int
    suspends: bool


def _entry(data: bytes, at: int, order: str) -> _Entry:
    frame, _, since, below, started, _, site, _, suspends, _ = struct.unpack_from(order + layout.ENTRY, data, at)
    return _Entry(frame, since, below, started, site, bool(suspends))


def _tasks(box: BlackBox, data: bytes, at: int, size: int, order: str) -> None:
    """Put suspended calls together: each says which activation waits for it."""
    suspended: dict[int, _Entry] = {}
    for position in range(at, at + size - layout.ENTRY_SIZE + 1, layout.ENTRY_SIZE):
        if not any(data[position : position + 8]):
            continue
        entry = _entry(data, position, order)
        if entry.site and entry.started and entry.suspends:
            suspended[entry.frame] = entry
        else:
            box.say("a suspended call cannot be read")
    awaited = {entry.below for entry in suspended.values()}
    for entry in suspended.values():
        if entry.frame in awaited:
            continue  # within another one's chain
        chain: list[BoxCall] = []
        one: _Entry | None = entry
        seen: set[int] = set()
        while one is not None and one.frame not in seen:
            seen.add(one.frame)
            chain.append(BoxCall(box.site(one.site), one.started, one.since))
            one = suspended.get(one.below)
        box.tasks.append(tuple(reversed(chain)))
    box.tasks.sort(key=lambda task: task[0].started)
