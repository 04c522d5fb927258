"""The engine that leaves code as it is: the interpreter calls back at each transition (PEP 669, CPython 3.12).

While PY_START is armed for all code, each code object is met when it first starts, whatever brought it in: an import,
`exec`, a loader of the program's own, a function that was there before us. What is not of the scope is switched off
there and then and costs nothing afterwards; what is gets its own events.

Beside an engine that sees nearly all code there is little to meet, and code of all libraries would pay for it. There
PY_START is asked for, where the recorder can tell, of functions only that come to be and may be news.
"""

from __future__ import annotations

import sys

from narrative_auto.errors import DeclinedError, guarded_within
from narrative_auto.instrument.engines import base, facts
from narrative_auto.instrument.engines.base import (
    KEEPS_CODE,
    KEEPS_TRACER,
    SEES_CLOSE,
    SEES_EXEC,
    SEES_EXISTING,
    SEES_THROW,
    SURVIVES_OVERFLOW,
)
from narrative_auto.instrument.engines.watched import Watched, WatchedCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _weakref import ref
    from collections.abc import Callable, Mapping, Sequence
    from types import CodeType, FunctionType
    from typing import Any

    from narrative_auto.instrument.exit_watch import ExitWatch
    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.base import Monitor, Recorder
    from narrative_auto.recorder.sites import Site

FREE_TOOLS = (4, 3)
"""The tool ids that PEP 669 gives to nobody, the one first that others are likely to take last; debuggers, coverage,
profilers and optimizers have ids of their own."""

OWNER = "narrative_auto"


