"""Calls what may never come back, in a thread of its own."""

from __future__ import annotations

import contextvars
import os
import sys
import time
from _thread import allocate_lock, get_native_id, stack_size, start_new_thread
from collections import deque
from types import BuiltinFunctionType

from narrative_auto.errors import attempted
from narrative_auto.recorder.of_process import of_process
from narrative_auto.recorder.threads import block_signals, wait_until_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_STACK = 16 << 20
"""Bytes of a stack, twice what a program's main thread usually has; the system gives what is used of it."""

_MOST_PATIENCE = 0.05
"""Seconds until whoever starts a thread is taken for oneself, in whose place a signal handler runs."""

_LEAST_COMPUTED = 0.1
"""The share of its time from which on a thread that does not come back computes, and does not wait."""

_HAS_THREADS = isinstance(start_new_thread, BuiltinFunctionType)
"""Not where greenlets stand in for them."""


class NoThreadError(Exception):
    """No thread can be had: there are too many, or the interpreter is about to end."""


class TooLateError(SystemExit):
    """Ends a thread of ours that does not come back; as `SystemExit` it does so without a word."""


def called_within(seconds: float, function: Callable[[Any], Any], value: object) -> tuple[Any] | None:
    """Call a function that may never come back, in the caller's context.

    What computes on when its time is over is ended, where the system tells how much a thread has computed; what waits
    is left behind.

    Returns:
        What it gives; None where it raises, or does not come back in time.

    Raises:
        NoThreadError: there is none to be had.
    """
    answers: list[Any] = []
    done, leaving = allocate_lock(), allocate_lock()
    done.acquire()
    run = contextvars.copy_context().run

    def work() -> None:
        try:
            attempted(_prepare)
            answers.append(run(function, value))
        except BaseException:  # noqa: BLE001, S110 - whatever the program's code does
            pass
        finally:
            _threads.ended.append(get_native_id())
            done.release()
        with leaving:
            pass

    ident = _threads.start(work)
    if not done.acquire(timeout=seconds):
        with leaving:  # it does not end meanwhile, so that its number is nobody else's
            if done.locked():
                attempted(_interrupt, ident, seconds)
    return (answers[0],) if answers else None


class _Threads:
    """What this process knows of such threads.

    Attributes:
        ended: those that had their answers, by the system's numbers; it may take a while until they are gone.
    """

    def __init__(self) -> None:
        self.ended: deque[int] = deque(maxlen=16)
        self._starting = allocate_lock()

    def start(self, work: Callable[[], object]) -> int:
        """Start a thread, and return its identifier; with a stack of ours, as what the program chose may be small."""
        if not _HAS_THREADS or sys.is_finalizing() or not self._starting.acquire(timeout=_MOST_PATIENCE):
            raise NoThreadError
        try:
            before = stack_size(_STACK)  # which says what it was, and can be asked in no other way
            try:
                return start_new_thread(work, ())
            finally:
                stack_size(before)
        except (RuntimeError, ValueError):
            raise NoThreadError from None
        finally:
            self._starting.release()

    def wait_until_gone(self) -> None:
        """See to it that no fork meets a thread of ours: CPython warns of threads, and it is none of the program's."""
        while self.ended:
            wait_until_gone(self.ended.popleft())

    def forget(self) -> None:
        """Begin anew in a child of fork, where there are none."""
        self.ended.clear()
        self._starting = allocate_lock()


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_threads.wait_until_gone, after_in_child=_threads.forget)


def _prepare() -> None:
    """Make a thread of ours one that the program's debugger or coverage tool sees, and that our recorder does not."""
    block_signals()
    if of_process.recorder is not None:
        of_process.recorder.mute_thread()
    threading: Any = sys.modules.get("threading")
    for name, use in (("_trace_hook", sys.settrace), ("_profile_hook", sys.setprofile)):
        hook = getattr(threading, name, None)
        if hook is not None:
            use(hook)


def _interrupt(ident: int, seconds: float) -> None:
    """End a thread of ours that computes for ever.

    One that waits is left alone: if it waits for a lock, it would have it, and would not give it back.
    """
    if time.clock_gettime(time.pthread_getcpuclockid(ident)) < _LEAST_COMPUTED * seconds:
        return
    import ctypes  # off the warm path

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooLateError))
