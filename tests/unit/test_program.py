"""What a Python process runs, from its command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from narrative_auto.launch import program
from narrative_auto.launch.program import identify
from narrative_auto.launch.runner import blind_option


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a script, a package and a script without ending."""
    (tmp_path / "src" / "shop").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    for name in ("src/app.py", "src/shop/__init__.py", "src/shop/__main__.py", "single.py"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_script(here: Path) -> None:
    """Its folder and the project's root are the app roots."""
    what = identify(["python", "-u", "src/app.py", "x"], "src/app.py")
    assert (what.kind, what.name, what.path) == (program.SCRIPT, "app.py", str(here / "src" / "app.py"))
    assert what.app_roots() == [str(here / "src"), str(here)]
    assert what.project == str(here)


@pytest.mark.parametrize(
    "options",
    [
        ["-m", "shop"],
        ["-mshop"],
        ["-um", "shop"],
        ["-X", "dev", "-W", "error", "-m", "shop"],
        ["-Xdev", "-Bm", "shop"],
        ["--check-hash-based-pycs", "always", "-m", "shop"],
    ],
)
def test_a_module(here: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    """`-m`, in every way in which it can be written; the folder that holds the package is the app root."""
    monkeypatch.chdir(here / "src")
    what = identify(["python", *options, "arg", "-c"], "-m")
    assert (what.kind, what.name) == (program.MODULE, "python -m shop")
    assert what.folder == str(here / "src")
    assert what.modules == {"shop", "shop.__main__"}


def test_an_installed_module_is_run_for_the_current_folder(here: Path) -> None:
    """`python -m pytest` is about the code here."""
    assert identify(["python", "-m", "pytest"], "-m").folder == str(here)
    assert identify(["python", "-m", "json.tool"], "-m").folder == str(here)
    assert identify(["python", "-m", "single"], "-m").folder == str(here)


def test_a_console_script(here: Path) -> None:
    """A command of the environment runs for the current folder."""
    script = str(Path(sys.executable).parent / "pytest")
    what = identify(["python", script], script)
    assert (what.kind, what.name, what.folder) == (program.CONSOLE_SCRIPT, "pytest", str(here))


@pytest.mark.parametrize(
    ("arguments", "script", "kind"),
    [
        (["python", "-c", "import x"], "-c", program.COMMAND),
        (
            ["python", "-c", "from multiprocessing.spawn import spawn_main; …", "--multiprocessing-fork"],
            "-c",
            program.SPAWNED,
        ),
        (["python"], "", program.OTHER),
        (["python", "-"], "-", program.OTHER),
        (["python", "src"], "src", program.OTHER),
        (["python", "nowhere.py"], "nowhere.py", program.OTHER),
    ],
)
def test_other_things(here: Path, arguments: list[str], script: str, kind: str) -> None:
    """A command, a spawned child, the interactive interpreter, a folder, a mistake."""
    assert identify(arguments, script).kind == kind


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["python", "-I", "app.py"], "-I"),
        (["/usr/bin/python3.12", "-uS", "app.py"], "-S"),
        (["python", "-E", "-m", "x"], "-E"),
        (["python", "app.py", "-I"], None),
        (["python", "-m", "x", "-I"], None),
        (["python", "-c", "-I"], None),
        (["python", "-WE", "app.py"], None),
        (["pytest", "-S"], None),
    ],
)
def test_options_with_which_python_ignores_the_hook(command: list[str], option: str | None) -> None:
    """`-I`, `-E` and `-S`, where they are the interpreter's own."""
    assert blind_option(command) == option
