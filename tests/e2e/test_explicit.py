"""Stories and stages that a program opens itself, in an instrumented run: in its tree, its report, its black box."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, RECORDER, narrative_run, run

Write = Callable[[str, str], Path]

NARRATIVE = COMMANDS / "narrative"

ENGINES = ["rewrite", *(["monitoring"] if sys.version_info >= (3, 12) else []), "settrace"]

IMPORTER = """
import asyncio, contextvars, threading
from narrative_auto import stage, story

def parse(n): return n

def load():
    with stage("Read"):
        return [parse(n) for n in range(3)]

async def fetch(n):
    await asyncio.sleep(0)
    async with stage("Decode"):
        await asyncio.sleep(0)
        return parse(n)

async def crawl():
    async with stage("Crawl"):
        found = await asyncio.gather(*[fetch(n) for n in range(3)])
        return [*found, await asyncio.to_thread(parse, 9)]

def in_a_thread():
    with stage("Write"): parse(5)

def main():
    with story("Import", renderers=[]):
        with stage("Load"): print(load())
        print(asyncio.run(crawl()))
        with stage("Save"):
            thread = threading.Thread(target=contextvars.copy_context().run, args=(in_a_thread,))
            thread.start()
            thread.join()

main()
"""

TREE = [
    "main",
    "  Import",
    "    Load",
    "      load",
    "        Read",
    "          parse x3",
    "    crawl",
    "      Crawl",
    "        fetch x3",
    "          Decode x3",
    "            parse x3",
    "        parse",
    "    Save",
    "      in_a_thread",
    "        Write",
    "          parse",
]


def tree_of(told: str) -> list[str]:
    """Return the names of a tree with their calls, two spaces deeper for each level."""
    lines = []
    for line in told.splitlines()[1:-2]:
        words = line.replace("├─", "  ").replace("└─", "  ").replace("│", " ")
        depth = (len(words) - len(words.lstrip()) - 2) // 3
        name, *rest = [part for part in words.split("  ") if part.strip()]
        calls = next((part.strip() for part in rest if part.strip().startswith("×")), "")
        lines.append(f"{'  ' * depth}{name.strip()}{f' x{calls[1:].split()[0]}' if calls else ''}")
    return lines


@pytest.mark.parametrize("engine", ENGINES)
def test_they_stand_among_the_calls(engine: str, write: Write, tmp_path: Path) -> None:
    """As they happened, over tasks and threads; the program prints what it prints without us."""
    write("app.py", IMPORTER)
    plain = run(sys.executable, "app.py", cwd=tmp_path)
    done = narrative_run("--tell", "tree", "--engine", engine, sys.executable, "app.py", cwd=tmp_path)
    assert (done.status, done.out) == (plain.status, plain.out) == (0, b"[0, 1, 2]\n[0, 1, 2, 9]\n")
    assert tree_of(done.err) == TREE


INDENTED = """
from narrative_auto import stage, story
def inner():
    with stage("B") as record: return record.parent_stage_name
def main():
    with story("S"), stage("A"):
        print(inner())
main()
"""


def test_the_program_hears_what_it_hears_without_us(write: Write, tmp_path: Path) -> None:
    """Its own renderers get the same events."""
    write("app.py", INDENTED)
    done = [run(sys.executable, "app.py", cwd=tmp_path), narrative_run(sys.executable, "app.py", cwd=tmp_path)]
    plain, recorded = (re.sub(rb"\[\w{6}\]|\(\d\.\d+s\)", b"", one.out) for one in done)
    assert plain == recorded
    assert b"\nA\n" in plain


FAILING = """
from narrative_auto import stage, story

def load(path):
    with stage("Read file"):
        with stage("Decode token=hunter2secret"):
            raise ValueError("no rows")

def main():
    with story("Import", renderers=[]), stage("Load"):
        load("a")

main()
"""


def test_they_are_on_the_path_of_a_failure(write: Write, tmp_path: Path) -> None:
    """The report and the dump name them, without their secrets; the innermost is where it failed."""
    write("app.py", FAILING)
    done = narrative_run(sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 1
    assert "failed in Decode token=[redacted]" in done.err
    names = ["main", "Import", "Load", "load", "Read file", "Decode token=[redacted]"]
    (dump,) = (tmp_path / ".narrative" / "crashes").glob("*.json")
    assert [stage["name"] for stage in json.loads(dump.read_bytes())["path"]] == names
    assert "hunter2secret" not in done.err.split("-- narrative --")[1]
    assert b"hunter2secret" not in dump.read_bytes()


HEAD = """
import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from narrative_auto import stage, story
def leaf(n):
    if n == 2: raise ValueError(n)
