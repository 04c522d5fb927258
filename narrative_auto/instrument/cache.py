"""Keeps rewritten code on disk, beside the interpreter's own, so that a warm start neither compiles nor rewrites.

A file holds, in this order, 8 bytes each: `SIGNATURE`; the hash of all that follows; the stamp, which says what the
source and the interpreter's own cache file were; the source's hash where the interpreter looks at that, else zeros.
The rest is `marshal` data: (code, plan, declined). What cannot be read or written is as if it were not there.
"""

from __future__ import annotations

import _imp
import marshal
import os
import stat
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source

from narrative_auto.errors import attempted
from narrative_auto.instrument.engines.rewrite import VERSION, Prepared

# As they were before a program put others in their place, as tools for event loops do with what can block.
_stat, _lstat, _fstat, _open, _read_bytes, _close = os.stat, os.lstat, os.fstat, os.open, os.read, os.close

_READING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

SIGNATURE = b"narrat\r\n"

_KEY = int.from_bytes(MAGIC_NUMBER, "little")
_HASH_BASED, _CHECKED = 1, 2
"""Flags of a `.pyc` file: it goes by the hash of its source, and that is to be checked (PEP 552)."""

_ANY_SOURCE = bytes(8)


class CodeCache:
    """Prepared code of source files.

    Args:
        folder: where to keep it; "" for each source's own `__pycache__`.
        rules: what, apart from the source and the interpreter, the code depends on: the settings of the scope.
    """

    def __init__(self, folder: str, rules: str) -> None:
        self._folder = folder
        made_for = f"{VERSION} {sys.version} {sys.flags.optimize} {rules}"
        self._tag = _imp.source_hash(_KEY, made_for.encode()).hex()[:8]
        self.hits = self.misses = 0

    def path(self, filename: str) -> str | None:
        """Return where the code of a source file is kept; None where such a place cannot be named."""
        bytecode = bytecode_of(filename)
        return self._path(filename, bytecode) if bytecode is not None else None

    def get(self, filename: str, source: tuple[int, int], bytecode: str | None) -> Prepared | None:
        """Return the prepared code of a source file, if what is kept still stands for it.

        Args:
            filename: the source file.
            source: its time (ns) and size (bytes) now.
            bytecode: where the interpreter keeps its code; None if nowhere.
        """
        if bytecode is None:
            return None
        content = _read(self._path(filename, bytecode), trusted_only=bool(self._folder) and os.name == "posix")
        if (
            content[:8] != SIGNATURE
            or content[16:24] != _validity(source, bytecode)
            or (content[24:32] != _ANY_SOURCE and content[24:32] != _source_hash(filename))
            or content[8:16] != _imp.source_hash(_KEY, memoryview(content)[16:])
        ):
            self.misses += 1
            return None
        code, plan, declined = marshal.loads(memoryview(content)[32:])  # noqa: S302 - as sound as a .pyc file beside it
        if code.co_filename != filename:  # as the interpreter's loader does: a folder may have moved
            _imp._fix_co_filename(code, filename)  # type: ignore[attr-defined] # noqa: SLF001
        self.hits += 1
        return Prepared(code, plan, declined)

    def put(self, filename: str, made_from: tuple[int, int], bytecode: str | None, prepared: Prepared) -> None:
        """Keep the prepared code of a source file, unless the interpreter may not keep bytecode either.

        Args:
            filename: the source file.
            made_from: its time (ns) and size (bytes) before its code was read.
            bytecode: where the interpreter keeps its code; None if nowhere.
            prepared: its code.
        """
        if bytecode is None or sys.dont_write_bytecode:
            return
        source_file = _stat(filename)
        stamp = _validity(made_from, bytecode)
        source = _source_hash(filename) if _goes_by_source(bytecode) else _ANY_SOURCE
        if not source or (source_file.st_mtime_ns, source_file.st_size) != made_from:
            return
        body = stamp + source + marshal.dumps((prepared.code, prepared.plan, prepared.declined))
        # Whoever may not read the source may not read its code: as the interpreter does with its own.
        mode = (source_file.st_mode | 0o200) & 0o666
        path = self._path(filename, bytecode)
        attempted(_write, path, SIGNATURE + _imp.source_hash(_KEY, body) + body, mode, private=bool(self._folder))

    def _path(self, filename: str, bytecode: str) -> str:
        if not self._folder:
            return f"{bytecode.removesuffix('.pyc')}.narrative-{self._tag}"
        folder = os.path.join(self._folder, os.path.dirname(os.path.abspath(filename)).lstrip(os.sep))
        return f"{folder}/{os.path.basename(bytecode).removesuffix('.pyc')}.narrative-{self._tag}"


