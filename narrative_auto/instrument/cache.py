"""Keeps rewritten code on disk, beside the interpreter's own, so that a warm start neither compiles nor rewrites.

A file holds, in this order: 8 bytes `SIGNATURE`; 8 bytes, the hash of all that follows; 8 bytes, the hash of the stamp
(what must be the same of the source and of the interpreter's own cache file for this one to be used); the rest is
`marshal` data: (code, plan, declined). What cannot be read or written is as if it were not there.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source

from narrative_auto.errors import attempted
from narrative_auto.instrument.engines.rewrite import VERSION, Prepared

SIGNATURE = b"narrat\r\n"

_KEY = int.from_bytes(MAGIC_NUMBER, "little")
_HASH_BASED, _CHECKED = 1, 2
"""Flags of a `.pyc` file: it goes by the hash of its source, and that is to be checked (PEP 552)."""

_HEADER = 16
"""Bytes of a `.pyc` file before its code."""


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
        try:
            beside = cache_from_source(filename)
        except (NotImplementedError, ValueError):  # sys.implementation.cache_tag is None; a name without a stem
            return None
        name = f"{os.path.basename(beside).removesuffix('.pyc')}.narrative-{self._tag}"
        if not self._folder:
            return os.path.join(os.path.dirname(beside), name)
        return os.path.join(self._folder, os.path.dirname(os.path.abspath(filename)).lstrip(os.sep), name)

    @staticmethod
    def stamp(filename: str) -> bytes:
        """Return what decides which code a source file stands for, by the rules of the interpreter's own loader.

        That is its time and size, and the head of the `.pyc` file beside it, which may be used whatever the source
        says (an unchecked hash); and the source's hash where that is what is looked at. Empty if there is no telling.
        """
        try:
            status = os.stat(filename)
            parts = [b"%d %d" % (status.st_mtime_ns, status.st_size)]
            try:
                with open(cache_from_source(filename), "rb") as file:
                    head = file.read(_HEADER)
            except (OSError, NotImplementedError):
                head = b""
            parts.append(head)
            flags = int.from_bytes(head[4:8], "little")
            checks = getattr(_imp, "check_hash_based_pycs", "default")
            if flags & _HASH_BASED and checks != "never" and (flags & _CHECKED or checks == "always"):
                with open(filename, "rb") as file:
                    parts.append(_imp.source_hash(_KEY, file.read()))
        except OSError:
            return b""
        return checks.encode() + b" ".join(parts)

    def get(self, filename: str, stamp: bytes) -> Prepared | None:
        """Return the prepared code of a source file if what is kept was made from that stamp."""
        path = self.path(filename)
        if path is None or not stamp:
            return None
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            content = b""
        if (
            content[:8] != SIGNATURE
            or content[16:24] != _imp.source_hash(_KEY, stamp)
            or content[8:16] != _imp.source_hash(_KEY, content[16:])
        ):
            self.misses += 1
            return None
        code, plan, declined = marshal.loads(memoryview(content)[24:])  # noqa: S302 - as sound as a .pyc file beside it
        # As the interpreter's loader does: a folder may have moved.
        _imp._fix_co_filename(code, filename)  # type: ignore[attr-defined] # noqa: SLF001
        self.hits += 1
        return Prepared(code, plan, declined)

    def put(self, filename: str, stamp: bytes, prepared: Prepared) -> None:
        """Keep the prepared code of a source file, unless the interpreter may not keep bytecode either."""
        path = self.path(filename)
        if path is None or not stamp or sys.dont_write_bytecode:
            return
        data = marshal.dumps((prepared.code, prepared.plan, prepared.declined))
        body = _imp.source_hash(_KEY, stamp) + data
        attempted(_write, path, SIGNATURE + _imp.source_hash(_KEY, body) + body)


def _write(path: str, content: bytes) -> None:
    """Write a file in one step: a reader finds the old one, the new one or none."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    draft = f"{path}.{os.getpid()}.{id(content)}"
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with open(descriptor, "wb", closefd=True) as file:
            file.write(content)
        os.replace(draft, path)
    except BaseException:
        attempted(os.unlink, draft)
        raise