"""

PATHS = {
    "a generator's": (
        (
            "def rows():\n    with stage('Read'):\n        yield 1\n        leaf(2)\n"
            "def main():\n    with story('S', renderers=[]), stage('All'):\n        for row in rows(): pass\n"
        ),
        ["main", "S", "All", "rows", "Read", "leaf"],
    ),
    "a pool's": (
        (
            "def job(n):\n    with stage('Job'): leaf(n)\n"
            "def main():\n    with story('S', renderers=[]), ThreadPoolExecutor(1) as pool:\n"
            "        with stage('Collect'):\n            pool.submit(copy_context().run, job, 2).result()\n"
        ),
        ["main", "S", "Collect", "job", "Job", "leaf"],
    ),
    "raised again": (
        (
            "def main():\n    with story('S', renderers=[]):\n        try:\n            with stage('One'): leaf(2)\n"
            "        except ValueError as error:\n            raise error\n"
        ),
        ["main", "S", "One", "leaf"],
    ),
    "handled before": (
        (
            "def main():\n    for _ in range(3):\n        try:\n"
            "            with story('S', renderers=[]), stage('Attempt'): raise ValueError(1)\n"
            "        except ValueError: pass\n    leaf(2)\n"
        ),
        ["main", "leaf"],
    ),
}


@pytest.mark.parametrize("case", PATHS)
def test_the_path_of_a_failure(case: str, write: Write, tmp_path: Path) -> None:
    """What the exception has left, the outermost first, whatever threads and generators it came through."""
    if case == "a pool's" and RECORDER == "pure":
        pytest.skip("the recorder in Python forgets what exceptions left in a thread that is over")
    source, names = PATHS[case]
    write("app.py", f"{HEAD}{source}main()\n")
    assert narrative_run(sys.executable, "app.py", cwd=tmp_path).status == 1
    (dump,) = (tmp_path / ".narrative" / "crashes").glob("*.json")
    assert [stage["name"] for stage in json.loads(dump.read_bytes())["path"]] == names


DYING = """
import asyncio, os, signal
from narrative_auto import stage, story

async def waits():
    async with stage("Wait"):
        await asyncio.sleep(60)

async def main():
    async with story("Nightly", renderers=[]):
        task = asyncio.create_task(waits())
        await asyncio.sleep(0.01)
        async with stage("Load"):
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python has no black box")
def test_they_are_in_the_black_box(write: Write, tmp_path: Path) -> None:
    """What a killed process had open, also in tasks that waited."""
    write("app.py", DYING)
    assert narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path).status == -signal.SIGKILL
    told = run(NARRATIVE, "recover", "--last", "--json", cwd=tmp_path)
    found = json.loads(told.out)
    (lane,) = (lane for lane in found["lanes"] if lane["open"])
    assert [call["name"] for call in lane["open"]] == ["main", "Nightly", "Load"]
    assert [[call["name"] for call in task] for task in found["suspended"]] == [["waits", "Wait"]]


REPLACED = """
from narrative_auto import narrative_class, no_stage, runtime_narrative_stage, stage, story

@narrative_class
class Shop:
    def buy(self): return self.price()
    def price(self): return 3
    @no_stage
    def silent(self): return 4

@runtime_narrative_stage("Numbers")
def numbers():
    for n in range(3): yield n

def handle(n): return n

def main():
    Shop().price()
    with story("Day", renderers=[]):
        Shop().buy()
        Shop().silent()
        for n in numbers(): handle(n)
    try:
        with stage("Alone"): pass
    except RuntimeError as error:
        print(str(error)[:15])

main()
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_no_call_is_a_stage_twice(engine: str, write: Write, tmp_path: Path) -> None:
    """An explicit stage stands in the place of the automatic one, in a story or not."""
    write("app.py", REPLACED)
    done = narrative_run("--tell", "tree", "--engine", engine, sys.executable, "app.py", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"stage('Alone') \n")
    assert tree_of(done.err) == [
        "main", "  Shop.price", "  Day", "    Shop.buy", "      Shop.price", "    Numbers", "    handle x3"
    ]  # fmt: skip


def test_coroutines_that_open_stages_keep_their_nesting_under_a_budget(write: Write, tmp_path: Path) -> None:
    """However hot they are: what they have open is suspended with them."""
    write(
        "app.py",
        "import asyncio\nfrom narrative_auto import stage, story\n"
        "async def one(n):\n    async with stage('Row'):\n        await asyncio.sleep(0)\n"
        "async def main():\n    async with story('Many', renderers=[]):\n"
        "        for _ in range(30): await asyncio.gather(*[one(n) for n in range(500)])\nasyncio.run(main())\n",
    )
    done = narrative_run("--tell", "tree", "--budget", "3%", sys.executable, "app.py", cwd=tmp_path)
    assert tree_of(done.err) == ["main", "  Many", "    one x15000", "      Row x15000"]
    assert "nesting not sure" not in done.err


def test_a_child_of_fork_goes_on_within_its_parents_stage(write: Write, tmp_path: Path) -> None:
    """Its calls are within what was open at the fork."""
    write(
        "app.py",
        "import os\nfrom narrative_auto import stage, story\ndef work(): pass\n"
        "def main():\n    with story('Day', renderers=[]), stage('Fan out'):\n"
        "        pid = os.fork()\n        work()\n        if pid == 0: os._exit(0)\n        os.waitpid(pid, 0)\nmain()\n",
    )
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert tree_of(done.err) == ["main", "  Day", "    Fan out", "      work"]
