"""`narrative-run`: what it runs, and what it says when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, LAUNCHER, clean_environment, narrative_run, run

Write = Callable[[str, str], Path]

APP = (
    "import sys\ndef main():\n    print(sys.argv[1:])\n    return 0\nif __name__ == '__main__':\n    sys.exit(main())\n"
)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "app.py", "a", "--flag"],
        ["app.py", "a", "--flag"],
        [sys.executable, "-m", "app", "a", "--flag"],
        [sys.executable, "-X", "utf8", "-W", "default", "-um", "app", "a", "--flag"],
        [sys.executable, "-c", "import app, sys; sys.exit(app.main())", "a", "--flag"],
    ],
    ids=["script", "script alone", "-m", "-um", "-c"],
)
def test_commands(write: Write, tmp_path: Path, command: list[str]) -> None:
    """A script, a script alone, a module and a command all run, with their own options, and have stages."""
    write("app.py", APP)
    done = narrative_run("--tell", "tree", *command, cwd=tmp_path)
    assert (done.status, done.out) == (0, b"['a', '--flag']\n"), done.err
    assert "  main " in done.err
    assert "1 site, 1 call" in done.err


def test_an_executable_script_runs_itself(write: Write, tmp_path: Path) -> None:
    """A script with a first line of its own and the permission is executed as the shell would."""
    script = write("tool", f"#!{sys.executable}\n{APP}")
    script.chmod(0o755)
    done = narrative_run("--tell", "tree", "./tool", "a", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"['a']\n")
    assert "  main " in done.err


def test_an_executable_script_without_a_path_is_run_by_this_python(write: Write, tmp_path: Path) -> None:
    """`narrative-run app.py` works whether or not the file may be executed; a shell would not look here."""
    write("app.py", f"#!/no/such/python\n{APP}").chmod(0o755)
    done = narrative_run("--tell", "tree", "app.py", "a", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"['a']\n")


def test_a_console_script_tells_the_story_of_the_current_folder(write: Write, tmp_path: Path) -> None:
    """`narrative-run pytest` tells about the code under test, not about pytest."""
    write("shop.py", "def price(n):\n    return 2 * n\n")
    write("test_shop.py", "import shop\ndef test_price():\n    assert shop.price(2) == 4\n")
    done = narrative_run(
        "--tell", "tree", COMMANDS / "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, cwd=tmp_path
    )
    assert done.status == 0, done.err
    assert b"1 passed" in done.out
    assert "─ price " in done.err
    assert "  test_price " in done.err
    assert "pytest_" not in done.err


def test_an_unknown_command_is_one_line_and_127(tmp_path: Path) -> None:
    """As a shell would: 127, and which command."""
    done = narrative_run("no-such-command", "x", cwd=tmp_path)
    assert (done.status, done.out) == (127, b"")
    assert done.err == "narrative-run: no-such-command: there is no such command on the PATH\n"


def test_a_missing_script_is_one_line_and_127(tmp_path: Path) -> None:
    """A script that is not there is named."""
    done = narrative_run("app.py", cwd=tmp_path)
    assert (done.status, done.err) == (127, "narrative-run: app.py: there is no such file\n")


def test_a_command_that_cannot_be_executed_is_one_line_and_126(write: Write, tmp_path: Path) -> None:
    """A file without permission says what to type."""
    write("tool", APP)
    done = narrative_run("./tool", cwd=tmp_path)
    assert done.status == 126
    assert done.err == "narrative-run: ./tool cannot be executed: narrative-run python ./tool, if it is a script\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tell", "loud"], "--tell takes one of tree, line, failure, nothing, not 'loud'"),
        (["--engine", "x"], "--engine takes one of auto, rewrite, monitoring, settrace, not 'x'"),
        (["--min-duration", "x"], "--min-duration takes a duration such as 500us, 1ms or 0.2s, not 'x'"),
        (["--app-root", "/no/such/folder"], "--app-root takes a folder, and '/no/such/folder' is none"),
        (["--include", "a b"], "--include takes module patterns such as shop.*, not 'a b'"),
        (["--quiet", "--tell", "tree"], "--quiet and --tell tree contradict each other"),
        (["--bogus"], "there is no option --bogus (narrative-run --help"),
        (["--buget=3"], "there is no option --buget, but --budget"),
        ([], "no command given: narrative-run python app.py"),
    ],
)
def test_bad_options_are_one_line_and_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    """A bad value names the option and what it takes; nothing is run."""
    command = ["python", "-c", "print(1)"] if arguments else []
    done = narrative_run(*arguments, *command, cwd=tmp_path)
    assert (done.status, done.out) == (2, b"")
    assert words in done.err
    assert done.err.count("\n") == 1


def test_a_bad_setting_in_the_environment_is_one_line_and_2(tmp_path: Path) -> None:
    """The launcher checks the environment too."""
    done = narrative_run("python", "-c", "1", cwd=tmp_path, NARRATIVE_TELL="loud")
    assert (done.status, done.err) == (
        2,
        "narrative-run: NARRATIVE_TELL takes one of tree, line, failure, nothing, not 'loud'\n",
    )


def test_settings_of_the_project_hold(write: Write, tmp_path: Path) -> None:
    """`[tool.narrative]` in the project's pyproject.toml is read, and the command line wins over it."""
    write("pyproject.toml", '[tool.narrative]\ntell = "tree"\nprivate = false\nstore = "off"\n')
    write("app.py", "def _hidden(): pass\ndef shown(): _hidden()\nshown()\n")
    done = narrative_run(sys.executable, "app.py", cwd=tmp_path)
    assert "1 site, 1 call" in done.err
    assert narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path).err == ""
    assert not (tmp_path / ".narrative").exists()


