"""Starts the recorder in a process: the only composition root, called by the start-up hook."""

from __future__ import annotations

import sys

_LOADED_BEFORE = frozenset(sys.modules)  # before the imports below: what they add may have to make way

import atexit  # noqa: E402
import gc  # noqa: E402
import os  # noqa: E402
import time  # noqa: E402
from _functools import partial  # type: ignore[import-not-found] # noqa: E402 - functools would import collections

from narrative_auto import settings  # noqa: E402
from narrative_auto.crash.hooks import CrashHook, EnoughRoom, UnraisableHook, stay_interrupted  # noqa: E402
from narrative_auto.errors import guarded, guarded_within, say, set_strict  # noqa: E402
from narrative_auto.instrument.cache import CodeCache  # noqa: E402
from narrative_auto.instrument.engines import choice  # noqa: E402
from narrative_auto.instrument.exit_watch import ExitWatch  # noqa: E402
from narrative_auto.instrument.finder import NarrativeFinder  # noqa: E402
from narrative_auto.instrument.in_place import instrument_existing, modules_of  # noqa: E402
from narrative_auto.instrument.isolation import Isolation  # noqa: E402
from narrative_auto.instrument.marks import apply  # noqa: E402
from narrative_auto.instrument.originals import restore_all  # noqa: E402
from narrative_auto.instrument.scope import Scope  # noqa: E402
from narrative_auto.instrument.script import ScriptHook  # noqa: E402
from narrative_auto.launch import program as programs  # noqa: E402
from narrative_auto.launch.crashes import Crashes, bring_crumbs, connect_crumbs  # noqa: E402
from narrative_auto.launch.keeping import Keeping  # noqa: E402
from narrative_auto.launch.libraries import watch_libraries  # noqa: E402
from narrative_auto.launch.telling import Telling  # noqa: E402
from narrative_auto.launch.workers import Workers  # noqa: E402
from narrative_auto.recorder import choice as recorders  # noqa: E402
from narrative_auto.recorder.governor import Sampler  # noqa: E402
from narrative_auto.recorder.of_process import of_process  # noqa: E402
from narrative_auto.stories.narrator import Narrator  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from narrative_auto.launch.program import Program
    from narrative_auto.recorder.sites import Site
    from narrative_auto.settings import Settings

FunctionType = type(lambda: None)


