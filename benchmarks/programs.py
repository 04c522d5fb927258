"""What recording costs whole programs: under the default budget, with every call recorded, and under others' tools."""

from __future__ import annotations

import importlib.util
import math
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import workloads
from benchmarks.processes import BEST_ENGINE, BUDGETED, PLAIN, RECORDED, Way, peers, run
from benchmarks.results import Figure, geometric_mean

if TYPE_CHECKING:
    from benchmarks.results import Results

MEAN, WORST = 1.03, 1.07
"""The figures to reach under the default budget, by the engine that `auto` takes."""

SHARE_OF_VIZTRACER = 0.5
"""Of the cost that viztracer adds, with every call recorded; on every program."""

WORTH_SECONDS = 20e-6
"""Own time per record from which on a function is never released."""

ENOUGH_SECONDS = 0.5
"""Of CPU time in a process, at least: a round may take a few milliseconds only."""

SETTLED = 2
"""Rounds after which a program is in its steady state."""

QUICK = ("richards", "deltablue", "recursion", "generators", "threads")


def main(results: Results) -> None:
    """Measure CPU time in the steady state: the minimum of all rounds but the first two."""
    processes, rounds = (1, 3) if results.quick else (3, 6)
    ways = [*BUDGETED, *RECORDED, *peers("viztracer", "cProfile")]
    ratios: dict[Way, list[float]] = {way: [] for way in ways}
    print(f"\nwhole programs, CPU time in the steady state, {processes} processes each")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for program in QUICK if results.quick else workloads.NAMES:
            if program == "crypto_pyaes" and importlib.util.find_spec("pyaes") is None:
                print(f"  {program} left out: pyaes is not installed")
                continue
            steady = _steady(results, folder, program, ways, processes, rounds)
            for way in ways:
                ratios[way].append(results.ratio(program, way.name, steady[way], steady[PLAIN]))
    for way in ways:
        mean, worst = geometric_mean(ratios[way]), max(ratios[way])
        is_to_reach = way in BUDGETED and way.engine == BEST_ENGINE
        results.add(Figure("programs: mean", way.name, mean, mean, mean, "", MEAN if is_to_reach else None))
        results.add(Figure("programs: worst", way.name, worst, worst, worst, "", WORST if is_to_reach else None))
    _compare(results, ratios)


def _steady(
    results: Results, folder: Path, program: str, ways: list[Way], processes: int, rounds: int
) -> dict[Way, list[float]]:
    script, *include = workloads.write(folder, program)
    once = min(run(folder, PLAIN, [script, "3"]))
    count = max(SETTLED + 1 if once > ENOUGH_SECONDS else rounds, math.ceil(ENOUGH_SECONDS / once))
    steady: dict[Way, list[float]] = {way: [] for way in [PLAIN, *ways]}
    for number in range(processes):
        names: dict[Way, set[str]] = {}
        for way, times in steady.items():
            store = folder / f"store-{Path(script).parent.name}-{ways.index(way) if way in ways else 'plain'}-{number}"
            printed = run(folder, way, [script, str(count)], include, str(store) if way.engine else "off")
            times.append(min(printed[SETTLED:]))
            if way.engine:
                names[way] = _check(results, store / "stories.db", program, way, workloads.suspending(script, include))
        for way in BUDGETED:
            whole = next(names[other] for other in RECORDED if other.engine == way.engine)
            if names[way] != whole:
                results.fault(f"{program}, {way.name}: the tree lacks {', '.join(sorted(whole - names[way]))}")
    return steady


def _check(results: Results, database: Path, program: str, way: Way, suspending: set[str]) -> set[str]:
    """Return the functions of a story's tree; what does work of its own must have been counted exactly.

    Of what can be suspended the store does not say how many records it wrote.
    """
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT name, sum(calls), sum(self_seconds), min(exact) FROM totals GROUP BY site"
        ).fetchall()
    for name, calls, own, exact in rows:
        if not exact and name not in suspending and own / (2 * calls) >= WORTH_SECONDS:
            results.fault(f"{program}, {way.name}: {name} runs {own / calls * 1e6:.0f} us a call and was sampled")
    return {row[0] for row in rows}


def _compare(results: Results, ratios: dict[Way, list[float]]) -> None:
    """Compare what we add with what viztracer adds, program by program."""
    viztracer = next((values for way, values in ratios.items() if way.peer == "viztracer"), None)
    if viztracer is None:
        print("  viztracer is not installed: pip install -e '.[bench]'")
        return
    for way in RECORDED:
        shares = [(ours - 1) / (theirs - 1) for ours, theirs in zip(ratios[way], viztracer, strict=True)]
        limit = SHARE_OF_VIZTRACER if way.engine == BEST_ENGINE else None
        results.add(
            Figure("added cost, of viztracer's: worst", way.name, max(shares), min(shares), max(shares), "", limit)
        )
