"""What recording costs under the default budget: pyperformance's programs, and some that are hard for a budget."""

from __future__ import annotations

import importlib.util
import math
import sys
import tempfile
from pathlib import Path

from benchmarks import workloads
from benchmarks.processes import ENGINES, PLAIN, run
from narrative_auto.instrument.engines.choice import BEST

MEAN, WORST = 1.03, 1.07
"""The figures to reach, by the engine that `auto` takes."""

ENOUGH_SECONDS = 0.5
"""Of CPU time in a process, at least: a round may take a few milliseconds only."""

SETTLED = 2
"""Rounds after which a program is in its steady state."""


def main(processes: int, rounds: int, recorder: str, names: tuple[str, ...] = workloads.NAMES) -> None:
    """Print a table: for each program the ratio of its steady state to plain, and in brackets that of all rounds."""
    engines = [engine for engine in ENGINES if engine != "settrace"]
    print(
        f"\ndefault budget, CPU time, {processes} processes of {rounds} rounds or more: minimum; in brackets all rounds"
    )
    print(f"{'':20}{'plain':>10}" + "".join(f"{engine:>18}" for engine in engines))
    ratios: dict[str, list[float]] = {engine: [] for engine in engines}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if name == "crypto_pyaes" and importlib.util.find_spec("pyaes") is None:
                print(f"  {name:18} left out: pyaes is not installed")
                continue
            script, *include = workloads.write(Path(folder), name)
            once = min(run(Path(folder), PLAIN, [script, "3"], recorder))
            count = max(rounds, math.ceil(ENOUGH_SECONDS / once))
            steady: dict[str, float] = {}
            whole: dict[str, float] = {}
            for _ in range(processes):
                for way in [PLAIN, *engines]:
                    times = run(Path(folder), way, [script, str(count)], recorder, "3%", include)
                    steady[way] = min([*times[SETTLED:], steady.get(way, math.inf)])
                    whole[way] = min(sum(times), whole.get(way, math.inf))
            cells = ""
            for engine in engines:
                ratio = steady[engine] / steady[PLAIN]
                ratios[engine].append(ratio)
                cells += f"{ratio:>9.2f} {f'({whole[engine] / whole[PLAIN]:.2f})':>8}"
            print(f"  {name:18}{steady[PLAIN] * 1e3:>7.1f} ms{cells}", flush=True)
    for text, value in (("geometric mean", _geometric_mean), ("worst", max)):
        print(f"  {text:28}" + "".join(f"{value(ratios[engine]):>9.2f}{'':9}" for engine in engines))
    best = BEST[sys.version_info[:2]]
    mean, worst = _geometric_mean(ratios[best]), max(ratios[best])
    reached = "reached" if mean <= MEAN and worst <= WORST else "missed"
    print(f"  to reach with {best}, which auto takes: mean {MEAN}, worst {WORST}; {reached}")


def _geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
