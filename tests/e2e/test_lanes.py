"""Many threads, forks that nobody tells us of, stacks that are switched: memory stays bounded, and nothing is mixed up."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMANDS, RECORDER, THOROUGH, narrative_run, run

Write = Callable[[str, str], Path]

NARRATIVE = COMMANDS / "narrative"

native = pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python has no black box")

RESIDENT = """
import threading
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
resident()
"""

WAVES = 100_000 // 64 if THOROUGH else 10_000 // 64

MANY = (
    RESIDENT
    + f"""
WAVES = {WAVES}
def leaf(n): return n
def work(n):
    for each in range(20): leaf(each)
def wave(count):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
def main():
    for _ in range(100): wave(64)
    before = resident()
    for _ in range(WAVES - 100): wave(64)
    print(before, resident())
main()
"""
)

CROWD = (
    RESIDENT
    + """
import sys
def leaf(n): return n
def work(ready, go):
    for each in range(2_000): leaf(each)
    ready.release()
    go.wait()
def main():
    threading.stack_size(256 * 1024)
    ready, go = threading.Semaphore(0), threading.Event()
    threads = [threading.Thread(target=work, args=(ready, go)) for _ in range(1_000)]
    for thread in threads: thread.start()
    for _ in threads: ready.acquire()
    print(resident())
    go.set()
    for thread in threads: thread.join()
main()
"""
)

FORK_IN_C = """
import ctypes, os, signal, sys, time
def step(): pass
def in_parent():
    for _ in range(10): step()
def in_child():
    for _ in range(7): step()
    stay()
def stay():
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)
def main():
    in_parent()
    fork = (ctypes.PyDLL if sys.argv[1] == "with the GIL" else ctypes.CDLL)(None).fork
    child = fork()
    if child == 0: in_child()
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    in_parent()
    print(child)
main()
"""

GREENLETS = """
import greenlet
def leaf(n): return n
def worker(number):
    for each in range(50):
        leaf(each)
        deeper(number)
def deeper(number):
    leaf(number)
    main_greenlet.switch()
    leaf(number)
def main():
    workers = [greenlet.greenlet(worker) for _ in range(40)]
    alive = list(enumerate(workers))
    while alive:
        for number, each in alive: each.switch(number)
        alive = [(number, each) for number, each in alive if not each.dead]
main_greenlet = greenlet.getcurrent()
main()
"""


def rows(err: str) -> dict[str, str]:
    """Return the tree's lines by their names."""
    return {line.split("─ ")[-1].split()[0]: line for line in err.splitlines()[1:-2]}


def test_very_many_threads(write: Write, tmp_path: Path) -> None:
    """A hundred thousand, 64 at once: no call is lost, and memory does not grow."""
    write("app.py", MANY)
    count = 64 * WAVES
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 0, done.err
    before, after = map(int, done.out.split())
    assert after - before < 8_000, "kB"
    told = rows(done.err)
    assert f"×{count}" in told["work"].replace(" ", "")
    assert f"×{20 * count}" in told["leaf"].replace(" ", "")


def test_a_thousand_threads_at_once(write: Write, tmp_path: Path) -> None:
    """They take no more than some 40 kB each, the black box included."""
    write("app.py", CROWD)
    plain = int(run(sys.executable, "app.py", cwd=tmp_path).out)
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 0, done.err
    assert int(done.out) - plain < 64_000, "kB"
    assert "×2000000" in rows(done.err)["leaf"].replace(" ", "")


