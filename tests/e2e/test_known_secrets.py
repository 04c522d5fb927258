"""A value that the process knows under a secret's name is taken out wherever it stands, whatever is said of it there."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, narrative_run, run

Write = Callable[[str, str], Path]

SECRET = "Zx9Qw7Lm3KpRt5Qa"

GIVEN = "import os; given = ''.join(['Zx9Qw7Lm', '3KpRt5Qa'])\n"

KNOWN = {
    "a log record": (
        "import logging, sys; logging.basicConfig(level=20, stream=open(os.devnull, 'w'))\n"
        "def go(x):\n"
        "    logging.info('GET https://h/reset/%s?access_token=%s', x, x)\n"
        "    logging.info('again %s', x)\n"
        "    raise RuntimeError('refused: ' + x)\n"
        "go(given)\n"
    ),
    "an attribute": (
        "class Client:\n"
        "    def __init__(self, password): self.password = password\n"
        "    def connect(self):\n"
        "        p = self.password\n"
        "        raise RuntimeError(f'refused: {p}')\n"
        "Client(given).connect()\n"
    ),
    "an attribute of an attribute": (
        "from dataclasses import dataclass\n"
        "@dataclass(slots=True)\n"
        "class Settings:\n    user: str\n    api_key: str\n"
        "class Client:\n"
        "    def __init__(self, settings): self.settings = settings\n"
        "    def connect(self): raise RuntimeError(f'refused: {self.settings.api_key}')\n"
        "Client(Settings('bob', given)).connect()\n"
    ),
    "a URL of an attribute": (
        "class Client:\n"
        "    def __init__(self, url): self.url = url\n"
        "    def connect(self): raise RuntimeError('refused: ' + given)\n"
        "Client(f'postgres://bob:{given}@db/orders').connect()\n"
    ),
    "a literal that has become an attribute": (
        "class Client:\n"
        "    def __init__(self, password): self.password = password\n"
        "def use(client): raise RuntimeError('boom')\n"
        f"use(Client('{SECRET}'))\n"
    ),
    "an environment variable": (
        "def connect():\n"
        "    p = os.environ['DB_PASSWORD']\n"
        "    raise RuntimeError('could not connect with ' + p)\n"
        "connect()\n"
    ),
    "a failure before": (
        "import threading; threading.excepthook = lambda told: None\n"
        "def login(password): raise ValueError('no')\n"
        "thread = threading.Thread(target=login, args=(given,)); thread.start(); thread.join()\n"
        "def go(x): raise RuntimeError('refused: ' + x)\n"
        "go(given)\n"
    ),
}


@pytest.mark.parametrize("mode", ["rich", "lean"])
@pytest.mark.parametrize("source", KNOWN.values(), ids=KNOWN)
def test_what_is_known_under_a_name(write: Write, source: str, mode: str) -> None:
    """Not in the report, the dump or the store."""
    folder = write("app.py", GIVEN + source).parent
    environ = {"NARRATIVE_FAILURE_DIAGNOSTICS": mode, "DB_PASSWORD": SECRET if "DB_PASSWORD" in source else ""}
    done = narrative_run(sys.executable, "app.py", cwd=folder, **environ)
    report = done.err[done.err.rindex("-- narrative") :]
    assert SECRET not in report
    assert "RuntimeError: " in report
    kept = [path for path in (folder / ".narrative").rglob("*") if path.is_file()]
    assert len(kept) > 1
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


def test_the_command_line_of_a_story(write: Write, tmp_path: Path) -> None:
    """What the failure has shown to be a secret is no longer there, although it was written before."""
    source = (
        "import os, sys, time\n"
        "def login(password):\n"
        "    while not os.path.exists('.narrative/stories.db'): time.sleep(0.01)\n"
        "    raise ValueError('no')\n"
        "login(sys.argv[1])\n"
    )
    write("app.py", source)
    narrative_run(sys.executable, "app.py", SECRET, cwd=tmp_path)
    shown = run(COMMANDS / "narrative", "stories", cwd=tmp_path).out.decode()
    story = run(COMMANDS / "narrative", "story", shown.split()[0], cwd=tmp_path).out.decode()
    assert "app.py [redacted]" in story
    assert SECRET not in story
    with closing(sqlite3.connect(tmp_path / ".narrative" / "stories.db")) as connection:
        assert SECRET not in "\n".join(connection.iterdump())


def test_words_stay(write: Write) -> None:
    """What says nothing is no secret, whoever holds it."""
    source = (
        "class Client:\n"
        "    def __init__(self): self.password = 'postgres'; self.token = '/run/token'; self.secret = '12345678'\n"
        "    def connect(self): raise RuntimeError('refused by postgres, see /run/token, 12345678 rows')\n"
        "Client().connect()\n"
    )
    folder = write("app.py", source).parent
    done = narrative_run(sys.executable, "app.py", cwd=folder)
    assert "\nRuntimeError: refused by postgres, see /run/token, 12345678 rows\n\n" in done.err
