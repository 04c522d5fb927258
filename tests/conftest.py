"""What all tests share: running real commands in a clean environment, and a check that no hook outlives its test."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from narrative_auto.errors import set_strict

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background, and so in what is run here
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
COMMANDS = Path(sys.executable).parent
TIMEOUT = 300.0
"""Seconds that a command may take; far more than any does."""

LAUNCHER = str(COMMANDS / "narrative-run")


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: bytes
    err: str


RECORDER = os.environ.get("NARRATIVE_RECORDER", "native")
"""The recorder of the processes under test; `NARRATIVE_RECORDER=pure` tests what is there without a compiler."""


THOROUGH = sys.version_info[:2] == (3, 12)
"""Whether what says little about an interpreter runs in full length: once is enough, elsewhere a tenth of it does."""

BOXES = tempfile.mkdtemp(prefix="narrative-boxes-")
"""The folder of black boxes of the processes under test."""

atexit.register(shutil.rmtree, BOXES, ignore_errors=True)


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without what this package or a person's settings could have left in it.

    Every call is recorded (`--budget off`): what tests count has to be exact.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NARRATIVE", "PYTHON", "XDG_"))}
    # A fault of ours is raised in the process under test, so that no test passes over one that was swallowed.
    chosen = {"NARRATIVE_RECORDER": "pure"} if RECORDER == "pure" else {}
    always = {"NO_COLOR": "1", "NARRATIVE_STRICT": "1", "NARRATIVE_BUDGET": "off", "NARRATIVE_BLACK_BOX": BOXES}
    return {**kept, **always, **chosen, **more}


def run(*command: str | Path, cwd: Path, **environ: str) -> Done:
    """Run a command to its end."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment(**environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def narrative_run(*arguments: str | Path, cwd: Path, **environ: str) -> Done:
    """Run `narrative-run` with a UTF-8 stderr."""
    return run(LAUNCHER, *arguments, cwd=cwd, PYTHONIOENCODING="utf-8", **environ)


@pytest.fixture
def quick_collections() -> Iterator[None]:
    """For tests that collect garbage often: what was there before them is not looked at each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Give a function that writes a file below the test's folder and returns its path."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write_file


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment of its own, in which this package and what it needs can be imported."""
    folder = tmp_path_factory.mktemp("install") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    purelib = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    (purelib / "borrowed.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    return python


@pytest.fixture(autouse=True)
def faults_are_raised() -> Iterator[None]:
    """In this process too, unless a test is about what happens to a fault."""
    set_strict(strict=True)
    yield
    set_strict(strict=False)


@pytest.fixture
def lenient() -> None:
    """For tests about faults of ours: they are told and swallowed, as they are for a user."""
    set_strict(strict=False)


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """No hook of ours outlives a test that ran in this process."""
    meta_path, path_hooks, hook = list(sys.meta_path), list(sys.path_hooks), sys.excepthook
    yield
    assert sys.meta_path == meta_path
    assert sys.path_hooks == path_hooks
    assert sys.excepthook is hook
