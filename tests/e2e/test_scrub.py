"""`narrative scrub`: a file loses its secrets and nothing else, and is never lost itself."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from narrative_auto.cli import scrub as scrubbing
from narrative_auto.cli.scrub import ScrubError, scrub
from narrative_auto.recorder.layout import BOX_MAGIC
from tests.conftest import COMMANDS, Done, clean_environment, narrative_run, run
from tests.secret_shapes import pieces, planted

Write = Callable[[str, str], Path]

NARRATIVE = COMMANDS / "narrative"


def scrubbed(*arguments: str | Path, cwd: Path) -> Done:
    return run(NARRATIVE, "scrub", *arguments, cwd=cwd, PYTHONIOENCODING="utf-8")


def test_a_log_is_scrubbed_in_place(tmp_path: Path) -> None:
    """Values go, everything else stays to the byte, and the mode too."""
    path = tmp_path / "app.log"
    path.write_bytes(b"start\r\npassword=hunter2 host=x\r\nlater: hunter2\r\n\xe9end")
    path.chmod(0o640)
    done = scrubbed("app.log", cwd=tmp_path)
    assert (done.status, done.out, done.err) == (0, b"2 values taken out of app.log\n", "")
    assert path.read_bytes() == b"start\r\npassword=[redacted] host=x\r\nlater: [redacted]\r\n\xe9end"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["app.log"]


def test_json_stays_json(write: Write, tmp_path: Path) -> None:
    """By its keys, with what is learnt late taken out of what came early, in the form that it had."""
    told = {"message": "login with hunter2 failed", "count": 3, "user": {"password": "hunter2", "tokens": ["a1b2c3d4"]}}
    path = write("dump.json", json.dumps(told, indent=2) + "\n")
    assert scrubbed(path, cwd=tmp_path).status == 0
    told["message"] = "login with [redacted] failed"
    told["user"] = {"password": "[redacted]", "tokens": ["[redacted]"]}
    assert path.read_text() == json.dumps(told, indent=2) + "\n"


def test_json_lines_stay_lines(write: Write, tmp_path: Path) -> None:
    """Each line for itself, compact ones stay compact, and text between them is text."""
    path = write("events.jsonl", '{"a":1,"token":"abc12345"}\nplain password=hunter2\n{"b": [1, 2]}\n["abc12345"]\n')
    assert scrubbed(path, cwd=tmp_path).out == f"3 values taken out of {path}\n".encode()
    assert path.read_text() == (
        '{"a":1,"token":"[redacted]"}\nplain password=[redacted]\n{"b": [1, 2]}\n["[redacted]"]\n'
    )


KEPT = [
    '{"id": 1, "id": 2, "password": "short", "password": %s, "a": [{"id": 3, "id": 3}]}',
    '{"password": %s, "loss": NaN, "range": [-Infinity, Infinity]}',
    '{"price": 1.10, "large": 1e999, "one": 1E+2,\n\t"password" : %s, "zero": -0.0 }\n\n',
    '[{"caf\\u00e9": "\\/x\\"", "password":%s}, {}, [ ], true, null]',
    '{"café": "\\u00e9", "lone": "\\ud800", "password": %s}',
]


@pytest.mark.parametrize("form", KEPT)
@pytest.mark.parametrize("secret", ['"hunter2"', '["hunter2", {"a": [1, "}"]}]', "31415926.50"])
def test_everything_else_in_json_is_as_it_was(write: Write, tmp_path: Path, form: str, secret: str) -> None:
    """Numbers as they were written, blanks, escapes, what Python writes and JSON has not."""
    path = write("metrics.json", form % secret)
    assert scrubbed(path, cwd=tmp_path).status == 0
    told = '["[redacted]", {"a": ["[redacted]", "[redacted]"]}]' if secret[0] == "[" else '"[redacted]"'
    assert path.read_text() == form.replace("short", "[redacted]") % told


def test_nothing_of_a_long_text_is_lost(write: Write, tmp_path: Path) -> None:
    """However long it is."""
    text = "all is well, and so on; " * 5_000
    path = write("long.json", json.dumps({"text": text, "more": f"{text} password=hunter22"}))
    assert scrubbed(path, cwd=tmp_path).out == f"1 value taken out of {path}\n".encode()
    assert json.loads(path.read_text()) == {"text": text, "more": f"{text} password=[redacted]"}


def test_a_full_disk_behind_stdout() -> None:
    """One line that says so, and no success; for what is read only, too."""
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    for arguments in (["scrub", "-"], ["explain", "json"], ["doctor"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [NARRATIVE, *arguments], input=b"password=hunter2", stdout=full, stderr=subprocess.PIPE,
                env=clean_environment(), check=False, timeout=60,
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (1, b"narrative: stdout cannot be used: No space left on device\n")


def test_a_crash_dump_is_scrubbed(write: Write, tmp_path: Path) -> None:
    """A dump is still one that can be read, and a name of one's own makes values secret."""
    write("app.py", "def main():\n    raise ValueError('customer_ref=4711-Mueller-Berlin')\nmain()\n")
    narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    (dump,) = (tmp_path / ".narrative" / "crashes").glob("*.json")
    before = json.loads(dump.read_text())
    assert "4711-Mueller" in dump.read_text()
    done = scrubbed(dump, "--name", "customer_ref", cwd=tmp_path)
    assert done.status == 0, done.err
    after = json.loads(dump.read_text())
    assert "4711-Mueller" not in dump.read_text()
    assert after.keys() == before.keys()
    assert after["records"] == before["records"]
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600