class MonitoringEngine:
    """Lets the interpreter report the functions of the scope by `sys.monitoring`.

    Args:
        scope: says which modules and functions are stages.
        main: what the main module's start and unwinding are reported to; None for nothing.
        is_on: says whether functions that did not run yet are still to report.
        only_new: functions that are there when it starts are seen by another engine.
    """

    name = "monitoring"

    def __init__(
        self,
        scope: Scope,
        main: ExitWatch | None = None,
        is_on: Callable[[], bool] = lambda: True,
        *,
        only_new: bool = False,
    ) -> None:
        self._scope = scope
        self._only_new = only_new
        self.capabilities = frozenset(
            {SEES_EXEC, SEES_THROW, SURVIVES_OVERFLOW, KEEPS_CODE, KEEPS_TRACER}
            | (set() if only_new else {SEES_EXISTING})
            | (set() if facts.CLOSES_SILENTLY else {SEES_CLOSE})
        )
        self._is_on = is_on
        self._main = main
        self._tool = -1
        self._watched: WatchedCode | None = None
        self._monitor: Monitor | None = None
        self._local = self._everywhere = self._unwinding = self._starting = self._ending = 0

    def start(self, recorder: Recorder) -> None:
        """Take a free tool id and meet code from here on, all of it or what is new.

        Raises:
            DeclinedError: CPython 3.11, or both free tool ids are taken.
        """
        if sys.version_info < (3, 12):
            raise DeclinedError("the monitoring engine needs CPython 3.12 or later")
        monitoring = sys.monitoring
        taken = {tool: monitoring.get_tool(tool) for tool in FREE_TOOLS}
        self._tool = next((tool for tool, owner in taken.items() if owner is None), -1)
        if self._tool < 0:
            owners = " and ".join(str(owner) for owner in taken.values())
            raise DeclinedError(f"the free tool ids of sys.monitoring are taken by {owners}")
        monitoring.use_tool_id(self._tool, OWNER)
        self._watched = WatchedCode(recorder, self._scope, self._is_on, self._watch)
        base.started.append(self)
        events = monitoring.events
        self._local = events.PY_START | events.PY_RETURN | events.PY_YIELD | events.PY_RESUME
        unwinding = events.PY_UNWIND | events.PY_THROW
        if facts.UNWINDS_LOCALLY:
            self._local |= unwinding
        else:
            self._unwinding = unwinding
        self._everywhere = self._starting = events.PY_START
        self._ending = events.PY_RETURN
        self._monitor = watching = recorder.monitor(
            self._met, monitoring.DISABLE, self._watched.foreign, before=facts.SIGNALS_BEFORE_START
        )
        for event, callback in (
            (events.PY_START, watching.started),
            (events.PY_RETURN, watching.returned),
            (events.PY_YIELD, watching.yielded),
            (events.PY_RESUME, watching.resumed),
            (events.PY_THROW, watching.thrown),
            (events.PY_UNWIND, watching.unwound),
        ):
            monitoring.register_callback(self._tool, event, callback)
        if self._only_new and watching.attend(monitoring.set_local_events, self._tool, events.PY_START):
            self._everywhere = 0
        self._set_all(self._everywhere)
        recorder.rehearse()

    def instrument(self, code: CodeType, module: str) -> CodeType:  # noqa: ARG002 - the contract
        """Return the code itself: its functions are met when they start."""
        return code

    def site(self, function: FunctionType) -> Site | None:
        """Return the site of a function of the scope."""
        watched = self._watched.of(function) if self._watched is not None else None
        return watched.site if watched is not None else None

    def pass_over(self, filename: str) -> None:
        """Take no notice of the functions of a file, if it can hold no application code."""
        if self._watched is not None and self._scope.is_never_wanted(filename):
            self._watched.foreign.add(filename)

    def rest(self) -> None:
        """Meet no new function any more; those that report go on."""
        if self._monitor is not None:
            self._monitor.rest()

    def release(self, site: Site) -> None:
        """Switch a site's events off; its code runs as if nobody watched."""
        site.released = True
        if self._monitor is not None:
            self._monitor.silence(site)
        for watched in self._watched.at(site) if self._watched is not None else ():
            self._set_local(watched, 0)

    def restore(self, sites: Sequence[Site]) -> None:
        """Switch the events of sites on again."""
        wanted = {site.number for site in sites}
        known = list(self._watched.known.values()) if self._watched is not None else []
        restored = [watched for watched in known if watched.site.number in wanted]
        if not restored or self._monitor is None:
            return
        for watched in restored:
            watched.site.released = False
            self._monitor.unsilence(watched.site)
        # A disabled event comes back when the code object is seen without it once, and then with it again.
        if self._everywhere & self._starting:
            self._set_all(self._everywhere & ~self._starting)
        for watched in restored:
            self._set_local(watched, self._ending)  # as nothing happens where the events asked for are those that are
            self._set_local(watched, 0)
        if self._everywhere & self._starting:
            self._set_all(self._everywhere)
        for watched in restored:
            self._set_local(watched, self._local)

    def stop(self) -> None:
        """Switch everything off and give the tool id back."""
        if self in base.started:
            base.started.remove(self)
        if self._tool < 0 or sys.version_info < (3, 12):
            return
        self.rest()
        monitoring = sys.monitoring
        tool, self._tool = self._tool, -1  # other threads may be in a callback still
        monitoring.set_events(tool, 0)
        for watched in list(self._watched.known.values()) if self._watched is not None else ():
            code = watched.code()
            if code is not None:
                monitoring.set_local_events(tool, code, 0)
                if self._monitor is not None:
                    self._monitor.forget(code)
        events = monitoring.events
        for event in (
            *(events.PY_START, events.PY_RETURN, events.PY_YIELD),
            *(events.PY_RESUME, events.PY_THROW, events.PY_UNWIND),
        ):
            monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)

    def _watch(self, code: ref[CodeType], site: Site) -> Watched:
        """Let a code object report to a site; without events so far."""
        there = code()
        if there is not None and self._monitor is not None:
            self._monitor.watch(there, site)
        return Watched(code, site)

    def _set_local(self, watched: Watched, events: int) -> None:
        code = watched.code()
        if code is not None and sys.version_info >= (3, 12):
            self._watch_unwinding()
            sys.monitoring.set_local_events(self._tool, code, events)

    def _set_all(self, events: int) -> None:
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(self._tool, events)

    def _watch_unwinding(self) -> None:
        """Ask for the events that come for all code or for none, once there is something to see by them."""
        if self._everywhere | self._unwinding != self._everywhere:
            self._everywhere |= self._unwinding
            self._set_all(self._everywhere)

    def _met(self, code: CodeType, names: Mapping[str, Any]) -> object:
        """Take in a code object that starts unwatched; return what the interpreter is to get."""
        answer = guarded_within("watching a function", self._meet, code, names)
        if answer or sys.version_info < (3, 12):
            return None
        return sys.monitoring.DISABLE

    def _meet(self, code: CodeType, names: Mapping[str, Any]) -> bool:
        """Arm a code object that starts for the first time, if it is of the scope; say whether it is to come again."""
        code_of = self._watched
        if code_of is None:
            return False
        try:
            if self._main is not None and not self._main.begun and code_of.is_main(code, names):
                self._watch_main(code, self._main)
            elif self._monitor is not None and (self._main is None or self._main.begun):
                self._monitor.meets_modules = False
            watched = code_of.known.get(id(code)) or code_of.meet(code, names)  # known by a mark before it first ran
            if watched is not None and not watched.site.released:
                self._set_local(watched, self._local)
        except RecursionError:
            return (
                True  # it could not be met where the stack ends; the program's own next call does not fit there either
            )
        except ValueError:
            if self._tool >= 0:
                raise
            return True  # another thread has stopped us meanwhile
        return watched is not None

    def _watch_main(self, code: CodeType, main: ExitWatch) -> None:
        main.begun = True
        if self._monitor is not None:
            self._monitor.watch_unwinding(code, main)
        self._watch_unwinding()
        if facts.UNWINDS_LOCALLY and sys.version_info >= (3, 12):
            sys.monitoring.set_local_events(self._tool, code, sys.monitoring.events.PY_UNWIND)
