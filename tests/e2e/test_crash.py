"""Unhandled exceptions of every sort: Python's own traceback first, byte for byte, then ours, the same exit status."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, RECORDER, Done, narrative_run, run

Write = Callable[[str, str], Path]


def crashed(write: Write, source: str, *options: str, **environ: str) -> tuple[Done, list[str]]:
    """Run a failing program plain and recorded; return the recorded run and the lines of the report."""
    folder = write("app.py", source).parent
    plain = run(sys.executable, "app.py", cwd=folder, PYTHONIOENCODING="utf-8", **environ)
    recorded = narrative_run(*options, sys.executable, "app.py", cwd=folder, **environ)
    assert (recorded.status, recorded.out) == (plain.status, plain.out)
    assert recorded.err.startswith(plain.err)
    return recorded, recorded.err.removeprefix(plain.err).splitlines()


def test_the_innermost_stage_is_named(write: Write) -> None:
    """The stage that failed, not the one that let it pass."""
    _, lines = crashed(write, "def a():\n    b()\ndef b():\n    c()\ndef c():\n    raise OSError(5, 'io')\na()\n")
    assert " failed in c -- " in lines[0]
    assert lines[1] == "OSError: [Errno 5] io"
    assert "app.py:6 in c" in lines[3]


def test_a_handled_exception_does_not_take_the_blame(write: Write) -> None:
    """A failure after a handled one is blamed on its own stage."""
    source = (
        "def handled():\n    raise KeyError('k')\n"
        "def later():\n    raise TypeError('t')\n"
        "def main():\n    try:\n        handled()\n    except KeyError:\n        pass\n    later()\n"
        "main()\n"
    )
    _, lines = crashed(write, source)
    assert " failed in later -- " in lines[0]
    path = next(line for line in lines if line.startswith("path"))
    assert path.split(" > ")[-1] == "later"
    assert "handled" in next(line for line in lines if line.startswith("before"))
    assert "raised" in next(line for line in lines if line.startswith("before"))


def test_a_cause_in_a_deeper_stage_is_the_place(write: Write) -> None:
    """With an explicit cause the path goes on to where it all began."""
    source = (
        "def read():\n    raise OSError('disk')\n"
        "def load():\n    try:\n        read()\n    except OSError as e:\n        raise ValueError('no data') from e\n"
        "load()\n"
    )
    _, lines = crashed(write, source)
    assert " failed in read -- " in lines[0]
    assert lines[1:3] == ["ValueError: no data", "  from OSError: disk"]
    assert next(line for line in lines if line.startswith("path")).startswith("path    load ")


def test_a_suppressed_context_stays_hidden(write: Write) -> None:
    """`raise … from None` shows no context."""
    source = "def f():\n    try:\n        {}['x']\n    except KeyError:\n        raise ValueError('v') from None\nf()\n"
    _, lines = crashed(write, source)
    assert "KeyError" not in "\n".join(lines[:4])


def test_a_failure_outside_any_stage(write: Write) -> None:
    """An error at the top of the script has a place and no path."""
    _, lines = crashed(write, "x = 1\ny = x / 0\n")
    assert " failed -- " in lines[0]
    assert "app.py:2 in <module>" in lines[3]
    assert not any(line.startswith("path") for line in lines)


def test_deep_recursion_is_folded(write: Write) -> None:
    """A thousand frames fit into a few lines."""
    source = (
        "import sys\ndef down(n):\n    if n == 0:\n        raise ValueError('bottom')\n    down(n - 1)\ndown(900)\n"
    )
    _, lines = crashed(write, source)
    assert len(lines) < 24
    assert "×" in next(line for line in lines if line.startswith("path"))


@pytest.mark.parametrize(
    "source",
    [
        "class E(Exception):\n    def __str__(self): raise RuntimeError('str')\ndef f(): raise E\nf()\n",
        "class E(Exception):\n    def __str__(self): return 7\ndef f(): raise E\nf()\n",
        "def f():\n    e = ValueError(1)\n    e.__cause__ = ValueError(2)\n    e.__cause__.__cause__ = e\n    raise e\nf()\n",
        "def f(): raise ExceptionGroup('g', [ValueError(n) for n in range(50)])\nf()\n",
        "def f(): exec(compile('1/0', 'gone.py', 'exec'))\nf()\n",
        "import os\ndef f():\n    os.remove(__file__)\n    raise ValueError\nf()\n",
        "def f(): raise ValueError('x' * 100_000)\nf()\n",
        "def f(): raise ValueError('\\x1b[31mred\\x1b[0m \\ud800')\nf()\n",
        "def f(): raise type('Ünïcode', (Exception,), {})('ä')\nf()\n",
        "def f():\n    e = ValueError('v')\n    e.add_note('n1')\n    e.__notes__.append(5)\n    raise e\nf()\n",
        "class M(type):\n    def __getattribute__(c, n): raise RuntimeError\nclass E(Exception, metaclass=M): pass\ndef f(): raise E\nf()\n",
        "import sys\ndef f():\n    sys.stderr = None\n    raise ValueError\nf()\n",
        "def f(): raise BaseException('base')\nf()\n",
    ],
)
def test_nasty_exceptions(write: Write, source: str) -> None:
    """Whatever the exception does, Python's own output and the status stay, and nothing of ours is a traceback."""
    folder = write("app.py", source).parent
    plain = run(sys.executable, "app.py", cwd=folder, PYTHONIOENCODING="utf-8")
    write("app.py", source)
    recorded = narrative_run(sys.executable, "app.py", cwd=folder)
    assert (recorded.status, recorded.out) == (plain.status, plain.out)
    assert recorded.err.startswith(plain.err)
    rest = recorded.err.removeprefix(plain.err)
    assert "narrative_auto: " not in rest
    assert "Traceback" not in rest
    assert rest.startswith("-- narrative -- app.py -")
    assert max(map(len, rest.splitlines())) <= 200


