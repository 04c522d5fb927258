"""The hook for an unhandled exception: the dump first, then what Python itself prints, then the report."""

from __future__ import annotations

import _thread
import os
import sys

from narrative_auto.errors import guarded, shielded
from narrative_auto.instrument.script import RUNPY_FRAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from narrative_auto.recorder.base import Recorder

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def stay_interrupted() -> None:
    """Let the process die of SIGINT as CPython means it to, after code of ours ran at its end.

    An unhandled KeyboardInterrupt sets a flag that is looked at when everything is over. Up to CPython 3.13 an import
    in between (a module's code is executed) clears it; a KeyboardInterrupt that leaves executed code sets it again.
    """
    try:
        exec("raise KeyboardInterrupt")  # noqa: S102 - see above
    except KeyboardInterrupt:
        pass


_LEVELS = 1_000
_FUNCTIONS = (type(stay_interrupted), type(len))


class EnoughRoom:
    """Gives our own work at the end of a program the room that it needs; it may have left itself little.

    That is levels of recursion, and open files where a higher limit is allowed: the module of the standard library that
    raises it cannot be imported any more.

    Args:
        recorder: it can raise that limit.
    """

    __slots__ = ("_has_more_files", "_levels", "_recorder")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        """Begin."""
        self._levels = sys.getrecursionlimit()
        if self._levels < _LEVELS:
            sys.setrecursionlimit(_LEVELS)
        self._has_more_files = self._recorder.more_files()

    def __exit__(self, *_: object) -> None:
        """End."""
        if self._has_more_files:
            self._recorder.fewer_files()
        if self._levels < _LEVELS:
            sys.setrecursionlimit(self._levels)


