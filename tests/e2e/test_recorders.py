"""The compiled recorder and the one in Python, as a person meets them: which one works, and why."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Done, narrative_run, run

Write = Callable[[str, str], Path]

APP = """
def half(n):
    return n // 2
def numbers(n):
    while n:
        yield n
        n = half(n)
print(list(numbers(9)))
"""


@pytest.fixture
def without_compiler(tmp_path: Path) -> str:
    """Return a folder with the package as it is installed where there is no compiler."""
    for name in ("narrative_auto", "sitecustomize_template"):
        ignore = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "installed" / name, ignore=ignore)
    return str(tmp_path / "installed")


def started(*arguments: str, cwd: Path, installed: str, **environ: str) -> Done:
    """Run narrative-run of that installation."""
    runs = "import sys; from narrative_auto.cli.run import main; sys.argv[0] = 'narrative-run'; main()"
    command = [sys.executable, "-c", runs, *arguments, sys.executable, "app.py"]
    return run(*command, cwd=cwd, PYTHONPATH=installed, **environ)


@pytest.mark.parametrize("recorder", ["native", "pure"])
def test_both_tell_the_same(write: Write, recorder: str) -> None:
    """The calls of the tree, whichever counts them."""
    folder = write("app.py", APP).parent
    done = narrative_run("--recorder", recorder, "--tell", "tree", sys.executable, "app.py", cwd=folder)
    assert (done.status, done.out) == (0, b"[9, 4, 2, 1]\n")
    told = " ".join(done.err.split())
    assert "numbers" in told
    assert "half ×4" in told


def test_without_a_compiler_the_one_in_python_serves(write: Write, without_compiler: str) -> None:
    """Unasked it is said by the doctor alone; asked for, the compiled one is missed in a line."""
    folder = write("app.py", APP).parent
    done = started("--tell", "tree", cwd=folder, installed=without_compiler, NARRATIVE_RECORDER="auto")
    assert (done.status, done.out) == (0, b"[9, 4, 2, 1]\n")
    assert "half" in done.err
    assert "compiled" not in done.err
    asked = started("--recorder", "native", "--quiet", cwd=folder, installed=without_compiler)
    assert (asked.status, asked.out) == (0, b"[9, 4, 2, 1]\n")
    (line,) = asked.err.splitlines()
    assert line.startswith("narrative_auto: the compiled recorder was not built for this interpreter (")
    assert line.endswith("); the one in Python takes its place")


def test_the_doctor_says_which_and_why(write: Write, without_compiler: str) -> None:
    """A remark where either may serve, a problem where the compiled one was asked for."""
    folder = write("app.py", APP).parent
    command = (sys.executable, "-m", "narrative_auto", "doctor", "app.py")
    for wanted, mark, status in (("auto", "- ", 0), ("native", "! ", 1)):
        done = run(*command, cwd=folder, PYTHONPATH=without_compiler, NARRATIVE_RECORDER=wanted)
        lines = [line for line in done.out.decode().splitlines() if line[2:17].strip() == "recorder"]
        assert done.status == status, done.out.decode()
        assert lines[0].startswith(
            f"{mark}recorder       pure: the compiled recorder was not built for this interpreter"
        )
    assert "install narrative-auto where there is a C compiler" in done.out.decode()


def test_an_unknown_recorder_is_one_line(write: Write) -> None:
    """What it takes."""
    folder = write("app.py", APP).parent
    done = narrative_run("--recorder", "fast", sys.executable, "app.py", cwd=folder)
    assert (done.status, done.out) == (2, b"")
    assert done.err == "narrative-run: --recorder takes one of auto, native, pure, not 'fast'\n"