def test_secrets_stay_out_of_the_report_the_dump_and_the_store(write: Write, tmp_path: Path) -> None:
    """Passwords in messages, URLs, source lines and the command line appear nowhere but in Python's own traceback."""
    source = (
        "def connect(url):\n"
        "    password = 'hunter2-in-source'; raise ConnectionError('cannot reach ' + url + ' token=tok-in-message')\n"
        "connect('postgres://me:hunter2-in-url@db/x')\n"
    )
    write("app.py", source)
    command = (sys.executable, "app.py", "--password", "hunter2-in-argv")
    plain = run(*command, cwd=tmp_path, PYTHONIOENCODING="utf-8")
    recorded = narrative_run(*command, cwd=tmp_path)
    ours = recorded.err.removeprefix(plain.err)
    kept = [path for path in (tmp_path / ".narrative").rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} >= {".json", ".db"}
    for text in [ours, *(path.read_bytes().decode("latin-1") for path in kept)]:
        for secret in ("hunter2", "tok-in-message"):
            assert secret not in text
    assert "[redacted]" in ours


def test_exit_status_is_in_the_heading(write: Write) -> None:
    """A program that asks for a status is not called ok, and there is no crash report."""
    folder = write("app.py", "import sys\ndef main():\n    return 3\nsys.exit(main())\n").parent
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=folder)
    assert done.status == 3
    assert " exit status 3 -- " in done.err.splitlines()[0]
    assert "failed" not in done.err


def test_an_interrupt_shows_where_the_time_went(write: Write) -> None:
    """Ctrl-C: Python's traceback, death by the signal, and the tree so far."""
    source = "import signal\ndef inner():\n    signal.raise_signal(signal.SIGINT)\ndef main():\n    inner()\nmain()\n"
    folder = write("app.py", source).parent
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=folder)
    assert done.status == -2
    heading = next(line for line in done.err.splitlines() if line.startswith("-- narrative"))
    assert " interrupted -- " in heading
    assert "  main " in done.err


def test_a_hook_that_does_not_hand_on_is_met_at_the_end(write: Write) -> None:
    """A program with a hook of its own prints what it wants; the report comes all the same, last."""
    source = (
        "import sys\ndef hook(*_): print('sorry', file=sys.stderr)\nsys.excepthook = hook\n"
        "def main(): raise ValueError('own')\nmain()\n"
    )
    recorded, lines = crashed(write, source)
    assert recorded.err.startswith("sorry\n")
    assert " failed in main -- " in lines[0]