def test_an_interpreter_that_ignores_the_hook_is_named(tmp_path: Path) -> None:
    """`python -I` cannot be recorded, and says so; the program runs."""
    done = narrative_run(sys.executable, "-I", "-c", "print(1)", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"1\n")
    assert "-I ignores the start-up hook" in done.err


def test_the_shadowed_sitecustomize_runs(write: Write, tmp_path: Path) -> None:
    """A sitecustomize of the person's own runs, once, under its own name; our folder has left sys.path."""
    write("own/sitecustomize.py", "import sys\nif sys.argv[:1] == ['-c']:\n    print('own', __name__, __file__)\n")
    program = "import sys, sitecustomize; print(sitecustomize.__file__, *[p for p in sys.path if 'template' in p])"
    done = narrative_run("--quiet", sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path / "own"))
    plain = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path / "own"))
    assert done.out == plain.out
    assert done.out.startswith(b"own sitecustomize ")


def test_without_a_shadowed_sitecustomize_there_is_none(tmp_path: Path) -> None:
    """sys.modules has no sitecustomize that plain Python would not have."""
    program = "import sys; print('sitecustomize' in sys.modules, sys.path)"
    plain = run(sys.executable, "-c", program, cwd=tmp_path)
    done = narrative_run("--quiet", sys.executable, "-c", program, cwd=tmp_path)
    assert (done.out, done.err) == (plain.out, plain.err)


def test_an_interpreter_without_the_package_says_one_line(write: Write, tmp_path: Path) -> None:
    """The launched interpreter that lacks the package runs the program and says what to install."""
    write("app.py", APP)
    hook = Path(__file__).parents[2] / "sitecustomize_template"
    environ = {"PYTHONPATH": str(hook), "NARRATIVE_AUTO": "1"}
    blocked = "import sys; sys.modules['narrative_auto'] = None; import runpy"
    write("usersite/sitecustomize.py", "")
    script = f"{blocked}; sys.path.insert(0, {str(hook)!r}); runpy.run_path({str(hook / 'sitecustomize.py')!r})"
    done = run(sys.executable, "-S", "-c", script, cwd=tmp_path, **environ)
    assert "cannot import narrative_auto, so nothing is recorded" in done.err
    assert "-m pip install narrative-auto" in done.err
    child = run(sys.executable, "-S", "-c", script, cwd=tmp_path, NARRATIVE_STORY="abc:1", **environ)
    assert "narrative-run:" not in child.err


