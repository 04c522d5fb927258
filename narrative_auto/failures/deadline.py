"""Calls code of the program's that may never come back, in the thread that asks for it, and interrupts it in time.

Code that is written in Python is interrupted at its next call or jump back; a single call of C code is waited for.
"""

from __future__ import annotations

import _thread
import os
import sys
import time

from narrative_auto.errors import attempted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_EVERY = 0.05
"""Seconds between two looks at the calls that go on."""

_IDLE_LOOKS = 40
"""Looks at nothing after which nobody looks any more."""


class TooLongError(BaseException):
    """The code has been interrupted; no `except Exception` of its own is to take this for a fault of its."""


class _Call:
    """A call that goes on.

    Attributes:
        until: of the monotonic clock, in seconds.
        fired: it was, or is about to be, interrupted.
        settled: nobody is about to do so at this moment.
    """

    __slots__ = ("fired", "settled", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.fired = False
        self.settled = True


_calls: dict[int, _Call] = {}
"""By thread; each step on it is one, so that no lock is needed, which the code that is called could hold."""

_looking_in = [0]
"""The process in which a thread looks after the calls; 0 for none."""


def in_time(seconds: float, function: Callable[..., Any], /, *args: object) -> Any:
    """Call a function and return what it returns, or raise what it raises.

    In a process with greenlets there is no deadline: another one may be running when it comes.

    Args:
        seconds: after which it is interrupted.
        function: what to call with the remaining arguments.

    Raises:
        TooLongError: it was interrupted.
    """
    thread = _thread.get_ident()
    if thread in _calls or "greenlet" in sys.modules:  # within another call, whose deadline holds
        return function(*args)
    call = _calls[thread] = _Call(time.monotonic() + seconds)
    try:
        try:
            _see_that_somebody_looks(thread)
            return function(*args)
        finally:
            _settle(thread, call)
    except TooLongError:
        _settle(thread, call)  # the interruption may have come within the first one
        raise


def _settle(thread: int, call: _Call) -> None:
    """Take a call out of the table; no interruption is under way afterwards.

    Who interrupts sets `fired` before looking whether the call is in the table still, so either it is seen here, or
    the call's absence is seen there.
    """
    while True:
        try:
            _calls.pop(thread, None)
            if call.fired:
                while not call.settled:
                    time.sleep(0)
                _interrupt(thread, None)
        except TooLongError:
            continue
        return


def _see_that_somebody_looks(thread: int) -> None:
    here = os.getpid()
    if _looking_in[0] == here:
        return
    if _looking_in[0]:  # a child of fork, which has none of the other threads
        for other in [one for one in _calls if one != thread]:
            _calls.pop(other, None)
    _looking_in[0] = here
    if attempted(_thread.start_new_thread, _look, ()) is None:  # the interpreter is about to end
        _looking_in[0] = 0


def _look() -> None:
    """Interrupt what takes too long, until there has been nothing to look after for a while."""
    looks = 0
    while looks < _IDLE_LOOKS:
        time.sleep(_EVERY)
        looks = 0 if _calls else looks + 1
        for thread, call in list(_calls.items()):
            if time.monotonic() > call.until:
                call.settled = False
                call.fired = True
                if _calls.get(thread) is call:
                    attempted(_interrupt, thread, TooLongError)
                call.settled = True
    _looking_in[0] = 0
    for thread in list(_calls)[:1]:  # it has begun just now
        _see_that_somebody_looks(thread)


def _interrupt(thread: int, error: type[BaseException] | None) -> None:
    """Let a thread raise an exception as soon as it runs Python code again; None takes that back."""
    import ctypes

    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