@pytest.mark.parametrize("late", ["time.sleep(100)", "[0 for _ in iter(int, 1)]"])
@pytest.mark.parametrize("raises", ["raise Late", "raise KeyError('k') from Late()"])
def test_a_hook_that_asks_for_no_message(late: str, raises: str, write: Write) -> None:
    """Where the program's own hook is content with the type, nobody waits for a message that never comes."""
    source = (
        "import sys, time\nsys.excepthook = lambda *_: print('short')\n"
        f"class Late(Exception):\n    def __str__(self): {late}\n"
        f"def main():\n    {raises}\nmain()\n"
    )
    begun = time.monotonic()
    recorded, lines = crashed(write, source)
    assert time.monotonic() - begun < 20
    assert (recorded.status, recorded.out) == (1, b"short\n")
    assert " failed in main -- " in lines[0]


@pytest.mark.parametrize("before", ["sys.excepthook", "sys.__excepthook__"])
def test_a_chained_hook_is_called_once(write: Write, before: str) -> None:
    """A program's hook that hands on, to whom it found or to the interpreter's own, prints once; there is one report."""
    source = (
        f"import sys\nbefore = {before}\n"
        "def hook(*a):\n    print('mine', file=sys.stderr)\n    before(*a)\nsys.excepthook = hook\n"
        "def main(): raise ValueError('own')\nmain()\n"
    )
    recorded, lines = crashed(write, source)
    assert recorded.err.count("mine\n") == 1
    assert sum(" failed in main -- " in line for line in lines) == 1


def test_a_full_disk_for_the_dump_is_one_line(write: Write, tmp_path: Path) -> None:
    """A dump that cannot be written is said in a line; the report comes."""
    (tmp_path / "kept").mkdir()
    write("kept/crashes", "a file where the folder should be")
    recorded, lines = crashed(
        write, "def main(): raise ValueError('v')\nmain()\n", "--store", "kept", XDG_STATE_HOME=str(tmp_path / "state")
    )
    assert recorded.err.count("cannot be written") == 1
    assert any(" failed in main -- " in line for line in lines)


def test_tracebacks_of_modules_and_commands_are_as_plain(write: Write) -> None:
    """`python -m` has runpy's frames in plain Python too, and keeps them."""
    folder = write("app.py", "def main(): raise ValueError('v')\nmain()\n").parent
    plain = run(sys.executable, "-m", "app", cwd=folder, PYTHONIOENCODING="utf-8")
    recorded = narrative_run(sys.executable, "-m", "app", cwd=folder)
    assert "runpy" in plain.err
    assert recorded.err.startswith(plain.err)
    assert "-- narrative -- python -m app -" in recorded.err


def test_the_dump_is_json_with_the_records(write: Write, tmp_path: Path) -> None:
    """What a tool wants to read: format, error, frames, path, the last records with times since the story's start."""
    crashed(write, "def a(): pass\ndef main():\n    a()\n    raise ValueError('v')\nmain()\n")
    (path,) = (tmp_path / ".narrative" / "crashes").glob("*.json")
    dump = json.loads(path.read_bytes())
    assert [record[1:] for record in dump["records"]] == [
        ["main", "START"],
        ["a", "START"],
        ["a", "RETURN"],
        ["main", "UNWIND"],
    ]
    assert [at for at, *_ in dump["records"]] == sorted(at for at, *_ in dump["records"])
    assert dump["failure"]["frames"][-1]["function"] == "main"
    assert dump["command"][-1] == "app.py"


OPEN = "import time\ndef wait():\n    time.sleep(2.6)\ndef main():\n    wait()\nmain()\n"


def test_a_stage_that_stays_open_gets_a_line(write: Write) -> None:
    """While the program hangs, a person sees where."""
    folder = write("app.py", OPEN).parent
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=folder)
    assert done.err.splitlines()[0] == "narrative: main > wait is open for 2 s"
    assert narrative_run("--tell", "failure", sys.executable, "app.py", cwd=folder).err == ""


def test_a_console_of_the_program_s_own_is_no_crash(write: Write) -> None:
    """Errors typed into `code.interact`, or handed to the hook for printing, are printed as plain and end nothing."""
    source = (
        "import code, sys\n"
        "def main():\n"
        "    console = code.InteractiveConsole()\n"
        "    console.push('1/0')\n"
        "    try:\n        {}['x']\n    except KeyError:\n        sys.excepthook(*sys.exc_info())\n"
        "    return 0\n"
        "sys.exit(main())\n"
    )
    recorded, lines = crashed(write, source, "--tell", "tree")
    assert recorded.status == 0
    assert " ok -- " in lines[0]


