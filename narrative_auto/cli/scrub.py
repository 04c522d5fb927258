"""Takes the secrets out of a file that exists already: a crash dump, JSON, JSON lines, a log, any other text."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from narrative_auto.cli.json_text import parsed, rewritten
from narrative_auto.errors import NarrativeError, attempted
from narrative_auto.failures.redaction import Redactor
from narrative_auto.failures.shapes import REDACTED
from narrative_auto.recorder.layout import BOX_MAGIC
from narrative_auto.records import record

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_BYTES = 512 * 1024 * 1024
"""Larger files are refused: one is looked at as a whole, so that what is learnt late goes from what came early."""

STANDARD_INPUT = STANDARD_OUTPUT = "-"

_STDIN = "stdin"
_MOST_REMEMBERED = 2_000
_SQLITE = b"SQLite format 3\0"
_BYTE_ORDER_MARK = "\ufeff"


class ScrubError(NarrativeError):
    """A file cannot be scrubbed; the message is one line that says why and what to do."""


@record(frozen=True, slots=True)
class Scrubbed:
    """What came of it.

    Attributes:
        taken_out: how many values.
        written: where the text without them is; "" where the file had none and was left as it is.
    """

    taken_out: int
    written: str


def scrub(path: str, output: str, names: Sequence[str]) -> Scrubbed:
    """Write a file again without its secrets.

    The new text is written beside the old one and then takes its name, so that there is a whole file at any time. A
    file without secrets is not touched.

    Args:
        path: the file; "-" for stdin.
        output: where to write instead; "" for the file itself, "-" for stdout, where what came from stdin goes too.
        names: further parts of names whose values are secret.

    Raises:
        ScrubError: there is no such file, it is no text, it is being written to, or the result cannot be written.
    """
    if path == STANDARD_INPUT:
        path, content, before = _STDIN, _read_input(), None
        output = output or STANDARD_OUTPUT
    else:
        path = os.path.realpath(path)
        content, before = _read(path)
    text = _decoded(path, content)
    told = scrubbed_text(text, Redactor(names).remembering(_MOST_REMEMBERED, whole=True))
    count = max(told.count(REDACTED) - text.count(REDACTED), int(told != text))
    encoded = content if told == text else told.encode("utf-8", "surrogateescape")
    if output == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(encoded)
        sys.stdout.buffer.flush()
        return Scrubbed(count, "stdout")
    if not output and told == text:
        return Scrubbed(0, "")
    target = os.path.realpath(output) if output else path
    if os.path.exists(target) and not os.path.isfile(target):
        _write_into(target, encoded, path)
    else:
        _replace(target, encoded, path, before)
    return Scrubbed(count, target)


def _read(path: str) -> tuple[bytes, os.stat_result]:
    """Return a file's content and what it was when it was read."""
    try:
        before = os.stat(path)
        if not stat.S_ISREG(before.st_mode):
            raise ScrubError(f"{path} is no file: name one")
        if before.st_size > MOST_BYTES:
            raise ScrubError(f"{path} is larger than {MOST_BYTES // 1024 // 1024} MiB: split it at line ends first")
        with open(path, "rb") as file:
            return file.read(), before
    except OSError as error:
        raise ScrubError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_input() -> bytes:
    if sys.stdin is None:
        raise ScrubError("there is no stdin: name a file")
    content = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ScrubError(f"stdin gives more than {MOST_BYTES // 1024 // 1024} MiB: split it at line ends first")
    return content


def _decoded(path: str, content: bytes) -> str:
    """Return a file's text; bytes that are no UTF-8 come back as they were when it is encoded again."""
    if content.startswith(BOX_MAGIC):
        file = "PATH" if path == _STDIN else path
        raise ScrubError(f"{path} is a black box: narrative recover {file} --json --all shows it without its secrets")
    if content.startswith(_SQLITE):
        raise ScrubError(f"{path} is an SQLite database: write it as text first (sqlite3 FILE .dump), or delete it")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ScrubError(f"{path} is UTF-16: write it as UTF-8 first (iconv -f UTF-16 -t UTF-8)")
    if b"\0" in content:
        raise ScrubError(f"{path} is binary: scrub takes text, JSON and logs; delete it if it may hold secrets")
    return content.decode("utf-8", "surrogateescape")


def _write_into(target: str, content: bytes, path: str) -> None:
    """Write to what is no ordinary file, a device or a pipe, and stays what it is."""
    try:
        with open(target, "wb") as file:
            file.write(content)
    except OSError as error:
        raise ScrubError(f"{target} cannot be written: {error.strerror or error}; {path} is as it was") from None


def _replace(target: str, content: bytes, path: str, before: os.stat_result | None) -> None:
    """Write a file under another name in the same folder, and let it take its place.

    Args:
        target: the file that is written.
        content: all of it.
        path: the file that was read; its mode, and its owner where that is allowed, are the new one's.
        before: what that file was when it was read; None where it is none.
    """
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)[:100]}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if before is not None:
                    attempted(os.fchown, file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                os.fsync(file.fileno())
            if before is not None and _is_another(os.stat(path), before):
                raise ScrubError(
                    f"{path} was written to meanwhile and is left as it is: stop what writes it, or --output"
                )
            os.replace(temporary, target)
        except BaseException:
            attempted(os.unlink, temporary)
            raise
    except OSError as error:
        raise ScrubError(f"{target} cannot be written: {error.strerror or error}; {path} is as it was") from None


def _is_another(now: os.stat_result, before: os.stat_result) -> bool:
    return (now.st_mtime_ns, now.st_size, now.st_ino) != (before.st_mtime_ns, before.st_size, before.st_ino)


def scrubbed_text(text: str, redactor: Redactor) -> str:
    """Return a file's text without its secrets: as JSON if it is JSON, line by line where lines are, else as text.

    Args:
        text: the whole file.
        redactor: one that remembers.
    """
    if text.startswith(_BYTE_ORDER_MARK):
        return _BYTE_ORDER_MARK + scrubbed_text(text.removeprefix(_BYTE_ORDER_MARK), redactor)
    whole = _scrubbed_json(text, redactor)
    if whole is not None:
        return whole
    told: list[str] = []
    plain: list[str] = []
    for line in text.splitlines(keepends=True):
        as_json = _scrubbed_json(line, redactor) if line.lstrip()[:1] in {"{", "["} else None
        if as_json is None:
            plain.append(line)
            continue
        # Lines of text go together: a key block or a statement goes over many.
        told += [redactor.whole_text("".join(plain)), as_json]
        plain.clear()
    told.append(redactor.whole_text("".join(plain)))
    return redactor.without_remembered("".join(told))


def _scrubbed_json(text: str, redactor: Redactor) -> str | None:
    """Return a JSON text without its secrets, or None where it is no object or list."""
    value = attempted(parsed, text)
    if not isinstance(value, dict | list):
        return None
    told = redactor.nested(value)
    return text if told == value else rewritten(text, value, told)
