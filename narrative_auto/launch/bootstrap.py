"""Starts the recorder in a process: the only composition root, called by the start-up hook."""

from __future__ import annotations

import atexit
import os
import sys
import time

from narrative_auto import settings
from narrative_auto.errors import guarded
from narrative_auto.instrument.engines.rewrite import RewriteEngine
from narrative_auto.instrument.finder import NarrativeFinder
from narrative_auto.instrument.scope import Scope
from narrative_auto.instrument.script import ExitWatch, ScriptHook
from narrative_auto.launch import program as programs
from narrative_auto.recorder.pure import PureRecorder
from narrative_auto.stories.narrator import Narrator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from narrative_auto.crash.collect import Crash
    from narrative_auto.crash.hooks import CrashHook
    from narrative_auto.launch.program import Program
    from narrative_auto.settings import Settings


class Run:
    """The recorder, the engine and the story of this process.

    Args:
        chosen: the settings.
        what: what the process runs.
        parent: the story of the process that started this one, "" where a person did.

    Attributes:
        tells: whether this process may write to stderr.
    """

    def __init__(self, chosen: Settings, what: Program, parent: str) -> None:
        self._started = time.perf_counter()
        self.settings = chosen
        self.program = what
        self.tells = not parent
        self.story_id = new_story_id()
        self.left_plain: list[tuple[str, str, str]] = []
        self.watch = ExitWatch()
        min_duration = int(chosen.min_duration * 1e9)
        self.recorder = PureRecorder(min_duration, self._wake)
        self.scope = Scope(chosen.app_roots or what.app_roots(), chosen.include, chosen.exclude, private=chosen.private)
        engine = RewriteEngine(self.recorder, self.scope, self._leave_plain)
        self.finder = NarrativeFinder(engine, self.scope, self._leave_plain, what.modules, self.watch.finish)
        self.script = ScriptHook(engine, what.path, self._is_wanted_script, self.watch)
        self.narrator = Narrator(
            self.recorder,
            self.story_id,
            what.name,
            parent,
            min_duration,
            self._make_renderers,
            self._tell_line if self.tells and self.tell == "tree" else None,
        )
        self.crash: CrashHook | None = None
        self._pid = os.getpid()
        self._stderr = _file_identity(2)
        self._folder: str | None = None
        self._remark = ""
        self._ended = False
        self._cost = 0.0

    @property
    def tell(self) -> str:
        """What stderr gets from this process; without a launcher that asked for more, only failures."""
        return (self.settings.tell or "failure") if self.tells else "nothing"

    @property
    def main_is_watched(self) -> bool:
        """Whether the main module is application code, so that it is known how it was left."""
        return bool(self.script.claimed) or any(name in self.program.modules for name in self.finder.instrumented)

    @property
    def crash_outcome(self) -> str:
        """The outcome after an unhandled exception, "" without one."""
        return self.crash.outcome if self.crash is not None else ""

    def install(self) -> None:
        """Put the finder, the hooks and the end in place."""
        from narrative_auto.crash.hooks import CrashHook

        sys.meta_path.insert(0, self.finder)
        if self.program.kind in {programs.SCRIPT, programs.SPAWNED}:
            self.script.install()
        self.crash = CrashHook(self._collect_crash, self._report_crash, lambda: bool(self.script.claimed))
        if not self.program.interactive:
            self.crash.install()
        atexit.register(self._end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._begin_child
            )
        settings.announce_story(self.story_id)
        self._cost += time.perf_counter() - self._started

    def _leave_plain(self, module: str, function: str, reason: str) -> None:
        self.left_plain.append((module, function, reason))

    def _is_wanted_script(self, path: str) -> bool:
        return self.scope.module("__main__", path).instrument

    def _wake(self) -> None:
        guarded("starting the narrator", self.narrator.ticker.start)

    def _before_fork(self) -> None:
        guarded("preparing a fork", self.narrator.before_fork)
        self.recorder.before_fork()

    def _after_fork(self) -> None:
        self.recorder.after_fork()

    def _begin_child(self) -> None:
        """In a child of fork: its own story, which is kept and not told."""
        self.recorder.begin_child()
        self.tells = False
        self.story_id = new_story_id()
        self._pid = os.getpid()
        self._cost = 0.0
        self.narrator.begin_child(self.story_id)

    def _can_write(self) -> bool:
        """Whether descriptor 2 is still what it was: a program that becomes a daemon puts something else there."""
        return self._stderr is not None and _file_identity(2) == self._stderr

    def _tell_line(self, text: str) -> None:
        from narrative_auto.page import Page, printable

        if self._can_write():
            Page().write([[(printable(text), "dim")]])

    def _make_renderers(self) -> list[Any]:
        """Make the renderers, when the first event is there to be delivered."""
        renderers: list[Any] = []
        if self.tell in {"tree", "line"} and self._can_write():
            from narrative_auto.renderers.tree import TreeRenderer

            renderers.append(TreeRenderer(whole=self.tell == "tree"))
        folder = self.store_folder() if self.recorder.lanes or self.crash_outcome else ""
        if folder:
            from narrative_auto import store_folder
            from narrative_auto.failures.redaction import Redactor
            from narrative_auto.failures.values import clean
            from narrative_auto.renderers.sqlite import SqliteStoryRenderer

            run = {
                "pid": os.getpid(),
                "command": clean(" ".join(Redactor().arguments(sys.orig_argv))),
                "folder": os.getcwd(),
                "python": sys.version.split()[0],
            }
            database = os.path.join(folder, store_folder.DATABASE)
            renderers += [one for one in [guarded("keeping the story", SqliteStoryRenderer, database, run)] if one]
        return renderers

    def store_folder(self) -> str:
        """Return the folder of the store, made the first time; "" where the story is not kept."""
        from narrative_auto import store_folder

        if self._folder is None:
            # A program that is not ours to tell about leaves no folder behind where it happens to run.
            if self.settings.store == "off" or not (self.recorder.lanes or self.main_is_watched):
                return ""
            state_home = settings.current_environment().get("XDG_STATE_HOME", "")
            self._folder, self._remark = store_folder.prepare(self.settings.store, self.program.project, state_home)
        return self._folder

    def _tell_remark(self) -> None:
        """Say where the story is kept if it is not where it should be; after what Python and the program print."""
        remark, self._remark = self._remark, ""
        if remark and self.tell != "nothing":
            self._tell_line(remark)

    def _collect_crash(self, error: BaseException) -> tuple[Crash, str]:
        """Take down what is known of an exception that nothing handled; return it with the path of its dump."""
        from narrative_auto.crash.collect import collect
        from narrative_auto.crash.dump import write_dump
        from narrative_auto.failures.redaction import Redactor

        now = time.perf_counter_ns()
        self.narrator.ticker.stop()
        crash = collect(
            error,
            recorder=self.recorder,
            story_id=self.story_id,
            story_name=self.program.name,
            started=self.narrator.started,
            now=now,
            is_application=lambda filename: self.scope.module("", filename).instrument,
            redactor=Redactor(),
        )
        folder = self.store_folder()
        dump = guarded("writing the crash dump", write_dump, crash, folder) if folder else None
        return crash, dump or ""

    def _report_crash(self, collected: tuple[Crash, str]) -> None:
        from narrative_auto.crash.collect import to_event
        from narrative_auto.crash.report import report_lines
        from narrative_auto.page import Page

        crash, dump = collected
        self.narrator.deliver_failure(to_event(crash))
        if self.tell != "nothing" and self._can_write():
            page = Page()
            kept = bool(self.store_folder())
            page.write(report_lines(crash, page.width, os.getcwd(), dump, kept=kept))
        self._tell_remark()

    def _end(self) -> None:
        """Tell the end of the story; the last of the program's exit handlers."""
        if self._ended or os.getpid() != self._pid:
            return
        self._ended = True
        guarded("telling the end of the story", self._finish)
        if self.crash_outcome == "interrupted":
            from narrative_auto.crash.hooks import stay_interrupted

            stay_interrupted()

    def _finish(self) -> None:
        began = time.perf_counter()
        self.narrator.ticker.stop()
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        self.recorder.mute_thread()  # what our own imports reach from here on is not the program's story
        error = getattr(sys, "last_value", None)
        if (
            self.crash is not None
            and isinstance(error, Exception)
            and not self.crash.outcome
            and self.crash.was_replaced
        ):
            self.crash.meet_late(error)
        outcome, status = self._outcome()
        if not self.recorder.lanes and self.tell not in {"tree", "line"} and not self.crash_outcome:
            return  # there is no story, and nobody to tell so
        cost = self._cost + self.finder.seconds + self.script.seconds + time.perf_counter() - began
        self.narrator.finish(outcome, status, self.left_plain, self.scope.app_roots, cost)
        self._tell_remark()

    def _outcome(self) -> tuple[str, int | None]:
        """Return how the program ended, as far as it can be known, and the exit status that it asked for."""
        if self.crash_outcome:
            return self.crash_outcome, 1
        status = self.watch.status
        if status is not None:
            return ("exited", status) if status else ("ok", 0)
        return ("ok", 0) if self.main_is_watched else ("ended", None)


