"""`python -m tests.transparency.foreign_suites`: other people's test suites, plain and recorded, outcome by outcome.

Each package comes from its source distribution, pinned, in a virtual environment of its own with this checkout in it.
Its own tests run plain, then under `narrative-run` with each engine. What each test came to (setup, call, teardown),
its message, its output and its warnings must be the same, and no fault of ours may be told. Where something differs
the tests run plain again, and what two plain runs disagree about is named and left out. The runs have `--assert=plain` and the default scope with the package added: so the tests' own modules,
their fixtures and helpers get probes as well, which pytest's assertion rewriting would prevent; that is the harder
test. It is checked that the package's functions were instrumented and called. Exits 0 if nothing differs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrative_auto.settings import ENGINES
from tests.conftest import ROOT, clean_environment
from tests.transparency import outcomes
from tests.transparency.torture import all_codes, is_function

TIMEOUT = 900.0
"""Seconds that a suite may take; far more than any does."""

ENOUGH = 0.95
"""The share of the package's functions that must have been instrumented."""

BY_CALLS = {"monitoring", "settrace"}
"""Engines that know of a function from its first call on: theirs must have called what the engine before them called."""

PLAIN_RUNS = 3
"""As often the tests run plain before a difference is believed."""

LONGEST_LIST = 40
"""Differences that are printed of one run."""

PYTEST = "pytest==9.2.0"


@dataclass(frozen=True, slots=True)
class Package:
    """A package whose tests are run.

    Attributes:
        version: exact, so that a result can be had again.
        module: the package's name in imports.
        needs: what its tests need beside pytest.
        arguments: for pytest.
        chance: a pattern for lines of output that come or do not come by chance.
        quick: whether `--quick` runs it.
    """

    version: str
    module: str
    needs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    chance: str = ""
    quick: bool = False


PACKAGES = {
    "toolz": Package("1.2.0", "toolz", quick=True),
    "more-itertools": Package(
        "11.2.1",
        "more_itertools",
        # Two tests that call tiny functions a hundred million times: minutes, where each call is recorded.
        arguments=("-k", "not test_primes and not test_nth_prime_approximate"),
    ),
    "sqlparse": Package("0.6.1", "sqlparse", quick=True),
    "itsdangerous": Package("2.2.0", "itsdangerous", ("freezegun==1.5.5",), quick=True),
    "anyio": Package(
        "4.16.0",
        "anyio",
        (
            *("trio==0.35.0", "uvloop==0.23.0", "blockbuster==1.5.29", "hypothesis==6.170.15", "psutil==7.2.2"),
            *("pytest-mock==3.17.0", "pytest-timeout==2.4.0", "trustme==1.2.1", "truststore==0.10.5"),
        ),
        (
            *("-m", "not network"),  # of the Internet
            # What some find depends on the machine's network. The other two event loops run the same code of anyio's
            # once more, and take as long again.
            *("-k", "not ipv6 and not dualstack and not multi and not uvloop and not eager"),
            "--ignore=tests/test_pytest_plugin.py",  # half a minute of starting pytest again and again
            *("--timeout=120", "--hypothesis-seed=0"),  # its own 20 s are there against hanging
        ),
        # asyncio, where a worker process that is killed at the end has been waited for by somebody else.
        chance="WARNING +asyncio:.*(exit status already read|Unknown child process)",
    ),
}


class Trouble(Exception):  # noqa: N818 - not a finding: the suite could not be run
    """A step that failed, with what it said; one line and its output."""


