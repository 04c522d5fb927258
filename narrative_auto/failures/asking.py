"""Asks objects of the program's for their own text, which is the program's code: it may raise, or never come back."""

from __future__ import annotations

import contextvars
import os
import sys
import time
import weakref
from _thread import allocate_lock, get_native_id, start_new_thread
from collections import deque
from types import BuiltinFunctionType

from narrative_auto.errors import attempted
from narrative_auto.failures.brief import is_brief
from narrative_auto.recorder.of_process import of_process
from narrative_auto.recorder.threads import block_signals, wait_until_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MOST_LATE = 100
_LEAST_COMPUTED = 0.1
"""The share of its time from which on a thread that does not come back computes, and does not wait."""

_HAS_THREADS = isinstance(start_new_thread, BuiltinFunctionType)
"""Not where greenlets stand in for them."""

_ended: deque[int] = deque(maxlen=16)
"""Threads that had their answers, by the system's numbers; it may take a while until they are gone."""


class TooLateError(SystemExit):
    """Ends a thread of ours in which a text does not come; as `SystemExit` it does so without a word."""


class OwnText:
    """Asks objects for their own texts, each within a time.

    What is sure to come at once is asked for in the caller's thread. Anything else is asked for in a thread of its own,
    in the caller's context: what does not come back in time is left behind, as is what waits for the caller's locks.

    Args:
        function: what makes a text of an object: `repr` or `str`.
        seconds: how long it may take.
        times: how often an object of a type may be late before its type is not asked any more; the machine may be.
        failed: what stands for a text that cannot be had because its code raises.
    """

    __slots__ = ("_failed", "_function", "_late", "_method", "_seconds", "_times")

    def __init__(
        self, function: Callable[[object], str], seconds: float, *, times: int = 2, failed: str | None = None
    ) -> None:
        self._function = function
        self._method = "__repr__" if function is repr else "__str__"
        self._seconds = seconds
        self._times = times
        self._failed = failed
        self._late: dict[int, tuple[weakref.ref[type], int]] = {}  # by identity: a metaclass may have no hash

    def of(self, value: object) -> str | None:
        """Return an object's own text; None where it does not come in time. It never raises but on Ctrl-C."""
        if is_brief(value, self._method):
            return self._made(value)
        kind = type(value)
        known, times = self._late.get(id(kind), (None, 0))
        if known is None or known() is not kind:
            times = 0
        if times >= self._times:
            return None
        try:
            answer = _called_within(self._seconds, self._made, value)
        except RuntimeError:
            return None
        if answer is None and (times or len(self._late) < _MOST_LATE):
            self._late[id(kind)] = (weakref.ref(kind), times + 1)
        return answer[0] if answer else None

    def _made(self, value: object) -> str | None:
        text = undisturbed(self._function, value)
        return text if isinstance(text, str) else self._failed


def undisturbed(function: Callable[..., Any], /, *args: object) -> Any:
    """Call `function`; what it raises is None, but for the person's own Ctrl-C."""
    try:
        return function(*args)
    except KeyboardInterrupt:
        raise
    # `__str__` is the program's code: a `SystemExit` or a framework's cancellation out of it would end the report,
    # and with it the program's own traceback, which is printed after it.
    except BaseException:  # noqa: BLE001
        return None


def _called_within(seconds: float, function: Callable[[Any], Any], value: object) -> tuple[Any] | None:
    """Call a function that may never come back, in a thread of its own and in the caller's context.

    Returns:
        What it gives; None where it raises, or does not come back in time.

    Raises:
        RuntimeError: no thread can be had.
    """
    if not _HAS_THREADS or sys.is_finalizing():
        raise RuntimeError("no thread can be had")
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
            _ended.append(get_native_id())
            done.release()
        with leaving:
            pass

    ident = start_new_thread(work, ())
    if not done.acquire(timeout=seconds):
        with leaving:  # it does not end meanwhile, so that its number is nobody else's
            if done.locked():
                attempted(_interrupt, ident, seconds)
    return (answers[0],) if answers else None


def _wait_until_gone() -> None:
    """See to it that no fork meets a thread of ours: CPython warns of threads, and it is none of the program's."""
    while _ended:
        wait_until_gone(_ended.popleft())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_until_gone)


def _prepare() -> None:
    block_signals()
    if of_process.recorder is not None:
        of_process.recorder.mute_thread()


def _interrupt(ident: int, seconds: float) -> None:
    """End a thread of ours that computes for ever.

    One that waits is left alone: if it waits for a lock, it would have it, and would not give it back.
    """
    if time.clock_gettime(time.pthread_getcpuclockid(ident)) < _LEAST_COMPUTED * seconds:
        return
    import ctypes  # off the warm path

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooLateError))
