"""What a stage costs that a program opens itself, beside runtime-narrative's; and what a crumb costs elsewhere."""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.lock_step import SERVE, Runner
from benchmarks.results import Figure

if TYPE_CHECKING:
    from benchmarks.results import Results

SHARE = 1 / 3
"""Of what runtime-narrative's stage takes, in a story whose renderer does nothing."""

STAGES = 500

SCRIPT = f"""
from PACKAGE import stage, story
from serve import serve
class Nobody:
    def handle(self, event): pass
def main():
    with story("benchmark", renderers=[Nobody()]):
        for _ in range({STAGES}):
            with stage("one"): pass
serve(main)
"""


CRUMBS = 500

CRUMB_SCRIPT = f"""
from PACKAGE import crumb
from serve import serve
def main():
    for _ in range({CRUMBS}):
        crumb("loaded", rows=3, name="ada")
serve(main)
"""


def main(results: Results) -> None:
    """Measure stages, and crumbs."""
    _stages(results)
    _crumbs(results)


def _crumbs(results: Results) -> None:
    """Measure ours, redaction included, and statecrumbs', a round of one after a round of the other."""
    turns = 15 if results.quick else 60
    packages = {"narrative_auto.crumbs": "crumb()"}
    if importlib.util.find_spec("statecrumbs") is not None:
        packages["statecrumbs"] = "statecrumbs"
    print(f"\na crumb with two short values, {turns} turns")
    rounds: dict[str, list[float]] = {package: [] for package in packages}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "serve.py").write_text(SERVE, "utf-8")
        runners = {}
        for package in packages:
            script = f"{package.partition('.')[0]}_crumbs.py"
            (folder / script).write_text(CRUMB_SCRIPT.replace("PACKAGE", package), "utf-8")
            runners[package] = Runner([sys.executable, script], folder)
            runners[package].round(20)
        for _ in range(turns):
            for package, runner in runners.items():
                rounds[package].append(runner.round(4) / 4 / CRUMBS * 1e9)
        for runner in runners.values():
            runner.end(is_ours=False)
    for package, found in rounds.items():
        quarters = statistics.quantiles(found, n=4)
        results.add(
            Figure("a crumb with two short values", packages[package], min(found), quarters[0], quarters[2], "ns")
        )
    if len(packages) > 1:
        ours, theirs = rounds.values()
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        quarters = statistics.quantiles(ratios, n=4)
        value = statistics.median(ratios)
        results.add(Figure("a crumb, of statecrumbs'", "crumb()", value, quarters[0], quarters[2], "", 1.0))
    else:
        print("  statecrumbs is not installed: pip install -e '.[bench]'")


def _stages(results: Results) -> None:
    """Measure both, a round of one after a round of the other."""
    turns = 15 if results.quick else 60
    packages = {"narrative_auto": "stage()"}
    if importlib.util.find_spec("runtime_narrative") is not None:
        packages["runtime_narrative"] = "runtime-narrative"
    print(f"\nstage() in a story whose renderer does nothing, {turns} turns")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "serve.py").write_text(SERVE, "utf-8")
        runners = {}
        for package in packages:
            script = folder / f"{package}_stages.py"
            script.write_text(SCRIPT.replace("PACKAGE", package), "utf-8")
            runners[package] = Runner([sys.executable, script.name], folder)
        for runner in runners.values():
            runner.round(20)
        seconds: dict[str, list[float]] = {package: [] for package in packages}
        for _ in range(turns):
            for package, runner in runners.items():
                seconds[package].append(runner.round(4) / 4)
        for runner in runners.values():
            runner.end(is_ours=True)
    for package, label in packages.items():
        found = sorted(value / STAGES * 1e9 for value in seconds[package])
        quarters = statistics.quantiles(found, n=4)
        results.add(Figure("a stage of one's own", label, found[0], quarters[0], quarters[2], "ns"))
    if len(packages) == 2:
        shares = [ours / theirs for ours, theirs in zip(*seconds.values(), strict=True)]
        quarters = statistics.quantiles(shares, n=4)
        share = statistics.median(shares)
        results.add(Figure("of runtime-narrative's", "stage()", share, quarters[0], quarters[2], "", SHARE))