def test_nothing_to_do_touches_nothing(write: Write, tmp_path: Path) -> None:
    """The very same file, not a copy."""
    path = write("app.log", "order 17 rejected\n")
    before = path.stat()
    assert scrubbed(path, cwd=tmp_path).out == f"nothing to take out of {path}\n".encode()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_it_is_done_once(write: Write, tmp_path: Path) -> None:
    """A second time finds nothing."""
    path = write("app.log", "".join(f"{secret}\npassword={secret}\n" for _, secret in planted(5)))
    assert b"taken out" in scrubbed(path, cwd=tmp_path).out
    assert b"nothing to take out" in scrubbed(path, cwd=tmp_path).out


def test_elsewhere(write: Write, tmp_path: Path) -> None:
    """`--output` leaves the file as it is; "-" is stdout, and what is said goes to stderr."""
    path = write("app.log", "password=hunter2\n")
    assert scrubbed(path, "--output", "clean.log", cwd=tmp_path).status == 0
    assert (tmp_path / "clean.log").read_text() == "password=[redacted]\n"
    done = scrubbed(path, "--output", "-", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"password=[redacted]\n")
    assert done.err == f"1 value taken out of {path}, written to stdout\n"
    assert path.read_text() == "password=hunter2\n"


def test_what_comes_in_a_pipe(tmp_path: Path) -> None:
    """`-` is stdin; what it gives goes to stdout, or into a new file that nobody else may read."""

    def piped(content: bytes, *more: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(NARRATIVE), "scrub", "-", *more]
        return subprocess.run(
            command, cwd=tmp_path, env=clean_environment(), input=content, capture_output=True, check=False
        )

    done = piped(b"password=hunter2\n")
    assert (done.returncode, done.stdout) == (0, b"password=[redacted]\n")
    assert done.stderr == b"1 value taken out of stdin\n"
    done = piped(b"order 17\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"order 17\n", b"nothing to take out of stdin\n")
    done = piped(b"password=hunter2\n", "--output", "clean.log")
    assert (done.returncode, done.stdout) == (
        0,
        f"1 value taken out of stdin, written to {tmp_path / 'clean.log'}\n".encode(),
    )
    assert (tmp_path / "clean.log").read_text() == "password=[redacted]\n"
    assert stat.S_IMODE((tmp_path / "clean.log").stat().st_mode) == 0o600
    done = piped(b"a\0b")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"narrative: stdin is binary")


