"""What this process says and keeps of its story: renderers, store, crash dump and crash report."""

from __future__ import annotations

import os
import sys

from narrative_auto import settings
from narrative_auto.errors import SettingError, guarded, say, shielded
from narrative_auto.instrument.in_place import modules_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from narrative_auto.failures.redaction import Redactor
    from narrative_auto.instrument.finder import NarrativeFinder
    from narrative_auto.instrument.scope import Scope
    from narrative_auto.launch.program import Program
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.settings import Settings
    from narrative_auto.stories.events import FailureOccurred
    from narrative_auto.stories.narrator import Narrator


_ANALYSIS_SECONDS = 30.0
"""How long the end of a program may wait for a language model."""


class Telling:
    """The story's way out of this process. What it needs is imported when there is something to tell.

    Args:
        chosen: the settings.
        what: what the process runs.
        recorder, scope: as the run has them.
        main_is_watched: whether the main module is application code.
        tells: whether this process may write to stderr.
    """

    def __init__(
        self,
        chosen: Settings,
        what: Program,
        recorder: Recorder,
        scope: Scope,
        main_is_watched: Callable[[], bool],
        *,
        tells: bool,
    ) -> None:
        self._settings = chosen
        self._program = what
        self._recorder = recorder
        self._scope = scope
        self._main_is_watched = main_is_watched
        self._stderr = _file_identity(2)
        self._folder: str | None = None
        self._remark = ""
        self._keeper: object = None
        self._redactor: Redactor | None = None
        self._run: dict[str, Any] = {}
        self.tells = tells
        self.narrator: Narrator | None = None

    @property
    def tell(self) -> str:
        """What stderr gets from this process; without a launcher that asked for more, only failures."""
        if not self.tells:
            return "nothing"
        return self._settings.tell or settings.current_environment().get(settings.LAUNCHED, "") or "failure"

    @property
    def here(self) -> str:
        """The folder that a person sees paths from: where the process began, whatever the current one is by now."""
        return self._program.started_in

    def can_write(self) -> bool:
        """Whether descriptor 2 is still what it was: a program that becomes a daemon puts something else there."""
        return self._stderr is not None and _file_identity(2) == self._stderr

    def tell_line(self, text: str) -> None:
        """Write one line to stderr."""
        from narrative_auto.page import Page, printable

        if self.can_write():
            Page().write([[(printable(text), "dim")]])

    def tell_remark(self) -> None:
        """Say where the story is kept if it is not where it should be; after what Python and the program print."""
        remark, self._remark = self._remark, ""
        if remark and self.tell != "nothing":
            self.tell_line(remark)

    def has_story(self) -> bool:
        """Whether there is something to keep."""
        if not self._recorder.is_empty or self._main_is_watched():
            return True
        path = self._program.path  # a script that could not even be compiled
        return bool(path) and self._scope.module("__main__", path).instrument

    def store_folder(self) -> str:
        """Return the folder of the store, made the first time; "" where the story is not kept."""
        from narrative_auto import store_folder

        if self._folder is None:
            # A program that is not ours to tell about leaves no folder behind where it happens to run.
            if self._settings.store == "off" or not self.has_story():
                return ""
            state_home = settings.current_environment().get("XDG_STATE_HOME", "")
            self._folder, self._remark = store_folder.prepare(self._settings.store, self._program.project, state_home)
        return self._folder

    def make_renderers(self) -> list[Any]:
        """Make the renderers, when the first event is there to be delivered."""
        renderers: list[Any] = []
        if self.tell in {"tree", "line"} and self.can_write():
            from narrative_auto.renderers.tree import TreeRenderer

            renderers.append(TreeRenderer(whole=self.tell == "tree", more=self.more))
        wanted = not self._recorder.is_empty or (self.narrator is not None and self.narrator.failed)
        folder = self.store_folder() if wanted else ""
        if folder:
            from narrative_auto import store_folder
            from narrative_auto.failures.values import clean
            from narrative_auto.renderers.sqlite import SqliteStoryRenderer

            self._run = {
                "pid": os.getpid(),
                "command": clean(" ".join(self.redactor().arguments(sys.orig_argv))),
                "folder": self.here,
                "python": sys.version.split()[0],
            }
            database = os.path.join(folder, store_folder.DATABASE)
            self._keeper = guarded("keeping the story", SqliteStoryRenderer, database, self._run)
            renderers += [self._keeper] if self._keeper is not None else []
        return renderers

    def _is_kept(self) -> bool:
        """Whether the story is in the store; another process may hold that."""
        return self._keeper is not None and self.narrator is not None and self.narrator.has(self._keeper)

    def more(self, story_id: str) -> str:
        """Return the command that shows the story as it was typed here, "" where it is not kept."""
        from narrative_auto import store_folder
        from narrative_auto.page import relative

        if not self._is_kept():
            return ""
        folder, here = self.store_folder(), self.here
        found = store_folder.find_upwards(here)
        command = f"narrative story {story_id[:6]}"
        if found is not None and os.path.realpath(found) == os.path.realpath(folder):
            return command
        return f"{command} --db {relative(folder, here)}"

    def take_in(self, take_in: Callable[[str], list[str]]) -> None:
        """Take what earlier runs have left behind into the store, and say so where a story is told."""
        if not self._is_kept():
            return
        for line in take_in(self.store_folder()):
            if self.tell in {"tree", "line"}:
                self.tell_line(line)

    def modules(self, finder: NarrativeFinder) -> int:
        """Return how many modules of the application were imported and instrumented; the main module is run."""
        names = set(finder.instrumented)
        if not finder.rewrites:
            names |= {str(vars(module)["__name__"]) for module in modules_of(self._scope)} - {"__main__"}
        return len(names - self._program.modules)

    def tell_repetitions(self, lines: list[str]) -> None:
        """Say how often failures that the program survived have happened."""
        for line in lines if self.tell != "nothing" else ():
            self.tell_line(line)

    def reports(self) -> bool:
        """Whether a failure is reported on stderr."""
        return self.tell != "nothing" and self.can_write()

    def redactor(self) -> Redactor:
        """Return what takes secrets out of what this process tells and keeps; it remembers them."""
        from narrative_auto.failures.redaction import Redactor

        if self._redactor is None:
            self._redactor = Redactor(self._settings.redact).remembering()
        return self._redactor

    def forget_secrets(self) -> None:
        """Take out of the command line what came to be known as a secret since it was kept."""
        if self._redactor is not None and self._run:
            self._run["command"] = self._redactor.without_remembered(self._run["command"])

    def analyze(self, event: FailureOccurred) -> str | None:
        """Return what a language model makes of a failure, if one is to be asked. Ctrl-C cuts it short."""
        name = self._settings.analyzer
        if not self.tells or name in {"", "off"}:
            return None
        from narrative_auto.analyzers.automatic import make_analyzer
        from narrative_auto.analyzers.rate_limited import RateLimited
        from narrative_auto.stories.analysis import question_of

        try:
            analyzer = make_analyzer(name, settings.current_environment(), _ANALYSIS_SECONDS)
        except SettingError as error:
            say(f"the failure is not analyzed: {error}")
            return None
        folder = self.store_folder()
        if folder:
            analyzer = RateLimited(analyzer, folder, timeout_seconds=_ANALYSIS_SECONDS + 1)
        if self.tell != "nothing":
            self.tell_line(f"narrative: asking {name} why, {_ANALYSIS_SECONDS:.0f} s at most, Ctrl-C to leave it")
        return shielded("analyzing the failure", lambda: analyzer.analyze_failure(**question_of(event)))


def _file_identity(descriptor: int) -> tuple[int, int] | None:
    """Return what a descriptor refers to, None if it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