class CrashHook:
    """Stands in front of `sys.excepthook`, and goes on to the hook that it found there.

    Args:
        recorder: of this process.
        prepare: given the exception before anything is printed; its result is handed to `report`.
        report: called after the previous hook.
        interrupted: called in its place where Ctrl-C ended the program.
        strip_runpy: whether the frames of `runpy` below `__main__` are there only because of us.
        left_main: the identity of the exception that left `__main__`, 0 for none; None where that is not watched.

    Attributes:
        outcome: "failed" or "interrupted" once an exception went unhandled, "" before.
        dies_of_signal: the process is to die of SIGINT: CPython has it so for KeyboardInterrupt itself, no subclass.
        prepared: what `prepare` gave, None before or after a fault of ours.
    """

    def __init__(
        self,
        recorder: Recorder,
        prepare: Callable[[BaseException], Any],
        report: Callable[[Any], None],
        interrupted: Callable[[BaseException], None],
        strip_runpy: Callable[[], bool],
        left_main: Callable[[], int | None],
    ) -> None:
        self._recorder = recorder
        self._prepare = prepare
        self._report = report
        self._interrupted = interrupted
        self._strip_runpy = strip_runpy
        self._left_main = left_main
        self._thread = 0
        self._previous: Any = None
        self.outcome = ""
        self.dies_of_signal = False
        self.prepared: Any = None

    def install(self) -> None:
        """Become the hook.

        Where the interpreter's own hook was in place, its name for that is ours too: `code.InteractiveConsole` compares
        the two, and many a program's hook ends with `sys.__excepthook__(…)`.
        """
        self._thread = _thread.get_ident()
        self._previous = sys.excepthook
        if self._previous is sys.__excepthook__:
            sys.__excepthook__ = self
        sys.excepthook = self

    @property
    def was_replaced(self) -> bool:
        """Whether the program has put another hook in our place."""
        return getattr(sys, "excepthook", None) is not self

    def __call__(self, error_type: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        """Meet an exception that nothing has handled. The previous hook is called whatever happens to us."""
        if not self._is_the_end(error):
            self._previous(error_type, error, traceback)
            return
        shown = shielded("cleaning the traceback", self._clean, error, traceback)
        traceback = shown if shown is not None else traceback
        if issubclass(type(error), KeyboardInterrupt):  # isinstance would ask the exception for its __class__
            self.outcome = "interrupted"
            self.dies_of_signal = type(error) is KeyboardInterrupt
        else:
            self.outcome = "failed"
            with EnoughRoom(self._recorder):
                self.prepared = shielded("preparing the crash report", self._prepare, error)
        self._previous(error_type, error, traceback)
        with EnoughRoom(self._recorder):
            if self.outcome == "interrupted":
                shielded("saying where the program was", self._interrupted, error)
            if self.prepared is not None:
                shielded("reporting the crash", self._report, self.prepared)

    def _is_the_end(self, error: BaseException) -> bool:
        """Return whether the interpreter calls because the program has failed, not the program for a purpose.

        Consoles (`code.interact`), loggers and hooks for threads call it too. Where `__main__` is watched, the end is
        the exception that left it; else it comes in the main thread with no frame of the program below the hooks'.
        """
        if _thread.get_ident() != self._thread:
            return False
        left_main = self._left_main()
        if left_main is not None:
            return left_main == id(error)
        frame = sys._getframe(1).f_back  # noqa: SLF001 - the question is who calls
        while frame is not None and frame.f_back is not None:
            frame = frame.f_back
        return frame is None or frame.f_code.co_name not in {"<module>", "_run_module_as_main"}

    def meet_late(self, error: BaseException) -> None:
        """Report an exception that another hook has met without handing it on, at the program's end."""
        self.outcome = "failed"
        with EnoughRoom(self._recorder):
            self.prepared = guarded("preparing the crash report", self._prepare, error)
            if self.prepared is not None:
                shielded("reporting the crash", self._report, self.prepared)

    def _clean(self, error: BaseException, traceback: TracebackType | None) -> TracebackType | None:
        """Take the frames that are there because of us out of an exception's traceback, and return it.

        A signal handler may have raised within a probe, and `runpy` runs `__main__` for us.
        """
        if traceback is None:
            return None
        if self._strip_runpy():
            while (
                traceback.tb_next is not None
                and traceback.tb_frame.f_code.co_name in RUNPY_FRAMES
                and "runpy" in traceback.tb_frame.f_code.co_filename
            ):
                traceback = traceback.tb_next
        step: TracebackType | None = traceback
        while step is not None:
            while step.tb_next is not None and step.tb_next.tb_frame.f_code.co_filename.startswith(_PACKAGE):
                step.tb_next = step.tb_next.tb_next
            step = step.tb_next
        kept = BaseException.__dict__["__traceback__"]  # a class of the program's may have a property of that name
        if kept.__get__(error) is not traceback:
            kept.__set__(error, traceback)
            sys.last_traceback = traceback
        return traceback


class UnraisableHook:
    """Stands in front of `sys.unraisablehook`, and goes on to the hook that it found there.

    Args:
        report: given the exception and in what it happened, after the previous hook; neither is kept.
    """

    def __init__(self, report: Callable[[BaseException, str], None]) -> None:
        self._report = report
        self._previous: Any = None

    def install(self) -> None:
        """Become the hook, under both of its names where the interpreter's own was in place."""
        self._previous = sys.unraisablehook
        if self._previous is sys.__unraisablehook__:
            sys.__unraisablehook__ = self
        sys.unraisablehook = self

    def remove(self) -> None:
        """Give the place back: while the interpreter ends no Python code is sure to run, a debugger's least of all."""
        if sys.unraisablehook is self:
            sys.unraisablehook = self._previous
        if sys.__unraisablehook__ is self:
            sys.__unraisablehook__ = self._previous

    def __call__(self, unraisable: Any, /) -> None:
        """Meet an exception that nobody could be given."""
        self._previous(unraisable)
        error = unraisable.exc_value
        if error is not None and not sys.is_finalizing():
            shielded("reporting a failure", self._told, error, unraisable)

    def _told(self, error: BaseException, unraisable: Any) -> None:
        what = unraisable.object.__qualname__ if type(unraisable.object) in _FUNCTIONS else ""
        if not what:  # from CPython 3.14 on the message names the function
            what = str(unraisable.err_msg or "").partition("<function ")[2].partition(" at 0x")[0]
        self._report(error, what or "the interpreter")
