"""The compiled recorder: `_native.c` keeps and counts, this module gives what it holds to readers."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the C module: `signal` would import enum
import os

from narrative_auto.recorder import _native
from narrative_auto.recorder.base import bind_copies
from narrative_auto.recorder.box_folder import SUFFIX
from narrative_auto.recorder.layout import IDENTITY_BYTES
from narrative_auto.recorder.readings import Edge, NotableCall, OpenCall
from narrative_auto.recorder.sites import SiteTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import Any

    from narrative_auto.recorder.base import Monitor, Nap, Plan
    from narrative_auto.recorder.sites import Site


_pythons_handler = 0


def _quoted(text: str) -> str:
    """Return a text as JSON; the module for that is more than a warm start has imported."""
    units = []
    for one in text:
        code = ord(one)
        if " " <= one <= "~" and one not in '"\\':
            units.append(one)
        elif code < 0x10000:
            units.append(f"\\u{code:04x}")
        else:
            code -= 0x10000
            units.append(f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}")
    return f'"{"".join(units)}"'


class NativeRecorder(_native.Recorder):
    """The event buffer of this process.

    Args:
        min_duration: ns from which a finished call is notable.
        wake: called, from a thread that has recorded something new, when there is something to tell.
        budget: the share of the process's CPU time that recording may take; 0.0 for any.
    """

    name = "native"

    def __init__(
        self, min_duration: int = 1_000_000, wake: Callable[[], object] | None = None, budget: float = 0.0
    ) -> None:
        super().__init__(min_duration, wake, budget)
        self.sites = SiteTable(self)
        self._box_path = ""

    def bind(self, code: CodeType, plan: Plan, module: str) -> CodeType:
        """Return code with probes where the plan has places for them: changed in place, as nothing has run it yet."""
        return code if self.fill(code, plan, module, self.sites.described) else bind_copies(self, code, plan, module)

    def monitor(
        self, meet: Callable[[CodeType, Any], object], disable: object, foreign: set[str], *, before: bool
    ) -> Monitor:
        """Return compiled callbacks for `sys.monitoring`."""
        return _native.Monitor(self, meet, disable, foreign, before)

    def mark(self, site: Site, name: str) -> None:
        """Give the site's stages a name; each of its calls becomes notable."""
        site.name = name
        site.marked = True
        self.note_all(site)

    def edges(self) -> list[Edge]:
        """Return the totals of every pair of caller and callee, in the order of their first calls."""
        edges: dict[tuple[int, int], Edge] = {}
        for site, caller, calls, resumed, total, own, longest, raised, first, errors in self.rows():
            edge = edges.get((caller, site))
            if edge is None:
                edge = edges[caller, site] = Edge(site, caller)
            edge.add(calls, resumed, total, own, longest, raised, first, errors)
        return sorted((edge for edge in edges.values() if edge.calls), key=lambda edge: edge.first)

    def drain(self) -> tuple[list[NotableCall], int]:
        """Return the notable calls since the last drain, by their end, and how many were dropped."""
        taken, dropped = self.take()
        calls = [NotableCall(*call) for call in taken]
        calls.sort(key=lambda call: call.ended)
        return calls, dropped

    def open_calls(self) -> list[OpenCall]:
        """Return the calls that are running in any thread, outermost first within a lane, then the suspended ones."""
        return [OpenCall(*call) for call in self.running()]

    def rehearse(self) -> None:
        """Do nothing: a probe runs no Python code."""

    watcher = _native.Watcher

    @staticmethod
    def new_nap() -> Nap:
        """Return a lock on which a thread of ours can sleep; C code that forks then finds the thread asleep."""
        return _native.Nap()

    def before_fork(self) -> None:
        """Know that it is Python that forks: it has the GIL, so nobody is within a probe."""
        self.expect_fork()

    def after_fork(self) -> None:
        """Go on in the parent process, where nobody listens until there is something to tell."""
        self.listen_again()

    def keep(self, folder: str, story_id: str, facts: Mapping[str, str | int]) -> None:
        """Let the memory be a file from the first record on, so that it outlives the process."""
        self._box_path = os.path.join(folder, story_id + SUFFIX) if folder else ""
        members = {"story_id": story_id, **facts}
        parts = [f'"{name}":{_quoted(value) if isinstance(value, str) else value}' for name, value in members.items()]
        while sum(map(len, parts)) + len(parts) + 2 > IDENTITY_BYTES:
            del parts[-1]
        identity = f"{{{','.join(parts)}}}".encode()
        self.open_box(os.fsencode(folder), os.fsencode(self._box_path), identity, self.sites.described)

    @property
    def box_fault(self) -> str:
        """Why the memory, or a part of it, is no file although it should be; "" for no reason."""
        is_file, fault = self.box
        if not fault or not self._box_path:
            return ""
        what = "the black box holds no more" if is_file else "there is no black box"
        return f"{what} ({os.strerror(fault)}: {self._box_path})"

    def dump_on_signal(self, number: int, folder: str, story_id: str) -> str:
        """Write a copy of the memory into a folder on each signal of a number; the program's handler comes after."""
        try:
            path = os.path.join(folder, f"{story_id}-dump-")
            self.dump_on(number, os.fsencode(folder), os.fsencode(path), self._find_pythons_handler(number))
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _find_pythons_handler(self, number: int) -> int:
        """Return the address of the one handler by which Python calls those of the program, 0 if it is not known."""
        global _pythons_handler  # noqa: PLW0603 - of the process, as signals are
        if not _pythons_handler:
            before = _signal.getsignal(number)
            try:
                _signal.signal(number, lambda *_: None)
            except ValueError:  # not the main thread
                return 0
            _pythons_handler = self.handler_of(number)
            _signal.signal(number, _signal.SIG_DFL if before is None else before)
        return _pythons_handler

    def say_goodbye(self) -> None:
        """Take the file away: the process ends well, and nobody needs to read it."""
        self.close_box()

    def scratch(self) -> NativeRecorder:
        """Return an empty recorder in which nothing is notable."""
        return NativeRecorder(1 << 62)
