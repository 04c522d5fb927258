"""What calls cost: an empty function in a loop, and pyperformance's richards, also by slower recorders and peers."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import workloads
from benchmarks.lock_step import SERVE, lock_step, ratios_of_turns
from benchmarks.processes import PLAIN, PURE, RECORDED, SETTRACE, best_of, peers
from benchmarks.results import Figure

if TYPE_CHECKING:
    from benchmarks.processes import Way
    from benchmarks.results import Results

NATIVE_NS, PURE_NS = 25.0, 400.0
"""What an empty call may cost more, in ns: by the compiled recorder, and by the one in Python."""

EMPTY = """
def empty(): return  # logfire leaves alone what only passes
def main():
    for _ in range(NUMBER): empty()
"""

SCRIPT = """
from functions import main
from serve import serve
serve(main)
"""


def main(results: Results) -> None:
    """Measure both."""
    turns = 25 if results.quick else 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"\nan empty call, ns more than plain, least of {turns} turns")
        _empty(results, folder / "fast", [*RECORDED, *peers("viztracer", "cProfile")], 100_000, turns)
        _empty(results, folder / "slow", [SETTRACE, PURE, *peers("logfire", "runtime-narrative")], 2_000, turns // 2)
        print("\nrichards, slower recorders")
        ways = [SETTRACE, PURE]
        workloads.write(folder / "richards", "richards")
        seconds = lock_step(folder / "richards", ways, ["app.py"], turns=6, round_seconds=0.0)
        for way in ways:
            results.ratio_of_turns("richards", way.name, ratios_of_turns(seconds, way))


def _empty(results: Results, folder: Path, ways: list[Way], number: int, turns: int) -> None:
    """What a peer traces is imported: the function stands in a module of its own."""
    folder.mkdir()
    (folder / "functions.py").write_text(EMPTY.replace("NUMBER", str(number)), "utf-8")
    (folder / "serve.py").write_text(SERVE, "utf-8")
    (folder / "calls.py").write_text(SCRIPT, "utf-8")
    seconds = lock_step(folder, ways, ["calls.py"], turns=turns, round_seconds=0.0)
    for way in ways:
        value = (min(seconds[way]) - min(seconds[PLAIN])) / number * 1e9
        added = [(ours - plain) / number * 1e9 for ours, plain in zip(seconds[way], seconds[PLAIN], strict=True)]
        quarters = statistics.quantiles(added, n=4)
        limit = None
        if way in RECORDED and way.engine == best_of(way.budget):
            limit = NATIVE_NS
        elif way == PURE:
            limit = PURE_NS
        results.add(Figure("an empty call, added", way.name, value, quarters[0], quarters[2], "ns", limit))
