"""`narrative doctor`: what a recorded run would be like, and each thing that can stand in its way, for real."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, RECORDER, Done, narrative_run, run

Write = Callable[[str, str], Path]

HAS_MONITORING = sys.version_info >= (3, 12)
APP = "__import__('os')._exit(99)\n"

TAKE_BOTH = "import sys; sys.monitoring.use_tool_id(3, 'one'); sys.monitoring.use_tool_id(4, 'two')\n"


def doctor(*command: str | Path, cwd: Path, **environ: str) -> Done:
    """Run `narrative doctor`."""
    done = run(COMMANDS / "narrative", "doctor", *command, cwd=cwd, PYTHONIOENCODING="utf-8", **environ)
    assert "Traceback" not in done.err
    return done


def facts(done: Done) -> dict[str, list[tuple[str, str]]]:
    """Return (mark, text) of the facts, by their labels."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in done.out.decode().split("\n\n")[0].splitlines():
        found.setdefault(line[2:17].strip(), []).append((line[:2].strip(), line[17:]))
    return found


def only(done: Done, label: str) -> tuple[str, str]:
    """Return the only fact of a label."""
    (fact,) = facts(done)[label]
    return fact


def problems(done: Done) -> list[str]:
    """Return the labels of what will not work, and check that each says what to do."""
    lines = done.out.decode().split("\n\n")[0].splitlines()
    found = [index for index, line in enumerate(lines) if line.startswith("! ")]
    for index in found:
        assert lines[index + 1].split()[0] == "next", lines[index]
    assert done.status == int(bool(found)), done.out.decode()
    return [lines[index][2:17].strip() for index in found]


@pytest.fixture
def startup(environment: Path) -> Iterator[Callable[[str, str], Path]]:
    """Give a function that writes a file into an environment's site-packages; it is gone after the test."""
    asked = run(environment, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment.parent)
    folder = Path(asked.out.decode().strip())
    written: list[Path] = []

    def write_file(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text, "utf-8")
        written.append(path)
        return path

    yield write_file
    for path in written:
        path.unlink(missing_ok=True)


def test_where_nothing_stands_in_the_way(write: Write, tmp_path: Path) -> None:
    """Each fact has its line, nothing is run and nothing is written; in a pipe it is plain text."""
    write("app.py", APP)
    done = doctor("app.py", "orders.csv", cwd=tmp_path)
    assert (problems(done), done.status, done.err) == ([], 0, "")
    found = facts(done)
    assert found["python"][0][1].startswith(f"CPython {sys.version.split()[0]}, ")
    assert found["engine"][0][1].startswith("rewrite (auto: ")
    assert ("beside it" in found) is HAS_MONITORING
    assert found["recorder"][0][1].startswith(RECORDER)
    assert found["program"] == [("", "app.py (script)")]
    assert found["app roots"] == [("", f"{tmp_path} (here)")]
    assert found["cache"] == [("", "the __pycache__ beside each source")]
    assert "narrative-run does not need it" in found["installed hook"][0][1]
    assert found["store"] == [("", ".narrative, made by the first story")]
    assert done.out.decode().endswith("\n\nnothing stands in the way\n")
    assert b"\x1b" not in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]


def test_without_a_command_it_is_this_python(tmp_path: Path) -> None:
    """And the current folder."""
    done = doctor(cwd=tmp_path)
    assert (problems(done), only(done, "program")) == ([], ("", "python"))


@pytest.mark.parametrize("option", ["-I", "-E", "-S", "-IB"])
def test_options_that_keep_the_hook_from_being_seen(write: Write, tmp_path: Path, option: str) -> None:
    """`python -I app.py` cannot be recorded: which option, and what to do."""
    write("app.py", APP)
    done = doctor(sys.executable, option, "app.py", cwd=tmp_path)
    if option == "-S":  # site-packages are not seen either
        assert "narrative_auto" in problems(done) or "recording" in problems(done)
        return
    assert problems(done) == ["recording"]
    assert f"{option[:2]} ignores the start-up hook" in only(done, "recording")[1]
    assert f"leave {option[:2]} out" in done.out.decode()


def test_options_and_variables_that_do_no_harm(write: Write, tmp_path: Path) -> None:
    """`-P` and PYTHONSAFEPATH, options with values."""
    write("app.py", APP)
    done = doctor(sys.executable, "-P", "-X", "utf8", "-Wignore", "app.py", cwd=tmp_path)
    assert problems(done) == []
    assert problems(doctor(sys.executable, "app.py", cwd=tmp_path, PYTHONSAFEPATH="1")) == []
    write("json.py", APP)
    write("settings.py", APP)
    assert problems(doctor(sys.executable, "app.py", cwd=tmp_path)) == []


