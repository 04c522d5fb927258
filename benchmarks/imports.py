"""What imports cost: a package of 50 modules, plain and instrumented, with and without the caches that may be there.

The modules are those of rich, a dependency of this package, copied under another name. What they import from elsewhere
is imported before the time is taken, and a function of the script has been called, so that nothing but the 50 modules
is in it: what a process pays once, such as for the thread that tells the story, is paid at the first recorded call,
wherever that is. The garbage collector runs once before: where its counters stand when a program begins is chance, and
one collection of an older generation more or less is a fifth of the time.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import PLAIN, RECORDED, best_of, in_turn, run

if TYPE_CHECKING:
    from benchmarks.processes import Times
    from benchmarks.results import Results

COUNT = 50

COLD, WARM = 2.0, 1.15
"""The figures to reach by the engine that `auto` takes."""

TIMED = """
import gc, importlib, sys, time
names = sys.argv[1:]
for name in names:
    importlib.import_module(name.replace("fifty", "rich"))
def first(): pass
first()
time.sleep(0.02)
gc.collect()
before = time.perf_counter()
for name in names:
    importlib.import_module(name)
print(time.perf_counter() - before)
"""


def make_package(folder: Path) -> list[str]:
    """Copy the modules below `folder` and return their names."""
    spec = importlib.util.find_spec("rich")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("benchmarks: rich is not installed: pip install -e .")
    original, package = Path(spec.submodule_search_locations[0]), folder / "fifty"
    shutil.copytree(original, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.rglob("*.py"):
        text = re.sub(r"^(\s*(?:from|import)) rich\b", r"\1 fifty", path.read_text("utf-8"), flags=re.MULTILINE)
        path.write_text(text, "utf-8")
    sources = sorted(package.glob("*.py"))
    # __main__ prints, and two modules are for platforms and packages that need not be there.
    apart = {"__main__", "jupyter", "_win32_console", "_windows", "_windows_renderer"}
    names = [f"fifty.{path.stem}" for path in sources if path.stem not in apart and path.stem != "__init__"]
    if len(names) < COUNT - 1:
        sys.exit(f"benchmarks: this rich has {len(names)} modules only")
    return ["fifty", *names[: COUNT - 1]]


def main(results: Results) -> None:
    """Measure with cold and with warm caches."""
    processes = 3 if results.quick else 21
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ["timed.py", *make_package(folder)]
        (folder / "timed.py").write_text(TIMED, "utf-8")

        def clear() -> None:
            for cache in folder.rglob("__pycache__"):
                shutil.rmtree(cache)

        for way in RECORDED:
            run(folder, way, arguments)  # what the launcher itself needs is compiled
        print(f"\nimport of {COUNT} modules, {processes} processes each")
        _figures(results, "import, no cache", in_turn(folder, processes, arguments, RECORDED, clear), COLD)
        clear()
        for way in RECORDED:
            run(folder, way, arguments)
        _figures(results, "import, all caches there", in_turn(folder, processes, arguments, RECORDED), WARM)


def _figures(results: Results, what: str, times: Times, limit: float) -> None:
    for way in RECORDED:
        values, plain = ([seconds[0] for seconds in times[one]] for one in (way, PLAIN))
        results.ratio(what, way.name, values, plain, limit if way.engine == best_of(way.budget) else None)
