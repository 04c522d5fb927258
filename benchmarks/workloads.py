"""The programs whose time is taken: some of pyperformance's, and some that are hard for a budget.

Each is a script that serves `lock_step`.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from benchmarks.lock_step import SERVE

PYPERFORMANCE = ("richards", "deltablue", "raytrace", "go", "chaos", "hexiom", "mdp", "crypto_pyaes")

LONG = ("mdp",)
"""Programs of which a round takes seconds."""

_OWN = {
    "recursion": """
def down(n):
    return down(n - 1) if n else 0
def main():
    for _ in range(300): down(900)
""",
    "generators": """
def numbers(count):
    for number in range(count): yield number
def doubled(source):
    for number in source: yield 2 * number
def thirds(source):
    for number in source:
        if number % 3: yield number
def main():
    for _ in range(4): sum(thirds(doubled(numbers(50_000))))
""",
    "awaits": """
import asyncio
async def tick(count):
    for _ in range(count): await asyncio.sleep(0)
async def run():
    await asyncio.gather(*[tick(2_000) for _ in range(20)])
def main():
    asyncio.run(run())
""",
    "threads": """
import threading
def tiny(x):
    for i in range(40): x += i
    return x
def work(count):
    for number in range(count): tiny(number)
def main():
    threads = [threading.Thread(target=work, args=(6_000,)) for _ in range(32)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
""",
    "5,000 functions": "".join(f"def f{n}(x):\n    return x + {n}\n" for n in range(5_000))
    + """
FUNCTIONS = [value for name, value in globals().items() if name[0] == "f"]
def main():
    for _ in range(60):
        for function in FUNCTIONS: function(1)
""",
}

NAMES = (*PYPERFORMANCE, *_OWN)


def write(own: Path, name: str) -> list[str]:
    """Put a program into a new folder, as "app.py"; return what `--include` has to name for it, if anything."""
    own.mkdir()
    (own / "serve.py").write_text(SERVE, "utf-8")
    if name in _OWN:
        (own / "app.py").write_text(_OWN[name] + "\nfrom serve import serve\nserve(main)\n", "utf-8")
    else:
        shutil.copy(find_pyperformance(name), own / "app.py")
        shutil.copy(Path(__file__).with_name("stand_in_pyperf.py"), own / "pyperf.py")
    return ["pyaes.*"] if name == "crypto_pyaes" else []


def find_pyperformance(name: str) -> Path:
    """Return pyperformance's own file of one of its programs."""
    spec = importlib.util.find_spec("pyperformance")
    if spec is None or spec.origin is None:
        sys.exit("benchmarks: pyperformance is not installed: pip install -e '.[bench]'")
    path = Path(spec.origin).parent / "data-files" / "benchmarks" / f"bm_{name}" / "run_benchmark.py"
    if not path.exists():
        sys.exit(f"benchmarks: this pyperformance has no {path}")
    return path