def run(*command: str | Path, cwd: Path, timeout: float = TIMEOUT, **environ: str) -> tuple[int, str]:
    """Run a command and return its status and what it printed."""
    line = [str(part) for part in command]
    try:
        done = subprocess.run(
            line,
            cwd=cwd,
            env=clean_environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        return -1, f"{(expired.stdout or b'').decode('utf-8', 'replace')}\nno end after {timeout:.0f} s"
    return done.returncode, done.stdout.decode("utf-8", "replace")


def need(*command: str | Path, cwd: Path) -> None:
    """Run a command that has to succeed."""
    status, said = run(*command, cwd=cwd)
    if status:
        raise Trouble(f"{' '.join(str(part) for part in command)} failed ({status}):\n{said[-3000:]}")


def pip(*arguments: str | Path, cwd: Path, python: Path | None = None) -> None:
    """Run pip, for another environment than this one if told so."""
    of: list[str | Path] = ["--python", python] if python else []
    need(sys.executable, "-m", "pip", *of, "-q", "--disable-pip-version-check", *arguments, cwd=cwd)


def build_wheel(folder: Path) -> Path:
    """Build a wheel of this checkout from a copy of it, because building leaves files beside the sources."""
    copy = folder / "checkout"
    unwanted = shutil.ignore_patterns("__pycache__", ".*", "build", "*.egg-info", "tests", "benchmarks", "fixtures")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    pip("wheel", "--no-deps", "--wheel-dir", folder, copy, cwd=folder)
    return next(folder.glob("narrative_auto-*.whl"))


@dataclass
class Suite:
    """A package's sources, ready to be tested."""

    name: str
    package: Package
    folder: Path
    sources: Path
    python: Path

    @classmethod
    def prepare(cls, name: str, folder: Path, wheel: Path) -> Suite:
        """Make the environment, fetch the source distribution and install it from its folder."""
        package = PACKAGES[name]
        folder.mkdir(parents=True)
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        python = folder / "venv" / "bin" / "python"
        wanted = f"{name}=={package.version}"
        pip("download", "--no-deps", "--no-binary", ":all:", "--dest", folder, wanted, cwd=folder)
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder / "sdist", filter="data")
        sources = next((folder / "sdist").iterdir())
        pip("install", PYTEST, *package.needs, wheel, sources, cwd=folder, python=python)
        (folder / "plugin").mkdir()
        shutil.copy(outcomes.__file__, folder / "plugin" / "outcomes.py")
        return cls(name, package, folder, sources, python)

    def test(self, label: str, engine: str = "") -> Tested:
        """Run the package's tests, plain or with an engine."""
        told, store = self.folder / f"{label}.json", self.folder / f"store-{label}"
        shutil.rmtree(scratch := self.folder / "scratch", ignore_errors=True)  # its path is in messages
        pytest: list[str | Path] = [self.python, "-m", "pytest", "-p", "outcomes", "--outcomes", told, "--assert=plain"]
        pytest += ["-p", "no:cacheprovider", "--basetemp", scratch, *self.package.arguments]
        launcher: list[str | Path] = []
        if engine:
            options = ["--engine", engine, "--include", f"{self.package.module}.*", "--tell", "nothing"]
            launcher = [self.python.with_name("narrative-run"), *options, "--store", store]
        began = time.monotonic()
        status, said = run(
            *launcher,
            *pytest,
            cwd=self.sources,
            PYTHONPATH=str(self.folder / "plugin"),
            PYTHONHASHSEED="0",
            PYTHONDONTWRITEBYTECODE="1",
            NARRATIVE_STRICT="0",  # as a user has it: a fault is swallowed and told, and what is told is compared
        )
        seconds = time.monotonic() - began
        (self.folder / f"{label}.log").write_text(said, "utf-8")
        if not told.exists():
            if not engine:
                raise Trouble(f"the tests of {self.name} did not run to their end ({status}):\n{said[-3000:]}")
            return Tested({"the suite as a whole": f"status {status}: {said[-2000:]}"}, {}, set(), store, seconds)
        found: dict[str, Any] = json.loads(told.read_text("utf-8"))
        if self.package.chance:
            found["outcomes"] = dict(without_chance(found["outcomes"], re.compile(self.package.chance)))
        found["outcomes"]["the suite as a whole"] = f"status {found['status']}, {found['collected']} tests"
        if engine and (faults := [line for line in said.splitlines() if line.startswith("narrative")]):
            found["outcomes"]["told beside the tests' output"] = "\n".join(faults)
        sites = {(file, line) for _, file, line in found["sites"]}
        return Tested(found["outcomes"], found["modules"], sites, store, seconds)


@dataclass
class Tested:
    """What came of one run: texts by key, source files of modules by name, (file, line) of what was instrumented."""

    outcomes: dict[str, str]
    modules: dict[str, str]
    sites: set[tuple[str, int]]
    store: Path
    seconds: float

    def summary(self) -> str:
        """Return how many tests came to what."""
        phases = [(key, text) for key, text in self.outcomes.items() if key.endswith((" setup", " call", " teardown"))]
        texts = [text.splitlines() for key, text in phases if key.endswith(" call") or text != "passed"]
        words = ["failed" if "failed" in lines else lines[-1] for lines in texts]  # one line for each subtest
        return ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words)))