def test_a_console_script_is_asked_by_its_own_interpreter(write: Write, tmp_path: Path) -> None:
    """By the first line of the script, by `env`, and by the two lines that pip writes for long paths."""
    assert problems(doctor(COMMANDS / "pytest", "-q", cwd=tmp_path)) == []
    for head in (f"#!{sys.executable} -I\n", f"#!/bin/sh\n'''exec' \"{sys.executable}\" -I \"$0\" \"$@\"\n' '''\n"):
        write("tool", head + APP).chmod(0o755)
        assert "-I ignores" in only(doctor("./tool", cwd=tmp_path), "recording")[1]
    other = doctor("/bin/sh", "-c", "x", cwd=tmp_path)
    assert only(other, "command")[0] == "-"


def test_a_sitecustomize_of_one_s_own_is_still_run(write: Write, tmp_path: Path) -> None:
    """Ours shadows it, and runs it: the doctor has seen both."""
    own = write("own/sitecustomize.py", "print('rubbish on stdout', flush=True)\n").parent
    done = doctor(cwd=tmp_path, PYTHONPATH=str(own))
    assert problems(done) == []
    assert only(done, "sitecustomize") == ("", "own/sitecustomize.py is run, after the hook of narrative-run")


def test_a_sitecustomize_in_front_of_ours(
    environment: Path, startup: Callable[[str, str], Path], write: Write, tmp_path: Path
) -> None:
    """A .pth file that puts a folder first hides the hook: nothing is recorded, and the doctor names the file."""
    own = write("own/sitecustomize.py", "")
    startup("first.pth", f"import sys; sys.path.insert(0, {str(own.parent)!r})\n")
    done = doctor(environment, "-c", "pass", cwd=tmp_path)
    assert "recording" in problems(done)
    assert f"{own} is found before the hook of narrative-run" in only(done, "recording")[1]


def test_a_sitecustomize_that_fails(write: Write, tmp_path: Path) -> None:
    """Its own error is not ours; the recorder has started."""
    own = write("own/sitecustomize.py", "raise ValueError('its own fault')\n").parent
    done = doctor(cwd=tmp_path, PYTHONPATH=str(own))
    assert only(done, "recording")[0] == ""
    assert problems(done) == []


@pytest.mark.skipif(not HAS_MONITORING, reason="sys.monitoring is of 3.12")
def test_tool_ids_that_are_taken_first(
    environment: Path, startup: Callable[[str, str], Path], write: Write, tmp_path: Path
) -> None:
    """Both free ids taken by a .pth: by whom, and which engine does without; one that was asked for cannot."""
    startup("tools.pth", TAKE_BOTH)
    write("app.py", APP)
    done = doctor(environment, "app.py", cwd=tmp_path)
    assert problems(done) == []
    assert only(done, "monitoring ids") == ("-", "3 one, 4 two; no free one is left for us")
    mark, text = only(done, "declined")
    assert mark == "-"
    assert text.startswith("monitoring: the free tool ids of sys.monitoring are taken by two and one")
    wanted = doctor(environment, "app.py", cwd=tmp_path, NARRATIVE_ENGINE="monitoring")
    assert problems(wanted) == ["engine"]
    assert "taken by two and one" in only(wanted, "engine")[1]


@pytest.mark.skipif(not HAS_MONITORING, reason="sys.monitoring is of 3.12")
def test_a_sitecustomize_that_wants_the_tool_id_that_we_took(write: Write, tmp_path: Path) -> None:
    """It runs after ours and fails where it does not without us: that is seen, not guessed."""
    own = write("own/sitecustomize.py", TAKE_BOTH).parent
    done = doctor(cwd=tmp_path, PYTHONPATH=str(own))
    assert set(problems(done)) >= {"sitecustomize", "monitoring ids"}
    assert any("two takes id 4 at start-up" in text for _, text in facts(done)["monitoring ids"])
    advised = doctor(cwd=tmp_path, PYTHONPATH=str(own), NARRATIVE_ENGINE="settrace")
    assert problems(advised) == []


