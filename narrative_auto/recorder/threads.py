"""What threads of ours need, so that a program does not notice them."""

from __future__ import annotations

import os
import sys
import time


def block_signals() -> None:
    """Leave every signal to the program's own threads: one that is delivered here would not wake a blocked one."""
    import _signal  # type: ignore[import-not-found] # the C module: `signal` would import enum

    if hasattr(_signal, "pthread_sigmask"):
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())


def wait_until_gone(native_id: int, limit: float = 0.05) -> None:
    """Wait until the system has taken an ended thread away, where that can be seen: CPython's warning of forks asks it.

    Args:
        native_id: the thread's identifier in the system.
        limit: seconds to wait at most.
    """
    if not sys.platform.startswith("linux") or not native_id:
        return
    task = f"/proc/self/task/{native_id}"
    deadline = time.monotonic() + limit
    while os.path.exists(task) and time.monotonic() < deadline:
        time.sleep(0.0001)
