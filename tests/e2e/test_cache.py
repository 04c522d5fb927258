"""The cache of rewritten code: nobody ever runs code that is not what the interpreter itself would run."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import LAUNCHER, clean_environment, narrative_run, run

Write = Callable[[str, str], Path]

APP = "import lib\nprint(lib.answer())\n"


def library(value: int, name: str = "answer") -> str:
    return f"def {name}():\n    return {value}\n"


class Project:
    """An application of a script and a module; all of its runs use the rewrite engine."""

    def __init__(self, write: Write) -> None:
        write("app.py", APP)
        self.lib = write("lib.py", library(1))
        self.folder = self.lib.parent
        self.cache = self.folder / "__pycache__"

    def edit(self, text: str, *, same_time: bool = False) -> None:
        """Change the module; with `same_time`, so that neither its time nor its size tells."""
        before = self.lib.stat()
        self.lib.write_text(text, "utf-8")
        shift = 0 if same_time else 5 * 10**9
        os.utime(self.lib, ns=(before.st_atime_ns, before.st_mtime_ns + shift))

    def plain(self, **environ: str) -> str:
        done = run(sys.executable, "app.py", cwd=self.folder, **environ)
        assert done.status == 0, done.err
        return done.out.decode().strip()

    def recorded(self, *options: str, **environ: str) -> str:
        """Run instrumented, and check that the module's function was recorded."""
        done = narrative_run(
            "--engine", "rewrite", "--tell", "tree", "--store", "off", *options, sys.executable, "app.py",
            cwd=self.folder, **environ,
        )  # fmt: skip
        assert done.status == 0, done.err
        assert "  answer " in done.err or "--exclude" in options, done.err
        return done.out.decode().strip()

    def files(self) -> list[Path]:
        return sorted(self.cache.glob("lib.*.narrative-*"))


@pytest.fixture
def project(write: Write) -> Project:
    return Project(write)


def test_the_second_run_neither_compiles_nor_rewrites(project: Project) -> None:
    """What is kept is used: the assembler and the library that it may need are not even imported."""
    project.recorded()
    first = [path.read_bytes() for path in project.files()]
    assert len(first) == 1
    (project.folder / "app.py").write_text(
        "import sys, lib\nprint(lib.answer())\n"
        "print([name for name in sys.modules if name == 'bytecode' or 'splice' in name])\n"
    )
    narrative_run("--engine", "rewrite", "--quiet", sys.executable, "-m", "app", cwd=project.folder)
    done = narrative_run("--engine", "rewrite", "--quiet", sys.executable, "-c", "import app", cwd=project.folder)
    assert done.out == b"1\n[]\n"
    assert [path.read_bytes() for path in project.files()] == first


def test_a_plain_run_sees_nothing_of_it(project: Project) -> None:
    """The user's own .pyc is what a plain run writes, and a plain run leaves ours alone."""
    project.plain()
    own = {path.name: path.read_bytes() for path in project.cache.glob("*.pyc")}
    project.recorded()
    assert {path.name: path.read_bytes() for path in project.cache.glob("*.pyc")} == own
    assert project.plain() == "1"
    assert project.recorded() == "1"


def test_a_changed_source_is_seen(project: Project) -> None:
    """By its time, or its size."""
    assert project.recorded() == "1"
    project.edit(library(2))
    assert project.recorded() == "2"
    project.edit(library(345), same_time=True)
    assert project.recorded() == project.plain() == "345"


def test_what_the_interpreter_does_not_notice_we_do_not_either(project: Project) -> None:
    """The same time and size: the .pyc holds as ever; once that is gone, the source does."""
    assert project.recorded() == "1"
    project.edit(library(2), same_time=True)
    assert project.recorded() == project.plain() == "1"
    for path in project.cache.glob("*.pyc"):
        path.unlink()
    assert project.recorded() == project.plain() == "2"


@pytest.mark.parametrize(
    ("mode", "option", "seen"),
    [
        ("CHECKED_HASH", "default", "2"),
        ("CHECKED_HASH", "never", "1"),
        ("UNCHECKED_HASH", "default", "1"),
        ("UNCHECKED_HASH", "always", "2"),
    ],
)
def test_hash_based_bytecode_files_decide_as_without_us(project: Project, mode: str, option: str, seen: str) -> None:
    """PEP 552: what a .pyc says of itself holds, however old it is."""
    py_compile.compile(str(project.lib), invalidation_mode=py_compile.PycInvalidationMode[mode])
    command = ["--check-hash-based-pycs", option, "app.py"]

    def recorded() -> str:
        done = narrative_run(
            "--engine", "rewrite", "--tell", "tree", "--store", "off", sys.executable, *command, cwd=project.folder
        )
        assert "  answer " in done.err
        return done.out.decode().strip()

    assert recorded() == "1"
    for same_time in (True, False):
        project.edit(library(2), same_time=same_time)
        assert recorded() == seen
        assert run(sys.executable, *command, cwd=project.folder).out.decode().strip() == seen


def test_other_rules_have_other_files(project: Project) -> None:
    """Code that was rewritten for one scope never serves another, back and forth."""
    project.lib.write_text("def answer():\n    return _inner()\ndef _inner():\n    return 1\n")

    command = Path(LAUNCHER).with_name("narrative")
    runs = count()

    def names(*options: str) -> set[str]:
        store = f"store-{next(runs)}"
        done = narrative_run(
            "--engine", "rewrite", "--store", store, *options, sys.executable, "app.py", cwd=project.folder
        )  # fmt: skip
        assert done.out == b"1\n", done.err
        stories = run(command, "stories", "--db", store, cwd=project.folder).out.decode().split()
        if not stories:
            return set()  # a run without a single call leaves none
        shown = run(command, "story", stories[0], "--db", store, cwd=project.folder).out.decode()
        return {name for name in ("answer", "_inner") if f"{name} " in shown}

    for _ in range(2):
        assert names() == {"answer", "_inner"}
        assert names("--no-private") == {"answer"}
        assert names("--exclude", "lib") == set()
    assert len(project.files()) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "a folder"])