@native
@pytest.mark.parametrize("how", ["with the GIL", "without the GIL"])
def test_a_fork_by_c_code(how: str, write: Write, tmp_path: Path) -> None:
    """No hook of Python's runs: the child is noticed all the same, has its own box, and the parent's is untouched."""
    write("app.py", FORK_IN_C)
    boxes = tmp_path / "boxes"
    done = narrative_run("--tell", "tree", sys.executable, "app.py", how, cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    assert done.status == 0, done.err
    assert "×20" in rows(done.err)["step"]
    (left,) = (tmp_path / ".narrative" / "boxes").glob("*.box")  # taken in when the parent ended
    found: dict[str, Any] = json.loads(run(NARRATIVE, "recover", str(left), "--json", cwd=tmp_path).out)
    assert found["pid"] == int(done.out)
    assert found["story"]["parent_story_id"] == found["story"]["root_story_id"] != found["story"]["story_id"]
    (lane,) = found["lanes"]
    assert [call["name"] for call in lane["open"]] == ["main", "in_child", "stay"]
    names = [name for _, name, _ in lane["records"]]
    assert names == ["in_child", *["step"] * 14, "stay"]


@pytest.mark.skipif(importlib.util.find_spec("greenlet") is None, reason="greenlet cannot be had for this interpreter")
def test_greenlets(write: Write, tmp_path: Path) -> None:
    """Stacks that are switched lose their nesting, and neither calls nor memory; the story says that they did."""
    write("app.py", GREENLETS)
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 0, done.err
    if RECORDER != "pure":  # which knows calls by their functions alone
        assert "nesting not sure" in done.err.splitlines()[-2]
        listed = run(NARRATIVE, "stories", cwd=tmp_path).out.decode()
        shown = run(NARRATIVE, "story", listed.split()[0], cwd=tmp_path, PYTHONIOENCODING="utf-8").out.decode()
        assert "stacks were switched" in shown
    database = sqlite3.connect(tmp_path / ".narrative" / "stories.db")
    counted = dict(database.execute("SELECT name, sum(calls) FROM totals GROUP BY name"))
    database.close()
    assert counted == {"main": 1, "worker": 40, "deeper": 2_000, "leaf": 6_000}


QUICK_FORKS = """
import os, sys, time
def step(): time.sleep(0.002)
def child():
    step()
    os._exit(0)
def main():
    for _ in range(10): step()
    time.sleep(0.3)  # our thread is up
    took = []
    for _ in range(int(sys.argv[1])):
        began = time.perf_counter()
        pid = os.fork()
        if pid == 0: child()
        os.waitpid(pid, 0)
        took.append(time.perf_counter() - began)
        step()
    took.sort()
    print(took[len(took) // 2], took[-3], len(os.listdir(sys.argv[2])) if os.path.isdir(sys.argv[2]) else 0)
main()
"""


def test_forks_are_quick_and_their_boxes_are_few(write: Write, tmp_path: Path) -> None:
    """No fork waits for our thread; children that end by os._exit leave no more behind than there is room for."""
    write("app.py", QUICK_FORKS)
    boxes = tmp_path / "boxes"
    done = narrative_run("--quiet", sys.executable, "app.py", "60", boxes, cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    assert (done.status, done.err) == (0, "")
    median, third_longest, left = done.out.split()
    assert float(median) < 0.1
    assert float(third_longest) < 0.5  # the machine may have something else to do now and then
    assert int(left) <= 24


IN_A_COROUTINE = """
import os, signal
class Pause:
    def __await__(self): yield
def step(): pass
async def ten():
    for _ in range(10):
        await Pause()
        step()
    os.kill(os.getpid(), signal.SIGKILL)
def main():
    begun = ten()
    begun.send(None)
    pid = os.fork()
    if pid == 0:
        while True: begun.send(None)
    os.waitpid(pid, 0)
    begun.close()
    print(pid)
main()
"""


@native
def test_a_child_that_goes_on_in_a_coroutine(write: Write, tmp_path: Path) -> None:
    """It has a black box from its first record on, though that is no beginning of a call."""
    write("app.py", IN_A_COROUTINE)
    done = narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 0, done.err
    (left,) = (tmp_path / ".narrative" / "boxes").glob("*.box")
    found: dict[str, Any] = json.loads(run(NARRATIVE, "recover", str(left), "--json", cwd=tmp_path).out)
    assert found["pid"] == int(done.out)
    (lane,) = found["lanes"]
    assert lane["thread"] == found["pid"]
    assert lane["records"][0][1:] == ["ten", "RESUME"]
    assert [name for _, name, kind in lane["records"] if kind == "START"] == ["step"] * 10


FORKS_BESIDE_THREADS = """
import ctypes, os, signal, threading
def deep(n): return deep(n - 1) if n else 0
def churn(stop):
    while not stop.is_set():
        thread = threading.Thread(target=deep, args=(300,))
        thread.start()
        thread.join()
def main():
    stop = threading.Event()
    threads = [threading.Thread(target=churn, args=(stop,)) for _ in range(3)]
    for thread in threads: thread.start()
    fork = ctypes.CDLL(None).fork
    for _ in range(150):
        pid = fork()  # without the GIL: another thread may have it, and then the child goes no further
        if pid == 0: os.kill(os.getpid(), signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    stop.set()
    for thread in threads: thread.join()
    print("fine")
main()
"""


@native
def test_forks_by_c_code_beside_threads(write: Write, tmp_path: Path) -> None:
    """What is kept for the child does not run over while other threads make more of it."""
    write("app.py", FORKS_BESIDE_THREADS)
    done = narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path, MALLOC_PERTURB_="165", MALLOC_CHECK_="3")
    assert (done.status, done.out) == (0, b"fine\n"), done.err
