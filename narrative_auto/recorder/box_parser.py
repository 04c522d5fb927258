"""Takes the content of a black box apart: what is sound, and what is not.

Nothing in the file is believed: it may be torn, cut off, foreign, or written to at this moment.
"""

from __future__ import annotations

import json
import struct
import sys

from narrative_auto.recorder import layout
from narrative_auto.recorder.black_box import BlackBox, BoxCall, BoxCrumb, BoxError, BoxLane, BoxSite
from narrative_auto.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NATIVE = "<" if sys.byteorder == "little" else ">"
_SKEW = 1_000_000
"""ns by which the times of two records may be in the wrong order: clocks are set, processors differ."""


def parse(data: bytes, path: str = "") -> BlackBox:
    """Return what the content of a file holds, as `read` does."""
    box = BlackBox(path)
    order = parse_header(box, data)
    if not order:
        order = _order_of_blocks(data)
        if not order:
            raise BoxError(f"{path} is no black box, or nothing of it is left")
        box.say("the header cannot be read: whose box it is, and when things happened, is not known")
    blocks = list(_blocks(box, data, order))
    for block in blocks:
        if block.kind == layout.SITES:
            _sites(box, data[block.at : block.at + min(block.size, block.used)], order)
    room = len(data)  # more than all rings and stacks together: several lanes may not share one
    for block in blocks:
        if block.kind == layout.LANES:
            room = _lanes(box, data, block, order, room)
    box.lanes.sort(key=lambda lane: lane.number)
    suspended = [block for block in blocks if block.kind == layout.SUSPENDED]
    if suspended:
        _tasks(box, data, suspended[-1], order)
    for block in blocks:
        if block.kind == layout.CRUMBS:
            _crumbs(box, data[block.at : block.at + block.size], order)
    box.seen_ns = max(box.seen_ns, box.last_record_ns)
    return box


# -- header and blocks --------------------------------------------------------------------------------------------


def parse_header(box: BlackBox, data: bytes) -> str:
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


@record(slots=True)
class Block:
    """A block: its kind, where its content is, how much of that is there, is in use, and was written."""

    kind: int
    at: int
    size: int
    used: int
    whole: int


def _blocks(box: BlackBox, data: bytes, order: str) -> Iterator[Block]:
    """Yield all blocks that can be found."""
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
        whole = size
        if content + size > len(data):
            box.say(f"the block at {at} is cut off")
            size = len(data) - content
        yield Block(kind, content, size, used, whole)
        at = content + whole


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


# -- crumbs -------------------------------------------------------------------------------------------------------


def _crumbs(box: BlackBox, data: bytes, order: str) -> None:
    head = struct.Struct(order + layout.CRUMB)
    found = []
    for at in range(0, len(data) - layout.CRUMB_SIZE + 1, layout.CRUMB_SIZE):
        number, size, _ = head.unpack_from(data, at)
        text = data[at + head.size : at + head.size + min(size, layout.CRUMB_SIZE - head.size)].decode(
            "utf-8", "replace"
        )
        moment, *parts = text.split(layout.CRUMB_PART)
        if number and len(parts) > 1 and moment.isdecimal() and len(moment) < 20:
            pairs = list(zip(parts[2::2], parts[3::2], strict=False))
            data_pairs = {name: value for name, value in pairs if not name.startswith(layout.OF_CONTEXT)}
            context = {name[1:]: value for name, value in pairs if name.startswith(layout.OF_CONTEXT)}
            found.append((int(moment), number, BoxCrumb(int(moment), parts[0], parts[1], data_pairs, context)))
        elif number:
            box.say("a crumb cannot be read")
    box.crumbs += [crumb for *_, crumb in sorted(found, key=lambda one: one[:2])]


# -- lanes --------------------------------------------------------------------------------------------------------


def _lanes(box: BlackBox, data: bytes, block: Block, order: str, room_left: int) -> int:
    """Take in the threads of a block; return how many bytes of rings and stacks may follow."""
    head = struct.Struct(order + layout.LANE)
    step = block.whole // layout.LANES_PER_BLOCK
    if step < head.size + layout.LANE_NAME_SIZE:
        box.say(f"the threads at {block.at} cannot be read")
        return room_left
    for position in range(block.at, block.at + block.size - step + 1, step):
        written, mask, ring_at, stack_at, top, room, number, thread, muted, ended = head.unpack_from(data, position)
        if not number or muted:
            continue
        room_left -= 16 * min(written, mask + 1) + layout.ENTRY_SIZE * top
        if room_left < 0:
            box.say("there are more threads than fit into the file")
            return 0
        name = data[position + step - layout.LANE_NAME_SIZE : position + step].partition(b"\0")[0]
        records, torn = _ring(box, data, number, ring_at, mask, written, order)
        calls = _stack(box, data, number, stack_at, top, room, order)
        box.lanes.append(
            BoxLane(number, thread, name.decode("utf-8", "ignore"), bool(ended), written, calls, records, torn)
        )
    return room_left


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
    records: list[tuple[int, int, int]] = []
    torn = 0
    later = 1 << 64
    for position in range(written - 1, max(0, written - size) - 1, -1):
        index = 2 * (position & mask)
        time, word = words[index], words[index + 1]
        site, kind = word & 0xFFFFFFFF, word >> 32
        is_next = written - position == size  # the oldest: whoever died while writing one more began to overwrite it
        if layout.START <= kind <= layout.RESUME and site and time <= later + (0 if is_next else _SKEW):
            records.append((time, site, kind))
            later = time
        elif not is_next:
            torn += 1
    return tuple(reversed(records)), torn


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


@record(frozen=True, slots=True)
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


def _tasks(box: BlackBox, data: bytes, block: Block, order: str) -> None:
    """Put suspended calls together: each says which activation waits for it."""
    suspended: dict[int, _Entry] = {}
    for position in range(block.at, block.at + block.size - layout.ENTRY_SIZE + 1, layout.ENTRY_SIZE):
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
