"""Calls what may never come back, in a thread of its own."""

from __future__ import annotations

import contextvars
import gc
import os
import sys
import time
from _thread import allocate_lock, get_ident, get_native_id, stack_size, start_new_thread
from collections import deque
from functools import partial
from opcode import opmap
from types import BuiltinFunctionType, CodeType

from narrative_auto.errors import attempted, attempted_within
from narrative_auto.recorder.of_process import of_process
from narrative_auto.recorder.threads import wait_until_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

_MOST_LATE = 10
"""Threads that may be left behind at a time; as long as there are so many, no other is started."""

_LEAST_COMPUTED = 0.005
"""Seconds of its processor's time from which on a thread that does not come back computes, and does not wait."""

_LEAST_STACK = 1 << 20
"""Bytes that Python's usual limit of recursion needs, through C code at each level."""

_HOLDS = frozenset(opmap[name] for name in ("BEFORE_WITH", "BEFORE_ASYNC_WITH", "LOAD_SPECIAL") if name in opmap)
"""Instructions of `with`."""

_HOLDS_BY_NAME = frozenset(("acquire", "__enter__", "lock"))

_OF_CALLBACKS = frozenset(("weakref", "_weakrefset"))
"""Modules with functions that are called when an object is gone."""

_TRIES = 10
"""How often a thread is looked at, a millisecond apart, until it may be ended."""

_HAS_THREADS = isinstance(start_new_thread, BuiltinFunctionType)
"""Not where greenlets stand in for them."""


class NoThreadError(Exception):
    """No thread can be had."""


class EndingError(NoThreadError):
    """No thread is started any more: in exit handlers of 3.12.0 and .1, on other versions only after them."""


class TooLateError(SystemExit):
    """Ends a thread of ours that does not come back; as `SystemExit` it does so without a word."""


class _Threads:
    """The threads of ours in this process.

    Attributes:
        working: those that have not come back, by their identifiers.
        late: those among them whose time is over.
        ended: those that had their answers, by the system's numbers; it may take a while until they are gone.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew in a child of fork, where there are none."""
        self.working: set[int] = set()
        self.late: set[int] = set()
        self.ended: deque[int] = deque(maxlen=16)

    def wait_until_gone(self) -> None:
        """See to it that no fork meets a thread of ours: CPython warns of threads, and it is none of the program's."""
        while self.ended:
            try:
                wait_until_gone(self.ended.popleft())
            except IndexError:  # another thread that forks has taken it
                return


_threads = _Threads()


def _untraced(function: Callable[[], object]) -> Callable[[], object]:
    """Return a function of ours out of sight of the program's tools, where there is a recorder that can have it so."""
    return function if of_process.recorder is None else partial(of_process.recorder.untraced, function)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_untraced(_threads.wait_until_gone), after_in_child=_untraced(_threads.forget))


def called_within(seconds: float, function: Callable[[Any], Any], value: object) -> tuple[Any] | None:
    """Call a function that may never come back, in the caller's context.

    What computes on when its time is over is ended, where the system tells how much a thread has computed, and where it
    can hold no lock; what waits is left behind. What is called from such a thread has the time of that one.

    Returns:
        What it gives; None where it raises, or does not come back in time.

    Raises:
        NoThreadError: there is none to be had.
        EndingError: none is started any more.
    """
    if get_ident() in _threads.working:
        return (function(value),)
    if not _HAS_THREADS or sys.is_finalizing() or len(_threads.late) >= _MOST_LATE or not _are_stacks_large():
        raise NoThreadError
    answers: list[Any] = []
    done, leaving = allocate_lock(), allocate_lock()
    done.acquire()
    run = contextvars.copy_context().run

    def work() -> None:
        try:
            _threads.working.add(get_ident())
            attempted(_prepare)
            answers.append(run(function, value))
        except BaseException:  # noqa: BLE001, S110 - whatever the program's code does
            pass
        finally:
            try:
                leave()
            finally:  # a thread is interrupted once at most, maybe just now
                leave()

    def leave() -> None:
        if done.locked():
            _threads.ended.append(get_native_id())
            done.release()
        with leaving:
            _threads.working.discard(get_ident())
            _threads.late.discard(get_ident())
            attempted(_forget_dummy, get_ident())

    try:
        ident = start_new_thread(work, ())
    except RuntimeError as error:
        raise EndingError if "shutdown" in str(error) else NoThreadError from None
    if not done.acquire(timeout=seconds):
        with leaving:  # it does not end meanwhile, so that its number is nobody else's
            if done.locked():
                _threads.late.add(ident)
                attempted_within(_interrupt, ident, done)
    return (answers[0],) if answers else None


def _are_stacks_large() -> bool:
    """Return whether a recursion without end is an exception in a new thread, and no crash."""
    chosen = stack_size()  # which sets it to the system's, and there is no other way to ask
    if chosen:
        stack_size(chosen)
    return not 0 < chosen < _LEAST_STACK


def _prepare() -> None:
    """Make a thread of ours one that the program's debugger or coverage tool sees, and that our recorder does not."""
    if of_process.recorder is not None:
        of_process.recorder.mute_thread()
    threading: Any = sys.modules.get("threading")
    for name, use in (("_trace_hook", sys.settrace), ("_profile_hook", sys.setprofile)):
        hook = getattr(threading, name, None)
        if hook is not None:
            use(hook)


def _forget_dummy(ident: int) -> None:
    """Take away what `threading` has made up for a thread of ours that asked who it is: before 3.13 it keeps that."""
    threading: Any = sys.modules.get("threading")
    if threading is not None and type(threading._active.get(ident)) is threading._DummyThread:  # noqa: SLF001
        del threading._active[ident]  # noqa: SLF001


def _interrupt(ident: int, done: LockType) -> None:
    """End a thread of ours that computes for ever.

    One that waits is left alone, as is one that may hold a lock of the program's: it might not give it back.
    """
    if time.clock_gettime(time.pthread_getcpuclockid(ident)) < _LEAST_COMPUTED:
        return
    import ctypes  # off the warm path

    for _ in range(_TRIES):
        time.sleep(0.001)  # from here on there is time to look and to act before the thread goes on
        if not done.locked():
            return
        if _may_be_ended(sys._current_frames()[ident]):  # noqa: SLF001 - the one way to another thread's frames
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooLateError))
            return


def _may_be_ended(frame: FrameType | None) -> bool:
    """Return whether none of a thread's functions is of a kind that takes locks, or that others do not expect to fail.

    Functions that the interpreter calls at any time, when memory is freed, can only be told by where they are known.
    """
    callbacks = {_code_of(callback) for callback in gc.callbacks}
    while frame is not None and frame.f_code.co_filename != __file__:
        code = frame.f_code
        if (
            code.co_name == "__del__"
            or code in callbacks
            or dict.get(frame.f_globals, "__name__") in _OF_CALLBACKS
            or _HOLDS_BY_NAME.intersection(code.co_names)
            or _HOLDS.intersection(code.co_code[::2])
        ):
            return False
        frame = frame.f_back
    return True


def _code_of(callback: object) -> CodeType | None:
    """Return the code of a function, a method or an object that can be called, None if it is not Python's."""
    function = getattr(callback, "__func__", callback)
    code = getattr(function, "__code__", None) or getattr(type(callback).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
