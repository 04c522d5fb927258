"""Tells the crumbs when an exception goes unhandled: in the main thread, in others, in tasks, in `__del__`."""

from __future__ import annotations

import atexit
import sys
from typing import TYPE_CHECKING, Any, Literal

from narrative_auto.crumbs.formats import format_json
from narrative_auto.crumbs.interface import snapshot
from narrative_auto.crumbs.memory import MOST_CRUMBS, memory
from narrative_auto.errors import shielded
from narrative_auto.recorder.of_process import of_process

if TYPE_CHECKING:
    from collections.abc import Callable

    OnCrash = Literal["stderr", "file", "none"] | Callable[[list[dict[str, Any]]], object]


class CrashTelling:
    """Stands in front of the hooks that were there when `enable()` was called, and goes on to them.

    Attributes:
        on_crash: where the crumbs go.
        output_file: the file of "file".
    """

    def __init__(self) -> None:
        self.on_crash: OnCrash = "stderr"
        self.output_file = "statecrumbs.json"
        self._is_installed = False
        self._met = 0

    def tell(self, error: BaseException | None) -> None:
        """Tell the crumbs; never raises."""
        if error is None or not issubclass(type(error), SystemExit | KeyboardInterrupt):
            shielded("telling crumbs", self._tell)

    def _tell(self) -> None:
        crumbs = snapshot()
        if not crumbs:
            return
        if callable(self.on_crash):
            self.on_crash(crumbs)
        elif self.on_crash == "file":
            with open(self.output_file, "w", encoding="utf-8") as file:
                file.write(format_json(crumbs) + "\n")
        elif self.on_crash == "stderr" and not of_process.has_report() and sys.stderr is not None:
            sys.stderr.write(f"\n{format_json(crumbs)}\n")
            sys.stderr.flush()

    def install(self) -> None:
        """Stand in front of all hooks, once."""
        if self._is_installed:
            return
        self._is_installed = True
        import threading

        main, of_threads, unraisable = sys.excepthook, threading.excepthook, sys.unraisablehook

        def for_main(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
            self._met = id(error)
            self.tell(error)
            main(kind, error, traceback)

        def for_threads(args: Any) -> None:
            self.tell(args.exc_value)
            of_threads(args)

        def for_unraisable(args: Any) -> None:
            self.tell(args.exc_value)
            unraisable(args)

        def at_exit() -> None:
            """Tell of what ended the program, if a hook that was put in our place has met it and not handed it on."""
            error = getattr(sys, "last_value", None)
            if error is not None and sys.excepthook is not for_main and id(error) != self._met:
                self.tell(error)

        sys.excepthook, threading.excepthook, sys.unraisablehook = for_main, for_threads, for_unraisable
        _when_imported("asyncio.base_events", self._watch_loops)
        atexit.register(at_exit)

    def _watch_loops(self, base_events: Any) -> None:
        loop: Any = base_events.BaseEventLoop
        call = loop.call_exception_handler

        def call_exception_handler(self_: Any, context: dict[str, Any]) -> None:
            error = context.get("exception") if isinstance(context, dict) else None
            if error is not None:
                self.tell(error)
            call(self_, context)

        loop.call_exception_handler = call_exception_handler


crash_telling = CrashTelling()


def enable(
    *,
    max_crumbs: int = MOST_CRUMBS,
    on_crash: OnCrash = "stderr",
    output_file: str = "statecrumbs.json",
    include_timestamp: bool = True,
    include_thread: bool = True,
) -> None:
    """Tell the crumbs whenever an exception goes unhandled, before anything else is said of it.

    Crumbs are kept without it, too. Where a process has a report of its own (`narrative-run`), that has the crumbs, and
    stderr does not get them twice.

    Args:
        max_crumbs: how many are kept.
        on_crash: "stderr" and "file" get indented JSON; a function gets the list that `snapshot()` returns.
        output_file: the file's path.
        include_timestamp, include_thread: whether crumbs have a `ts` and a `thread`.

    Raises:
        ValueError: there is no such `on_crash`, or `max_crumbs` is not positive.
    """
    if not callable(on_crash) and on_crash not in {"stderr", "file", "none"}:
        raise ValueError(f"on_crash is 'stderr', 'file', 'none' or a function, not {on_crash!r}")
    if max_crumbs < 1:
        raise ValueError(f"max_crumbs is at least 1, not {max_crumbs}")
    memory.keep(max_crumbs)
    memory.include_timestamp, memory.include_thread = include_timestamp, include_thread
    crash_telling.on_crash, crash_telling.output_file = on_crash, output_file
    crash_telling.install()


def _when_imported(module: str, act: Callable[[Any], object]) -> None:
    found = sys.modules.get(module)
    if found is not None:
        act(found)
        return
    import wrapt

    wrapt.register_post_import_hook(act, module)