def test_an_active_tracer_and_profiler(write: Write, tmp_path: Path) -> None:
    """What `sys.settrace` had before any code of the program's: whose it is, and that it stays."""
    program = "import sys\ndef watch(frame, event, argument): return None\nsys.settrace(watch)\nsys.setprofile(watch)\n"
    own = write("own/sitecustomize.py", program).parent
    done = doctor(cwd=tmp_path, PYTHONPATH=str(own))
    assert problems(done) == []
    assert only(done, "tracer")[1].startswith("sitecustomize.watch is active at start-up")
    assert only(done, "profiler")[1].startswith("sitecustomize.watch is active at start-up")
    taken = doctor(cwd=tmp_path, PYTHONPATH=str(own), NARRATIVE_ENGINE="settrace")
    assert problems(taken) == ["tracer"]
    assert "sitecustomize.watch took the place of our settrace engine" in taken.out.decode()


def test_a_cache_that_cannot_be_written(write: Write, tmp_path: Path) -> None:
    """A file in the way costs time only; a folder that was asked for is another matter; both name the file."""
    write("app.py", APP)
    write("__pycache__", "in the way")
    done = doctor("app.py", cwd=tmp_path)
    assert problems(done) == []
    assert only(done, "cache") == (
        "-",
        "__pycache__ cannot be written (__pycache__ is a file): code is rewritten at each start",
    )
    asked = doctor("app.py", cwd=tmp_path, NARRATIVE_CACHE_DIR="__pycache__/deep")
    assert problems(asked) == ["cache"]
    assert only(doctor("app.py", cwd=tmp_path, NARRATIVE_CACHE_DIR="off"), "cache")[1].startswith("off")
    unwritten = doctor("app.py", cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1")
    assert only(unwritten, "cache")[1].startswith("not written (PYTHONDONTWRITEBYTECODE or -B)")
    assert problems(unwritten) == []


def test_a_store_that_cannot_be_written(write: Write, tmp_path: Path) -> None:
    """Stories go elsewhere; `off` keeps none; a database that is none is said to be none."""
    write(".narrative", "in the way")
    mark, text = only(doctor(cwd=tmp_path), "store")
    assert (mark, ".narrative is a file" in text) == ("-", True)
    assert only(doctor(cwd=tmp_path, NARRATIVE_STORE="off"), "store") == ("", "off: no story is kept")
    write("kept/stories.db", "no database")
    damaged = doctor(cwd=tmp_path, NARRATIVE_STORE=str(tmp_path / "kept"))
    assert problems(damaged) == ["store"]


def test_what_the_newest_story_left_plain(write: Write, tmp_path: Path) -> None:
    """Each module and function with its reason, from the store."""
    write("app.py", "def main(): pass\nmain()\n")
    assert narrative_run(sys.executable, "app.py", cwd=tmp_path).status == 0
    connection = sqlite3.connect(tmp_path / ".narrative" / "stories.db")
    with connection:
        (story,) = connection.execute("SELECT story_id FROM stories").fetchone()
        connection.executemany(
            "INSERT INTO left_plain (story_id, module, function, reason) VALUES (?,?,?,?)",
            [(story, "shop", "f", "too odd"), (story, "other", "", "by another loader")],
        )
    connection.close()
    found = facts(doctor("app.py", cwd=tmp_path))["left plain"]
    assert found == [
        ("-", f"shop:f: too odd (story {story[:6]})"),
        ("-", f"other: by another loader (story {story[:6]})"),
    ]


def test_the_installed_hook(environment: Path, startup: Callable[[str, str], Path], tmp_path: Path) -> None:
    """Not there, there, of another release, of somebody else."""
    assert "not there" in only(doctor(environment, cwd=tmp_path), "installed hook")[1]
    alone = only(doctor(environment, cwd=tmp_path, NARRATIVE_AUTO="1"), "installed hook")
    assert (alone[0], "NARRATIVE_AUTO=1 alone records nothing" in alone[1]) == ("-", True)
    assert run(environment, "-m", "narrative_auto", "install", cwd=tmp_path).status == 0
    there = doctor(environment, cwd=tmp_path)
    assert (problems(there), "NARRATIVE_AUTO=1 alone records" in only(there, "installed hook")[1]) == ([], True)
    isolated = doctor(environment, "-I", "-c", "pass", cwd=tmp_path)
    assert problems(isolated) == []  # the hook is seen with it
    startup("narrative_auto_hook.pth", "import narrative_auto.launch.hook_of_old\n")
    stale = doctor(environment, cwd=tmp_path)
    assert "installed hook" in problems(stale)
    assert "is of another release" in only(stale, "installed hook")[1]
    startup("narrative_auto_hook.pth", "import os\n")
    assert "is not what narrative install writes" in only(doctor(environment, cwd=tmp_path), "installed hook")[1]


def test_another_environment_without_the_package(tmp_path: Path) -> None:
    """A command of another virtual environment: which Python, and how to install there."""
    folder = tmp_path / "bare"
    assert run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path).status == 0
    python = folder / "bin" / "python"
    done = doctor(python, "app.py", cwd=tmp_path)
    assert "narrative_auto" in problems(done)
    assert f"{python} -m pip install narrative-auto" in done.out.decode()


