"""The rooms of the package import downwards only, and third-party packages only where they are at home."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "narrative_auto"

RANKS = {
    "errors": 0,
    "records": 0,
    "settings": 0,
    "page": 0,
    "store_folder": 0,
    "recorder": 1,
    "instrument": 2,
    "failures": 2,
    "stories": 3,
    "crumbs": 3,
    "analyzers": 4,
    "crash": 4,
    "renderers": 4,
    "launch": 6,
    "cli": 7,
    "testing": 7,
    "": 8,
}
"""A module imports from its own room or one of a lower rank; "" is the package itself with its public names."""

HOMES = {
    "anthropic": {"analyzers/anthropic.py"},
    "bytecode": {"instrument/engines/assembly.py", "instrument/engines/body.py"},
    "rich": {"page.py"},
    "wrapt": {"crumbs/on_crash.py", "stories/decorators.py"},
}
"""Which files may import a third-party package."""

STANDARD_LIBRARY_ONLY = {"errors", "records", "settings", "store_folder", "recorder", "failures"}


def room_of(path: Path) -> str:
    """Return the room that a file of the package belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return {"__init__": "", "__main__": "cli"}.get(parts[0], parts[0])


def imports_of(path: Path) -> list[str]:
    """Return the full names of everything that a file imports, wherever in it the import stands."""
    names = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    """Each import inside the package goes to the same room or to one of a lower rank."""
    room = room_of(path)
    assert room in RANKS, f"{path} is in no room"
    for name in imports_of(path):
        if name.split(".")[0] != "narrative_auto":
            continue
        target = name.split(".")[1] if "." in name else ""
        if target not in RANKS:  # a name of the package itself, such as __version__
            assert target.startswith("__") or room == "", f"{path} imports {name}"
            continue
        if room == target or target in {"errors", "records"}:  # of the lowest rank, these import none of it
            continue
        assert RANKS[target] < RANKS[room], f"{room} (rank {RANKS[room]}) imports {name} (rank {RANKS[target]})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_third_party_packages_are_imported_at_home(path: Path) -> None:
    """A third-party package is imported only by the files that are about it."""
    relative = path.relative_to(PACKAGE).as_posix()
    for name in imports_of(path):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top in {"narrative_auto", "_xxsubinterpreters"}:
            continue
        assert relative in HOMES.get(top, set()), f"{relative} imports {top}"
        assert room_of(path) not in STANDARD_LIBRARY_ONLY


def test_no_room_bears_a_public_callable_s_name() -> None:
    """Importing a module would replace a callable of that name on the package."""
    names = {path.stem for path in FILES} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert not names & {"story", "stage", "crumb", "flow", "utils", "helpers", "common", "misc"}


def test_every_header_is_named_where_the_extension_is() -> None:
    """Else a source distribution lacks it, and a change of it builds nothing."""
    (extension,) = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    headers = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.h")}
    assert set(extension["depends"]) == headers


def test_import_takes_in_no_third_party_package() -> None:
    """`import narrative_auto` imports nothing but itself from outside the standard library."""
    program = (
        "import sys; before = set(sys.modules); import narrative_auto; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) == {"narrative_auto"}


def test_warm_start_imports_little() -> None:
    """Starting the recorder imports none of the packages that cost milliseconds, and no third-party one."""
    program = (
        "import sys, os; os.environ['NARRATIVE_AUTO'] = '1'; os.environ['NARRATIVE_STORE'] = 'off'; "
        "before = set(sys.modules); from narrative_auto.launch.bootstrap import start; start(); "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    new = {name.split(".")[0] for name in done.stdout.split()}
    heavy = {"dataclasses", "typing", "tomllib", "pathlib", "logging", "json", "re", "threading", "sqlite3", "enum"}
    assert not new & heavy
    assert new <= set(sys.stdlib_module_names) | {"narrative_auto", "_xxsubinterpreters"}
