"""The folders where black boxes lie: which there are, whose process lives, and which are too many."""

from __future__ import annotations

import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from narrative_auto.recorder.black_box import BlackBox

SUFFIX = ".box"

KEPT_BOXES = 20
KEPT_BYTES = 200_000_000
"""Black boxes of dead processes that a folder keeps, the newest; no more than either."""


SIGN_OF_LIFE = 60.0
"""Seconds within which a process that lives shows it; it does so four times a second."""


def default_folder(environ_runtime: str = "") -> str:
    """Return the folder of this user's black boxes, where a store into memory waits for no disk.

    Args:
        environ_runtime: `$XDG_RUNTIME_DIR`, "" if it is not set.
    """
    name = f"narrative-{os.geteuid() if hasattr(os, 'geteuid') else 0}"
    for folder in ("/dev/shm", environ_runtime):  # noqa: S108 - a folder of its own below it, the owner's alone
        if folder and sys.platform.startswith("linux") and os.access(folder, os.W_OK | os.X_OK):
            wanted = os.path.join(folder, name)
            if is_private(wanted) is not False:
                return wanted
    return os.path.join("/tmp", name)  # noqa: S108 - the same


def is_private(folder: str) -> bool | None:
    """Return whether a folder is this user's, and nobody else may write to it; None where there is none."""
    try:
        status = os.lstat(folder)
    except OSError:
        return None
    own = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return own and stat.S_ISDIR(status.st_mode) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def boxes_in(folder: str) -> list[str]:
    """Return the paths of the black boxes of a folder, the youngest file first; none of a folder that is not private.

    What others can write could be anything, put there for us to read, move or delete.
    """
    if not is_private(folder):
        return []
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.stat(follow_symlinks=False).st_mtime_ns, entry.path)
                for entry in entries
                if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return []
    return [path for _, path in sorted(found, reverse=True)]


def namespace() -> int:
    """Return the number of the namespace in which this process has its number; 0 where there is no such thing."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def is_written(path: str, pid: int) -> bool:
    """Return whether a process has a black box among its memory.

    A process number says little: it may be another one's by now, or the process has become another program by exec.
    """
    if pid <= 0:
        return False
    if not sys.platform.startswith("linux"):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True
    try:
        inode = str(os.stat(path).st_ino)
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
            return any(line.split(None, 5)[4] == inode for line in maps)
    except PermissionError:
        return os.path.exists(f"/proc/{pid}")
    except (OSError, IndexError):
        return False


def is_alive(head: BlackBox) -> bool:
    """Return whether the process of a black box lives; of one of another container as far as it has shown so lately."""
    if head.identity.get("namespace") in {None, 0, namespace()}:
        return is_written(head.path, head.pid)
    return time.time() - head.wall(max(head.seen_ns, head.clock_ns)) < SIGN_OF_LIFE


def forget_old(folder: str) -> None:
    """Delete the oldest black boxes of dead processes, so that no more than `KEPT_BOXES` are left.

    What a person asked for by a signal stays, and what is no black box is none of our business.
    """
    from narrative_auto.errors import attempted  # off the warm path, as the next one
    from narrative_auto.recorder.black_box import read_head
    from narrative_auto.recorder.layout import COPY

    heads = [head for head in (attempted(read_head, path) for path in boxes_in(folder)) if head is not None]
    heads.sort(key=lambda head: head.wall(max(head.seen_ns, head.clock_ns)), reverse=True)
    kept = kept_bytes = 0
    for head in heads:
        if head.state == COPY or is_alive(head):
            continue
        kept += 1
        try:
            kept_bytes += os.stat(head.path).st_size
            if kept > KEPT_BOXES or kept_bytes > KEPT_BYTES:
                os.remove(head.path)
        except OSError:
            continue
