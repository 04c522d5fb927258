"""What is left of a process that died without a word: a real program, killed in more than ten ways."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMANDS, LAUNCHER, RECORDER, ROOT, clean_environment, run

NARRATIVE = COMMANDS / "narrative"
FIXTURE = ROOT / "fixtures" / "exporter"
SEED = 20261121

pytestmark = [
    pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python has no black box"),
    pytest.mark.skipif(sys.platform != "linux", reason="the ways to die are those of Linux"),
]

Record = tuple[str, str]

BEGINS = {"START", "RESUME"}


def calls_of_a_row(choice: str) -> Iterator[Record]:
    """Yield the records of one row, as (name, transition)."""
    yield "Row.__init__", "START"
    yield "Row.__init__", "RETURN"
    yield "Exporter.export", "START"
    if choice == "good":
        yield from [("Row.parse", "START"), ("Row.cell", "START"), ("Row.cell", "RETURN"), ("Row.parse", "RETURN")]
    elif choice == "bad":
        yield from [("Row.check", "START"), ("Row.check", "UNWIND")]
        yield from [("Row.reject", "START"), ("Row.reject", "RETURN")]
    else:
        yield from [("Row.fields", "START"), ("Row.fields", "YIELD"), ("Row.fields", "RESUME")]
        yield from [("Row.cell", "START"), ("Row.cell", "RETURN")]
        yield from [("Row.fields", "YIELD"), ("Row.fields", "RESUME"), ("Row.fields", "RETURN")]
    yield "Exporter.export", "RETURN"


def expected(way: str, rows: int) -> Iterator[Record]:
    """Yield what the exporting thread records, from its first record on, for ever."""
    if way != "exit_in_a_thread":
        yield "main", "START"
        for method in ("Exporter.__init__",):
            yield method, "START"
            yield method, "RETURN"
    yield "Exporter.run", "START"
    yield "choices", "START"
    chance = random.Random(SEED)
    for number in itertools.count():
        choice = chance.choice(["good", "bad", "wide"])
        yield "choices", "YIELD"
        if number == rows:
            yield way, "START"
            yield way, "RETURN"  # where it returns at all
        yield from calls_of_a_row(choice)
        yield "choices", "RESUME"


def open_after(records: list[Record]) -> list[str]:
    """Return what was open after some records."""
    stack: list[str] = []
    for name, transition in records:
        if transition in BEGINS:
            stack.append(name)
        else:
            assert stack.pop() == name
    return stack


def check_recovered(found: dict[str, Any], way: str, rows: int, *, thread: str = "MainThread") -> None:
    """Compare what was recovered with what must be there: every thread's open stages, the last 1,000 records."""
    lanes = {lane["name"]: lane for lane in found["lanes"]}
    lane = lanes[thread]
    written = lane["records_written"]
    told = list(itertools.islice(expected(way, rows), written + 1))
    following = told.pop()
    assert written > 1_000
    assert [(name, transition) for _, name, transition in lane["records"]] == told[-1_000:]
    assert lane["records_torn"] == 0
    times = [at for at, _, _ in lane["records"]]
    assert times == sorted(times)
    # It may have died between a record and what that says: a call begins after its record, and ends before it.
    possible = [
        told[:-1] if told[-1][1] in BEGINS else told,
        told,
        told if following[1] in BEGINS else [*told, following],
    ]
    assert [call["name"] for call in lane["open"]] in list(map(open_after, possible))
    assert found["problems"] == []


def check_others(found: dict[str, Any]) -> None:
    """The threads that waited are shown where they waited, and the tasks."""
    lanes = {lane["name"]: lane for lane in found["lanes"]}
    assert [call["name"] for call in lanes["poller"]["open"]] == ["Poller.loop", "Poller.wait_for_job"]
    assert all(call["filename"] == str(FIXTURE / "exporter.py") for call in lanes["poller"]["open"])
    suspended = sorted([call["name"] for call in task] for task in found["suspended"])
    assert suspended.count(["Sink.flush", "Sink.until_acknowledged"]) == 2
    assert ["sinks"] in suspended


