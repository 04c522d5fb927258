"""The reader of black boxes: sound files, and files that are anything but."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from narrative_auto.crash.recovered import FORMAT, Recovered
from narrative_auto.recorder import black_box, box_folder, layout
from narrative_auto.recorder.black_box import BoxError
from narrative_auto.recorder.box_parser import parse
from tests.conftest import RECORDER, THOROUGH

pytestmark = pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python has no black box")

WRITER = """
import os, sys, threading, time
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD
from narrative_auto.recorder.native import NativeRecorder

recorder = NativeRecorder(1 << 62)
recorder.keep(sys.argv[1], "c02e9d0000000000", {"name": "wörker \\U0001f600.py", "started_ns": 1, "store": ""})
def site(name, kind="function"):
    site = recorder.sites.add("shop", name, "shop/café.py", 7, kind)
    return recorder.probes(site, (START, RETURN, UNWIND, YIELD, RESUME))
outer, inner, task = site("outer"), site("inner"), site("task", "coroutine")
def call():
    not inner[0]
    not inner[1]
def main():
    not outer[0]
    for _ in range(40): call()
    waiting = wait(); next(waiting)
    thread = threading.Thread(target=work, name="wörk 2"); thread.start(); thread.join()
    while len(os.listdir("/proc/self/task")) > 1: time.sleep(0.001)
    last()
def last():
    not inner[0]
    os._exit(0)
def wait():
    not task[0]
    not task[3]
    yield
def work():
    not inner[0]
    for _ in range(int(sys.argv[2])): call()
main()
"""


def write_box(folder: Path, calls: int) -> str:
    """Let a process leave a black box behind, with so many calls in its second thread; return the path."""
    folder.chmod(0o700)
    subprocess.run([sys.executable, "-c", WRITER, str(folder), str(calls)], check=True)
    (path,) = folder.iterdir()
    return str(path)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A black box with a few hundred records."""
    return Path(write_box(tmp_path_factory.mktemp("boxes"), 300)).read_bytes()


def test_what_is_in_it(tmp_path: Path) -> None:
    """Identity, sites, threads, records, suspended calls; the owner alone can read it."""
    box_path = write_box(tmp_path, 5_000)
    assert os.stat(box_path).st_mode & 0o777 == 0o600
    box = black_box.read(box_path)
    assert (box.problems, box.state, box.name) == ([], layout.OPEN, "wörker \U0001f600.py")
    main, worker = box.lanes
    assert [call.site.name for call in main.calls] == ["outer", "inner"]
    assert {site.filename for site in box.sites.values()} == {"shop/café.py"}
    assert main.written == 84
    assert [kind for _, _, kind in main.records[-3:]] == [layout.START, layout.YIELD, layout.START]
    assert (worker.name, worker.ended, worker.written) == ("wörk 2", True, 10_001)
    assert len(worker.records) == layout.THREAD_RING_RECORDS
    assert worker.records[-1][0] <= main.records[-1][0]
    assert [[call.site.name for call in task] for task in box.tasks] == [["task"]]


def test_a_record_that_was_being_written(tmp_path: Path) -> None:
    """A process may die halfway through one: the oldest is gone by then, and nothing is torn."""
    data = bytearray(Path(write_box(tmp_path, 5_000)).read_bytes())
    whole = parse(bytes(data)).lanes[1]
    oldest = struct.pack("<Q", whole.records[0][0])
    at = data.index(oldest)
    assert data.count(oldest) == 1
    data[at : at + 8] = struct.pack("<Q", whole.records[-1][0] + 100)
    half = parse(bytes(data)).lanes[1]
    assert (half.records, half.torn) == (whole.records[1:], 0)
    data[at + 16 : at + 24] = bytes(8)
    data[at + 24 : at + 32] = bytes(8)
    assert parse(bytes(data)).lanes[1].torn == 1


def shown(box: black_box.BlackBox) -> str:
    """Return all that there is to show of a box, in every way."""
    recovered = Recovered(box, is_running=False)
    lines = recovered.lines(80, "/", everything=False) + Recovered(box, is_running=True).lines(80, "/")
    assert json.loads(recovered.json())["format"] == FORMAT
    return "\n".join("".join(text for text, _ in line) for line in lines)


