"""`python -m benchmarks [--quick] [calls|imports|budget]`: what recording costs, plain and under each engine.

Every figure comes from processes that run plain and instrumented in turn. The tables show the minimum and the median
over all of them, with the ratio to plain; a wide spread between the two says that the machine was busy.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import budget, calls, imports


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer processes and rounds")
    parser.add_argument("--recorder", choices=["native", "pure"], default="native", help="native unless given")
    parser.add_argument("what", nargs="?", choices=["calls", "imports", "budget"], help="only these tables")
    chosen = parser.parse_args()
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"CPython {version}, {chosen.recorder} recorder; every call recorded, but where a budget is named")
    if chosen.what in {None, "calls"}:
        calls.main(*((2, 3) if chosen.quick else (5, 10)), chosen.recorder)
    if chosen.what in {None, "imports"}:
        imports.main(3 if chosen.quick else 21, chosen.recorder)
    if chosen.what in {None, "budget"}:
        budget.main(*((1, 4) if chosen.quick else (3, 6)), chosen.recorder)


if __name__ == "__main__":
    main()
