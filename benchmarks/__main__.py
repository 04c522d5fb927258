"""`python -m benchmarks [--quick]`: plain and instrumented times of a pyperformance program, side by side.

The program is taken as it is from the installed pyperformance (the `bench` extra) and run in child processes, plain and
under narrative-run in turn. Each process times the same number of rounds of the same work, after one round that does
not count, and prints the seconds of each; the table shows the minimum and the median over all processes, and the
ratio. A wide spread between the two says that the machine was busy.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = "richards"

RUNNER = """
import sys, time
import run_benchmark
work = run_benchmark.Richards()
rounds = int(sys.argv[1])
work.run(1)
for _ in range(rounds):
    before = time.perf_counter()
    assert work.run(1)
    print(time.perf_counter() - before)
"""


def find_program() -> Path:
    """Return pyperformance's own file of the program."""
    spec = importlib.util.find_spec("pyperformance")
    if spec is None or spec.origin is None:
        sys.exit("benchmarks: pyperformance is not installed: pip install -e '.[bench]'")
    path = Path(spec.origin).parent / "data-files" / "benchmarks" / f"bm_{PROGRAM}" / "run_benchmark.py"
    if not path.exists():
        sys.exit(f"benchmarks: this pyperformance has no {path}")
    return path


def run_once(folder: Path, rounds: int, *, instrumented: bool) -> tuple[list[float], float]:
    """Return the seconds of each round in one process, and of the whole process."""
    command = [sys.executable, "runner.py", str(rounds)]
    if instrumented:
        launcher = Path(sys.executable).parent / "narrative-run"
        command = [str(launcher), "--tell", "nothing", "--store", "off", *command]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NARRATIVE")}
    before = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - before
    if done.returncode:
        sys.exit(f"benchmarks: {' '.join(command)} failed:\n{done.stderr}")
    return [float(line) for line in done.stdout.split()], whole


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="two processes of three rounds each instead of five of ten"
    )
    quick = parser.parse_args().quick
    processes, rounds = (2, 3) if quick else (5, 10)
    source = find_program()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    whole: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(source, folder / "run_benchmark.py")
        (folder / "runner.py").write_text(RUNNER, "utf-8")
        for _ in range(processes):
            for instrumented in (False, True):
                rounds_taken, process = run_once(folder, rounds, instrumented=instrumented)
                seconds[instrumented] += rounds_taken
                whole[instrumented].append(process)
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"{PROGRAM} (pyperformance), CPython {version}, pure recorder, every call recorded")
    print(f"{processes} processes of {rounds} rounds each, plain and instrumented in turn\n")
    print(f"{'':24}{'plain':>12}{'instrumented':>16}{'ratio':>9}")
    for label, pick, table in (
        ("one round, minimum", min, seconds),
        ("one round, median", statistics.median, seconds),
        ("whole process, minimum", min, whole),
        ("whole process, median", statistics.median, whole),
    ):
        plain, instrumented = pick(table[False]), pick(table[True])
        print(f"{label:24}{plain * 1e3:>9.1f} ms{instrumented * 1e3:>13.1f} ms{instrumented / plain:>9.2f}")


if __name__ == "__main__":
    main()
