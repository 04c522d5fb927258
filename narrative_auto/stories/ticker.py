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

    from narrative_auto.recorder.base import Nap, Recorder


class Ticker:
    """Calls a function every so often, in a thread of its own.

    Args:
        recorder: lets that thread go unseen, and makes the lock on which it sleeps.
        work: called after each interval; the thread ends when it returns False.
        interval: seconds.
    """

    def __init__(self, recorder: Recorder, work: Callable[[], bool], interval: float) -> None:
        self._recorder = recorder
        self._work = work
        self._interval = interval
        self._closed = False
        self.forget()

    def forget(self) -> None:
        """Know of no thread any more, in a child of fork, where there is none."""
        self._running = False
        self._native_id = 0
        self._starting = _thread.allocate_lock()
        self._wake = self._recorder.new_nap()
        self._gone = _thread.allocate_lock()

    def start(self) -> None:
        """Start the thread unless it runs or was closed. Where no thread can be had, nothing happens."""
        if not self._starting.acquire(blocking=False):
            return  # somebody else is just doing it
        try:
            if self._running or self._closed:
                return
            wake, gone = self._wake, self._gone = self._recorder.new_nap(), _thread.allocate_lock()
            wake.acquire()
            gone.acquire()
            # A profiler that uses `sys.monitoring`, as cProfile does from CPython 3.12 on, sees all threads.
            _thread.start_new_thread(self._recorder.untraced, (lambda: self._run(wake, gone),))
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
            self._recorder.mute_thread()
            while not wake.acquire(timeout=self._interval):
                if not self._work():
                    break
        finally:
            wake.end()
            gone.release()
