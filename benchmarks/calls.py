"""What calls cost: an empty function in a loop, and pyperformance's richards."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.processes import ENGINES, in_turn, table
from benchmarks.workloads import find_pyperformance

RICHARDS = """
import sys, time
import run_benchmark
work = run_benchmark.Richards()
work.run(1)
for _ in range(int(sys.argv[1])):
    before = time.perf_counter()
    assert work.run(1)
    print(time.perf_counter() - before)
"""

EMPTY = """
import sys, time
from functions import empty, rounds
number = 200_000
rounds(number)
for _ in range(int(sys.argv[1])):
    before = time.perf_counter()
    rounds(number)
    print((time.perf_counter() - before) / number)
"""

FUNCTIONS = """
def empty(): pass
def rounds(number):
    for _ in range(number): empty()
"""


def main(processes: int, rounds: int, recorder: str) -> None:
    """Print both tables."""
    source = find_pyperformance("richards")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(source, folder / "run_benchmark.py")
        (folder / "richards.py").write_text(RICHARDS, "utf-8")
        (folder / "functions.py").write_text(FUNCTIONS, "utf-8")
        (folder / "calls.py").write_text(EMPTY, "utf-8")
        times = in_turn(folder, processes, ["richards.py", str(rounds)], ENGINES, recorder)
        table(f"richards, one round ({processes} processes of {rounds})", times, ("ms", 1e3))
        times = in_turn(folder, processes, ["calls.py", str(rounds)], ENGINES, recorder)
        table(f"an empty call and its loop ({processes} processes of {rounds} times 200,000)", times, ("ns", 1e9))