def test_a_damaged_file_is_as_none(project: Project, damage: str) -> None:
    """And the next run has a sound one."""
    project.recorded()
    (path,) = project.files()
    sound = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    else:
        middle = len(sound) // 2
        path.write_bytes(
            {
                "empty": b"",
                "cut": sound[:-7],
                "flipped": sound[:middle] + bytes([sound[middle] ^ 4]) + sound[middle + 1 :],
                "foreign": b"something else altogether, which is longer than a head" * 3,
            }[damage]
        )
    assert project.recorded() == "1"
    if damage != "a folder":
        assert path.read_bytes() == sound


def test_a_folder_that_cannot_be_written(project: Project) -> None:
    """A `__pycache__` that is a file: nothing is kept, nothing is said, everything runs."""
    project.cache.write_text("in the way")
    assert project.recorded() == "1"
    assert project.recorded() == "1"
    assert project.cache.read_text() == "in the way"


def test_the_interpreter_s_own_switches_hold(project: Project, tmp_path: Path) -> None:
    """PYTHONDONTWRITEBYTECODE keeps nothing, PYTHONPYCACHEPREFIX says where."""
    assert project.recorded(PYTHONDONTWRITEBYTECODE="1") == "1"
    assert not project.cache.exists()
    prefix = tmp_path / "elsewhere"
    assert project.recorded(PYTHONPYCACHEPREFIX=str(prefix)) == "1"
    assert not project.cache.exists()
    assert len(list(prefix.rglob("lib.*.narrative-*"))) == 1


def test_a_folder_of_one_s_own(project: Project, tmp_path: Path) -> None:
    """`--cache-dir` and NARRATIVE_CACHE_DIR say where; `off` keeps nothing."""
    assert project.recorded("--cache-dir", "off") == "1"
    assert project.files() == []
    assert project.recorded("--cache-dir", str(tmp_path / "kept")) == "1"
    assert project.files() == []
    (path,) = (tmp_path / "kept").rglob("lib.*.narrative-*")
    before = path.stat().st_mtime_ns
    assert project.recorded(NARRATIVE_CACHE_DIR=str(tmp_path / "kept")) == "1"
    assert path.stat().st_mtime_ns == before


def test_optimisation_has_a_file_of_its_own(project: Project) -> None:
    """`-O` drops assertions; a run without it must not find that code."""
    project.lib.write_text("def answer():\n    assert False, 'checked'\n    return 1\n")
    optimised = narrative_run("--engine", "rewrite", "--quiet", sys.executable, "-O", "app.py", cwd=project.folder)
    assert optimised.out == b"1\n"
    checked = narrative_run("--engine", "rewrite", "--quiet", sys.executable, "app.py", cwd=project.folder)
    assert b"AssertionError" in checked.err.encode()
    assert checked.status == 1


def test_a_folder_that_moved_has_its_new_name_in_tracebacks(project: Project, tmp_path: Path) -> None:
    """As the interpreter corrects its own bytecode."""
    project.recorded()
    project.edit("def answer():\n    raise KeyError('x')\n")
    (project.folder / "app.py").write_text(
        "import lib\ntry: lib.answer()\nexcept KeyError: pass\nprint(lib.answer.__code__.co_filename)\n"
    )
    inside = tmp_path / "inside"
    inside.mkdir()
    for path in [project.lib, project.folder / "app.py"]:
        path.rename(inside / path.name)
    project.lib, project.folder, project.cache = inside / "lib.py", inside, inside / "__pycache__"
    assert project.recorded() == str(inside / "lib.py")
    moved = tmp_path / "moved"
    inside.rename(moved)
    project.folder = moved
    assert project.recorded() == str(moved / "lib.py")


def test_many_processes_at_once(project: Project) -> None:
    """All write the same file, and each finds a whole one or none."""
    command = [LAUNCHER, "--engine", "rewrite", "--quiet", sys.executable, "app.py"]
    for _ in range(3):
        for path in project.files():
            path.unlink()
        crowd = [
            subprocess.Popen(command, cwd=project.folder, env=clean_environment(), stdout=-1, stderr=-1)
            for _ in range(8)
        ]
        assert {process.communicate() for process in crowd} == {(b"1\n", b"")}
        assert len(project.files()) == 1
    assert [
        path.name for path in project.cache.iterdir() if ".narrative-" in path.name and "lib" not in path.name
    ] == []
    assert project.recorded() == "1"


def test_a_private_source_s_code_stays_private(project: Project) -> None:
    """Whoever may not read the source may not read what was made of it, as with the interpreter's own file."""
    project.lib.chmod(0o600)
    project.recorded()
    (path,) = project.files()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_cache_folder_that_others_can_write_is_not_trusted(project: Project, tmp_path: Path) -> None:
    """Code is taken from `--cache-dir` only if nobody else can have put it there."""
    kept = tmp_path / "kept"
    project.recorded("--cache-dir", str(kept))
    (path,) = kept.rglob("lib.*.narrative-*")
    assert path.parent.stat().st_mode & 0o022 == 0
    path.chmod(0o666)
    before = path.stat().st_ino
    assert project.recorded("--cache-dir", str(kept)) == "1"
    assert path.stat().st_ino != before  # it was made anew
