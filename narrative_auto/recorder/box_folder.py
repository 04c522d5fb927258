"""The folders where black boxes lie: which there are, whose process lives, and which are too many."""

from __future__ import annotations

import os
import sys

SUFFIX = ".box"

KEPT_BOXES = 20
KEPT_BYTES = 200_000_000
"""Black boxes of dead processes that a folder keeps, the newest; no more than either."""


def default_folder(environ_runtime: str = "") -> str:
    """Return the folder of this user's black boxes, where a store into memory waits for no disk.

    Args:
        environ_runtime: `$XDG_RUNTIME_DIR`, "" if it is not set.
    """
    name = f"narrative-{os.geteuid() if hasattr(os, 'geteuid') else 0}"
    for folder in ("/dev/shm", environ_runtime):  # noqa: S108 - a folder of its own below it, the owner's alone
        if folder and sys.platform.startswith("linux") and os.access(folder, os.W_OK | os.X_OK):
            return os.path.join(folder, name)
    return os.path.join("/tmp", name)  # noqa: S108 - the same


def boxes_in(folder: str) -> list[str]:
    """Return the paths of the black boxes of a folder, the one that began last first; empty where there is none."""
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


def forget_old(folder: str) -> None:
    """Delete the oldest black boxes of dead processes, so that no more than `KEPT_BOXES` are left."""
    from narrative_auto.recorder.black_box import BoxError, read_head  # off the warm path

    kept = kept_bytes = 0
    paths = boxes_in(folder)
    for path in paths:
        try:
            pid = read_head(path).pid
            size = os.stat(path).st_size
        except (OSError, BoxError):
            pid = size = 0
        if is_written(path, pid):
            continue
        kept += 1
        kept_bytes += size
        if kept > KEPT_BOXES or kept_bytes > KEPT_BYTES:
            try:
                os.remove(path)
            except OSError:
                continue
