"""Calls code of the program's that may never come back, in the thread that asks for it, and interrupts it in time.

Code that is written in Python is interrupted at its next call or jump back; a single call of C code is waited for.
"""

from __future__ import annotations

import _thread
import os
import sys
import time

from narrative_auto.errors import attempted
from narrative_auto.recorder.ticker import PlainNap, Ticker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_EVERY = 0.05
"""Seconds between two looks at the calls that go on."""

_IDLE_LOOKS = 3
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
            _looker.start()
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


_idle = [0]


def _look() -> bool:
    """Interrupt what takes too long; return False when there has been nothing to look after for a while."""
    _idle[0] = 0 if _calls else _idle[0] + 1
    for thread, call in list(_calls.items()):
        if time.monotonic() > call.until:
            call.settled = False
            call.fired = True
            if _calls.get(thread) is call:
                attempted(_interrupt, thread, TooLongError)
            call.settled = True
    return _idle[0] < _IDLE_LOOKS


def _look_on() -> None:
    """Go on where calls do: in a process that has forked, or where one has begun while the last look was taken."""
    if _calls:
        _looker.start(waits=True)


_looker = Ticker(lambda: _idle.__setitem__(0, 0), _look, _EVERY, PlainNap, _look_on)


def _begin_child() -> None:
    """Know of no other thread any more, in a child of fork."""
    for thread in [one for one in _calls if one != _thread.get_ident()]:
        _calls.pop(thread, None)
    _looker.forget()
    _look_on()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_looker.stop, after_in_parent=_look_on, after_in_child=_begin_child)


def _interrupt(thread: int, error: type[BaseException] | None) -> None:
    """Let a thread raise an exception as soon as it runs Python code again; None takes that back."""
    import ctypes

    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
