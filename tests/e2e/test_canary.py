"""Several hundred made-up secrets, each in several places of a failing program: none is in anything that we write."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, RECORDER, narrative_run, run
from tests.secret_shapes import pieces, planted, planted_under_names
from tests.unit.analyzers.service import PROTOCOLS, reply, serving

SEED = 20261122
BATCH = 24

SECRETS = planted(SEED)
NAMED = planted_under_names(SEED)
BATCHES = [(SECRETS[at : at + BATCH], NAMED[at // 4 : at // 4 + BATCH // 4]) for at in range(0, len(SECRETS), BATCH)]

PROGRAM = """
import dataclasses, json, logging, os, signal, subprocess, sys, warnings
from narrative_auto import context, crumb

with open("secrets.json") as file:
    SECRETS, NAMED = json.load(file)
log = logging.getLogger("shop")

@dataclasses.dataclass
class Settings:
    host: str
    value: str

class OrderError(ValueError):
    pass

def leave(secrets, named):
    for secret in secrets[:12]:
        log.info("connecting with %s", secret)
        with context(connection=secret):
            crumb("connect", using=secret, nested={"inner": [secret]}, settings=Settings("db", secret))
    for name, secret in named:
        crumb("named", **{name.replace("-", "_").replace(" ", "_"): secret})
        log.warning("using %s=%s", name, secret)
    warnings.warn("deprecated: " + secrets[-1])
    subprocess.run(["true", *secrets[-3:]])

def connect(first, rest, named):
    holder = {"list": rest[:8], **dict(named[:6])}
    known_password = first
    row = (1812, first)
    try:
        raise ConnectionError("refused for " + " and ".join(rest[:4]))
    except ConnectionError as cause:
        error = OrderError("cannot connect with " + first)
        for secret in rest[4:8]:
            error.add_note("tried " + secret)
        raise error from cause

def main():
    leave(SECRETS, NAMED)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    connect(SECRETS[0], SECRETS[1:], NAMED)
main()
"""


def survivors(secrets: list[str], text: str) -> list[str]:
    """Return the pieces of secrets that are in a text."""
    return [piece for secret in secrets for piece in pieces(secret) if piece in text]


def outputs(folder: Path) -> Iterator[tuple[str, str]]:
    """Give everything that lies in a folder of ours, as text."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes().decode("utf-8", "replace").replace('\\"', '"')


def plant(number: int, tmp_path: Path) -> tuple[Path, list[str], list[str]]:
    """Make the program's folder; return it, the secrets of a batch that have a shape, and all of them."""
    shaped, named = BATCHES[number]
    secrets = [secret for _, secret in shaped]
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "secrets.json").write_text(json.dumps([secrets, named]), "utf-8")
    return folder, secrets, secrets + [secret for _, secret in named]


@pytest.mark.parametrize("number", range(len(BATCHES)))
def test_no_secret_survives(number: int, tmp_path: Path) -> None:
    """In the report, the store, the dump, the command line kept with the run, the prompt, and what commands print."""
    folder, secrets, everything = plant(number, tmp_path)
    literal = secrets[1].encode("unicode_escape").decode()
    source = PROGRAM.replace("    row = (1812, first)\n", f"    row = (1812, first)\n    url = {literal!r}\n")
    (folder / "app.py").write_text(source, "utf-8")
    with serving(reply(PROTOCOLS["ollama"].wrap("no idea"))) as server:
        done = narrative_run(
            "--analyze",
            "ollama",
            sys.executable,
            "app.py",
            "failing",
            *secrets[2:4],
            f"--password={secrets[4]}",
            cwd=folder,
            OLLAMA_HOST=server.url,
            NARRATIVE_MODEL="m",
            NARRATIVE_FAILURE_DIAGNOSTICS="rich",
        )
    assert done.status == 1
    report = done.err[done.err.index("-- narrative --") :]
    assert "OrderError: cannot connect with" in report
    assert "no idea" in report
    (asked,) = server.asked
    prompt = PROTOCOLS["ollama"].prompt(asked.content)
    assert "OrderError" in prompt
    (dump,) = (folder / ".narrative" / "crashes").iterdir()
    shown = run(COMMANDS / "narrative", "story", dump.stem, cwd=folder)
    assert shown.status == 0
    told = [
        ("report", report),
        ("prompt", prompt),
        ("narrative story", shown.out.decode()),
        *outputs(folder / ".narrative"),
    ]
    assert any(name.startswith("crashes") for name, _ in told)
    assert {name: survivors(everything, text)[:3] for name, text in told if survivors(everything, text)} == {}


@pytest.mark.skipif(RECORDER == "pure", reason="the recorder in Python has no black box")
@pytest.mark.skipif(sys.platform != "linux", reason="the way to die is that of Linux")
@pytest.mark.parametrize("number", range(0, len(BATCHES), 2))
def test_no_secret_is_in_a_black_box(number: int, tmp_path: Path) -> None:
    """Nor in what is recovered from it."""
    folder, _, everything = plant(number, tmp_path)
    (folder / "app.py").write_text(PROGRAM, "utf-8")
    boxes = str(tmp_path / "boxes")
    done = narrative_run("--black-box", boxes, sys.executable, "app.py", "killed", cwd=folder)
    assert done.status == -signal.SIGKILL
    shown = run(COMMANDS / "narrative", "recover", "--last", "--json", cwd=folder, NARRATIVE_BLACK_BOX=boxes)
    assert len(json.loads(shown.out)["crumbs"]) > 10
    told = [("recover", shown.out.decode()), *outputs(tmp_path / "boxes"), *outputs(folder / ".narrative")]
    assert {name: survivors(everything, text)[:3] for name, text in told if survivors(everything, text)} == {}


def test_enough_is_planted() -> None:
    """Several hundred, of more than forty shapes."""
    assert len(SECRETS) + len(NAMED) >= 500
    assert len({shape for shape, _ in SECRETS}) >= 40