def test_a_caught_recursion_error_leaves_the_figures_right(write: Write) -> None:
    """What runs after a RecursionError stands where it was called, not inside the recursion."""
    source = (
        "def down(n): return down(n + 1)\ndef later(): pass\n"
        "def main():\n    try:\n        down(0)\n    except RecursionError:\n        pass\n    later()\nmain()\n"
    )
    folder = write("app.py", source).parent
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=folder)
    rows = [line for line in done.err.splitlines() if "later" in line]
    assert rows[0].startswith("  └─ later ")


def test_a_hook_for_threads_that_hands_on_ends_no_story(write: Write) -> None:
    """A common recipe: `threading.excepthook` calls `sys.excepthook`. The program goes on, and is ok."""
    source = (
        "import sys, threading\n"
        "threading.excepthook = lambda a: sys.excepthook(a.exc_type, a.exc_value, a.exc_traceback)\n"
        "def work(): raise ValueError('in a thread')\n"
        "def main():\n    t = threading.Thread(target=work); t.start(); t.join(); print('goes on')\nmain()\n"
    )
    recorded, lines = crashed(write, source, "--tell", "tree")
    assert recorded.out == b"goes on\n"
    assert " unhandled in thread Thread-1" in lines[0]
    assert lines[1] == "ValueError: in a thread"
    tree = next(index for index, line in enumerate(lines) if " ok -- " in line)
    assert tree > 1
    assert not any(", handled" in line for line in lines[tree:])


def test_a_program_that_goes_elsewhere(write: Write, tmp_path: Path) -> None:
    """Paths and commands are as they are typed where the program was started, and so is the story's folder."""
    write("work/app.py", "import os\ndef main():\n    os.chdir('/')\n    raise ValueError('v')\nmain()\n")
    folder = tmp_path / "work"
    done = narrative_run(sys.executable, "app.py", cwd=folder)
    assert "\n  app.py:4 in main\n" in done.err
    more = done.err.splitlines()[-1].split()
    assert more[:3] == ["more", "narrative", "story"]
    assert more[4:] == ["dump", f".narrative/crashes/{more[3]}.json"]
    told = run(COMMANDS / "narrative", "story", more[3], cwd=folder).out.decode()
    assert f" in {folder} " in " ".join(told.split())


def test_a_removed_current_folder(write: Write, tmp_path: Path) -> None:
    """A program whose current folder is gone has its report all the same."""
    source = "import os, tempfile\ndef main():\n    d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)\n    raise ValueError('v')\nmain()\n"
    path = write("app.py", source)
    done = narrative_run(sys.executable, path, cwd=tmp_path)
    assert " failed in main -- " in done.err
    assert "narrative_auto: " not in done.err


def test_a_long_secret_is_not_cut_into_the_dump(write: Write, tmp_path: Path) -> None:
    """Texts are redacted before they are cut: half a secret cannot be recognised."""
    write("app.py", "def main(): raise ValueError('password=' + 'Z' * 20_000 + ' tail')\nmain()\n")
    narrative_run(sys.executable, "app.py", cwd=tmp_path)
    for path in (tmp_path / ".narrative").rglob("*"):
        if path.is_file():
            assert b"ZZZZ" not in path.read_bytes()


def test_nothing_of_a_no_stage_function_is_named(write: Write) -> None:
    """What was taken out of the story is not on the path to a failure either."""
    source = (
        "from narrative_auto import no_stage\n@no_stage\ndef hidden(): raise ValueError('v')\n"
        "def main(): hidden()\nmain()\n"
    )
    _, lines = crashed(write, source)
    assert " failed in main -- " in lines[0]


@pytest.mark.parametrize("descriptor", ["1", "2"])
def test_a_closed_stream_does_not_keep_the_program_from_running(write: Write, tmp_path: Path, descriptor: str) -> None:
    """Started by cron, say, with stdout or stderr closed."""
    from tests.conftest import LAUNCHER

    write("app.py", "import sys\ndef main():\n    open('done', 'w').close()\n    return 3\nsys.exit(main())\n")
    done = run("sh", "-c", f"exec {LAUNCHER} {sys.executable} app.py {descriptor}>&-", cwd=tmp_path)
    assert done.status == 3
    assert (tmp_path / "done").exists()


def test_a_removed_folder_to_start_in(tmp_path: Path) -> None:
    """The launcher runs what plain Python runs."""
    from tests.conftest import LAUNCHER

    (tmp_path / "gone").mkdir()
    script = f"cd gone && rmdir ../gone && exec {LAUNCHER} {sys.executable} -c 'print(1)'"
    done = run("sh", "-c", script, cwd=tmp_path)
    assert (done.status, done.out) == (0, b"1\n")


