"""The hook for an unhandled exception: the dump first, then what Python itself prints, then the report."""

from __future__ import annotations

import os
import sys

from narrative_auto.errors import guarded
from narrative_auto.instrument.script import RUNPY_FRAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

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


class CrashHook:
    """Stands in front of `sys.excepthook`, and goes on to the hook that it found there.

    Args:
        prepare: given the exception before anything is printed; its result is handed to `report`.
        report: called after the previous hook.
        strip_runpy: whether the frames of `runpy` below `__main__` are there only because of us.

    Attributes:
        outcome: "failed" or "interrupted" once an exception went unhandled, "" before.
        prepared: what `prepare` gave, None before or after a fault of ours.
    """

    def __init__(
        self,
        prepare: Callable[[BaseException], Any],
        report: Callable[[Any], None],
        strip_runpy: Callable[[], bool],
    ) -> None:
        self._prepare = prepare
        self._report = report
        self._strip_runpy = strip_runpy
        self._previous: Any = None
        self.outcome = ""
        self.prepared: Any = None

    def install(self) -> None:
        """Become the hook.

        Where the interpreter's own hook was in place, its name for that is ours too: `code.InteractiveConsole` compares
        the two, and many a program's hook ends with `sys.__excepthook__(…)`.
        """
        self._previous = sys.excepthook
        if self._previous is sys.__excepthook__:
            sys.__excepthook__ = self
        sys.excepthook = self

    @property
    def was_replaced(self) -> bool:
        """Whether the program has put another hook in our place."""
        return sys.excepthook is not self

    def __call__(self, error_type: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        """Meet an exception that nothing has handled. The previous hook is called whatever happens to us."""
        if _program_goes_on():
            self._previous(error_type, error, traceback)
            return
        shown = guarded("cleaning the traceback", self._clean, error, traceback)
        traceback = shown if shown is not None else traceback
        if isinstance(error, KeyboardInterrupt):
            self.outcome = "interrupted"
        else:
            self.outcome = "failed"
            self.prepared = guarded("preparing the crash report", self._prepare, error)
        self._previous(error_type, error, traceback)
        if self.prepared is not None:
            guarded("reporting the crash", self._report, self.prepared)

    def meet_late(self, error: BaseException) -> None:
        """Report an exception that another hook has met without handing it on, at the program's end."""
        self.outcome = "failed"
        self.prepared = guarded("preparing the crash report", self._prepare, error)
        if self.prepared is not None:
            guarded("reporting the crash", self._report, self.prepared)

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
        if error.__traceback__ is not traceback:
            error.__traceback__ = traceback
            sys.last_traceback = traceback
        return traceback


def _program_goes_on() -> bool:
    """Return whether somebody in the program calls the hook: a console of its own (`code.interact`), a logger.

    The interpreter calls it when no frame of the program is left, at most those of other hooks that hand on to ours.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - the question is who calls
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_name in {"<module>", "_run_module_as_main"}
