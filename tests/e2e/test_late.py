"""What no finder brings in: functions that exist already, code run by `exec`, modules that pytest loads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, narrative_run, run

Write = Callable[[str, str], Path]

ENGINES = ["rewrite", "settrace"] if sys.version_info < (3, 12) else ["rewrite", "monitoring", "settrace"]
MEETS_CODE = sys.version_info >= (3, 12)
"""Whether an engine meets code as it starts, beside rewrite too."""

LIB = """
import functools
TABLE = {}
def handler(function):
    TABLE[function.__name__] = function
    return function
@handler
def handled(x): return x + 1
@functools.lru_cache
def cached(n): return n
def outer():
    def inner(): return 5
    return inner
held = outer()
class Thing:
    @property
    def size(self): return 1
    @staticmethod
    def still(): return 2
    def values(self):
        yield 1
        yield 2
bound = Thing().values
running = Thing().values()
next(running)
"""

LATE = """
import lib, sys, narrative_auto
def before():
    lib.TABLE["handled"](1), lib.cached(1), lib.held(), lib.Thing().size, lib.Thing.still(), list(lib.bound())
    return next(lib.running)
finder = narrative_auto.auto_instrument()
assert narrative_auto.auto_instrument() is finder
print(before(), type(finder).__name__)
sys.meta_path.remove(finder)
import other
other.later()
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_auto_instrument_reaches_what_exists(write: Write, engine: str) -> None:
    """Decorated, in a table, a closure, a property, a bound method: by the function itself, whoever holds it."""
    write("lib.py", LIB)
    write("other.py", "def later(): pass\n")
    folder = write("app.py", LATE).parent
    settings = {"NARRATIVE_TELL": "tree", "NARRATIVE_STORE": "off", "NARRATIVE_ENGINE": engine}
    done = run(sys.executable, "app.py", cwd=folder, PYTHONIOENCODING="utf-8", **settings)
    assert (done.status, done.out) == (0, b"2 NarrativeFinder\n"), done.err
    told = [line.strip("│├└─ ").split()[0] for line in done.err.splitlines() if " µs" in line or " ms" in line[-12:]]
    assert {"before", "handled", "cached", "outer.<locals>.inner", "Thing.size", "Thing.still", "Thing.values"} <= {
        *told
    }
    assert "later" not in done.err
    assert "Thing.values      ×" not in done.err  # the one that was running goes on with the code it had


@pytest.mark.parametrize("engine", ENGINES)
def test_code_run_by_exec(write: Write, engine: str) -> None:
    """A function that `exec` defines is a stage; what dataclasses write is not."""
    if engine == "rewrite" and not MEETS_CODE:
        pytest.skip("rewrite alone does not see code run by exec, and there is nothing beside it on CPython 3.11")
    source = (
        "import dataclasses\n@dataclasses.dataclass\nclass Pair:\n    a: int\n"
        "def main():\n    exec('def made(): return 1\\nmade()', globals())\n    Pair(1)\nmain()\n"
    )
    folder = write("app.py", source).parent
    done = narrative_run("--engine", engine, "--tell", "tree", "--store", "off", sys.executable, "app.py", cwd=folder)
    assert "─ made " in done.err
    assert "__init__" not in done.err


@pytest.mark.parametrize("engine", ENGINES)
def test_test_modules_that_pytest_rewrites(write: Write, tmp_path: Path, engine: str) -> None:
    """Tests, fixtures and what else such a module defines; the assertions are pytest's still."""
    write("pyproject.toml", "")
    write(
        "test_shop.py",
        "import pytest\n@pytest.fixture\ndef three(): return 3\n"
        "@pytest.mark.parametrize('n', [1, 2])\ndef test_sum(three, n): assert three + n > helper()\n"
        "class TestShop:\n    def test_fails(self): assert helper() == 2\ndef helper(): return 1\n",
    )
    done = narrative_run(
        "--engine", engine, "--tell", "tree", "--store", "off",
        COMMANDS / "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path,
    )  # fmt: skip
    assert done.status == 1
    assert b"assert 1 == 2" in done.out
    assert b"1 failed, 2 passed" in done.out
    for name in ("three", "test_sum", "TestShop.test_fails", "helper"):
        assert f"{name} " in done.err


@pytest.mark.parametrize("engine", ENGINES)
def test_marks_that_were_there_first(write: Write, engine: str) -> None:
    """`@no_stage` and `@narrative_stage` hold, and a nested function is one stage, however often we are asked."""
    source = (
        "import narrative_auto\n"
        "@narrative_auto.no_stage\ndef quiet(): pass\n"
        "@narrative_auto.narrative_stage('Loud one')\ndef loud(): pass\n"
        "class Maker:\n    def __getattr__(self, name):\n        def made(): pass\n        return made\n"
        "narrative_auto.auto_instrument()\nnarrative_auto.auto_instrument()\n"
        "quiet(), loud(), Maker().x(), Maker().x()\n"
    )
    folder = write("app.py", source).parent
    settings = {"NARRATIVE_TELL": "tree", "NARRATIVE_STORE": "off", "NARRATIVE_ENGINE": engine}
    done = run(sys.executable, "app.py", cwd=folder, PYTHONIOENCODING="utf-8", **settings)
    assert done.status == 0, done.err
    assert "Loud one" in done.err
    assert "quiet" not in done.err
    assert [line.count("×2") for line in done.err.splitlines() if ".made " in line] == [1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_handler_s_exception_during_an_import(write: Write, engine: str) -> None:
    """It is the program's: whatever we were doing in its place, it gets out."""
    functions = "".join(f"def f{n}(a):\n    return [a for a in range({n})]\n" for n in range(6000))
    write("big.py", functions)
    source = (
        "import signal\nclass Timeout(Exception): pass\n"
        "def strike(*_): raise Timeout\nsignal.signal(signal.SIGALRM, strike)\nsignal.setitimer(signal.ITIMER_REAL, 0.1)\n"
        "try:\n    import big\n    while True: pass\nexcept Timeout:\n    print('timed out')\n"
    )
    folder = write("app.py", source).parent
    done = narrative_run("--engine", engine, "-q", "--store", "off", sys.executable, "app.py", cwd=folder)
    assert (done.status, done.out, done.err) == (0, b"timed out\n", "")


def test_an_edited_source_changes_no_function_that_runs(write: Write) -> None:
    """What is given its own code back is given the code that it has, or none."""
    source = (
        "import cloudpickle, pathlib, victim\n"
        "def main():\n    print(victim.f())\n"
        "    pathlib.Path('victim.py').write_text(pathlib.Path('victim.py').read_text().replace('old', 'new'))\n"
        "    victim.f.__module__ = '__main__'\n    cloudpickle.dumps(victim.f)\n    print(victim.f())\nmain()\n"
    )
    write("victim.py", "def f():\n    return 'old'\n")
    folder = write("app.py", source).parent
    done = narrative_run("--engine", "rewrite", "-q", "--store", "off", sys.executable, "app.py", cwd=folder)
    assert (done.status, done.out) == (0, b"old\nold\n"), done.err
