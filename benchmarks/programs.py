"""What recording costs whole programs: under the default budget, with every call recorded, and under others' tools."""

from __future__ import annotations

import importlib.util
import sqlite3
import statistics
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import workloads
from benchmarks.lock_step import lock_step, ratios_of_turns
from benchmarks.processes import BUDGETED, RECORDED, Way, best_of, peers
from benchmarks.results import Figure, geometric_mean

if TYPE_CHECKING:
    from benchmarks.results import Results

MEAN, WORST = 1.03, 1.07
"""The figures to reach under the default budget, by the engine that `auto` takes."""

SHARE_OF_VIZTRACER = 0.5
"""Of the cost that viztracer adds, with every call recorded; on every program."""

WORTH_SECONDS = 20e-6
"""Own time per record from which on a function is never released."""

QUICK = ("richards", "recursion", "generators", "threads")


def main(results: Results) -> None:
    """Measure CPU time in the steady state, in lock-step: the median of the ratios of all turns."""
    starts, turns, most_seconds = (1, 12, 1.0) if results.quick else (2, 20, 4.0)
    viztracer = peers("viztracer")
    # What our thread does goes by the clock on the wall, which runs on while others have their turn: few at a time.
    groups = [*([way] for way in BUDGETED), [*RECORDED, *viztracer]]
    ratios: dict[Way, list[float]] = {way: [] for group in groups for way in group}
    print(f"\nwhole programs, CPU time in the steady state, {starts} processes each, {turns} turns at most")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for program in QUICK if results.quick else workloads.NAMES:
            if program == "crypto_pyaes" and importlib.util.find_spec("pyaes") is None:
                print(f"  {program} left out: pyaes is not installed")
                continue
            own = folder / program
            include = workloads.write(own, program)
            turns_of: dict[Way, list[float]] = {way: [] for way in ratios}
            for start in range(1 if program in workloads.LONG else starts):
                told: dict[Way, dict[str, Told]] = {}
                for group in groups:
                    stores = {way: str(folder / f"store-{program}-{start}-{way.name}") for way in group}
                    seconds = lock_step(own, group, ["app.py"], include, stores, turns=turns, most_seconds=most_seconds)
                    for way in group:
                        turns_of[way] += ratios_of_turns(seconds, way)
                        if way.engine:
                            told[way] = _read(Path(stores[way]) / "stories.db")
                _check(results, program, told)
            for way, found in turns_of.items():
                ratios[way].append(results.ratio_of_turns(program, way.name, found))
    for way, values in ratios.items():
        mean, worst = geometric_mean(values), max(values)
        is_to_reach = way in BUDGETED and way.engine == best_of(way.budget)
        results.add(Figure("programs: mean", way.name, mean, min(values), worst, "", MEAN if is_to_reach else None))
        results.add(Figure("programs: worst", way.name, worst, worst, worst, "", WORST if is_to_reach else None))
    if viztracer:
        _compare(results, ratios, viztracer[0])
    else:
        print("  viztracer is not installed: pip install -e '.[bench]'")


class Told(NamedTuple):
    """What a story says of one function.

    Attributes:
        own: seconds that it ran itself, per record, without the longest call: a neighbour of the machine's may have
            interrupted that for longer than all others took.
        is_exact: no call is missing.
    """

    own: float
    is_exact: bool


def _read(database: Path) -> dict[str, Told]:
    """Return what a story says of the functions in its tree."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT name, (sum(self_seconds) - max(longest_seconds)) / sum(records), min(exact) FROM totals"
            " GROUP BY site"
        ).fetchall()
    return {name: Told(own, bool(exact)) for name, own, exact in rows}


def _check(results: Results, program: str, told: dict[Way, dict[str, Told]]) -> None:
    """Compare a story that was told under a budget with one in which every call was recorded, by the same engine.

    It has every function of that; and what does work of its own there was counted exactly. In the story under the
    budget itself a function's own time has that of what it calls, where that is released.
    """
    for way in BUDGETED:
        whole = next(told[other] for other in RECORDED if other.engine == way.engine)
        if set(told[way]) != set(whole):
            results.fault(f"{program}, {way.name}: the tree lacks {', '.join(sorted(set(whole) - set(told[way])))}")
        for name, of_function in whole.items():
            if of_function.own >= WORTH_SECONDS and name in told[way] and not told[way][name].is_exact:
                results.fault(
                    f"{program}, {way.name}: {name} runs {of_function.own * 1e6:.0f} us a record and was sampled"
                )


def _compare(results: Results, ratios: dict[Way, list[float]], viztracer: Way) -> None:
    """Compare what we add with what viztracer adds, program by program."""
    for way in RECORDED:
        shares = [(ours - 1) / (theirs - 1) for ours, theirs in zip(ratios[way], ratios[viztracer], strict=True)]
        limit = SHARE_OF_VIZTRACER if way.engine == best_of(way.budget) else None
        middle = statistics.median(shares)
        results.add(Figure("added cost, of viztracer's: median", way.name, middle, min(shares), max(shares)))
        results.add(
            Figure("added cost, of viztracer's: worst", way.name, max(shares), min(shares), max(shares), "", limit)
        )