def test_settings_that_are_not_taken(write: Write, tmp_path: Path) -> None:
    """Of the environment, of pyproject.toml, and a name that is nearly one; what is taken is said too."""
    done = doctor(cwd=tmp_path, NARRATIVE_TELL="loud", NARRATIVE_MIN_DURATION="2ms", NARRATIVE_ENGIN="auto")
    assert problems(done) == ["setting"]
    texts = [text for _, text in facts(done)["setting"]]
    assert "NARRATIVE_TELL takes one of tree, line, failure, nothing, not 'loud'; it is left out" in texts
    assert "min_duration = 0.002, from NARRATIVE_MIN_DURATION" in texts
    assert "NARRATIVE_ENGIN is not read by anything here" in texts
    write("pyproject.toml", '[tool.narrative]\nengin = "auto"\n')
    table = doctor(cwd=tmp_path)
    assert problems(table) == ["setting"]
    assert "[tool.narrative] has no setting 'engin'" in only(table, "setting")[1]
    write("pyproject.toml", '[tool.narrative]\nengine = "settrace"\n')
    taken = doctor(cwd=tmp_path)
    assert ("", "engine = settrace, from [tool.narrative]") in facts(taken)["setting"]
    assert only(taken, "engine")[1] == "settrace (--engine settrace)"
    assert "not needed" in only(taken, "cache")[1]
    roots = doctor(cwd=tmp_path, NARRATIVE_APP_ROOTS=str(tmp_path / "none"))
    assert problems(roots) == ["app roots"]


def test_commands_that_are_not_there(write: Write, tmp_path: Path) -> None:
    """One line, and a status that says so."""
    for command in (["no-such-command"], ["app.py"], [str(tmp_path)], ["narrative-run", "python", "app.py"]):
        done = doctor(*command, cwd=tmp_path)
        assert (done.status, done.out, done.err.count("\n")) == (1, b"", 1), command
    assert problems(doctor(sys.executable, "app.py", cwd=tmp_path)) == ["script"]
    write("tool", "#!/no/such/python3\n").chmod(0o755)
    assert "/no/such/python3" in doctor("./tool", cwd=tmp_path).err


def test_an_interpreter_that_hangs_or_prints_rubbish(write: Write, tmp_path: Path) -> None:
    """A line, soon; its children do not keep us waiting."""
    write("python-slow", "#!/bin/sh\nsleep 60 & sleep 60\n").chmod(0o755)
    slow = doctor("--timeout", "0.5", "./python-slow", "app.py", cwd=tmp_path)
    assert problems(slow) == ["python"]
    assert "did not get through its start-up in 0.5 s" in slow.out.decode()
    write("python-odd", "#!/bin/sh\necho rubbish; echo narrative-doctor:rubbish; echo woe >&2; exit 3\n").chmod(0o755)
    odd = doctor("./python-odd", cwd=tmp_path)
    assert problems(odd) == ["python"]
    assert "did not say what was asked of it (exit status 3: woe)" in odd.out.decode()
    write("python-none", "not a program\n").chmod(0o755)
    assert problems(doctor("./python-none", cwd=tmp_path)) == ["python"]
    own = write("own/sitecustomize.py", "import os\nif 'NARRATIVE_AUTO' in os.environ:\n    os._exit(7)\n").parent
    killed = doctor(cwd=tmp_path, PYTHONPATH=str(own))
    assert problems(killed) == ["recording"]
    assert "exit status 7" in killed.out.decode()


@pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python has no black box")
def test_it_leaves_nothing_behind(write: Write, tmp_path: Path) -> None:
    """No black box either: it is no program that died."""
    write("app.py", APP)
    boxes = tmp_path / "boxes"
    assert only(doctor("python", "app.py", cwd=tmp_path, NARRATIVE_BLACK_BOX=str(boxes)), "black box")[0] == ""
    assert not list(boxes.glob("*.box"))
