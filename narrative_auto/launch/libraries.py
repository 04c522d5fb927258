"""What this process does about functions of libraries: see `instrument.foreign` and `instrument.library_events`."""

from __future__ import annotations

from narrative_auto.instrument.foreign import COMPILES, LOADS_MODULE, PICKLES, READS_CODE, Watch
from narrative_auto.instrument.library_events import (
    BEGINS_WORKER,
    ENDS_WORKER,
    LEFT_LOOP,
    LEFT_REQUEST,
    LEFT_THREAD,
    LEFT_WORKER,
    LOGS,
    STARTS_PROCESS,
    WARNS,
)
from narrative_auto.instrument.originals import restore, restore_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from narrative_auto.instrument.engines.choice import Engines
    from narrative_auto.instrument.isolation import Isolation
    from narrative_auto.launch.crashes import Crashes
    from narrative_auto.launch.workers import Workers
    from narrative_auto.recorder.base import Recorder


def watch_libraries(
    engines: Engines,
    recorder: Recorder,
    isolation: Isolation,
    crashes: Crashes | None,
    workers: Workers,
    instrument_loaded: Callable[[Any], object],
    step_aside: Callable[[], object],
) -> Watch:
    """Return what to do about functions of libraries.

    Args:
        engines: at work in this process.
        recorder: of this process.
        isolation: our own imports on the way.
        crashes: takes failures that the program survives; None where a person sees each as it comes.
        workers: takes what ends this process, where it is a worker of `multiprocessing`.
        instrument_loaded: takes in a module that was loaded by other means than a finder.
        step_aside: called before a compiler of whatever function is called is imported.
    """

    def begin_worker(_: Any) -> None:
        watch.also(LEFT_WORKER, workers.told)

    witness = Witness(isolation, recorder)
    act: dict[str, Callable[[Any], object]] = {
        LOGS: witness.log,
        WARNS: witness.warning,
        STARTS_PROCESS: witness.process,
    }
    if crashes is not None:
        act |= {
            LEFT_LOOP: crashes.left_loop,
            LEFT_THREAD: crashes.left_thread,
            LEFT_REQUEST: crashes.left_request,
            BEGINS_WORKER: begin_worker,
            ENDS_WORKER: workers.ended,
        }
    if engines.rewriter is not None:
        act |= {
            READS_CODE: restore,
            COMPILES: lambda _: restore_all(),
            PICKLES: lambda function: restore(function, only_by_value=True),
        }
        if engines.companion is None:
            act[LOADS_MODULE] = instrument_loaded
    watch: Watch = Watch(act, step_aside, recorder.watcher)
    return watch


class Witness:
    """What library functions report to: see `instrument.library_events`. What it needs is imported when it is needed.

    Args:
        isolation: our own imports on the way.
        recorder: knows whether anything can be imported.
    """

    def __init__(self, isolation: Isolation, recorder: Recorder) -> None:
        self._isolation = isolation
        self._recorder = recorder
        self._seeing: Any = None

    def log(self, record: Any) -> None:
        """Take down a log record."""
        if self._can_see():
            self._seeing.see_log(record)

    def warning(self, message: Any) -> None:
        """Take down a warning."""
        if self._can_see():
            self._seeing.see_warning(message)

    def process(self, arguments: Any) -> None:
        """Take down a command line."""
        if self._can_see():
            self._seeing.see_process(arguments)

    def _can_see(self) -> bool:
        if self._seeing is None and not self._recorder.lacks_files():
            with self._isolation:
                from narrative_auto.crumbs import automatic
            self._seeing = automatic
        return self._seeing is not None