class Run:
    """The recorder, the engine and the story of this process.

    Args:
        chosen: the settings.
        what: what the process runs.
        parent, root: the stories of the process that started this one, and of the first one; "" where a person did.
        late: the main module runs already.

    Attributes:
        engines: what instruments.
        recorder: what it reports to.
        keeping: its black box.
        why_pure: why there is no compiled recorder; "" where there is, or none was wanted.
    """

    def __init__(self, chosen: Settings, what: Program, parent: str, root: str, *, late: bool) -> None:
        self._started = time.perf_counter()
        self._program = what
        self._left_plain: list[tuple[str, str, str]] = []
        self._watch = ExitWatch()
        self._isolation = Isolation(
            [what.folder, programs.current_folder()], settings.python_path(settings.current_environment())
        )
        min_duration = int(chosen.min_duration * 1e9)
        self.recorder, self.why_pure = recorders.make(
            chosen.recorder, min_duration, self._wake, chosen.budget, chosen.clock
        )
        if chosen.recorder not in {"auto", self.recorder.name}:
            say(f"{self.why_pure}; the one in Python takes its place")
        if chosen.clock not in {"auto", self.recorder.clock}:
            say(f"the clock is the {self.recorder.clock}'s, as the {chosen.clock}'s cannot be read here")
        roots = chosen.app_roots or what.app_roots()
        self._scope = Scope(roots, chosen.include, chosen.exclude, private=chosen.private)
        self._telling = Telling(chosen, what, self.recorder, self._scope, lambda: self._watch.begun, tells=not parent)
        self._crashes = Crashes(chosen, self._telling, self.recorder, self._scope, self._isolation)
        story_id = new_story_id()
        self._narrator = self._telling.narrator = Narrator(
            self.recorder,
            story_id,
            what.name,
            parent,
            root,
            min_duration,
            self._telling.make_renderers,
            self._telling.tell_line if self._telling.tell == "tree" else None,
            may_work=lambda: not self._isolation.local_names and not self.recorder.lacks_files(),
            look=(Sampler(self.recorder, self._restore_sites).look, bring_crumbs, self._take_in_libraries),
        )
        of_process.recorder, of_process.has_report = self.recorder, self._telling.reports
        of_process.redact = chosen.redact
        self.keeping = Keeping(chosen, what, self.recorder)
        self.keeping.begin(self._narrator)
        self._narrator.tell_of_process()
        self._crash = CrashHook(
            self.recorder,
            self._crashes.collect,
            self._crashes.report,
            self._crashes.interrupted,
            strip_runpy=lambda: bool(self._script.claimed),
            left_main=lambda: self._watch.left_by if self._watch.knows else None,
        )
        self._workers = Workers(self._crash, self._watch, self._end)
        self._unraisable = UnraisableHook(self._crashes.left_nowhere)
        self._pid = os.getpid()
        self._ended = self._placed = False
        self._cost = 0.0
        main = None if late else self._watch
        self.engines = choice.start(
            chosen.engine,
            self.recorder,
            self._scope,
            self._leave_plain,
            main,
            self._is_on,
            has_budget=bool(chosen.budget),
            late=late,
        )
        first = self.engines.first
        if chosen.engine not in {"auto", first.name}:
            say(f"{self.engines.declined[0][1]}; the {first.name} engine takes its place")
        crashes = None if what.interactive else self._crashes
        self._libraries = watch_libraries(
            self.engines,
            self.recorder,
            self._isolation,
            crashes,
            self._workers,
            self._instrument_loaded,
            self._step_aside,
        )
        self._finder = NarrativeFinder(
            self.engines.rewriter,
            self._scope,
            self._leave_plain,
            self._isolation,
            what.modules,
            self._watch.finish,
            CodeCache(chosen.cache_dir, self._scope.function_rules) if chosen.cache_dir != "off" else None,
            self._libraries,
            self.engines.pass_over,
        )
        if late or "threading" in sys.modules:
            self._libraries.take_in()
        self._may_claim = self.engines.rewriter is not None and not late
        self._script = ScriptHook(first, what.path, self._is_wanted_script, self._isolation, self._watch)

    def install(self) -> None:
        """Put the finder, the hooks and the end in place."""
        self._finder.install()
        self._placed = True
        if self._program.kind in {programs.SCRIPT, programs.SPAWNED} and self._may_claim:
            self._script.install()
        if not self._program.interactive:
            self._crash.install()
            self._unraisable.install()
        atexit.register(self.recorder.untraced, self._end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=partial(self.recorder.untraced, self._before_fork),
                after_in_parent=partial(self.recorder.untraced, self._after_fork),
                after_in_child=partial(self.recorder.untraced, self._begin_child),
            )
        connect_crumbs(self.recorder.keep_crumb, of_process.redact)
        self._announce()
        guarded("making way for the program's modules", self._isolation.make_way, _LOADED_BEFORE)
        self._cost += time.perf_counter() - self._started

    def _take_in_libraries(self) -> None:
        if self._libraries.is_behind and not self.recorder.lacks_files():
            with self._isolation:
                self._libraries.take_in()

    def _step_aside(self) -> None:
        """Have no probes in any code from here on; what meets code as it starts goes on, where there is that."""
        self._finder.stop_rewriting(
            "" if self.engines.companion is not None else "torch.compile reads the code of every function"
        )
        restore_all()

    def _instrument_loaded(self, module: ModuleType) -> None:
        """Take in a module that was loaded by other means than a finder."""
        filename = getattr(module, "__file__", None) or ""
        rewriter = self.engines.rewriter
        if rewriter is not None and self._scope.module(module.__name__, filename).instrument:
            with self._isolation:
                self._finder.instrumented += instrument_existing(rewriter, [module])

    def instrument_existing(self, app_roots: Sequence[str] | None = None) -> NarrativeFinder:
        """Take in what is imported already, of these app roots too; return the finder."""
        if app_roots:
            self._scope.add_roots(app_roots)
        rewriter = self.engines.rewriter
        if rewriter is not None:
            with self._isolation:
                self._finder.instrumented += instrument_existing(rewriter, modules_of(self._scope))
        for one in gc.get_objects():
            if type(one) is FunctionType:
                apply(one)
        return self._finder

    def _announce(self) -> None:
        settings.announce_story(self._narrator.story_id, self._narrator.root_story_id, tells=self._telling.tells)

    def _is_on(self) -> bool:
        """Whether the finder is where it was put: a program may have taken it away to stop us."""
        return not self._placed or any(finder is self._finder for finder in sys.meta_path or ())

    def _leave_plain(self, module: str, function: str, reason: str) -> None:
        if self.engines.companion is None:  # else that one takes it
            self._left_plain.append((module, function, reason))

    def _is_wanted_script(self, path: str) -> bool:
        return self._scope.module("__main__", path).instrument

    def _wake(self) -> None:
        if os.getpid() != self._pid:  # C code has forked, and nobody has told us
            guarded("beginning in a child process", self._begin_child)
        if self._telling.tell != "nothing":
            self.keeping.tell_fault()
        guarded_within("starting the narrator", self._narrator.ticker.start)

    def _restore_sites(self, sites: Sequence[Site]) -> None:
        for engine in (self.engines.first, self.engines.companion):
            if engine is not None:
                engine.restore(sites)

    def _before_fork(self) -> None:
        try:
            guarded("preparing workers", self._workers.end_well)
            guarded("preparing a fork", self._narrator.before_fork)
        finally:
            self.recorder.before_fork()

    def _after_fork(self) -> None:
        self.recorder.after_fork()
        self._restore_released()

    def _restore_released(self) -> None:
        """Let released functions report again, as the thread that takes samples has ended: they start it again."""
        sites = [self.recorder.sites[number] for number in self.recorder.released]
        if sites:
            guarded("letting released functions report again", self._restore_sites, sites)

    def _begin_child(self) -> None:
        """In a child of fork: its own story, which is kept and not told."""
        self._restore_released()
        self.recorder.begin_child()
        self._telling.tells = False
        self._left_plain.clear()
        self._pid = os.getpid()
        self._cost = -(self._finder.seconds + self._script.seconds)  # what the parent spent is not the child's
        self._crashes.begin_child()
        self._narrator.begin_child(new_story_id())
        self.keeping.begin(self._narrator)
        guarded("announcing the story", self._announce)

    def _end(self) -> None:
        """Tell the end of the story; the last of the program's exit handlers."""
        if self._ended or os.getpid() != self._pid:
            return
        self._ended = True
        with EnoughRoom(self.recorder):
            try:
                guarded("telling the end of the story", self._finish)
            finally:
                guarded("taking the black box away", self.keeping.end)
            guarded("stopping the engines", self.engines.stop_watching)
        self._unraisable.remove()
        if self._crash.dies_of_signal:
            stay_interrupted()

    def _finish(self) -> None:
        began = time.perf_counter()
        self._narrator.ticker.close()
        self.recorder.mute_thread()  # what our own imports reach from here on is not the program's story
        self.engines.rest()
        if not hasattr(sys, "excepthook"):
            sys.excepthook = self._crash  # `threading`, which we may be the first to import, asks for it
        error = getattr(sys, "last_value", None)
        if error is not None and id(error) == self._watch.left_by and not self._crash.outcome:
            self._crash.meet_late(error)  # a hook of the program's own has met it and not handed it on
        is_silent = self._telling.tell not in {"tree", "line"} and not self._crash.outcome
        if self.recorder.is_empty and is_silent and not self._narrator.failed:
            return  # there is no story, and nobody to tell so
        outcome, status = self._outcome()
        with self._isolation:
            cost = self._cost + self._finder.seconds + self._script.seconds + time.perf_counter() - began
            self._narrator.finish(
                outcome, status, self._left_plain, self._scope.app_roots, cost, self._telling.modules(self._finder)
            )
            self._telling.tell_repetitions(self._crashes.repetitions())
            guarded("taking in black boxes", self._telling.take_in, self.keeping.take_in)
            self._telling.tell_remark()

    def _outcome(self) -> tuple[str, int | None]:
        """Return how the program ended, as far as it can be known, and the exit status that it asked for."""
        if self._crash.outcome:
            return self._crash.outcome, 1 if self._crash.outcome == "failed" else None
        status = self._watch.status
        if status is not None:
            return ("exited", status) if status else ("ok", 0)
        return ("ok", 0) if self._watch.knows else ("ended", None)


