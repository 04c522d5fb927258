"""The black box of a run: where it lies, how long, and what a person is told of it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from narrative_auto.recorder import layout
from tests.conftest import BOXES, COMMANDS, LAUNCHER, RECORDER, clean_environment, narrative_run, run

Write = Callable[[str, str], Path]

NARRATIVE = COMMANDS / "narrative"

pytestmark = pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python has no black box")

DIES = """
import os, signal
def main(token): inner()
def inner(): os.kill(os.getpid(), signal.SIGKILL)
main("hunter2secret")
"""

LIVES = "def main():\n    print('fine')\nmain()\n"

LOOKS = """
import os, sys
def main():
    for name in sorted(os.listdir(sys.argv[1])):
        status = os.stat(os.path.join(sys.argv[1], name))
        print(name.endswith('.box'), oct(status.st_mode & 0o777), status.st_blocks * 512 >= status.st_size)
    print(oct(os.stat(sys.argv[1]).st_mode & 0o777))
    print(sorted(os.listdir('/proc/self/fd')))
main()
"""


def test_it_is_there_while_the_program_runs(write: Write, tmp_path: Path) -> None:
    """Reserved, the owner's alone, no descriptor stays open; gone when the program has ended."""
    write("app.py", LOOKS)
    boxes = tmp_path / "boxes"
    boxes.mkdir(0o700)
    plain = run(sys.executable, "app.py", str(boxes), cwd=tmp_path).out.splitlines()[-1]
    done = narrative_run("--quiet", sys.executable, "app.py", boxes, cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    assert done.out.splitlines() == [b"True 0o600 True", b"0o700", plain]
    assert list(boxes.iterdir()) == []


@pytest.mark.parametrize("program", ["sys.exit(3)", "raise SystemExit", "1 / 0", "pass"])
def test_whoever_ends_leaves_none_behind(program: str, write: Write, tmp_path: Path) -> None:
    """An exit status, an exception: the story has an end."""
    write("app.py", f"import sys\ndef main(): {program}\nmain()\n")
    boxes = tmp_path / "boxes"
    narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    assert list(boxes.iterdir()) == []


def test_what_was_left_behind_is_told_by_the_next_run(write: Write, tmp_path: Path) -> None:
    """And taken into the store, where `narrative stories` lists it; its box stays at hand."""
    write("dies.py", DIES)
    write("lives.py", LIVES)
    assert narrative_run("--quiet", sys.executable, "dies.py", cwd=tmp_path).status in {-9, 137}
    done = narrative_run(sys.executable, "lives.py", cwd=tmp_path)
    assert done.err.splitlines()[-1].startswith("narrative: dies.py had ended without goodbye: narrative recover ")
    story_id = done.err.split()[-1]
    again = narrative_run(sys.executable, "lives.py", cwd=tmp_path)
    assert "without goodbye" not in again.err
    lines = run(NARRATIVE, "stories", cwd=tmp_path).out.decode().splitlines()
    assert [("no goodbye" in line, story_id in line) for line in lines] == [
        (False, False),
        (False, False),
        (True, True),
    ]
    told = run(NARRATIVE, "story", story_id, cwd=tmp_path).out.decode()
    assert f"what it was doing: narrative recover {story_id}" in told
    for arguments in ([story_id], ["--last"], []):
        shown = run(NARRATIVE, "recover", *arguments, cwd=tmp_path, PYTHONIOENCODING="utf-8").out.decode()
        assert "MainThread was in\n  main " in shown
        assert "└─ inner" in shown
        assert "dies.py:4" in shown
        assert "hunter2secret" not in shown
        assert max(map(len, shown.splitlines())) <= 80


def test_narrative_stories_takes_in_too(write: Write, tmp_path: Path) -> None:
    """Also a story of which not even the beginning was kept."""
    write("dies.py", DIES)
    write("lives.py", LIVES)
    narrative_run("--quiet", sys.executable, "lives.py", cwd=tmp_path)
    narrative_run("--quiet", sys.executable, "dies.py", cwd=tmp_path)
    lines = run(NARRATIVE, "stories", cwd=tmp_path).out.decode().splitlines()
    assert sum("no goodbye" in line and "dies.py" in line for line in lines) == 1
    assert len(list((tmp_path / ".narrative" / "boxes").glob("*.box"))) == 1


def test_off(write: Write, tmp_path: Path) -> None:
    """Nothing is left behind."""
    write("dies.py", DIES)
    boxes = tmp_path / "boxes"
    narrative_run("--quiet", "--black-box", "off", sys.executable, "dies.py", cwd=tmp_path)
    done = run(NARRATIVE, "recover", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes), XDG_RUNTIME_DIR=str(tmp_path))
    assert done.status in {0, 1}
    assert "dies.py" not in done.out.decode()


