"""What calls cost: an empty function in a loop, and pyperformance's richards."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.programs import ENGINES, in_turn, table

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


def find_richards() -> Path:
    """Return pyperformance's own file of the program."""
    spec = importlib.util.find_spec("pyperformance")
    if spec is None or spec.origin is None:
        sys.exit("benchmarks: pyperformance is not installed: pip install -e '.[bench]'")
    path = Path(spec.origin).parent / "data-files" / "benchmarks" / "bm_richards" / "run_benchmark.py"
    if not path.exists():
        sys.exit(f"benchmarks: this pyperformance has no {path}")
    return path


def main(processes: int, rounds: int, recorder: str) -> None:
    """Print both tables."""
    source = find_richards()
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
