"""Exceptions that nothing handled, in threads, tasks, callbacks and `__del__`; and ways to end that are no failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMANDS, LAUNCHER, Done, clean_environment, narrative_run, run

Write = Callable[[str, str], Path]

IN_A_THREAD = (
    "import threading, time\n"
    "def inner(order):\n    raise LookupError(f'order {order}')\n"
    "def work():\n    time.sleep(0.002)\n    inner(1812)\n"
    "def main():\n    t = threading.Thread(target=work, name='importer'); t.start(); t.join(); print('goes on')\nmain()\n"
)


def compared(write: Write, source: str, *options: str, **environ: str) -> tuple[Done, Done, list[dict[str, Any]]]:
    """Run a program plain and recorded; return both runs and the dumps, in their order."""
    path = write("app.py", source)
    plain = run(sys.executable, "app.py", cwd=path.parent, **environ)
    done = narrative_run(*options, sys.executable, "app.py", cwd=path.parent, **environ)
    assert (done.status, done.out) == (plain.status, plain.out)
    folder = path.parent / ".narrative" / "crashes"
    dumps = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns) if folder.exists() else []
    return plain, done, [json.loads(one.read_text("utf-8")) for one in dumps]


def report_of(done: Done) -> list[str]:
    """Return the lines of the first report."""
    lines = done.err.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("-- narrative -- "))
    return lines[first:]


@pytest.mark.parametrize("engine", ["rewrite", "monitoring", "settrace"])
def test_a_thread(engine: str, write: Write) -> None:
    """Python's own words first, then the report; the program goes on, and is ok."""
    if engine == "monitoring" and sys.version_info < (3, 12):
        pytest.skip("sys.monitoring came with CPython 3.12")
    plain, done, dumps = compared(write, IN_A_THREAD, "--engine", engine)
    assert done.err.startswith(plain.err)
    report = report_of(done)
    assert " unhandled in thread importer -- " in report[0]
    assert report[1] == "LookupError: order 1812"
    assert "app.py:3 in inner" in report[3]
    (path,) = (line for line in report if line.startswith("path"))
    assert path.split(" ", 1)[1].strip().startswith("work ")
    assert path.endswith("> inner")
    (dump,) = dumps
    assert (dump["where"], dump["failed_in"]) == ("thread importer", "inner")
    assert any(" ok -- " in line for line in report)


def test_a_thread_whose_hook_is_the_programs(write: Write) -> None:
    """`threading.excepthook` is what it would be, and whatever is put there is called."""
    source = (
        "import threading\nprint(threading.excepthook is threading.__excepthook__, threading.excepthook)\n"
        "threading.excepthook = lambda args: print('mine', args.exc_type.__name__, args.thread.name)\n" + IN_A_THREAD
    )
    _, done, dumps = compared(write, source)
    assert b"mine LookupError importer\n" in done.out
    assert " unhandled in thread importer -- " in report_of(done)[0]
    assert len(dumps) == 1


def test_a_thread_that_exits(write: Write) -> None:
    """`SystemExit` ends a thread without a word."""
    source = IN_A_THREAD.replace("raise LookupError(f'order {order}')", "raise SystemExit(3)")
    plain, done, dumps = compared(write, source)
    assert plain.err == ""
    assert dumps == []
    assert "unhandled" not in done.err