def test_the_folder_of_a_person(write: Write, tmp_path: Path) -> None:
    """--black-box DIR: made for its owner alone, and remembered by the store."""
    write("lives.py", LIVES)
    write("dies.py", DIES)
    narrative_run("--quiet", "--black-box", "kept/here", sys.executable, "lives.py", cwd=tmp_path)
    (tmp_path / "kept").mkdir()
    narrative_run("--quiet", "--black-box", "kept/here", sys.executable, "lives.py", cwd=tmp_path)
    assert stat.S_IMODE((tmp_path / "kept" / "here").stat().st_mode) == 0o700
    narrative_run("--quiet", "--black-box", "kept/here", sys.executable, "dies.py", cwd=tmp_path)
    assert "dies.py" in run(NARRATIVE, "recover", cwd=tmp_path).out.decode()


@pytest.mark.parametrize("why", ["a file in the way", "somebody else's", "no room", "no such folder"])
def test_without_a_place(why: str, write: Write, tmp_path: Path) -> None:
    """The program runs as it always does, and one line says that there is no black box, and why."""
    write("app.py", "import resource\n" + LIVES)
    folder = tmp_path / "boxes"
    command: list[object] = [LAUNCHER, "--black-box", folder, sys.executable, "app.py"]
    expected = ""
    if why == "a file in the way":
        folder.write_text("")
        expected = "File exists"
    elif why == "somebody else's":
        folder.mkdir()
        folder.chmod(0o777)
        expected = "Operation not permitted"
    elif why == "no room":
        folder.mkdir(0o700)
        limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); os.execv(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-c", limit, *command]
        expected = "File too large"
    else:
        command[2] = tmp_path / "a" / "b"
        expected = "No such file or directory"
    done = run(*map(str, command), cwd=tmp_path)
    assert (done.status, done.out) == (0, b"fine\n")
    said = [line for line in done.err.splitlines() if line.startswith("narrative_auto: ")]
    if why == "a file in the way":
        assert "Not a directory" in said[0]
    else:
        assert expected in said[0]
    assert len(said) == 1
    assert "--black-box names a folder" in said[0]
    assert not folder.is_dir() or list(folder.iterdir()) == []


def test_a_program_that_replaces_itself(write: Write, tmp_path: Path) -> None:
    """By exec: what it was before is not taken for dead."""
    write("app.py", "import os, sys\ndef main():\n    os.execv(sys.executable, [sys.executable, 'lives.py'])\nmain()\n")
    write("lives.py", LIVES)
    boxes = tmp_path / "boxes"
    done = narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    assert done.out == b"fine\n"
    assert list(boxes.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recover", "missing.box"], "missing.box cannot be read: No such file or directory"),
        (["recover", "ffffff"], "there is no black box of 'ffffff'"),
        (["recover", "1"], "there is no black box of '1'"),
        (["recover", "--last", "ffffff"], "--last and ffffff contradict each other"),
        (["dump", "4194304"], "process 4194304 has no black box"),
        (["dump", "x"], "PID"),
        (["recover", "app.py"], "app.py is no black box"),
    ],
)
def test_what_cannot_be_shown(arguments: list[str], said: str, write: Write, tmp_path: Path) -> None:
    """One line, and a status that is not 0."""
    write("app.py", LIVES)
    done = run(NARRATIVE, *arguments, cwd=tmp_path)
    assert done.status in {1, 2}
    assert said in done.err
    assert len(done.err.splitlines()) == 1