def new_story_id() -> str:
    """Return a new story's id: 16 hexadecimal digits."""
    return os.urandom(8).hex()


def _file_identity(descriptor: int) -> tuple[int, int] | None:
    """Return what a descriptor refers to, None if it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


_current: list[Run] = []
"""The one run of this process, once it has started."""


def start() -> None:
    """Start the recorder in this process, unless it runs or the environment says otherwise. Never raises."""
    if _current or not _is_main_interpreter():
        return
    guarded("starting", _start)


def _start() -> None:
    environ = settings.current_environment()
    if not settings.is_on(environ):
        return
    what = programs.identify(settings.original_arguments(), (getattr(sys, "argv", None) or [""])[0])
    parent, parent_pid = settings.parent_story(environ)
    if parent_pid == os.getpid():
        parent = ""  # the program has replaced itself by exec: it still is the one that was launched
    run = Run(settings.load_or_default(environ, what.folder), what, parent)
    _current.append(run)
    run.install()


def _is_main_interpreter() -> bool:
    """Return whether this is the process's main interpreter: `site` also runs in sub-interpreters."""
    import _thread

    is_main = getattr(_thread, "_is_main_interpreter", None)
    if is_main is not None:
        return bool(is_main())
    import _xxsubinterpreters  # type: ignore[import-not-found] # CPython 3.11; later ones have the function above

    return bool(_xxsubinterpreters.get_current() == _xxsubinterpreters.get_main())