HANDLED = (
    "    loop = asyncio.get_running_loop(); loop.set_exception_handler(HANDLER)\n"
    "    loop.call_soon(fail)\n    await asyncio.sleep(0.02)"
)
LOOPS = {
    "a task": ("task slow", "    asyncio.create_task(job(), name='slow')\n    await asyncio.sleep(0.02)"),
    "a callback": ("the event loop", "    asyncio.get_running_loop().call_soon(fail)\n    await asyncio.sleep(0.02)"),
    "a loop with a handler": (
        "the event loop",
        HANDLED.replace("HANDLER", "lambda loop, context: print(sorted(context))"),
    ),
    "a handler that fails": (
        "the event loop",
        HANDLED.replace("HANDLER", "lambda loop: None"),
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop(name: str, write: Write) -> None:
    """What a loop tells its handler of is reported, whatever that does with it."""
    where, body = LOOPS[name]
    source = (
        "import asyncio\ndef fail():\n    raise LookupError('lost')\n"
        f"async def job():\n    await asyncio.sleep(0)\n    fail()\nasync def main():\n{body}\n    print('goes on')\n"
        "asyncio.run(main())\n"
    )
    _, done, dumps = compared(write, source)
    assert f" unhandled in {where} -- " in report_of(done)[0]
    assert [one["failed_in"] for one in dumps] == ["fail"]
    assert "LookupError: lost" in done.err
    assert b"goes on" in done.out


def test_a_task_group(write: Write) -> None:
    """It ends the program: the group is shown as a tree, with where each member came from in the dump."""
    source = (
        "import asyncio\nasync def job(n):\n    raise ValueError(f'job {n}')\n"
        "async def nested():\n    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(job(1)); group.create_task(job(2))\n"
        "async def main():\n    async with asyncio.TaskGroup() as group:\n        group.create_task(nested())\nasyncio.run(main())\n"
    )
    plain, done, dumps = compared(write, source)
    assert done.err.startswith(plain.err)
    report = report_of(done)
    assert report[1] == "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)"
    assert report[2:5] == [
        "  └─ ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)",
        "     ├─ ValueError: job 1  (app.py:3 in job)",
        "     └─ ValueError: job 2  (app.py:3 in job)",
    ]
    members = dumps[0]["failure"]["members"]
    assert [(one["depth"], one["place"] and one["place"]["lineno"]) for one in members] == [(1, 5), (2, 3), (2, 3)]


def test_a_del(write: Write) -> None:
    """Nobody could be given the exception: Python's words, then the report; `sys.unraisablehook` looks untouched."""
    source = (
        "import sys\nprint(sys.unraisablehook is sys.__unraisablehook__)\n"
        "class Handle:\n    def __del__(self): raise OSError('gone')\n"
        "def main():\n    handle = Handle(); del handle; print('goes on')\nmain()\n"
    )
    plain, done, dumps = compared(write, source)
    assert plain.err.splitlines()[1:] == done.err.splitlines()[1 : len(plain.err.splitlines())]  # an address differs
    assert " unhandled in Handle.__del__ -- " in report_of(done)[0]
    assert [one["failure"]["error_message"] for one in dumps] == ["gone"]


def test_a_hook_of_the_programs_for_those(write: Write) -> None:
    """The hook that was there before us is called; one that comes later is the program's own."""
    source = (
        "import sys\nsys.unraisablehook = lambda args: print('mine', args.exc_value)\n"
        "class Handle:\n    def __del__(self): raise OSError('gone')\n"
        "def main():\n    handle = Handle(); del handle\nmain()\n"
    )
    _, done, dumps = compared(write, source)
    assert done.out == b"mine gone\n"
    assert dumps == []


def test_the_same_failure_again_and_again(write: Write) -> None:
    """It is reported once, and counted; different ones up to a bound."""
    source = (
        "import threading\ndef work(n):\n    raise LookupError(str(n))\n"
        "def main():\n    for n in range(30):\n        t = threading.Thread(target=work, args=(n,)); t.start(); t.join()\nmain()\n"
    )
    _, done, dumps = compared(write, source)
    assert done.err.count("-- narrative -- app.py --") == 2  # the report, and the end
    assert "narrative: LookupError at app.py:3 went unhandled 30 times in all" in done.err
    assert len(dumps) == 1


def test_several_at_the_same_moment(write: Write) -> None:
    """Each is reported; beyond a bound they are counted."""
    source = (
        "import threading\n"
        + "".join(f"def work{n}():\n    barrier.wait(); raise LookupError('{n}')\n" for n in range(8))
        + "barrier = threading.Barrier(8)\n"
        "def main():\n    threads = [threading.Thread(target=globals()[f'work{n}']) for n in range(8)]\n"
        "    [one.start() for one in threads]; [one.join() for one in threads]\nmain()\n"
    )
    _, done, dumps = compared(write, source)
    assert len(dumps) == 5
    assert "narrative: 3 other failures went unhandled and were not reported" in done.err


def test_a_child_of_fork(write: Write) -> None:
    """Its failures are its own, and the parent's are not told twice."""
    source = (
        "import os, threading, warnings\nwarnings.simplefilter('ignore')\n"
        "def work():\n    raise LookupError('same')\n"
        "def fail():\n    t = threading.Thread(target=work); t.start(); t.join()\n"
        "def main():\n    fail()\n    pid = os.fork()\n    if pid == 0:\n        fail(); return\n    os.waitpid(pid, 0)\nmain()\n"
    )
    _, done, dumps = compared(write, source)
    assert len({one["story_id"] for one in dumps}) == len(dumps) == 2
    assert done.err.count(" unhandled in thread ") == 1


def test_objects_that_get_in_the_way(write: Write) -> None:
    """What stands in a loop's context, and callbacks of the program's, is asked for nothing that it may refuse."""
    source = (
        "import asyncio, weakref\n"
        "class Odd(asyncio.Future):\n    get_name = property(lambda s: 1 / 0)\n    def __bool__(s): raise OSError\n"
        "class Callback:\n    def __getattr__(self, name): raise OSError(name)\n    def __call__(self, _): raise LookupError('in it')\n"
        "class Thing: pass\n"
        "async def main():\n    loop = asyncio.get_running_loop()\n"
        "    loop.call_exception_handler({'message': 'm', 'exception': ValueError('v'), 'future': Odd(loop=loop)})\n"
        "    thing = Thing(); keep = weakref.ref(thing, Callback()); del thing; print('fine')\nasyncio.run(main())\n"
    )
    _, done, dumps = compared(write, source)
    assert done.out == b"fine\n"
    assert [one["where"] for one in dumps] == ["the event loop", "the interpreter"]
    assert "UnraisableHook" not in done.err


def test_a_request(write: Write) -> None:
    """What `socketserver` tells of a handler is reported; the server goes on."""
    source = (
        "import http.server, threading, urllib.request, urllib.error\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        raise LookupError('no page')\n"
        "def main():\n    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)\n"
        "    threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "    for _ in range(3):\n        try:\n            urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}/')\n"
        "        except OSError: pass\n    server.shutdown(); server.server_close(); print('goes on')\nmain()\n"
    )
    _, done, dumps = compared(write, source, no_proxy="*")
    assert " unhandled in a request -- " in report_of(done)[0]
    assert [one["failed_in"] for one in dumps] == ["Handler.do_GET"]
    assert "went unhandled 3 times in all" in done.err


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("1 / 0", "failed"),
        ("sys.exit(3)", "exit status 3"),
        ("raise KeyboardInterrupt", "interrupted"),
        ("pass", "ok"),
    ],
)
def test_a_worker(end: str, outcome: str, method: str, write: Write) -> None:
    """The store says how it ended, and has its failure, which is not told: `multiprocessing` does that."""
    source = (
        "import multiprocessing, sys, warnings\nwarnings.simplefilter('ignore')\n"
        f"def work():\n    {end}\n"
        f"def main():\n    p = multiprocessing.get_context({method!r}).Process(target=work); p.start(); p.join()\n"
        "    print(p.exitcode)\nif __name__ == '__main__': main()\n"
    )
    _, done, dumps = compared(write, source)
    assert [one["failed_in"] for one in dumps] == (["work"] if outcome == "failed" else [])
    assert "unhandled" not in done.err
    listed = run(COMMANDS / "narrative", "stories", cwd=write("x", "").parent).out.decode().splitlines()
    child = next(line for line in listed if "child of" in line)
    assert f" {outcome} " in child


