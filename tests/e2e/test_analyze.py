"""`--analyze`: a failed run asks a real server, after everything else is safe, and never for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, LAUNCHER, clean_environment, narrative_run, run
from tests.unit.analyzers.service import PROTOCOLS, Server, reply, serving, silent

Write = Callable[[str, str], Path]

SOURCE = "def insert(row):\n    raise LookupError('duplicate id')\ndef main():\n    insert(7)\nmain()\n"


def test_the_answer_is_shown_and_kept(write: Write) -> None:
    """The dump is on disk before anything is asked; `narrative story` has the answer."""
    folder = write("app.py", SOURCE).parent
    dumps: list[str] = []

    def answer(server: Server, request: BaseHTTPRequestHandler) -> None:
        dumps.extend(path.name for path in (folder / ".narrative" / "crashes").iterdir())
        reply(PROTOCOLS["openai"].wrap('{"exact_why": "row 7 is there twice"}'))(server, request)

    with serving(answer) as server:
        done = narrative_run(
            "--analyze",
            "openai",
            sys.executable,
            "app.py",
            cwd=folder,
            OPENAI_BASE_URL=f"{server.url}/v1",
            NARRATIVE_MODEL="m",
        )
    assert done.status == 1
    assert len(dumps) == 1
    assert done.err.index("dump .narrative/crashes/") < done.err.index("## Exact Why\nrow 7 is there twice")
    shown = run(COMMANDS / "narrative", "story", Path(dumps[0]).stem, cwd=folder)
    assert "row 7 is there twice" in shown.out.decode()


def test_once_a_minute(write: Write) -> None:
    """The same failure of another process is not asked about again; what was said is said again."""
    folder = write("app.py", SOURCE).parent
    with serving(reply(PROTOCOLS["ollama"].wrap("row 7 is there twice"))) as server:
        for _ in range(3):
            done = narrative_run(
                "--analyze", "ollama", sys.executable, "app.py", cwd=folder, OLLAMA_HOST=server.url, NARRATIVE_MODEL="m"
            )
            assert "row 7 is there twice" in done.err
        assert len(server.asked) == 1


def test_ctrl_c_leaves_it(write: Write) -> None:
    """The program's own status stays."""
    folder = write(
        "app.py", "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n" + SOURCE
    ).parent
    with serving(silent) as server:
        process = subprocess.Popen(
            [str(LAUNCHER), "--analyze", "ollama", sys.executable, "app.py"],
            cwd=folder,
            env=clean_environment(OLLAMA_HOST=server.url, NARRATIVE_MODEL="m"),
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 30
        while not server.asked and time.monotonic() < deadline:
            time.sleep(0.02)
        asked = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        told = process.communicate(timeout=20)[1]
    assert time.monotonic() - asked < 5
    assert process.returncode == 1
    assert "LookupError: duplicate id" in told
    assert "KeyboardInterrupt" not in told


@pytest.mark.parametrize(
    ("name", "words"),
    [("openai", "set OPENAI_API_KEY"), ("ollama", "set NARRATIVE_MODEL"), ("anthropic", "set ANTHROPIC_API_KEY")],
)
def test_what_is_missing(name: str, words: str, write: Write) -> None:
    """One line says what to set, and nothing else changes."""
    if name == "anthropic":
        pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    folder = write("app.py", SOURCE).parent
    done = narrative_run("--analyze", name, sys.executable, "app.py", cwd=folder)
    assert done.status == 1
    (line,) = (line for line in done.err.splitlines() if line.startswith("narrative_auto: "))
    assert words in line


def test_nobody_is_asked_where_nothing_failed(write: Write) -> None:
    """Nothing leaves the machine."""
    folder = write("app.py", "def main():\n    print(1)\nmain()\n").parent
    with serving(silent) as server:
        done = narrative_run(
            "--analyze", "ollama", sys.executable, "app.py", cwd=folder, OLLAMA_HOST=server.url, NARRATIVE_MODEL="m"
        )
        assert done.status == 0
        assert server.asked == []
