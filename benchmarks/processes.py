"""Runs programs plain and under each engine in turn, in processes of their own, and keeps the seconds they print."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from narrative_auto.instrument.engines.choice import BEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PLAIN = "plain"
ENGINES = ["rewrite", "settrace"] if sys.version_info < (3, 12) else ["rewrite", "monitoring", "settrace"]

Times = dict[str, list[float]]
"""Seconds by engine, `PLAIN` among them."""


def run(
    folder: Path, engine: str, arguments: Sequence[str], recorder: str, budget: str = "off", include: Sequence[str] = ()
) -> list[float]:
    """Run a Python command once, plain or under an engine, and return the seconds that it printed, one a line."""
    command = [sys.executable, *arguments]
    if engine != PLAIN:
        launcher = Path(sys.executable).parent / "narrative-run"
        options = [
            "--engine",
            engine,
            "--recorder",
            recorder,
            "--budget",
            budget,
            "--tell",
            "nothing",
            "--store",
            "off",
        ]
        options += [f"--include={pattern}" for pattern in include]
        command = [str(launcher), *options, *command]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("NARRATIVE", "PYTHON"))}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode or (engine != PLAIN and done.stderr):  # another engine or recorder may have taken its place
        sys.exit(f"benchmarks: {' '.join(command)} failed or is not what was asked for:\n{done.stderr}")
    return [float(line) for line in done.stdout.split()]


def in_turn(
    folder: Path,
    rounds: int,
    arguments: Sequence[str],
    engines: Sequence[str],
    recorder: str,
    before: Callable[[], None] = lambda: None,
) -> Times:
    """Run plain and under each engine, one after the other, so often; `before` is called before each process."""
    times: Times = {engine: [] for engine in [PLAIN, *engines]}
    for _ in range(rounds):
        for engine in times:
            before()
            times[engine] += run(folder, engine, arguments, recorder)
    return times


def table(title: str, times: Times, unit: tuple[str, float], figure: float | None = None) -> None:
    """Print one row an engine: minimum and median, each with its ratio to plain; and the ratio to reach by `auto`."""
    name, scale = unit
    print(f"\n{title}")
    print(f"{'':14}{'minimum':>12}{'ratio':>8}{'median':>14}{'ratio':>8}")
    for engine, seconds in times.items():
        cells = []
        for pick in (min, statistics.median):
            value, plain = pick(seconds), pick(times[PLAIN])
            ratio = "" if engine == PLAIN else f"{value / plain:.2f}"
            cells.append(f"{value * scale:>10.1f} {name}{ratio:>8}")
        print(f"  {engine:12}{cells[0]}  {cells[1]}")
    best = BEST[sys.version_info[:2]]
    if figure is not None and best in times:
        reached = min(times[best]) / min(times[PLAIN])
        print(f"  to reach with {best}, which auto takes: {figure}; {'reached' if reached <= figure else 'missed'}")