def test_silent_children(write: Write) -> None:
    """A child process keeps its failures in the store, and says nothing."""
    path = write("child.py", IN_A_THREAD)
    source = f"import subprocess, sys\ndef main():\n    subprocess.run([sys.executable, {str(path)!r}], check=True)\nmain()\n"
    plain, done, dumps = compared(write, source)
    assert "unhandled" not in done.err.removeprefix(plain.err)
    assert len(dumps) == 1


# -- ways to end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(3)", 3), ("sys.exit('no such order')", 1), ("raise SystemExit", 0)]
)
def test_an_exit_is_no_failure(end: str, status: int, write: Write) -> None:
    """The status is recorded; there is no report and no dump."""
    plain, done, dumps = compared(write, f"import sys\ndef main():\n    {end}\nmain()\n", "--tell", "tree")
    assert done.status == status
    assert done.err.startswith(plain.err)
    assert dumps == []
    heading = report_of(done)[0]
    assert (f" exit status {status} -- " in heading) if status else (" ok -- " in heading)


def test_ctrl_c(write: Write) -> None:
    """One line says where it was; the process dies of SIGINT as it would."""
    source = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\ndef wait():\n    print('waiting', flush=True)\n    time.sleep(30)\n"
        "def main():\n    wait()\nmain()\n"
    )
    path = write("app.py", source)
    found = []
    for command in ([sys.executable, "app.py"], [str(LAUNCHER), sys.executable, "app.py"]):
        process = subprocess.Popen(
            command,
            cwd=path.parent,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        found.append((process.communicate(timeout=60)[1], process.returncode))
    (plain, status), (recorded, recorded_status) = found
    assert recorded_status == status
    assert status in {-signal.SIGINT, 130}
    assert recorded.startswith(plain)
    lines = recorded.removeprefix(plain).splitlines()
    assert lines[0].startswith("narrative: interrupted in wait at app.py:5 after ")
    assert not (path.parent / ".narrative" / "crashes").exists() or not any(
        (path.parent / ".narrative" / "crashes").iterdir()
    )


def test_a_fatal_signal_beside_faulthandler(write: Write) -> None:
    """The user's faulthandler says what it would; nothing of ours is in between."""
    source = (
        "import faulthandler, ctypes, time\nfaulthandler.enable()\n"
        "def boom():\n    ctypes.string_at(0)\n"
        "def main():\n    time.sleep(0.1)  # faulthandler gives up where a thread begins at this moment\n    boom()\nmain()\n"
    )
    path = write("app.py", source)
    plain = run(sys.executable, "app.py", cwd=path.parent)
    done = narrative_run(sys.executable, "app.py", cwd=path.parent)
    assert done.status == plain.status == -signal.SIGSEGV
    first = plain.err.splitlines()[0]
    assert first == "Fatal Python error: Segmentation fault"
    assert [line for line in done.err.splitlines() if "app.py" in line] == [
        line for line in plain.err.splitlines() if "app.py" in line
    ]


def test_a_hook_that_is_installed_later_and_hands_nothing_on(write: Write) -> None:
    """The exception is met at the end of the program."""
    source = (
        "import sys\nsys.excepthook = lambda *_: print('mine')\ndef main():\n    raise LookupError('lost')\nmain()\n"
    )
    _, done, dumps = compared(write, source)
    assert done.out == b"mine\n"
    assert " failed in main -- " in report_of(done)[0]
    assert [one["failure"]["error_message"] for one in dumps] == ["lost"]
