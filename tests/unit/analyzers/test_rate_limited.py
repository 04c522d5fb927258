"""One question a minute for the same failure, however many processes fail."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from narrative_auto import FailureAnalyzer
from narrative_auto.analyzers.rate_limited import KEPT_FILES, RateLimited
from tests.conftest import ROOT
from tests.unit.analyzers.service import question


class Inner:
    """Counts, and says what it is told to."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    def analyze_failure(self, **_: Any) -> str | None:
        self.asked += 1
        return self.answers.pop(0) if self.answers else "why"


class Clock:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = 1_000_000_050.0  # in the middle of a minute

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("seconds", [0, 5, 15, 59])
def test_within_a_minute_it_says_again_what_was_said(seconds: float, tmp_path: Path) -> None:
    """Marked as such, whether or not the clock's minute has changed; from another process as from this one."""
    clock, inner = Clock(), Inner()
    analyzer = RateLimited(inner, str(tmp_path), clock=clock)
    assert isinstance(analyzer, FailureAnalyzer)
    assert analyzer.analyze_failure(**question()) == "why"
    clock.now += seconds
    again = RateLimited(Inner("other"), str(tmp_path), clock=clock)
    assert again.analyze_failure(**question()) == f"(This was said {seconds} s ago, when the same failed.)\n\nwhy"
    assert inner.asked == 1


def test_after_a_minute_it_asks_again(tmp_path: Path) -> None:
    """And another failure at any time."""
    clock, inner = Clock(), Inner("one", "two", "three")
    analyzer = RateLimited(inner, str(tmp_path), clock=clock)
    assert analyzer.analyze_failure(**question()) == "one"
    assert analyzer.analyze_failure(**question(lineno=1)) == "two"
    clock.now += 60
    assert analyzer.analyze_failure(**question()) == "three"


def test_no_answer_is_not_asked_for_again_either(tmp_path: Path) -> None:
    """What did not answer is left in peace."""
    inner = Inner(None)
    analyzer = RateLimited(inner, str(tmp_path), clock=Clock())
    assert [analyzer.analyze_failure(**question()) for _ in range(3)] == [None] * 3
    assert inner.asked == 1


def test_in_coroutines(tmp_path: Path) -> None:
    """The inner one's own coroutine is used."""

    class Native(Inner):
        async def analyze_failure_async(self, **_: Any) -> str | None:
            self.asked += 1
            return "natively"

    inner = Native()
    analyzer = RateLimited(inner, str(tmp_path), clock=Clock())

    async def main() -> list[str | None]:
        return [await analyzer.analyze_failure_async(**question()) for _ in range(2)]

    assert asyncio.run(main()) == ["natively", "(This was said 0 s ago, when the same failed.)\n\nnatively"]
    assert inner.asked == 1


@pytest.mark.parametrize("native", [False, True])
def test_the_deadline_holds_for_any_inner_one(native: bool, tmp_path: Path, said: Callable[[], list[str]]) -> None:
    """Whatever it does."""
    end = threading.Event()

    class Slow:
        def analyze_failure(self, **_: Any) -> str | None:
            end.wait(30)
            return "late"

    class Native(Slow):
        async def analyze_failure_async(self, **_: Any) -> str | None:
            await asyncio.sleep(30)
            return "late"

    begun = time.monotonic()
    analyzer = RateLimited(Native() if native else Slow(), str(tmp_path), timeout_seconds=0.3)
    if native:
        assert asyncio.run(analyzer.analyze_failure_async(**question())) is None
    else:
        assert analyzer.analyze_failure(**question()) is None
    end.set()
    assert time.monotonic() - begun < 5.0
    assert said() == ["narrative_auto: no analysis of the failure: there was none within 0.3 s"]


PROGRAM = """
import sys, time
from narrative_auto.analyzers.rate_limited import RateLimited
from tests.unit.analyzers.service import question

class Inner:
    def analyze_failure(self, **_):
        print("asked", flush=True)
        return "why"

sys.stdin.readline()
RateLimited(Inner(), sys.argv[1], clock=lambda: 1_000_000_050.0).analyze_failure(**question())
"""


def test_processes_at_the_same_time_ask_once(tmp_path: Path) -> None:
    """Only one of them."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6
    assert "".join(said) == "asked\n"


def test_its_files_are_private(tmp_path: Path) -> None:
    """Folder and file; nothing else is left there."""
    before = os.umask(0)
    try:
        RateLimited(Inner(), str(tmp_path)).analyze_failure(**question())
    finally:
        os.umask(before)
    (file,) = (tmp_path / "analyses").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_old_files_are_removed(tmp_path: Path) -> None:
    """By age, and by number."""
    folder = tmp_path / "analyses"
    folder.mkdir()
    now = time.time()
    for number in range(KEPT_FILES + 50):
        path = folder / f"{number:04}.json"
        path.write_text("{}")
        os.utime(path, (now - number, now - number))
    old = folder / "old.json.1-abc"
    old.write_text("{}")
    os.utime(old, (now - 4_000, now - 4_000))
    RateLimited(Inner(), str(tmp_path)).analyze_failure(**question())
    left = sorted(path.name for path in folder.iterdir())
    assert len(left) == KEPT_FILES
    assert {"0000.json", f"{KEPT_FILES - 2:04}.json"} <= set(left)
    assert old.name not in left


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"asked_at": "x"}', b"\xff", b'{"asked_at": 1e999, "answer": 7}']
)
def test_damaged_files_do_no_harm(content: bytes, tmp_path: Path) -> None:
    """One of this minute counts as a question without an answer; one of the minute before as none."""
    clock, inner = Clock(), Inner()
    analyzer = RateLimited(inner, str(tmp_path), clock=clock)
    analyzer.analyze_failure(**question())
    (file,) = (tmp_path / "analyses").iterdir()
    file.write_bytes(content)
    assert analyzer.analyze_failure(**question()) is None
    clock.now += 61
    assert analyzer.analyze_failure(**question()) == "why"
    assert inner.asked == 2


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    """Whatever lies there under the name that is wanted."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    analyzer = RateLimited(Inner(), str(tmp_path), clock=Clock())
    analyzer.analyze_failure(**question())
    (file,) = (tmp_path / "analyses").iterdir()
    file.unlink()
    file.symlink_to(victim)
    assert analyzer.analyze_failure(**question()) is None
    assert victim.read_text() == "mine"


def test_where_nothing_can_be_written_it_asks_and_says_so(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    """Once."""
    (tmp_path / "analyses").write_text("a file")
    analyzer = RateLimited(Inner(), str(tmp_path))
    assert [analyzer.analyze_failure(**question()) for _ in range(2)] == ["why", "why"]
    (line,) = said()
    assert "analyses cannot be written" in line


def test_a_huge_answer_is_kept_in_part(tmp_path: Path) -> None:
    """The first one has it whole."""
    analyzer = RateLimited(Inner("ü\ud800" * 100_000), str(tmp_path), clock=Clock())
    assert len(analyzer.analyze_failure(**question()) or "") == 200_000
    again = analyzer.analyze_failure(**question())
    assert again is not None
    assert 15_000 < len(again) < 17_000
