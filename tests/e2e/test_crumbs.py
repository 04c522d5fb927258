"""Crumbs in real processes: plain ones that have asked for them, and recorded ones, where nobody has to."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMANDS, RECORDER, Done, narrative_run, run

Write = Callable[[str, str], Path]

ENABLE = "from narrative_auto.crumbs import *\nenable(on_crash='file', output_file='out.json')\ncrumb('start', a=1)\n"

UNHANDLED = {
    "the main thread": "1/0",
    "a thread": "import threading\ndef f(): 1/0\nt = threading.Thread(target=f); t.start(); t.join()",
    "a task": "import asyncio\nasync def f(): 1/0\nasync def m():\n    t = asyncio.create_task(f()); await asyncio.sleep(0.01); del t\nasyncio.run(m())",
    "a callback": "import asyncio\nasync def m():\n    asyncio.get_running_loop().call_soon(lambda: 1/0); await asyncio.sleep(0.01)\nasyncio.run(m())",
    "a loop's own handler": (
        "import asyncio\nasync def m():\n    loop = asyncio.get_running_loop(); loop.set_exception_handler(lambda *_: None)\n"
        "    loop.call_soon(lambda: 1/0); await asyncio.sleep(0.01)\nasyncio.run(m())"
    ),
    "a __del__": "class C:\n    def __del__(self): 1/0\nC()",
    "a hook that hands nothing on": "import sys\nsys.excepthook = lambda *_: None\n1/0",
    "the hook that was there": "1/0",
}


@pytest.mark.parametrize("source", UNHANDLED.values(), ids=UNHANDLED)
def test_unhandled_exceptions_of_every_sort(source: str, write: Write) -> None:
    """The crumbs are written, and everything else is as it would be."""
    plain = run(sys.executable, "-c", f"\n\n\n{source}", cwd=write("nothing.py", "").parent)
    path = write("app.py", ENABLE + source)
    done = run(sys.executable, "-c", ENABLE + source, cwd=path.parent)
    assert (done.status, done.out) == (plain.status, plain.out)
    assert done.err.splitlines()[-1:] == plain.err.splitlines()[-1:]
    (one,) = json.loads((path.parent / "out.json").read_text("utf-8"))
    assert (one["event"], one["a"]) == ("start", "1")


def test_no_crash_no_crumbs(write: Write) -> None:
    """What ends otherwise is no crash: `sys.exit`, Ctrl-C, an exception that is handled."""
    for end in ("import sys; sys.exit(3)", "raise KeyboardInterrupt", "try: 1/0\nexcept Exception: pass"):
        path = write("app.py", ENABLE + end)
        run(sys.executable, "app.py", cwd=path.parent)
        assert not (path.parent / "out.json").exists()


def test_a_function_gets_them(write: Write) -> None:
    """What it raises is not in the way of the program's own exception."""
    source = (
        "from narrative_auto.crumbs import *\n"
        "def told(crumbs):\n    print([one['event'] for one in crumbs], flush=True); raise OSError('in it')\n"
        "enable(on_crash=told, include_timestamp=False, include_thread=False, max_crumbs=2)\n"
        "for name in 'abc': crumb(name)\n1/0\n"
    )
    done = run(sys.executable, "app.py", cwd=write("app.py", source).parent)
    assert (done.status, done.out) == (1, b"['b', 'c']\n")
    assert done.err.rstrip().endswith("ZeroDivisionError: division by zero")


def test_nowhere_to_write(write: Write) -> None:
    """A file that cannot be written costs one line."""
    source = (
        "from narrative_auto.crumbs import *\nenable(on_crash='file', output_file='/no/such/place')\ncrumb('a')\n1/0\n"
    )
    done = run(sys.executable, "app.py", cwd=write("app.py", source).parent)
    assert done.status == 1
    assert done.err.splitlines()[0].startswith("narrative_auto: telling crumbs failed (")
    assert done.err.rstrip().endswith("ZeroDivisionError: division by zero")


def test_enabled_twice(write: Write) -> None:
    """It tells once."""
    source = "from narrative_auto.crumbs import *\nenable()\nenable()\ncrumb('a')\n1/0\n"
    done = run(sys.executable, "app.py", cwd=write("app.py", source).parent)
    assert done.err.count('"event": "a"') == 1


