"""What happens when an exception goes unhandled: it is taken down, Python tells it as ever, then the report comes."""

from __future__ import annotations

import _thread
import os
import sys
import time

from narrative_auto import settings
from narrative_auto.errors import attempted, guarded, say, shielded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from narrative_auto.crash.collect import Crash
    from narrative_auto.failures.config import FailureDiagnosticsConfig
    from narrative_auto.failures.redaction import Redactor
    from narrative_auto.instrument.isolation import Isolation
    from narrative_auto.instrument.scope import Scope
    from narrative_auto.launch.telling import Telling
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.settings import Settings
    from narrative_auto.stories.events import FailureOccurred

MOST_REPORTS = 5
"""Different failures that a process survives and that are reported; more are counted."""

_QUIET = (SystemExit, KeyboardInterrupt, GeneratorExit)
"""What ends a thread or a task without being a failure."""


class Crashes:
    """Reports failures: the one that ends the program, and those in threads, tasks and `__del__` that it survives.

    Args:
        chosen: the settings.
        telling: where the report goes to, and the store.
        recorder, scope, isolation: as the run has them.
    """

    def __init__(
        self, chosen: Settings, telling: Telling, recorder: Recorder, scope: Scope, isolation: Isolation
    ) -> None:
        self._settings = chosen
        self._telling = telling
        self._recorder = recorder
        self._scope = scope
        self._isolation = isolation
        self._met: dict[tuple[str, str, int], int] = {}
        self._others = 0
        self._inside: set[int] = set()

    # -- the failure that ends the program ----------------------------------------------------------------------

    def collect(self, error: BaseException) -> tuple[Crash, str]:
        """Take down what is known of the exception that ends the program; return it with the path of its dump."""
        narrator = self._telling.narrator
        assert narrator is not None
        narrator.ticker.close()
        return self._collect(error, "")

    def report(self, collected: tuple[Crash, str]) -> None:
        """Print the report and deliver the failure."""
        crash, dump = collected
        narrator = self._telling.narrator
        assert narrator is not None
        with self._isolation:
            from narrative_auto.crash.collect import to_event

            event = to_event(crash)
            narrator.deliver_failure(event)
            self._print(crash, dump)
            analysis = self._telling.analyze(event)
            if analysis:
                self._tell_analysis(event, analysis)
            self._telling.tell_remark()

    def interrupted(self, error: BaseException) -> None:
        """Print one line about the Ctrl-C that ends the program: where it was."""
        telling = self._telling
        if telling.tell == "nothing" or not telling.can_write():
            return
        crash, _ = self._collect(error, "", dumps=False)
        with self._isolation:
            from narrative_auto.crash.report import interrupted_line
            from narrative_auto.page import Page

            Page().write([interrupted_line(crash, telling.here)])

    # -- failures that it survives ------------------------------------------------------------------------------

    def left_thread(self, thread: Any) -> None:
        """Report the exception that has ended a thread, and that `threading` has told."""
        error = sys.exc_info()[1]
        if error is not None:
            self._survived(error, lambda: f"thread {vars(thread)['_name']}", "a thread")

    def left_request(self, _: Any) -> None:
        """Report the exception of a request that `socketserver` has told."""
        error = sys.exc_info()[1]
        if error is not None:
            self._survived(error, lambda: "a request", "a request")

    def left_loop(self, context: Any) -> None:
        """Report an exception that an event loop has told its exception handler of."""
        error = context.get("exception") if type(context) is dict else None
        if error is None or not issubclass(type(error), BaseException):
            return

        def named() -> str:
            task = context.get("task")
            return f"task {(task if task is not None else context['future']).get_name()}"

        self._survived(error, named, "the event loop")

    def left_nowhere(self, error: BaseException, what: str) -> None:
        """Report an exception that nobody could be given: of a `__del__`, a callback.

        Args:
            error: the exception.
            what: in what it happened.
        """
        self._survived(error, lambda: what, what)

    def begin_child(self) -> None:
        """In a child of fork: what the parent has met is its own."""
        self._met.clear()
        self._inside.clear()
        self._others = 0

    def _survived(self, error: BaseException, named: Callable[[], str], otherwise: str) -> None:
        """Report an exception; nothing that it or the program's objects do gets out.

        Args:
            error: the exception.
            named: says where nobody handled it, if it can.
            otherwise: where, if it cannot.
        """
        thread = _thread.get_ident()
        if thread in self._inside or sys.is_finalizing() or issubclass(type(error), _QUIET):
            return
        if self._recorder.lacks_files():  # a higher limit for us would be one for all threads
            say("a failure that the program survived gets no report: it may open no more files, see ulimit -n")
            return
        self._inside.add(thread)  # what fails in our own work is no failure of the program's
        try:
            shielded("reporting a failure", self._report_survived, error, named, otherwise)
        finally:
            self._inside.discard(thread)

    def _report_survived(self, error: BaseException, named: Callable[[], str], otherwise: str) -> None:
        with self._isolation:
            from narrative_auto.failures.asking import undisturbed
            from narrative_auto.failures.values import name_of_type

        where = undisturbed(named)
        telling = self._telling
        narrator = telling.narrator
        assert narrator is not None
        traceback = BaseException.__dict__["__traceback__"].__get__(error)
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        code = traceback.tb_frame.f_code if traceback is not None else None
        key = (name_of_type(type(error)), code.co_filename if code else "", (traceback and traceback.tb_lineno) or 0)
        if key not in self._met and len(self._met) == MOST_REPORTS:
            self._others += 1
            return
        self._met[key] = self._met.get(key, 0) + 1
        if self._met[key] > 1:
            return
        crash, dump = self._collect(error, where if type(where) is str else otherwise)
        with self._isolation:
            from narrative_auto.crash.collect import to_event

            narrator.expect_failure(to_event(crash))
            self._print(crash, dump)

    def repetitions(self) -> list[str]:
        """Return a line for each failure that was not reported every time."""
        lines = []
        for (kind, filename, line), count in self._met.items():
            if count > 1:
                place = f" at {os.path.basename(filename)}:{line}" if filename else ""
                lines.append(f"narrative: {kind}{place} went unhandled {count} times in all")
        if self._others:
            lines.append(f"narrative: {self._others} other failures went unhandled and were not reported")
        return lines

    # -- both ---------------------------------------------------------------------------------------------------

    def _collect(self, error: BaseException, where: str, *, dumps: bool = True) -> tuple[Crash, str]:
        now = time.perf_counter_ns()
        telling = self._telling
        narrator = telling.narrator
        assert narrator is not None
        with self._isolation:
            from narrative_auto.crash.collect import collect
            from narrative_auto.crash.dump import write_dump
            from narrative_auto.failures.source import LinesAsFound
            from narrative_auto.failures.variables import Variables

            config = self.diagnostics()
            redactor = telling.redactor()
            crumbs = _last_crumbs()
            attempted(_learn, redactor)
            with LinesAsFound():
                crash = collect(
                    error,
                    recorder=self._recorder,
                    story_id=narrator.story_id,
                    story_name=narrator.story_name,
                    started=narrator.started,
                    now=now,
                    is_application=self._is_application,
                    redactor=redactor,
                    config=config,
                    variables=Variables(redactor, config, self._settings.repr),
                    where=where,
                    crumbs=crumbs,
                )
            telling.forget_secrets()
            folder = telling.store_folder() if dumps else ""
            dump = guarded("writing the crash dump", write_dump, crash, folder) if folder else None
        return crash, dump or ""

    def diagnostics(self) -> FailureDiagnosticsConfig:
        """Return how much is said of a failure: what was asked for, else rich on a terminal outside production."""
        from narrative_auto.failures.config import FailureDiagnosticsConfig
        from narrative_auto.page import Page

        try:
            config = FailureDiagnosticsConfig.from_env()
        except ValueError as error:
            say(f"{error}; it is taken as lean")
            return FailureDiagnosticsConfig()
        asked = settings.either_variable("FAILURE_DIAGNOSTICS", "")
        if not asked and Page().is_terminal and config.runtime_environment != "production":
            return FailureDiagnosticsConfig.merge(config, failure_diagnostics="rich")
        return config

    def _tell_analysis(self, event: FailureOccurred, analysis: str) -> None:
        from datetime import UTC, datetime

        from narrative_auto.crash.report import analysis_lines
        from narrative_auto.page import Page
        from narrative_auto.stories.events import LLMAnalysisReady

        narrator = self._telling.narrator
        assert narrator is not None
        narrator.deliver_late(
            LLMAnalysisReady(event.story_id, event.story_name, event.stage_name, analysis, datetime.now(UTC))
        )
        if self._telling.reports():
            page = Page()
            page.write(analysis_lines(analysis, page.width))

    def _print(self, crash: Crash, dump: str) -> None:
        telling = self._telling
        if telling.tell == "nothing" or not telling.can_write():
            return
        from narrative_auto.crash.report import report_lines
        from narrative_auto.page import Page

        page = Page()
        page.write(report_lines(crash, page.width, telling.here, dump, telling.more(crash.story_id)))

    def _is_application(self, filename: str) -> bool:
        """Whether a source file is application code: by where it lies, or because it has stages."""
        if any(site.filename == filename for site in self._recorder.sites):
            return True
        return self._scope.module("", filename).instrument