def test_a_nasty_class_of_an_exception_is_not_asked(write: Write) -> None:
    """Looking up `__class__` may run the program's code: the exception stays what it is."""
    source = (
        "class E(Exception):\n"
        "    def __getattribute__(self, n):\n"
        "        if n == '__class__': raise ValueError(n)\n"
        "        return object.__getattribute__(self, n)\n"
        "def main(): raise E('x')\nmain()\n"
    )
    recorded, _ = crashed(write, source)
    assert "E: x\n" in recorded.err
    assert "ValueError: __class__" not in recorded.err


def test_an_interrupt_within_our_part_loses_nothing(write: Write) -> None:
    """A `__str__` that raises KeyboardInterrupt, or Ctrl-C just then: Python's own output comes all the same."""
    source = (
        "class E(BaseException):\n    def __str__(self): raise KeyboardInterrupt\ndef main(): raise E('x')\nmain()\n"
    )
    recorded, _ = crashed(write, source, "--tell", "nothing")
    assert "narrative_auto" not in recorded.err


@pytest.mark.parametrize(
    ("program", "status", "told"),
    [
        ("def f(n):\n    return f(n + 1)\nf(0)\n", 1, "failed in f"),
        ("import sys\ndef f(): pass\nf()\nsys.settrace(None)\n1 / 0\n", 1, "failed"),
        ("import sys\ndef f(): pass\nf()\nsys.settrace(None)\nsys.exit(3)\n", 3, "ended"),
    ],
)
def test_where_the_tracer_was_lost_no_end_is_made_up(write: Write, program: str, status: int, told: str) -> None:
    """The settrace engine does not see the main module's end any more; a failure is met all the same."""
    folder = write("app.py", program).parent
    done = narrative_run("--engine", "settrace", "--tell", "tree", sys.executable, "app.py", cwd=folder)
    assert done.status == status
    heading = next(line for line in done.err.splitlines() if "-- narrative -- " in line)
    assert f" {told} " in heading


def test_objects_at_the_level_of_a_module_are_asked_nothing(write: Write) -> None:
    """A lazy proxy may compute, or raise, when it is asked for its class."""
    source = (
        "class Lazy:\n    @property\n    def __class__(self): print('asked'); raise OSError\n"
        "lazy = Lazy()\nraise ValueError('v')\n"
    )
    done, lines = crashed(write, source, NARRATIVE_FAILURE_DIAGNOSTICS="rich")
    assert b"asked" not in done.out
    assert any("lazy = <Lazy>" in line for line in lines)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before CPython 3.12 only the interpreter itself suggests")
def test_what_python_suggests(write: Write) -> None:
    """It is the most useful part of some messages."""
    _, lines = crashed(write, "def main():\n    rows = []\n    rows.appendd(1)\nmain()\n")
    told = " ".join(line.strip() for line in lines[1:3])
    assert told.startswith("AttributeError: 'list' object has no attribute 'appendd'. Did you mean")
    assert "append'" in told.partition("mean")[2]


def test_secrets_that_only_a_variable_gives_away(write: Write) -> None:
    """Variables are looked at for secrets also where they are not shown."""
    source = "def login(password):\n    raise ValueError('no')\nlogin('tr0ub4dor-x9')\n"
    folder = write("app.py", source).parent
    done = narrative_run(sys.executable, "app.py", cwd=folder, NARRATIVE_FAILURE_DIAGNOSTICS="lean")
    assert done.status == 1
    (dump,) = (folder / ".narrative" / "crashes").iterdir()
    text = dump.read_text("utf-8")
    assert "tr0ub4dor" not in text
    assert json.loads(text)["failure"]["variables"] == []


def test_the_store_shows_what_the_report_said(write: Write) -> None:
    """`narrative story` has each failure, and where the dumps are."""
    source = (
        "import threading\ndef work():\n    raise KeyError('first')\n"
        "def main():\n    t = threading.Thread(target=work); t.start(); t.join()\n    raise ValueError('second')\nmain()\n"
    )
    folder = write("app.py", source).parent
    narrative_run(sys.executable, "app.py", cwd=folder)
    dumps = sorted((folder / ".narrative" / "crashes").iterdir(), key=lambda path: len(path.name))
    shown = run(COMMANDS / "narrative", "story", dumps[0].stem, cwd=folder).out.decode()
    assert shown.index("KeyError: 'first'") < shown.index("ValueError: second")
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("dump ")] == [
        f".narrative/crashes/{path.name}" for path in dumps
    ]


