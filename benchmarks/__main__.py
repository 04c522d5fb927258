"""`python -m benchmarks [--quick] [PART]...`: what recording costs, and what others' tools do.

In each round all ways run one after the other, each in a process of its own. A figure is the minimum over the rounds,
by that of plain; in brackets the least and the most of the rounds: far from each other where the machine was busy. The
results go to `benchmarks/results/`, the table to `docs/performance.md`, and where a figure is missed the exit status is
1. Where parts are named, the figures of the others stay.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import calls, explicit, imports, programs, whole_processes
from benchmarks.results import Results, write_page

PARTS = {
    "calls": calls.main,
    "explicit": explicit.main,
    "imports": imports.main,
    "programs": programs.main,
    "processes": whole_processes.main,
}


def main() -> int:
    """Measure, and say what was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer processes and programs, under 3 minutes")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args()
    print(f"CPython {'.'.join(map(str, sys.version_info[:3]))}; every call recorded, but where a budget is named")
    results = Results(chosen.quick)
    for part in chosen.parts or PARTS:
        PARTS[part](results)
        print(f"\nwritten to {results.write(is_whole=not chosen.parts)}")  # what comes later may take long
    if not chosen.quick:
        write_page()
    print()
    for figure in results.missed:
        print(f"missed: {figure.line().strip()}")
    for fault in results.faults:
        print(f"fault: {fault}")
    print(f"{len(results.figures)} figures, {len(results.missed)} missed, {len(results.faults)} faults")
    return int(bool(results.missed or results.faults))


sys.exit(main())
