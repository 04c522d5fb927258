"""Runs programs in several ways in turn, each in a process of its own, and keeps the seconds that they print."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from narrative_auto.instrument.engines.choice import best_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNDER_PEER = Path(__file__).with_name("under_peer.py")


@dataclass(frozen=True, slots=True)
class Way:
    """How a program is run: plain, recorded by this package, or under somebody else's tool.

    Attributes:
        name: how the tables call it.
        engine, recorder, budget: as for narrative-run; no engine for a program that is not recorded by us.
        peer: what `under_peer.py` knows; "" for none.
    """

    name: str
    engine: str = ""
    recorder: str = "native"
    budget: str = "off"
    peer: str = ""


PLAIN = Way("plain")
ENGINES = ["rewrite"] if sys.version_info < (3, 12) else ["rewrite", "monitoring"]
RECORDED = [Way(engine, engine) for engine in ENGINES]
BUDGETED = [Way(f"{engine}, 3%", engine, budget="3%") for engine in ENGINES]
SETTRACE = Way("settrace", "settrace")
PURE = Way("rewrite, pure", "rewrite", "pure")


def best_of(budget: str) -> str:
    """Return the engine that `--engine auto` takes on this interpreter, under "3%" or "off"."""
    return best_engine(sys.version_info[:2], has_budget=budget != "off")


def peers(*names: str) -> list[Way]:
    """Return ways to run under those tools of others that are installed."""
    modules = {"runtime-narrative": "runtime_narrative"}
    return [Way(name, peer=name) for name in names if importlib.util.find_spec(modules.get(name, name)) is not None]


Times = dict[Way, list[list[float]]]
"""What each process printed, by way; process number n of each way ran in the same round."""


def command(
    way: Way, arguments: Sequence[str], include: Sequence[str] = (), store: str = "off", tell: str = "nothing"
) -> list[str]:
    """Return the command line that runs a script in some way."""
    if way.peer:
        return [sys.executable, str(UNDER_PEER), way.peer, *arguments]
    if not way.engine:
        return [sys.executable, *arguments]
    launcher = str(Path(sys.executable).parent / "narrative-run")
    options = ["--engine", way.engine, "--recorder", way.recorder, "--budget", way.budget, "--store", store]
    options += ["--tell", tell, *(f"--include={pattern}" for pattern in include)]
    return [launcher, *options, sys.executable, *arguments]


def environment(recorder: str = "native") -> dict[str, str]:
    """Return the environment without what could change the ways; `NARRATIVE_CLOCK` is for the compiled recorder."""
    kept = {"NARRATIVE_CLOCK"} if recorder == "native" else set()
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(("NARRATIVE", "PYTHON"))
    }


def run(
    folder: Path, way: Way, arguments: Sequence[str], include: Sequence[str] = (), store: str = "off"
) -> list[float]:
    """Run a script once and return the seconds that it printed, one a line."""
    line = command(way, arguments, include, store)
    done = subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode or (way.engine and done.stderr):  # another engine or recorder may have taken its place
        sys.exit(f"benchmarks: {' '.join(line)} failed or is not what was asked for:\n{done.stderr}")
    # Some tools of others print as well.
    return [float(line) for line in done.stdout.splitlines() if re.fullmatch(r"\d+\.\d+(e-\d+)?", line)]


def in_turn(
    folder: Path,
    processes: int,
    arguments: Sequence[str],
    ways: Sequence[Way],
    before: Callable[[], None] = lambda: None,
) -> Times:
    """Run a script plain and in each way, one after the other, so often; `before` is called before each process."""
    times: Times = {way: [] for way in [PLAIN, *ways]}
    for _ in range(processes):
        for way in times:
            before()
            times[way].append(run(folder, way, arguments))
    return times