NO_FILE_LEFT = (
    "import atexit, os, resource\n{first}resource.setrlimit(resource.RLIMIT_NOFILE, (64, {most}))\n"
    "limit = lambda: os.write(1, b'%d' % resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    "atexit.register(limit)\n"
    "def leak(held=[]):\n    while True: held.append(open('/dev/null'))\n"
)


@pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python cannot raise a limit")
def test_no_file_can_be_opened_any_more(write: Write) -> None:
    """Our own work has a higher limit, for its own time; the program never sees it."""
    done, lines = crashed(write, NO_FILE_LEFT.format(first="", most=4096) + "leak()\n")
    assert done.out == b"64"
    assert " failed in leak -- " in lines[0]
    (dump,) = (write("app.py", "").parent / ".narrative" / "crashes").iterdir()
    assert any(str(dump.name) in line for line in lines)
    listed = run(COMMANDS / "narrative", "stories", cwd=dump.parents[2]).out.decode()
    assert "failed" in listed


@pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python cannot tell")
def test_no_file_can_be_opened_in_a_thread(write: Write) -> None:
    """The process goes on, with the limit that it has; a line says why there is no report."""
    source = NO_FILE_LEFT.format(first="import threading\n", most=4096)
    source += "thread = threading.Thread(target=leak)\nthread.start()\nthread.join()\nlimit()\n"
    done, lines = crashed(write, source)
    assert done.out == b"6464"
    assert lines[0].startswith("narrative_auto: ")
    assert "gets no report: it may open no more files" in lines[0]
    assert " ok -- " in lines[1]


@pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python cannot raise a limit")
def test_the_limit_is_higher_where_more_is_open_than_allowed(write: Write) -> None:
    """The program has lowered its own limit."""
    source = (
        "import os, resource, sys\ndef first(): pass\nfirst()\nheld = [open('/dev/null') for _ in range(200)]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))\n"
        "def main(): raise ValueError('v')\nmain()\n"
    )
    _, lines = crashed(write, source)
    assert " failed in main -- " in lines[0]


def test_no_file_may_be_opened_any_more(write: Write) -> None:
    """Where the system allows no higher limit, a line each says what is missing, and the traceback is there as ever."""
    folder = write("app.py", NO_FILE_LEFT.format(first="", most=64) + "leak()\n").parent
    plain = run(sys.executable, "app.py", cwd=folder)
    recorded = narrative_run(sys.executable, "app.py", cwd=folder, NARRATIVE_STRICT="")
    assert (recorded.status, recorded.out) == (plain.status, plain.out)
    assert plain.err in recorded.err
    ours = recorded.err.replace(plain.err, "").splitlines()
    assert len(ours) == 2
    assert all(line.startswith("narrative_auto: ") and "Too many open files" in line for line in ours)


@pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python cannot tell")
def test_no_file_can_be_opened_for_a_while(write: Write) -> None:
    """Nothing of ours is tried meanwhile that would fail; the story is told later."""
    source = NO_FILE_LEFT.format(first="import time\n", most=64)
    source += (
        "import logging, warnings\n"
        "def main(held):\n    try: leak(held)\n"
        "    except OSError: warnings.warn('w'); logging.warning('l'); time.sleep(0.7)\n"
        "main([])\n"
    )
    folder = write("app.py", source).parent
    done = narrative_run(sys.executable, "app.py", cwd=folder)
    assert (done.status, done.out) == (0, b"64")
    assert "Too many open files" not in done.err
    assert (folder / ".narrative" / "stories.db").exists()


def test_what_python_reads_of_files(write: Write) -> None:
    """`linecache` is as it would be without us: a file may have changed when the program reads it."""
    source = (
        "import linecache, threading\n"
        "def work(): raise ValueError('v')\n"
        "threading.excepthook = lambda told: None\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "print(sorted(linecache.cache))\n"
    )
    folder = write("app.py", source).parent
    plain = run(sys.executable, "app.py", cwd=folder)
    done = narrative_run(sys.executable, "app.py", cwd=folder)
    assert "app.py:2 in work" in done.err
    assert (done.status, done.out) == (plain.status, plain.out) == (0, b"[]\n")
