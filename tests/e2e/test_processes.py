"""Forks, threads and workers: whose story is whose."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.conftest import COMMANDS, RECORDER, narrative_run, run

Write = Callable[[str, str], Path]

NARRATIVE = COMMANDS / "narrative"

FORKS = """
import os, sys, time, warnings
warnings.simplefilter('error')
def work(): time.sleep(0.02)
def main():
    work()
    for n in range(3):
        pid = os.fork()
        if pid == 0:
            work()
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        work()
main()
"""

WORKER = """
import multiprocessing, time
def work(n):
    time.sleep(0.4)
    return n
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(2) as pool:
        print(pool.map(work, range(2)))
"""

THREADS = """
import threading
def inner(): pass
def work():
    for _ in range(100): inner()
def main():
    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
main()
"""


def shown(folder: Path, name: str) -> list[str]:
    """Return the whole trees of the stories called `name`."""
    listed = run(NARRATIVE, "stories", "--last", "20", cwd=folder).out.decode().splitlines()
    return [
        run(NARRATIVE, "story", line.split()[0], cwd=folder, PYTHONIOENCODING="utf-8").out.decode()
        for line in listed
        if name in line
    ]


def test_a_program_that_forks(write: Write, tmp_path: Path) -> None:
    """The parent's story has its own calls only; each child that ends normally has a story; nothing warns."""
    write("app.py", FORKS)
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 0, done.err
    heading, main, work, *_ = done.err.splitlines()
    assert " ok -- " in heading
    assert main.split()[0] == "main"
    assert work.split()[:3] == ["└─", "work", "×4"]
    stories = shown(tmp_path, "app.py")
    assert len(stories) == 4
    assert sum("child of " in story for story in stories) == 3
    assert sum("×4" in story for story in stories) == 1


def test_workers_of_a_pool_that_is_terminated(write: Write, tmp_path: Path) -> None:
    """A signal ends them at work: what was notable before is kept, and that they did not say goodbye."""
    write(
        "app.py",
        WORKER + "        pool.apply_async(time.sleep, (60,)); pool.apply_async(time.sleep, (60,)); time.sleep(0.5)\n",
    )
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert done.out == b"[0, 1]\n"
    listed = run(NARRATIVE, "stories", cwd=tmp_path).out.decode()
    assert ("no end seen" if RECORDER == "pure" else "no goodbye") in listed


def test_workers_of_a_pool_that_ends(write: Write, tmp_path: Path) -> None:
    """A forked worker ends by os._exit, and has a whole story all the same."""
    write("app.py", WORKER.replace("range(2)))", "range(2))); pool.close(); pool.join()"))
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"[0, 1]\n")
    stories = shown(tmp_path, "child of")
    assert len(stories) == 2
    assert sum("work" in story and "no goodbye" not in story for story in stories) == 2
    assert all("2 sites" in story or "1 site" in story for story in stories)


def test_threads_count_together(write: Write, tmp_path: Path) -> None:
    """Twenty threads: every call is counted, also of threads that have ended."""
    write("app.py", THREADS)
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    rows = {line.split("─ ")[-1].split()[0]: line.split() for line in done.err.splitlines()[1:-2]}
    assert "×20" in rows["work"]
    assert "×2000" in rows["inner"]


def test_a_story_of_threads_alone_is_kept(write: Write, tmp_path: Path) -> None:
    """A program whose functions ran in other threads only has a story that can be shown."""
    write("app.py", "import threading\ndef work(): pass\nt = threading.Thread(target=work); t.start(); t.join()\n")
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert "  work " in done.err
    assert "work" in shown(tmp_path, "app.py")[0]


def test_a_generator_begun_in_a_thread_that_has_ended(write: Write, tmp_path: Path) -> None:
    """Its calls are counted, whoever goes on with it."""
    write(
        "app.py",
        "import threading\ndef item(n): return n\n"
        "def gen():\n    for n in range(100): yield item(n)\n"
        "def main():\n    g = gen()\n    t = threading.Thread(target=lambda: next(g)); t.start(); t.join()\n    list(g)\nmain()\n",
    )
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert "×100" in next(line for line in done.err.splitlines() if "item" in line)


def test_a_locked_store_delays_the_end_once(write: Write, tmp_path: Path) -> None:
    """Another process holds the store: the program ends soon, one line says that the story is not kept."""
    import sqlite3
    import time

    write(
        "app.py",
        "\n".join(f"def f{n}(): pass" for n in range(9)) + "\n" + "\n".join(f"f{n}()" for n in range(9)) + "\n",
    )
    narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    holder = sqlite3.connect(tmp_path / ".narrative" / "stories.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path, NARRATIVE_STRICT="0")
    took = time.monotonic() - began
    holder.close()
    assert done.status == 0
    assert done.err.count("narrative_auto: ") == 1
    assert "narrative story" not in done.err  # it would not be found
    assert took < 8


def test_an_awaiting_coroutine_is_one_stage(write: Write, tmp_path: Path) -> None:
    """It is announced once, also when it is suspended while somebody looks."""
    write(
        "app.py",
        "import asyncio, time\nasync def wait():\n    time.sleep(0.6)\n    await asyncio.sleep(0.6)\n"
        "asyncio.run(wait())\n",
    )
    narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    import sqlite3

    with sqlite3.connect(tmp_path / ".narrative" / "stories.db") as connection:
        rows = connection.execute("SELECT stage_name, completed FROM stages").fetchall()
    connection.close()
    assert rows == [("wait", 1)]