def bytecode_of(filename: str) -> str | None:
    """Return where the interpreter keeps the code of a source file; None if nowhere."""
    try:
        return cache_from_source(filename)
    except (NotImplementedError, ValueError):  # sys.implementation.cache_tag is None; a name without a stem
        return None


def stamp_of(filename: str) -> tuple[int, int]:
    """Return what changes when a source file is written."""
    try:
        status = _stat(filename)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def look_at(filename: str) -> tuple[tuple[int, int], bool]:
    """Return the stamp of a source file, and whether it is a symbolic link; in most cases by one call."""
    try:
        status = _lstat(filename)
    except (OSError, ValueError):  # a path within a zip file, say
        return (0, 0), False
    if stat.S_ISLNK(status.st_mode):
        return stamp_of(filename), True
    return (status.st_mtime_ns, status.st_size), False


def _validity(source: tuple[int, int], bytecode: str) -> bytes:
    """Return a hash of what says that the interpreter would take the same code: of the source, and its `.pyc` file.

    That file counts because it may be used whatever the source says. 8 bytes.
    """
    try:
        own = _stat(bytecode)
        kept = f"{own.st_mtime_ns} {own.st_size}"
    except OSError:
        kept = "none"
    text = f"{source[0]} {source[1]} {kept} {_imp.check_hash_based_pycs}"
    return _imp.source_hash(_KEY, text.encode())


def _goes_by_source(bytecode: str) -> bool:
    """Return whether the interpreter compares the source's hash with that in its `.pyc` file (PEP 552)."""
    flags = int.from_bytes(_read(bytecode, 8)[4:8], "little")
    checks = _imp.check_hash_based_pycs
    return bool(flags & _HASH_BASED) and checks != "never" and (bool(flags & _CHECKED) or checks == "always")


def _source_hash(filename: str) -> bytes:
    """Return the hash of a source file, 8 bytes; none if it cannot be read."""
    content = _read(filename)
    return _imp.source_hash(_KEY, content) if content else b""


def _make_folder(folder: str, mode: int) -> None:
    if not os.path.isdir(folder):
        _make_folder(os.path.dirname(folder), mode)
        attempted(os.mkdir, folder, mode)


def _read(path: str, most: int = 0, *, trusted_only: bool = False) -> bytes:
    """Return the content of a file, or its first bytes; nothing if it cannot be read.

    Args:
        path: of the file.
        most: how many bytes; 0 for all.
        trusted_only: read it only if it is this user's or the system's, and nobody else may write it.
    """
    try:
        descriptor = _open(path, _READING)
    except OSError:
        return b""
    try:
        status = _fstat(descriptor)
        if trusted_only and (status.st_mode & 0o022 or status.st_uid not in {os.geteuid(), 0}):
            return b""
        size = most or status.st_size
        content = _read_bytes(descriptor, size)
        while len(content) < size:
            more = _read_bytes(descriptor, size - len(content))
            if not more:
                break
            content += more
        return content
    except OSError:  # a folder
        return b""
    finally:
        _close(descriptor)


def _write(path: str, content: bytes, mode: int, *, private: bool) -> None:
    """Write a file in one step: a reader finds the old one, the new one or none.

    Args:
        path: of the file; its folder is made if need be.
        content: all of it.
        mode: its permissions, before the process's mask.
        private: let nobody else write into the folder, if it is made here.
    """
    _make_folder(os.path.dirname(path), 0o700 if private else 0o777)
    draft = f"{path}.{os.getpid()}.{id(content)}"
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with open(descriptor, "wb", closefd=True) as file:
            file.write(content)
        os.replace(draft, path)
    except BaseException:
        attempted(os.unlink, draft)
        raise