def start(way: str, rows: int, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Run the exporter with its black box in a folder."""
    environ = clean_environment(NARRATIVE_STORE=str(folder / ".narrative"), NARRATIVE_BLACK_BOX=str(folder / "boxes"))
    command = [LAUNCHER, *options, sys.executable, "exporter.py", way, str(SEED), str(rows)]
    return subprocess.Popen(
        command, cwd=FIXTURE, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def recover(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run `narrative recover --json`."""
    done = run(NARRATIVE, "recover", *arguments, "--json", cwd=folder, NARRATIVE_BLACK_BOX=str(folder / "boxes"))
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


DEATHS = {
    "segmentation_fault": -signal.SIGSEGV,
    "stack_overflow": -signal.SIGSEGV,
    "no_memory": -signal.SIGABRT,
    "abort": -signal.SIGABRT,
    "terminated": -signal.SIGTERM,
    "bus_error": -signal.SIGBUS,
    "out_of_time": -signal.SIGXCPU,
    "exit_in_a_thread": 7,
}


@pytest.mark.parametrize("way", DEATHS)
def test_a_process_that_dies_by_itself(way: str, tmp_path: Path) -> None:
    """What every thread was inside, and the last 1,000 records of the one that died, exactly."""
    rows = 2_000
    process = start(way, rows, tmp_path, "--quiet")
    process.communicate(timeout=120)
    assert process.returncode == DEATHS[way]
    found = recover(tmp_path)
    assert found["pid"] == process.pid
    assert found["state"] == "ended without goodbye"
    check_recovered(found, way, rows, thread="exporter" if way == "exit_in_a_thread" else "MainThread")
    check_others(found)
    if way != "out_of_time":
        lane = next(lane for lane in found["lanes"] if lane["name"] in {"MainThread", "exporter"} and lane["open"])
        dying = [lane for lane in found["lanes"] if lane["open"] and lane["open"][-1]["name"] == way]
        assert dying, lane


@pytest.mark.parametrize("engine", ["auto", "settrace"])
def test_killed_in_a_hot_loop(engine: str, tmp_path: Path) -> None:
    """SIGKILL, from outside, at any moment."""
    process = start("nothing", 3_000, tmp_path, "--quiet", "--engine", engine)
    assert process.stdout is not None
    assert process.stdout.readline() == b"exporting\n"
    time.sleep(0.2)
    process.kill()
    process.communicate(timeout=120)
    found = recover(tmp_path, str(process.pid))
    check_recovered(found, "nothing", 3_000)
    check_others(found)


def test_killed_while_it_waits(tmp_path: Path) -> None:
    """SIGKILL in a sleep: how long it had slept is known, within the time between two looks of ours."""
    process = start("killed_while_it_waits", 500, tmp_path, "--quiet")
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting\n"
    began = time.monotonic()
    time.sleep(2.0)
    process.kill()
    slept = time.monotonic() - began
    process.communicate(timeout=120)
    found = recover(tmp_path, "--last")
    check_recovered(found, "killed_while_it_waits", 500)
    lane = next(lane for lane in found["lanes"] if lane["name"] == "MainThread")
    assert lane["open"][-1]["name"] == "killed_while_it_waits"
    assert 1.0 < lane["open"][-1]["seconds"] < slept + 0.1


def test_a_child_of_fork(tmp_path: Path) -> None:
    """It has a black box of its own, and its parent's is as it was when the parent ended."""
    process = start("killed_in_a_child", 2_000, tmp_path, "--quiet")
    process.communicate(timeout=120)
    assert process.returncode == 0
    boxes = [recover(tmp_path, str(path)) for path in (tmp_path / "boxes").iterdir()]
    parent = next(box for box in boxes if box["pid"] == process.pid)
    check_recovered(parent, "killed_in_a_child", 2_000)
    check_others(parent)
    for child in boxes:
        assert child is parent or child["story"]["parent_story_id"] == parent["story"]["story_id"]


def test_a_live_process_is_not_disturbed(tmp_path: Path) -> None:
    """`narrative dump PID`, several times, while it exports; it goes on."""
    process = start("nothing", 3_000, tmp_path, "--quiet")
    assert process.stdout is not None
    assert process.stdout.readline() == b"exporting\n"
    written = []
    for _ in range(3):
        done = run(
            NARRATIVE, "dump", str(process.pid), "--json", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(tmp_path / "boxes")
        )
        assert done.status == 0, done.err
        found = json.loads(done.out)
        assert found["state"] == "running"
        lanes = {lane["name"]: lane for lane in found["lanes"]}
        assert [call["name"] for call in lanes["poller"]["open"]] == ["Poller.loop", "Poller.wait_for_job"]
        assert [call["name"] for call in lanes["MainThread"]["open"]][:2] == ["main", "Exporter.run"]
        written.append(lanes["MainThread"]["records_written"])
    assert written == sorted(set(written))
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=120)


def test_a_signal_writes_a_dump(tmp_path: Path) -> None:
    """The process goes on, says where the dump is, and the dump holds what it was doing at that moment."""
    process = start("nothing", 3_000, tmp_path, "--quiet", "--dump-signal", "USR1")
    assert process.stdout is not None
    assert process.stdout.readline() == b"exporting\n"
    process.send_signal(signal.SIGUSR1)
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    assert line.startswith("narrative_auto: dump written, to be read with: narrative recover ")
    found = recover(tmp_path, line.split()[-1])
    assert found["state"] == "dumped"
    check_others(found)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=120)
    shutil.rmtree(tmp_path / "boxes")
