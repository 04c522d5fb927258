"""Workers of `multiprocessing`, however they are started: what ends them, and that their stories end before they do."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from narrative_auto.crash.hooks import CrashHook
    from narrative_auto.instrument.exit_watch import ExitWatch


class Workers:
    """What this process does about being a worker, or having some.

    Args:
        crash: takes the exception that ends this worker.
        watch: takes the exit status with which it ends.
        end: ends the story; more than once does nothing.
    """

    def __init__(self, crash: CrashHook, watch: ExitWatch, end: Callable[[], object]) -> None:
        self._crash = crash
        self._watch = watch
        self._end = end
        self._end_well = self._finished = False

    def end_well(self) -> None:
        """Have the stories of forked workers ended: they end by `os._exit`, so nothing else would."""
        util = sys.modules.get("multiprocessing.util")
        if util is None or self._end_well:
            return
        self._end_well = True

        def begin_worker(workers: Workers) -> None:
            util.Finalize(None, workers.finish, exitpriority=-(1 << 30))  # the last of all

        util.register_after_fork(self, begin_worker)

    def finish(self) -> None:
        """Tell the end of a forked worker.

        Up to some version of CPython 3.12 it comes while an exception is on its way, if there is one.
        """
        error = sys.exc_info()[1]
        if isinstance(error, SystemExit):
            self._watch.left(id(error), type(error), error)
        elif error is not None:
            self._left_by(error)
        self._finished = True
        self._end()

    def ended(self, status: Any) -> None:
        """Take in the exit status with which this worker ends."""
        if type(status) is int:
            self._watch.status = status & 0xFF

    def told(self, _: Any) -> None:
        """Take down the exception that `traceback` has printed, where it did so for `multiprocessing`."""
        error = sys.exc_info()[1]
        frame = sys._getframe(1)  # noqa: SLF001 - the question is for whom it is printed
        while frame.f_code.co_name != "print_exc" and frame.f_back is not None:
            frame = frame.f_back
        caller = frame.f_back
        if error is not None and caller is not None and caller.f_code.co_qualname == "BaseProcess._bootstrap":
            self._left_by(error)

    def _left_by(self, error: BaseException) -> None:
        if self._finished or self._crash.outcome:
            return
        if issubclass(type(error), KeyboardInterrupt):
            self._crash.outcome = "interrupted"
            return
        self._crash.meet_late(error)