def test_children_store_and_do_not_tell(write: Write, tmp_path: Path) -> None:
    """A child process that a parent captures has a clean stderr; its story is kept as a child of the parent's."""
    write("child.py", "def work(): pass\nwork()\n")
    write(
        "app.py",
        "import subprocess, sys\n"
        "def main():\n"
        "    done = subprocess.run([sys.executable, 'child.py'], capture_output=True, text=True)\n"
        "    print(repr(done.stderr))\n"
        "main()\n",
    )
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert done.out == b"''\n"
    listed = run(COMMANDS / "narrative", "stories", cwd=tmp_path)
    lines = listed.out.decode().splitlines()
    assert len(lines) == 2
    assert "child of" in lines[0] + lines[1]


def test_a_program_that_replaces_itself_still_tells(write: Write, tmp_path: Path) -> None:
    """After exec the process is the one that was launched still."""
    write(
        "app.py",
        "import os, sys\n"
        "def main():\n"
        "    if len(sys.argv) == 1:\n"
        "        os.execv(sys.executable, [sys.executable, 'app.py', 'again'])\n"
        "    return 1\n"
        "main()\n",
    )
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 0
    assert "1 site, 1 call" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["storys"], "there is no command storys, but story "),
        (["stories", "--lst", "3"], "there is no option --lst, but --last "),
        (["stories", "3"], "'3' is one argument too many"),
        (["stories", "--last", "0"], "--last: '0' is no number from 1 on"),
        (["story"], "ID"),
        (["scrub", "--name"], "--option=VALUE where the value begins with -"),
    ],
)
def test_a_bad_command_is_one_line_and_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Of `narrative`: what is wrong, what it is like, and where to read on."""
    done = run(COMMANDS / "narrative", *arguments, cwd=tmp_path)
    assert (done.status, done.out) == (2, b"")
    assert words in done.err
    assert done.err.endswith(" (narrative --help shows what there is)\n")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("command", ["narrative", "narrative-run"])
def test_help_into_a_closed_pipe(command: str, tmp_path: Path) -> None:
    """Nothing is said of it, and the status is that of other tools."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [COMMANDS / command, "--help"],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_launcher_itself_is_executable() -> None:
    """Both commands are installed beside the interpreter."""
    assert os.access(LAUNCHER, os.X_OK)
    assert run(LAUNCHER, "--version", cwd=Path.cwd()).out.startswith(b"narrative-run 0.")
    assert run(COMMANDS / "narrative", "--version", cwd=Path.cwd()).out.startswith(b"narrative 0.")
    assert b"--min-duration" in run(LAUNCHER, "--help", cwd=Path.cwd()).out


@pytest.mark.parametrize("name", ["signal", "argparse", "shutil", "difflib"])
def test_a_module_on_the_pythonpath_named_like_the_librarys(tmp_path: Path, name: str) -> None:
    """It is for the program, which may do with it what it does plain; our own commands import the library's."""
    own = tmp_path / "own"
    own.mkdir()
    (own / f"{name}.py").write_text("mine = 7\n")
    (tmp_path / "app.py").write_text(f"import {name}\ndef main(): print({name}.mine)\nmain()\n")
    plain = run(sys.executable, "app.py", cwd=tmp_path, PYTHONPATH=str(own))
    done = narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path, PYTHONPATH=str(own))
    assert (done.status, done.out, done.err) == (plain.status, plain.out, plain.err) == (0, b"7\n", "")
    listed = run(COMMANDS / "narrative", "stories", cwd=tmp_path, PYTHONPATH=str(own))
    assert (listed.status, listed.err) == (0, "")