CHAINS = """
import os, signal, sys, time
told = []
def heard(number, frame): told.append(number)
def main():
    if sys.argv[1] == "handler": signal.signal(signal.SIGUSR1, heard)
    elif sys.argv[1] == "ignored": signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    time.sleep(2.5)  # until ours is before it again, also on a busy machine
    print(signal.getsignal(signal.SIGUSR1) in (heard, signal.SIG_DFL, signal.SIG_IGN), flush=True)
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.05)
    print(told == ([signal.SIGUSR1] if sys.argv[1] == "handler" else []), flush=True)
main()
"""


@pytest.mark.parametrize("how", ["handler", "ignored", "default"])
def test_a_dump_comes_before_the_programs_own_handler(how: str, write: Write, tmp_path: Path) -> None:
    """The program's handler is called, and it sees none of ours."""
    write("app.py", CHAINS)
    done = narrative_run("--quiet", "--dump-signal", "USR1", sys.executable, "app.py", how, cwd=tmp_path)
    assert (done.status, done.out) == (0, b"True\nTrue\n"), done.err
    assert done.err.count("dump written") == 1
    path = done.err.split()[-1]
    found = json.loads(run(NARRATIVE, "recover", path, "--json", cwd=tmp_path).out)
    assert [call["name"] for call in found["lanes"][0]["open"]] == ["main"]
    Path(path).unlink()


def test_a_dump_without_a_black_box(write: Write, tmp_path: Path) -> None:
    """--black-box off: the dump goes to the store's folder."""
    write("app.py", CHAINS)
    done = narrative_run(
        "--quiet", "--black-box", "off", "--dump-signal", "SIGUSR1", sys.executable, "app.py", "default", cwd=tmp_path
    )
    assert (done.status, done.out) == (0, b"True\nTrue\n"), done.err
    (path,) = (tmp_path / ".narrative").glob("*.box")
    assert f"narrative recover {path}" in done.err


def test_a_signal_that_cannot_be_had(tmp_path: Path) -> None:
    """One line that names those that can."""
    for signal in ("KILL", "SEGV", "NONSENSE", "9"):
        done = run(LAUNCHER, "--dump-signal", signal, sys.executable, "-c", "", cwd=tmp_path)
        assert done.status == 2
        assert "--dump-signal takes one of USR1, USR2, " in done.err


@pytest.mark.parametrize("clock", ["kernel", "counter", "auto"])
def test_the_clock_can_be_chosen(clock: str, write: Write, tmp_path: Path) -> None:
    """NARRATIVE_CLOCK: doctor says which it is, and times are right by either."""
    write("app.py", "import time\ndef main(): time.sleep(0.2)\nmain()\n")
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path, NARRATIVE_CLOCK=clock)
    assert any(f"0.{hundredths} s" in done.err.splitlines()[1] for hundredths in range(20, 40)), done.err
    told = run(NARRATIVE, "doctor", cwd=tmp_path, NARRATIVE_CLOCK=clock).out.decode()
    (line,) = [line for line in told.splitlines() if line.split()[:1] == ["clock"]]
    if clock != "auto":
        assert line.split()[1] == f"{clock}:"


def test_doctor_says_where_it_lies(tmp_path: Path) -> None:
    """And that there is none, where it is off."""
    assert f"in {BOXES}; narrative recover reads it" in run(NARRATIVE, "doctor", cwd=tmp_path).out.decode()
    told = run(NARRATIVE, "doctor", cwd=tmp_path, NARRATIVE_BLACK_BOX="off").out.decode()
    assert "off: a process that is killed leaves less behind" in told