def without_chance(told: dict[str, str], chance: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield what was told without the lines that come by chance, and without what then says nothing."""
    for key, text in told.items():
        kept = "\n".join(line for line in text.split("\n") if not chance.match(line))
        if kept or not text:
            yield key, kept


def differences(plain: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return what is not the same, by key: what it was and what it is."""
    keys = [*plain, *(key for key in other if key not in plain)]
    pairs = ((key, plain.get(key, "nothing"), other.get(key, "nothing")) for key in keys)
    return {key: (was, came) for key, was, came in pairs if was != came}


def functions_of(path: str) -> set[tuple[str, int]]:
    """Return (file, line) of each function in a source file, from a plain compile of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
    return {(path, each.co_firstlineno) for each in all_codes(code) if is_function(each)}


@dataclass
class Reach:
    """How much of the package was instrumented, and what was called of it."""

    functions: int = 0
    instrumented: int = 0
    places: set[tuple[str, int]] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    others: int = 0
    calls: int = 0
    stories: int = 0
    left_plain: dict[str, int] = field(default_factory=dict)

    @property
    def called(self) -> int:
        """How many of the package's functions were called."""
        return len(self.places)

    def is_enough(self, reference: Reach | None = None) -> bool:
        """Whether the comparison means something: by what was instrumented, or by what another engine saw called."""
        if reference is None:
            return self.functions > 0 and self.instrumented >= ENOUGH * self.functions and self.calls > 0
        self.missing = sorted(f"{path}:{line}" for path, line in reference.places - self.places)
        return len(self.places & reference.places) >= ENOUGH * len(reference.places) > 0


def measure(tested: Tested, module: str) -> Reach:
    """Compare what a run instrumented and called with what a plain compile of the imported modules has."""
    reach = Reach()
    mine: set[tuple[str, int]] = set()
    for name, path in tested.modules.items():
        if name == module or name.startswith(f"{module}."):
            mine |= functions_of(path)
    reach.functions, reach.instrumented = len(mine), len(mine & tested.sites)
    reach.others = len(tested.sites - mine)
    reach.missing = sorted(f"{path}:{line}" for path, line in mine - tested.sites)
    database = tested.store / "stories.db"
    if database.exists():
        with sqlite3.connect(database) as connection:
            called: dict[tuple[str, int], int] = {}
            for path, line, calls in connection.execute("SELECT filename, line, calls FROM totals"):
                called[path, line] = called.get((path, line), 0) + calls
            reach.calls = sum(calls for place, calls in called.items() if place in mine)
            reach.places = mine & set(called)
            reach.stories = connection.execute("SELECT count(*) FROM stories").fetchone()[0]
            reasons = connection.execute("SELECT reason, count(*) FROM left_plain GROUP BY reason ORDER BY 2 DESC")
            reach.left_plain = dict(reasons.fetchall())
        connection.close()
    return reach


def print_reach(reach: Reach, *, enough: bool) -> None:
    """Print how much of the package was recorded, and an example of what was not where that is not enough."""
    share = reach.instrumented / reach.functions if reach.functions else 0.0
    print(
        f"    {reach.instrumented} of {reach.functions} functions of the package instrumented ({share:.1%}),"
        f" {reach.called} called {reach.calls} times; {reach.others} other functions; {reach.stories} stories"
    )
    for reason, times in reach.left_plain.items():
        print(f"    left plain: {times} {reason}")
    if not enough:
        print("    NOT ENOUGH was recorded for the comparison to mean something; without a probe, for example:")
        print("".join(f"      {place}\n" for place in reach.missing[:10]), end="")


def print_differences(found: dict[str, tuple[str, str]]) -> None:
    """Print what a program could tell."""
    for key, (was, came) in list(found.items())[:LONGEST_LIST]:
        print(f"    DIFFERS {key}")
        for name, text in (("plain", was), ("recorded", came)):
            lines = text.splitlines() or [""]
            print(f"      {name}: " + "\n        ".join(lines if len(lines) < 12 else [*lines[:3], "...", *lines[-8:]]))
    if len(found) > LONGEST_LIST:
        print(f"    and {len(found) - LONGEST_LIST} more")


def check(name: str, engines: Sequence[str], folder: Path, wheel: Path) -> bool:
    """Run a package's tests plain and with each engine; print what came of it and return whether all is well."""
    began = time.monotonic()
    suite = Suite.prepare(name, folder, wheel)
    print(f"{name} {suite.package.version} (made ready in {time.monotonic() - began:.0f} s)", flush=True)
    plains = [suite.test("plain")]
    plain = plains[0].outcomes
    print(f"  plain     {plains[0].seconds:5.1f} s  {plains[0].summary()}", flush=True)
    well = "passed" in plain.values()
    flaky: set[str] = set()
    reference: Reach | None = None
    for engine in engines:
        recorded = suite.test(engine, engine)
        found = differences(plain, recorded.outcomes)
        while set(found) - flaky and len(plains) < PLAIN_RUNS:
            plains.append(suite.test(f"plain-{len(plains) + 1}"))
            flaky |= set(differences(plain, plains[-1].outcomes))
        found = {key: pair for key, pair in found.items() if key not in flaky}
        reach = measure(recorded, suite.package.module)
        print(f"  {engine:9} {recorded.seconds:5.1f} s  {recorded.summary()}; {len(found)} differences")
        enough = reach.is_enough(reference if engine in BY_CALLS else None)
        print_reach(reach, enough=enough)
        print_differences(found)
        well = well and not found and enough
        reference = reference or reach
    for key in sorted(flaky):
        print(f"  flaky in plain runs, left out: {key}")
    sys.stdout.flush()
    return well


def possible_engines() -> Iterator[str]:
    """Yield the engines that this interpreter can run."""
    for engine in ENGINES:
        if engine != "auto" and (engine != "monitoring" or sys.version_info >= (3, 12)):
            yield engine


def chosen(arguments: Sequence[str] | None) -> tuple[list[str], list[str], str]:
    """Return packages, engines and the folder to work in, "" for one that is removed.

    Raises:
        ValueError: something that cannot be had; the message is one line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.transparency.foreign_suites", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(PACKAGES)}")
    parser.add_argument("--engine", action="append", metavar="NAME", help="else each that this interpreter can run")
    parser.add_argument("--quick", action="store_true", help="three small packages only")
    parser.add_argument("--folder", default="", metavar="DIR", help="a new folder, which is kept with logs and stories")
    asked = parser.parse_args(arguments)
    engines = list(possible_engines())
    for name, known in ((name, list(PACKAGES)) for name in asked.packages):
        if name not in known:
            raise ValueError(f"{name!r} is not among the packages: {', '.join(known)}")
    for name in asked.engine or ():
        if name not in engines:
            raise ValueError(f"{name!r} is no engine for this interpreter; it has {', '.join(engines)}")
    if asked.quick and asked.packages:
        raise ValueError("--quick and names of packages contradict each other: give one of them")
    if asked.folder and os.path.exists(asked.folder):
        raise ValueError(f"--folder takes a new folder, and {asked.folder!r} is there")
    if importlib.util.find_spec("pip") is None:
        raise ValueError(f"{sys.executable} has no pip: {sys.executable} -m ensurepip")
    if asked.engine and set(asked.engine) <= BY_CALLS:
        asked.engine.insert(0, "rewrite")  # says what there is to be called
    names = asked.packages or [name for name, each in PACKAGES.items() if each.quick or not asked.quick]
    chosen_engines = sorted(asked.engine or engines, key=lambda name: name in BY_CALLS)
    return names, chosen_engines, asked.folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Test what the command line asks for; return the exit status."""
    try:
        names, engines, kept = chosen(arguments)
    except ValueError as fault:
        print(f"python -m tests.transparency.foreign_suites: {fault}", file=sys.stderr)
        return 2
    began = time.monotonic()
    folder = Path(kept or tempfile.mkdtemp(prefix="foreign-suites-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    bad = []
    try:
        print(f"CPython {sys.version.split()[0]}, engines: {', '.join(engines)}", flush=True)
        wheel = build_wheel(folder)
        for name in names:
            try:
                well = check(name, engines, folder / re.sub(r"\W", "_", name), wheel)
            except Trouble as trouble:
                print(f"{name}: {trouble}")
                well = False
            bad += [] if well else [name]
    except Trouble as trouble:
        print(trouble)
        bad = names
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{time.monotonic() - began:.0f} s; " + (f"not well: {', '.join(bad)}" if bad else "nothing differs"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
