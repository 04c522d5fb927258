"""A thread of ours that works from time to time.

It is unknown to `threading`, sleeps on a lock, and can be gone before a fork: CPython 3.12 and later warn about a fork
in a threaded process.
"""

from __future__ import annotations

import _thread

from narrative_auto.recorder.threads import block_signals, wait_until_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from narrative_auto.recorder.base import Nap


class Ticker:
    """Calls a function every so often, in a thread of its own.

    Args:
        prepare: called once, first, in that thread.
        work: called after each interval; the thread ends when it returns False.
        interval: seconds.
        new_nap: makes the lock on which it sleeps.
    """

    def __init__(
        self,
        prepare: Callable[[], object],
        work: Callable[[], bool],
        interval: float,
        new_nap: Callable[[], Nap],
    ) -> None:
        self._new_nap = new_nap
        self._prepare = prepare
        self._work = work
        self._interval = interval
        self._closed = False
        self.forget()

    def forget(self) -> None:
        """Know of no thread any more, in a child of fork, where there is none."""
        self._running = False
        self._native_id = 0
        self._starting = _thread.allocate_lock()
        self._wake = self._new_nap()
        self._gone = _thread.allocate_lock()

    def start(self) -> None:
        """Start the thread unless it runs or was closed. Where no thread can be had, nothing happens."""
        if not self._starting.acquire(blocking=False):
            return  # somebody else is just doing it
        try:
            if self._running or self._closed:
                return
            self._wake = self._new_nap()
            self._gone = _thread.allocate_lock()
            self._wake.acquire()
            self._gone.acquire()
            _thread.start_new_thread(self._run, (self._wake, self._gone))
            self._running = True
        except RuntimeError:
            self._wake.end()
        finally:
            self._starting.release()

    def close(self) -> None:
        """End the thread for good."""
        self._closed = True
        self.stop()

    def stop(self, patience: float = 5.0) -> None:
        """End the thread and wait until it is gone, also for the system; at most `patience` seconds."""
        if not self._starting.acquire(timeout=patience):
            return  # a signal handler of the program's raised while the thread was being started
        try:
            if not self._running:
                return
            self._running = False
            self._wake.release()
            if self._gone.acquire(timeout=patience):
                wait_until_gone(self._native_id)
        finally:
            self._starting.release()

    def _run(self, wake: Nap, gone: _thread.LockType) -> None:
        try:
            self._native_id = _thread.get_native_id()
            block_signals()
            self._prepare()
            while not wake.acquire(timeout=self._interval):
                if not self._work():
                    break
        finally:
            wake.end()
            gone.release()