def test_at_the_end_of_the_interpreter_and_in_a_child(write: Write) -> None:
    """In exit handlers, in a `__del__` while modules are taken down, in a child of fork: nothing is said or hangs."""
    source = (
        "import atexit, os, sys\nfrom narrative_auto import crumb\nfrom narrative_auto.crumbs import snapshot\n"
        "class C:\n    def __del__(self): crumb('late', n=1)\n"
        "keep = C(); sys.keep = C()\natexit.register(crumb, 'at exit')\n"
        "pid = os.fork()\n"
        "crumb('child' if pid == 0 else 'parent')\n"
        "if pid == 0:\n    print([one['event'] for one in snapshot()], flush=True); os._exit(0)\n"
        "os.waitpid(pid, 0)\nprint([one['event'] for one in snapshot()])\n"
    )
    done = run(sys.executable, "-W", "ignore", "app.py", cwd=write("app.py", source).parent)
    assert (done.status, done.err, done.out) == (0, "", b"['child']\n['parent']\n")


# -- in a recorded run --------------------------------------------------------------------------------------------

PROGRAM = """
import logging, subprocess, sys, warnings
log = logging.getLogger("shop.store")
class Order:
    def __str__(self):
        print("asked"); return "order"
def main():
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(logging.NullHandler())
    log.debug("too small")
    log.info("opened %s in %(x)s", 1)
    log.warning("retry %d of %s", 1, "3")
    log.error("order %s, password=%s", Order(), "hunter22")
    log.info("%(name)s is %(age)d", {"name": "ada", "age": 36})
    warnings.warn("use %s instead" % "new", DeprecationWarning, stacklevel=2)
    subprocess.run(["true", "--token", "abc123"], check=True)
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("caught")
    raise LookupError("the end")
main()
"""


def dump_of(folder: Path) -> dict[str, Any]:
    """Return the one crash dump below a folder."""
    (path,) = (folder / ".narrative" / "crashes").iterdir()
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


@pytest.mark.parametrize("engine", ["rewrite", "monitoring"])
def test_crumbs_that_nobody_left(engine: str, write: Write) -> None:
    """Log records from INFO up, whoever handles them; warnings; processes. Nothing of the program's is called."""
    if engine == "monitoring" and sys.version_info < (3, 12):
        pytest.skip("sys.monitoring came with CPython 3.12")
    path = write("app.py", PROGRAM)
    plain = run(sys.executable, "app.py", cwd=path.parent)
    done = narrative_run("--engine", engine, sys.executable, "app.py", cwd=path.parent)
    assert (done.status, done.out) == (plain.status, plain.out)
    assert done.err.startswith(plain.err)
    lines = [one["line"] for one in dump_of(path.parent)["crumbs"]]
    assert lines == [
        "log INFO shop.store: opened %s in %(x)s",
        "log WARNING shop.store: retry 1 of 3",
        "log ERROR shop.store: order <Order>, password=[redacted]",
        "log INFO shop.store: ada is 36",
        f"warning DeprecationWarning: use new instead ({path}:23)",
        "subprocess true --token [redacted]",
        "log ERROR shop.store: caught, ZeroDivisionError",
    ]
    before = [line for line in done.err.splitlines() if "log ERROR" in line]
    assert len(before) == 2
    assert all(len(line) <= 80 for line in done.err.removeprefix(plain.err).splitlines())


def test_logging_is_the_programs_own(write: Write) -> None:
    """No handler, no level, no filter and no frame of ours."""
    source = (
        "import logging, traceback, inspect\n"
        "class Handler(logging.Handler):\n    def emit(self, record):\n"
        "        print([one.function for one in inspect.stack()][:8], record.funcName, record.lineno)\n"
        "        try: raise ValueError('in emit')\n        except ValueError: self.handleError(record)\n"
        "def main():\n    logging.basicConfig(handlers=[Handler()])\n    logging.warning('x')\n"
        "    print(logging.root.handlers, logging.Logger.callHandlers, logging.Logger.manager.loggerDict)\n"
        "    print(inspect.signature(logging.Logger.callHandlers), inspect.getsource(logging.Logger.callHandlers)[:40])\n"
        "main()\n"
    )
    path = write("app.py", source)
    plain = run(sys.executable, "app.py", cwd=path.parent)
    done = narrative_run(sys.executable, "app.py", cwd=path.parent)
    assert plain.status == 0
    assert addressless(done) == addressless(plain)
    said = "".join(line for line in done.err.splitlines(keepends=True) if "<frozen runpy>" not in line)
    assert said.startswith(plain.err)  # the two frames of runpy below `__main__` are a known difference