def auto_instrument(*, app_roots: Sequence[str] | None = None) -> NarrativeFinder:
    """Record this process from here on: what is imported later, and the functions that exist already.

    Where the recorder runs, its scope grows by the app roots. Only a failure is told, unless a setting says otherwise.

    Args:
        app_roots: folders whose modules are the application; else found from the script that runs.

    Returns:
        The finder that instruments what is imported; `sys.meta_path.remove(finder)` stops it.
    """
    roots = [os.path.abspath(root) for root in app_roots or ()]
    if not _current:
        _begin(roots, late=True)
    return _current[0].instrument_existing(roots)


def new_story_id() -> str:
    """Return a new story's id: 16 hexadecimal digits."""
    return os.urandom(8).hex()


_current: list[Run] = []
"""The one run of this process, once it has started."""


def current() -> Run | None:
    """Return the run of this process, None where the recorder does not work."""
    return _current[0] if _current else None


def start() -> None:
    """Start the recorder in this process, unless it runs or the environment says otherwise. Never raises."""
    if _current or not programs.is_main_interpreter():
        return
    guarded("starting", _start)


def _start() -> None:
    environ = settings.current_environment()
    if not settings.is_on(environ):
        return
    _begin([], late=False)


def _begin(app_roots: Sequence[str], *, late: bool) -> None:
    """Start the recorder in this process, with these app roots if there are any."""
    environ = settings.current_environment()
    set_strict(strict=environ.get(settings.STRICT, "") == "1")
    what = programs.identify(settings.original_arguments(), (getattr(sys, "argv", None) or [""])[0])
    parent, parent_pid, root = settings.parent_story(environ)
    replaced = ""
    if parent_pid == os.getpid():
        replaced, parent, root = parent, "", ""  # by exec: it still is the one that was launched
    chosen = settings.load_or_default(environ, what.folder)
    if app_roots:
        chosen = chosen.replace(app_roots=tuple(app_roots))
    run = Run(chosen, what, parent, root, late=late)
    if replaced:
        run.keeping.forget(replaced)
    _current.append(run)
    try:
        run.install()
    except BaseException:
        run.engines.stop()
        raise
