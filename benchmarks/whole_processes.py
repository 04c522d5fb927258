"""What a process pays once, at its beginning and at its end, and what it holds meanwhile."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import PLAIN, Way, best_of, command, environment
from benchmarks.results import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.results import Results

START_MS, HOOK_MS, EXIT_MS = 15.0, 0.3, 100.0
"""What a start and an end may take longer: recorded; with the hook installed and not asked for; after 10**6 calls."""

FAILURE_MS = 50.0
"""What the report of an ordinary failure may take, the dump and the store included."""

GROWTH_KB = 2_000.0
"""By which resident memory may grow from 10**6 to the last call."""

ENDS = """
import time
def empty(): pass
def main():
    for _ in range(1_000_000): empty()
main()
print(time.monotonic(), flush=True)
"""

FAILS = """
import logging, sys, time
def insert(row): raise KeyError(f"order {row} rejected")
def main():
    logging.basicConfig(level=logging.INFO, filename="fails.log")
    for number in range(20): logging.info("row %s", number)
    insert(3)
def timed(*raised, hook=sys.excepthook):
    before = time.perf_counter()
    hook(*raised)
    print(time.perf_counter() - before, flush=True)
sys.excepthook = timed
main()
"""

HOLDS = """
import sys
def empty(): pass
def main(number):
    for _ in range(number): empty()
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
main(1_000_000)
before = resident()
main(int(sys.argv[1]))
print(resident() - before)
"""


def main(results: Results) -> None:
    """Measure the wall clock of whole processes, and resident memory."""
    processes = 7 if results.quick else 41
    print(f"\nwhole processes, {processes} each")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _start(results, folder, processes)
        _end(results, folder, processes)
        _failure(results, folder, processes)
        _memory(results, folder)


def _differences(
    results: Results,
    what: str,
    way: str,
    plain: Callable[[], float],
    other: Callable[[], float],
    processes: int,
    limit: float,
) -> None:
    pairs = [(plain() * 1e3, other() * 1e3) for _ in range(processes)]
    least = min(second for _, second in pairs) - min(first for first, _ in pairs)
    quarters = statistics.quantiles([second - first for first, second in pairs], n=4)
    results.add(Figure(what, way, least, quarters[0], quarters[2], "ms", limit))


def _timed(line: Sequence[str], folder: Path, **more: str) -> float:
    before = time.perf_counter()
    subprocess.run(line, cwd=folder, env={**environment(), **more}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before


def _start(results: Results, folder: Path, processes: int) -> None:
    """An environment of its own, in which the start-up hook is installed."""
    with_hook, without = folder / "with", folder / "without"
    for place in (with_hook, without):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        site = next(place.glob("lib/python*/site-packages"))
        (site / "here.pth").write_text(f"{sysconfig.get_path('purelib')}\n{Path.cwd()}\n", "utf-8")
    python = str(with_hook / "bin" / "python")
    subprocess.run(
        [python, "-m", "narrative_auto", "install"], check=True, stdout=subprocess.DEVNULL, env=environment()
    )
    line, plain = [python, "-c", "pass"], [str(without / "bin" / "python"), "-c", "pass"]
    for one in (line, plain):
        _timed(one, folder, NARRATIVE_AUTO="1")
    _differences(
        results,
        "start-up: python -c pass",
        "NARRATIVE_AUTO=1",
        lambda: _timed(plain, folder),
        lambda: _timed(line, folder, NARRATIVE_AUTO="1"),
        processes,
        START_MS,
    )
    _differences(
        results,
        "start-up: python -c pass",
        "hook, not asked for",
        lambda: _timed(plain, folder),
        lambda: _timed(line, folder),
        processes,
        HOOK_MS,
    )


def _end(results: Results, folder: Path, processes: int) -> None:
    (folder / "ends.py").write_text(ENDS, "utf-8")
    way = Way("auto", best_of("off"))

    def from_last_line(one: Way) -> float:
        line = command(one, ["ends.py"], store=str(folder / ".narrative"))
        done = subprocess.run(line, cwd=folder, env=environment(), check=True, capture_output=True, text=True)
        return time.monotonic() - float(done.stdout)

    _differences(
        results,
        "end, after 10^6 calls",
        way.name,
        lambda: from_last_line(PLAIN),
        lambda: from_last_line(way),
        min(processes, 11),
        EXIT_MS,
    )


def _failure(results: Results, folder: Path, processes: int) -> None:
    """What the hook for exceptions takes, less what Python's own does, in a process that has lived for a moment."""
    (folder / "fails.py").write_text(FAILS, "utf-8")
    way = Way("auto", best_of("off"))

    def in_hook(one: Way) -> float:
        line = command(one, ["fails.py"], store=str(folder / ".narrative"), tell="line")
        done = subprocess.run(line, cwd=folder, env=environment(), check=False, capture_output=True, text=True)
        return float(done.stdout)

    _differences(
        results,
        "the report of a failure",
        way.name,
        lambda: in_hook(PLAIN),
        lambda: in_hook(way),
        processes,
        FAILURE_MS,
    )


def _memory(results: Results, folder: Path) -> None:
    if not os.path.exists("/proc/self/status"):
        return
    (folder / "holds.py").write_text(HOLDS, "utf-8")
    number = 10_000_000 if results.quick else 100_000_000
    way = Way("auto", best_of("off"))
    line = command(way, ["holds.py", str(number)])
    done = subprocess.run(line, cwd=folder, env=environment(), check=True, capture_output=True, text=True)
    grown = float(done.stdout)
    power = len(str(number)) - 1
    results.add(Figure(f"memory, 10^6 to 10^{power} calls", way.name, grown, grown, grown, "kB", GROWTH_KB))