def test_a_link_stays_a_link(write: Write, tmp_path: Path) -> None:
    """The file that it leads to is written."""
    path = write("app.log", "password=hunter2\n")
    (tmp_path / "link.log").symlink_to(path)
    assert scrubbed("link.log", cwd=tmp_path).status == 0
    assert (tmp_path / "link.log").is_symlink()
    assert path.read_text() == "password=[redacted]\n"


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    """One line that says what to do, status 2, and the file as it was."""
    with closing(sqlite3.connect(tmp_path / "stories.db")) as connection:
        connection.execute("CREATE TABLE t (password TEXT)")
    (tmp_path / "box").write_bytes(BOX_MAGIC + b"password=hunter2")
    (tmp_path / "binary").write_bytes(b"password=hunter2\0")
    (tmp_path / "wide").write_bytes("password=hunter2".encode("utf-16"))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    said = {
        "stories.db": "SQLite",
        "box": "narrative recover",
        "binary": "binary",
        "wide": "UTF-16",
        "folder": "no file",
        "pipe": "no file",
        "missing": "No such file",
    }
    for name, word in said.items():
        path = tmp_path / name
        before = path.read_bytes() if path.is_file() else b""
        done = scrubbed(name, cwd=tmp_path)
        assert (done.status, done.out) == (2, b""), name
        assert word in done.err
        assert len(done.err.splitlines()) == 1
        assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_folder_that_cannot_be_written(write: Write, tmp_path: Path) -> None:
    """The file is as it was, and nothing lies beside it."""
    path = write("app.log", "password=hunter2\n")
    done = scrubbed(path, "--output", "no/such/folder.log", cwd=tmp_path)
    assert done.status == 2
    assert "cannot be written" in done.err
    assert path.read_text() == "password=hunter2\n"
    assert [one.name for one in tmp_path.iterdir()] == ["app.log"]


def test_a_fault_on_the_way_loses_nothing(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops it, the old file is whole and the new one gone."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = write("app.log", "password=hunter2\n")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ScrubError, match="No space left"):
        scrub(str(path), "", [])
    assert path.read_text() == "password=hunter2\n"
    assert [one.name for one in tmp_path.iterdir()] == ["app.log"]


def test_a_file_that_is_written_to_meanwhile(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was added would be lost; so it is left as it is."""
    path = write("app.log", "password=hunter2\n")
    real = scrubbing.scrubbed_text

    def while_it_grows(*arguments: object) -> str:
        with path.open("a") as file:
            file.write("one more line\n")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scrubbing, "scrubbed_text", while_it_grows)
    with pytest.raises(ScrubError, match="written to meanwhile"):
        scrub(str(path), "", [])
    assert path.read_text() == "password=hunter2\none more line\n"


@pytest.mark.parametrize("form", ["log", "json", "jsonl"])
def test_no_planted_secret_survives(form: str, tmp_path: Path) -> None:
    """Hundreds of shapes in a large file, and the innocent lines between them are there still."""
    secrets = [secret for _, secret in planted(9)]
    lines = [f"order {number} is in" for number in range(2_000)]
    path = tmp_path / f"file.{form}"
    if form == "json":
        path.write_text(json.dumps({"lines": lines, "values": [{"value": secret} for secret in secrets]}))
    elif form == "jsonl":
        path.write_text("\n".join(json.dumps({"line": text}) for text in [*lines, *secrets]))
    else:
        path.write_text("\n".join([*lines, *(f"value is {secret} here" for secret in secrets)]))
    assert scrub(str(path), "", []).taken_out >= len(secrets)
    told = path.read_text()
    assert all(line in told for line in lines)
    for secret in secrets:
        assert not [piece for piece in pieces(secret) if piece in told]


def test_a_pipe_as_output_stays_one(tmp_path: Path) -> None:
    """What is no ordinary file is written to, not replaced."""
    dump, pipe = tmp_path / "dump.txt", tmp_path / "pipe"
    dump.write_text("password=hunter22hunter\n", "utf-8")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        done = run(COMMANDS / "narrative", "scrub", str(dump), "--output", str(pipe), cwd=tmp_path)
        assert done.status == 0
        assert os.read(reader, 1000) == b"password=[redacted]\n"
        assert pipe.is_fifo()
    finally:
        os.close(reader)