def swapped(content: bytes) -> bytes:
    """Return a box as a machine of the other byte order would have written it."""
    data = bytearray(content)

    def swap(form: str, at: int) -> tuple[int, ...]:
        values = struct.unpack_from("<" + form, data, at)
        struct.pack_into(">" + form, data, at, *values)
        return values

    swap(layout.HEADER, 0)
    at = layout.BOX_PAGE
    while at < len(data) and data[at : at + 8] == struct.pack("<Q", layout.BLOCK_MAGIC):
        _, kind, _, size, used = swap(layout.BLOCK, at)
        at += layout.BLOCK_SIZE
        if kind == layout.RING:
            swap(f"{size // 8}Q", at)
        elif kind in {layout.STACK, layout.SUSPENDED}:
            for entry in range(at, at + size, layout.ENTRY_SIZE):
                swap(layout.ENTRY, entry)
        elif kind == layout.LANES:
            for lane in range(layout.LANES_PER_BLOCK):
                swap(layout.LANE, at + lane * (size // layout.LANES_PER_BLOCK))
        elif kind == layout.SITES:
            site = at
            while site < at + used:
                site += swap(layout.DESCRIPTION, site)[0]
        at += size
    return bytes(data)


def test_a_box_of_the_other_byte_order(content: bytes) -> None:
    """It is read all the same, and says so."""
    here, there = parse(content), parse(swapped(content))
    assert there.lanes == here.lanes
    assert there.tasks == here.tasks
    assert there.identity == here.identity
    assert there.problems == ["it was written by a machine of the other byte order"]


def test_a_box_without_its_header(content: bytes) -> None:
    """Whose it is is not known; what was done is."""
    box = parse(bytes(layout.BOX_PAGE) + content[layout.BOX_PAGE :])
    assert box.lanes == parse(content).lanes
    assert "the header cannot be read" in box.problems[0]
    assert "outer" in shown(box)


def test_a_box_that_is_cut_off(content: bytes) -> None:
    """Wherever it ends: what is there is read, and what is not there is said."""
    for size in range(0, len(content), 9_973):
        data = content[:size]
        if size < layout.IDENTITY_AT:
            with pytest.raises(BoxError):
                parse(data)
            continue
        box = parse(data)
        assert size <= layout.BOX_PAGE or box.problems
        assert "ended without goodbye" in shown(box)


def test_a_record_that_was_written_meanwhile(content: bytes) -> None:
    """Of a live process: the newest one has taken the place of the oldest. All others are there."""
    lane = parse(content).lanes[1]
    first = struct.pack("<QII", *lane.records[0])
    newer = struct.pack("<QII", lane.records[-1][0] + 500, *lane.records[0][1:])
    box = parse(content.replace(first, newer))
    assert box.lanes[1].records[1:] == lane.records[1:]


def test_a_torn_record_is_skipped(content: bytes) -> None:
    """And counted."""
    sound = parse(content).lanes[0]
    at = content.index(struct.pack("<QII", *sound.records[50]))
    box = parse(content[:at] + struct.pack("<QII", sound.records[50][0], 77, 9) + content[at + 16 :])
    assert box.lanes[0].torn == 1
    assert box.lanes[0].records == (*sound.records[:50], *sound.records[51:])
    assert "1 torn record skipped" in shown(box)


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "is no black box"), (b"narrbox\n", "is no black box"), (bytes(100_000), "is no black box")],
    ids=["empty", "magic only", "zeros"],
)
def test_what_is_no_box(data: bytes, said: str) -> None:
    with pytest.raises(BoxError, match=said):
        parse(data)


def mutate(chance: random.Random, content: bytes, used: list[range]) -> bytes:
    """Return a box with something wrong in it: mostly where something is."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 40))):
        part = chance.choice(used)
        if len(data) < 64:
            break
        at = min(chance.randrange(part.start, part.stop), len(data) - 8)
        match chance.randrange(7):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.randrange(256)
            case 2:
                at -= at % 8
                value = chance.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, chance.getrandbits(64), len(data)))
                data[at : at + 8] = struct.pack("<Q", value)
            case 3:
                data[at : at + chance.randrange(5_000)] = bytes(chance.randrange(5_000))
            case 4:
                other = chance.choice(used)
                size = chance.randrange(300)
                data[at : at + size] = data[other.start : other.start + size]
            case 5:
                del data[at : at + chance.randrange(1, 100)]
            case _:
                if chance.random() < 0.1:
                    del data[at:]
    return bytes(data)


def test_thousands_of_mutated_boxes(content: bytes) -> None:
    """Nothing but `BoxError` comes out of any of them, and what can be read can be shown."""
    chance = random.Random(20261121)
    used = []  # the main thread's ring has 65,536 records: where it is empty, nothing can be broken
    at = layout.BOX_PAGE
    while content[at : at + 8] == struct.pack("<Q", layout.BLOCK_MAGIC):
        _, _, _, size, _ = struct.unpack_from("<" + layout.BLOCK, content, at)
        used.append(range(at, at + min(size, 4_096)))
        at += layout.BLOCK_SIZE + size
    used += [range(256), range(256)]
    read = refused = 0
    count = 10_000 if THOROUGH else 1_000
    for number in range(count):
        data = mutate(chance, content, used)
        try:
            box = parse(data)
        except BoxError:
            refused += 1
            continue
        read += 1
        if number % 10 == 0:
            shown(box)
    assert read > 0.9 * count
    assert read + refused == count


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """No such file, a folder, a pipe, a file without permission."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing.box", "", "pipe"):
        with pytest.raises(BoxError):
            black_box.read(str(tmp_path / name))


def test_old_boxes_are_forgotten(tmp_path: Path, content: bytes) -> None:
    """The newest are kept; what is no box, or a live process's, is nobody's to delete."""
    for number in range(25):
        path = tmp_path / f"{number:02}.box"
        head = bytearray(content[: layout.BOX_PAGE])
        at = struct.calcsize("<8sIIIIQQ")  # when it was seen last, which is what counts
        struct.pack_into("<Q", head, at, struct.unpack_from("<Q", head, at - 16)[0] + (number + 1) * 10**9)
        path.write_bytes(head)
    for number in range(30):
        (tmp_path / f"vagrant{number}.box").write_text("mine")
    tmp_path.chmod(0o755)
    box_folder.forget_old(str(tmp_path))
    left = sorted(path.name for path in tmp_path.iterdir() if path.name[0].isdigit())
    assert left == [f"{number:02}.box" for number in range(5, 25)]
    assert len(list(tmp_path.glob("vagrant*"))) == 30