def test_the_default_place(write: Write, tmp_path: Path) -> None:
    """In memory, in a folder of the user's own; `narrative recover PID` finds it."""
    write("app.py", "import time\ndef main():\n    print('up', flush=True)\n    time.sleep(60)\nmain()\n")
    environ = clean_environment()
    del environ["NARRATIVE_BLACK_BOX"]
    process = subprocess.Popen(
        [LAUNCHER, "--quiet", sys.executable, "app.py"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        done = subprocess.run(
            [NARRATIVE, "dump", str(process.pid), "--json"], cwd=tmp_path, env=environ, capture_output=True, check=True
        )
        path = json.loads(done.stdout)["path"]
        folder = os.path.dirname(path)
        assert os.path.basename(folder) == f"narrative-{os.geteuid()}"
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    finally:
        process.kill()
        process.communicate()
    os.remove(path)


HANDLERS = """
import faulthandler, os, signal, sys, time
def main():
    if sys.argv[1] == "faulthandler":
        faulthandler.register(signal.SIGUSR1, file=open("told.txt", "w"), chain=True)
    else:
        os.close(2)
        assert os.open("told.txt", os.O_CREAT | os.O_WRONLY) == 2
    time.sleep(2.5)
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGUSR1)
    print("alive", flush=True)
main()
"""


@pytest.mark.parametrize("how", ["faulthandler", "another stderr"])
def test_handlers_that_call_each_other(how: str, write: Write, tmp_path: Path) -> None:
    """One that calls ours in turn ends all the same; what the program has opened as descriptor 2 is its own."""
    write("app.py", HANDLERS)
    boxes = tmp_path / "boxes"
    done = narrative_run(
        "--quiet", "--dump-signal", "USR1", sys.executable, "app.py", how, cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes)
    )
    assert (done.status, done.out) == (0, b"alive\n"), done.err
    assert len(list(boxes.glob("*-dump-*.box"))) == 2
    told = (tmp_path / "told.txt").read_text()
    assert told.count("Current thread") == (2 if how == "faulthandler" else 0)
    assert "narrative_auto: " not in told


LIMITED = """
import resource, signal
told = []
signal.signal(signal.SIGXFSZ, lambda *_: told.append("too large"))
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
def main(): pass
main()
print(told)
"""


def test_no_signal_for_a_file_that_may_not_be_so_large(write: Write, tmp_path: Path) -> None:
    """The program that has limited itself hears of no file of ours."""
    write("app.py", LIMITED)
    done = narrative_run("--quiet", "--store", "off", sys.executable, "app.py", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"[]\n")


def test_a_box_that_cannot_be_taken_in_stops_nothing(write: Write, tmp_path: Path) -> None:
    """The next one is taken in; the other is kept for whoever can read it."""
    write("dies.py", DIES)
    write("lives.py", LIVES)
    boxes = tmp_path / "boxes"
    for _ in range(2):
        narrative_run("--quiet", sys.executable, "dies.py", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    bad, good = sorted(boxes.iterdir())
    content = bytearray(bad.read_bytes())
    content[layout.BOX_PAGE :] = os.urandom(200) * 1_000
    content = content.replace(b'"name":"dies.py"', b'"name":"\\ud800\\u0"')
    bad.write_bytes(content)
    done = narrative_run("--quiet", sys.executable, "lives.py", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    assert (done.status, done.err) == (0, "")
    lines = run(NARRATIVE, "stories", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes)).out.decode()
    assert f"{good.name[:6]}" in lines
    assert "no goodbye" in lines


def test_a_folder_of_somebody_elses(write: Write, tmp_path: Path) -> None:
    """What others can write is neither read nor taken in nor deleted."""
    write("dies.py", DIES)
    write("lives.py", LIVES)
    boxes = tmp_path / "boxes"
    narrative_run("--quiet", sys.executable, "dies.py", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    boxes.chmod(0o777)
    narrative_run(
        "--quiet", sys.executable, "lives.py", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes), NARRATIVE_STRICT="0"
    )
    done = run(NARRATIVE, "recover", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes))
    assert "dies.py" not in done.out.decode()
    assert len(list(boxes.glob("*.box"))) == 1
