"""What calls cost: an empty function in a loop, and pyperformance's richards, also by slower recorders and peers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import BEST_ENGINE, PLAIN, PURE, RECORDED, SETTRACE, in_turn, peers
from benchmarks.results import Figure
from benchmarks.workloads import find_pyperformance

if TYPE_CHECKING:
    from benchmarks.processes import Times, Way
    from benchmarks.results import Results

NATIVE_NS, PURE_NS = 25.0, 400.0
"""What an empty call may cost more, in ns: by the compiled recorder, and by the one in Python."""

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
number = int(sys.argv[2])
rounds(number)
for _ in range(int(sys.argv[1])):
    before = time.perf_counter()
    rounds(number)
    print((time.perf_counter() - before) / number)
"""

FUNCTIONS = """
def empty(): return  # logfire leaves alone what only passes
def rounds(number):
    for _ in range(number): empty()
"""


def main(results: Results) -> None:
    """Measure both."""
    processes, rounds = (2, 3) if results.quick else (7, 10)
    fast, slow = [*RECORDED, *peers("viztracer", "cProfile")], [SETTRACE, PURE, *peers("logfire", "runtime-narrative")]
    source = find_pyperformance("richards")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(source, folder / "run_benchmark.py")
        (folder / "richards.py").write_text(RICHARDS, "utf-8")
        (folder / "functions.py").write_text(FUNCTIONS, "utf-8")
        (folder / "calls.py").write_text(EMPTY, "utf-8")
        print(f"\nan empty call, ns more than plain, {processes} processes each")
        _empty(results, in_turn(folder, processes, ["calls.py", str(rounds), "200000"], fast), fast)
        _empty(results, in_turn(folder, min(processes, 3), ["calls.py", "3", "5000"], slow), slow)
        print("\nrichards, wall clock")
        slow = [SETTRACE, PURE]
        for ways, many in ((RECORDED, processes), (slow, min(processes, 2))):
            times = in_turn(folder, many, ["richards.py", str(rounds)], ways)
            for way in ways:
                results.ratio("richards, wall clock", way.name, *(list(map(min, times[one])) for one in (way, PLAIN)))


def _empty(results: Results, times: Times, ways: list[Way]) -> None:
    plain = list(map(min, times[PLAIN]))
    for way in ways:
        added = [(min(one) - other) * 1e9 for one, other in zip(times[way], plain, strict=True)]
        value = (min(map(min, times[way])) - min(plain)) * 1e9
        limit = None
        if way in RECORDED and way.engine == BEST_ENGINE:
            limit = NATIVE_NS
        elif way == PURE:
            limit = PURE_NS
        results.add(Figure("an empty call, added", way.name, value, min(added), max(added), "ns", limit))