def _learn(redactor: Redactor) -> None:
    """Remember what is known to be secret already: by crumbs, and by the names of environment variables."""
    known = _of_crumbs("wording", "redactor")
    if known is not None and redactor.memory is not None:
        redactor.memory.learn_all(known.memory)
    for name, value in settings.current_environment().items():
        if redactor.name(name):
            redactor.learn(value)
        elif "://" in value and "@" in value:
            redactor.text(value)


def _of_crumbs(module: str, name: str) -> Any:
    """Return what a module of crumbs has; None where nobody has left any, or another thread is just importing it."""
    return getattr(sys.modules.get(f"narrative_auto.crumbs.{module}"), name, None)


def _last_crumbs() -> list[Any]:
    """Return the crumbs of this process; none where nobody has left any."""
    memory = _of_crumbs("memory", "memory")
    return memory.last() if memory is not None else []


def connect_crumbs(keep: Callable[[str], object], redact: tuple[str, ...]) -> None:
    """Where somebody leaves crumbs already, let them go into the black box, without what is secret here."""
    memory = _of_crumbs("memory", "memory")
    if memory is not None:
        memory.mirror = keep
    use_names = _of_crumbs("wording", "use_names")
    if use_names is not None:
        use_names(redact)


def bring_crumbs() -> None:
    """Bring the black box those crumbs that came too fast."""
    memory = _of_crumbs("memory", "memory")
    if memory is not None:
        memory.mirror_all()