def addressless(done: Done) -> list[str]:
    """Return lines of output without addresses, which differ from run to run."""
    return [line.partition(" at 0x")[0] for line in done.out.decode().splitlines()]


def test_arguments_of_a_log_record_have_names(write: Write, tmp_path: Path) -> None:
    """What stands under a secret's name is none of the message's, nor of what is kept."""
    write(
        "app.py",
        "import logging\ndef main():\n"
        "    login = {'password': 'LogPw1122', 'user': 'ada', 'n': 3}\n"
        "    logging.error('no %(password)s for %(user)s, %(n)d times, nor LogPw1122', login)\n"
        "    logging.error('no %s', {1: 2, None: 'x'})\n"
        "    del login\n    raise ValueError\nmain()\n",
    )
    done = narrative_run(sys.executable, "app.py", cwd=tmp_path)
    assert "log ERROR root: no [redacted] for ada, 3 times, nor [redacted]" in done.err
    assert "log ERROR root: no {1: 2, None: 'x'}" in done.err
    kept = [path for path in (tmp_path / ".narrative").rglob("*") if path.is_file()]
    assert len(kept) >= 2
    assert not any(b"LogPw1122" in path.read_bytes() for path in kept)


def test_a_log_record_keeps_nothing_alive(write: Write) -> None:
    """What a record was made with goes when the program lets go of it."""
    source = (
        "import gc, logging, weakref\n"
        "from narrative_auto import context\n"
        "class Row:\n    def __repr__(self): print('asked'); return 'row'\n"
        "def main():\n    row = Row(); gone = weakref.ref(row)\n"
        "    with context(row=row):\n        logging.warning('row %d', 1)\n    logging.warning('row', row)\n"
        "    del row; gc.collect(); print(gone() is None)\nmain()\n"
    )
    path = write("app.py", source)
    plain = run(sys.executable, "app.py", cwd=path.parent)
    assert narrative_run(sys.executable, "app.py", cwd=path.parent).out == plain.out


def test_names_that_are_secret_here(write: Write) -> None:
    """`--redact` holds for crumbs, contexts and log records too."""
    source = (
        "import logging\nfrom narrative_auto import context, crumb\n"
        "def main():\n    with context(iban='DE02120300000000202051'):\n"
        "        crumb('pay', iban='DE02120300000000202051'); logging.warning('iban=%s', 'DE02120300000000202051')\n"
        "    raise ValueError('no')\nmain()\n"
    )
    path = write("app.py", source)
    done = narrative_run("--redact", "iban", sys.executable, "app.py", cwd=path.parent)
    assert done.status == 1
    assert "DE0212" not in done.err[done.err.index("-- narrative") :]
    assert "DE0212" not in json.dumps(dump_of(path.parent)["crumbs"])


def test_texts_that_are_hard_to_keep(write: Write, tmp_path: Path) -> None:
    """Lone surrogates and separators are in no way of the others."""
    if RECORDER == "pure":
        pytest.skip("the recorder in Python has no black box")
    source = (
        "import logging, os, signal\nfrom narrative_auto import context, crumb\n"
        "def main():\n    logging.warning('evil \\udcff')\n    crumb('ev \\udcff\\x1fname\\x1fpassword', value='\\x1e\\x1f')\n"
        "    with context(**{'\\x1eodd': 'a\\x1fb'}):\n        crumb('last')\n    os.kill(os.getpid(), signal.SIGKILL)\nmain()\n"
    )
    path = write("app.py", source)
    boxes = str(tmp_path / "boxes")
    done = narrative_run("--black-box", boxes, sys.executable, "app.py", cwd=path.parent)
    assert "the program goes on without it" not in done.err
    shown = run(COMMANDS / "narrative", "recover", "--last", "--json", cwd=path.parent, NARRATIVE_BLACK_BOX=boxes)
    crumbs = json.loads(shown.out)["crumbs"]
    assert [one["event"] for one in crumbs if one["event"] != "log"] == ["ev \\udcff name password", "last"]
    assert crumbs[-1]["context"] == {"odd": "a b"}


@pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python has no black box")
@pytest.mark.skipif(sys.platform != "linux", reason="the way to die is that of Linux")
def test_crumbs_outlive_the_process(write: Write, tmp_path: Path) -> None:
    """Killed by SIGKILL: what it left last is in the black box, without its secrets."""
    source = (
        "import logging, os, signal\nfrom narrative_auto import context, crumb\n"
        "def main():\n"
        "    for n in range(200):\n"
        "        with context(request=f'r-{n}'):\n            crumb('step', n=n, password='hunter22')\n"
        "    logging.warning('the last word, token=%s', 'tok_12345678')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\nmain()\n"
    )
    path = write("app.py", source)
    boxes = str(tmp_path / "boxes")
    done = narrative_run("--black-box", boxes, sys.executable, "app.py", cwd=path.parent)
    assert done.status == -signal.SIGKILL
    shown = run(COMMANDS / "narrative", "recover", "--last", "--json", cwd=path.parent, NARRATIVE_BLACK_BOX=boxes)
    crumbs = json.loads(shown.out)["crumbs"]
    assert [one["data"].get("n") for one in crumbs[-51:]] == [*map(str, range(150, 200)), None]
    assert crumbs[-2]["context"] == {"request": "r-199"}
    assert crumbs[-1]["data"]["message"] == "the last word, token=[redacted]"
    (box,) = (tmp_path / "boxes").iterdir()
    assert b"hunter22" not in box.read_bytes()
    assert b"tok_12345678" not in box.read_bytes()
    told = run(COMMANDS / "narrative", "recover", "--last", cwd=path.parent, NARRATIVE_BLACK_BOX=boxes)
    assert "step n=199 password=[redacted] request=r-199" in told.out.decode()


NEVER = """
import threading, time
from narrative_auto import crumb
lock = threading.RLock()
class Spins:
    def __repr__(self):
        while True: pass
class Sleeps:
    def __repr__(self):
        time.sleep(1000); return "late"
class Locked:
    def __repr__(self):
        with lock: return total([1, 2])
class Unable(Exception):
    def __str__(self):
        time.sleep(1000); return "late"
def total(numbers):
    return f"<{sum(numbers)} in all>"
def work(value):
    crumb("work", value=value)
def attempt():
    raise Unable
def main():
    with lock:
        work(Locked())
    for value in (Locked(), Spins(), Sleeps(), Spins(), Sleeps(), Spins()):
        work(value)
    try:
        attempt()
    except Unable:
        print("caught")
    busy = time.process_time()
    time.sleep(0.5)
    print(time.process_time() - busy < 0.3)
    total()
main()
"""


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "plain"])
def test_a_repr_that_never_ends(write: Write, *, recorded: bool) -> None:
    """The program goes on, with nothing left that computes; what the `repr` calls is no part of the story."""
    path = write("app.py", NEVER)
    began = time.monotonic()
    done = (narrative_run if recorded else run)(sys.executable, "app.py", cwd=path.parent)
    assert time.monotonic() - began < 30
    assert (done.status, done.out) == (1, b"caught\nTrue\n")
    if recorded:
        dump = dump_of(path.parent)
        values = [one["line"] for one in dump["crumbs"]]
        late = [f"<{name}>" for name in ("Spins", "Sleeps", "Spins", "Sleeps", "Spins")]
        assert values == [f"crumb work value={text}" for text in ("<Locked>", "<3 in all>", *late)]
        story = run(COMMANDS / "narrative", "story", dump["story_id"], cwd=path.parent).out.decode()
        assert story.splitlines()[-1].startswith("3 sites, 9 calls"), story  # without what the `repr` calls
