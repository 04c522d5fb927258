"""The engine that leaves code as it is: the interpreter calls back at each transition (PEP 669, CPython 3.12).

While PY_START is armed for all code, each code object is met when it first starts, whatever brought it in: an import,
`exec`, a loader of the program's own, a function that was there before us. What is not of the scope is switched off
there and then and costs nothing afterwards; what is gets its own events.
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
from narrative_auto.instrument.engines.watched import WatchedCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FunctionType
    from typing import Any

    from narrative_auto.instrument.engines.watched import Watched
    from narrative_auto.instrument.exit_watch import ExitWatch
    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.pure import PureRecorder
    from narrative_auto.recorder.sites import Site

FREE_TOOLS = (4, 3)
"""The tool ids that PEP 669 gives to nobody, the one first that others are likely to take last; debuggers, coverage,
profilers and optimizers have ids of their own."""

OWNER = "narrative_auto"

_LATER = object()
"""A code object could not be met where the stack ends; the next call of the program's own does not fit there either."""


class MonitoringEngine:
    """Lets the interpreter report the functions of the scope by `sys.monitoring`.

    Args:
        scope: says which modules and functions are stages.
        main: what the main module's start and unwinding are reported to; None for nothing.
        is_on: says whether functions that did not run yet are still to report.
    """

    name = "monitoring"
    capabilities = frozenset(
        {SEES_EXISTING, SEES_EXEC, SEES_THROW, SURVIVES_OVERFLOW, KEEPS_CODE, KEEPS_TRACER}
        | (set() if facts.CLOSES_SILENTLY else {SEES_CLOSE})
    )

    def __init__(self, scope: Scope, main: ExitWatch | None = None, is_on: Callable[[], bool] = lambda: True) -> None:
        self._scope = scope
        self._is_on = is_on
        self._main = main
        self._main_code: CodeType | None = None
        self._tool = -1
        self._watched: WatchedCode | None = None
        self._known: dict[int, Watched] = {}
        self._local = self._everywhere = self._unwinding = self._ending = 0

    def start(self, recorder: PureRecorder) -> None:
        """Take a free tool id and meet all code from here on.

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
        self._watched = WatchedCode(recorder, self._scope, self._is_on)
        self._known = self._watched.known
        base.started.append(self)
        events = monitoring.events
        self._local = events.PY_START | events.PY_RETURN | events.PY_YIELD | events.PY_RESUME
        unwinding = events.PY_UNWIND | events.PY_THROW
        if facts.UNWINDS_LOCALLY:
            self._local |= unwinding
        else:
            self._unwinding = unwinding
        self._everywhere = events.PY_START
        self._ending = events.PY_RETURN
        for event, callback in (
            (events.PY_START, self._make_start()),
            (events.PY_RETURN, self._make_leave()),
            (events.PY_YIELD, self._make_suspend()),
            (events.PY_RESUME, self._make_resume()),
            (events.PY_THROW, self._make_throw()),
            (events.PY_UNWIND, self._make_unwind()),
        ):
            monitoring.register_callback(self._tool, event, callback)
        self._set_all(self._everywhere)
        recorder.rehearse()

    def instrument(self, code: CodeType, module: str) -> CodeType:  # noqa: ARG002 - the contract
        """Return the code itself: its functions are met when they start."""
        return code

    def site(self, function: FunctionType) -> Site | None:
        """Return the site of a function of the scope."""
        watched = self._watched.of(function) if self._watched is not None else None
        return watched.site if watched is not None else None

    def release(self, site: Site) -> None:
        """Switch a site's events off; its code runs as if nobody watched."""
        site.released = True
        for watched in self._watched.at(site) if self._watched is not None else ():
            watched.released = True
            self._set_local(watched, 0)

    def restore(self, site: Site) -> None:
        """Switch a site's events on again."""
        site.released = False
        for watched in self._watched.at(site) if self._watched is not None else ():
            watched.released = False
            # A disabled event comes back when the code object is seen without it once, and then with it again.
            self._set_all(0)
            self._set_local(watched, self._ending)
            self._set_all(self._everywhere)
            self._set_local(watched, self._local)

    def stop(self) -> None:
        """Switch everything off and give the tool id back."""
        if self in base.started:
            base.started.remove(self)
        if self._tool < 0 or sys.version_info < (3, 12):
            return
        monitoring = sys.monitoring
        tool, self._tool = self._tool, -1  # other threads may be in a callback still
        monitoring.set_events(tool, 0)
        for watched in list(self._known.values()):
            code = watched.code()
            if code is not None:
                monitoring.set_local_events(tool, code, 0)
        events = monitoring.events
        for event in (
            *(events.PY_START, events.PY_RETURN, events.PY_YIELD),
            *(events.PY_RESUME, events.PY_THROW, events.PY_UNWIND),
        ):
            monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)

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

    def _meet(self, code: CodeType, offset: int) -> Watched | object | None:
        """Arm a code object that starts for the first time, if it is of the scope."""
        names = sys._getframe(3).f_globals  # noqa: SLF001 - this method, `guarded`, the callback, what starts
        code_of = self._watched
        if code_of is None:
            return None
        try:
            if self._main is not None and not self._main.begun and code_of.is_main(code, names):
                self._watch_main(code, self._main)
            watched = code_of.meet(code, names)
            if watched is not None:
                watched.entry = offset
                self._set_local(watched, self._local)
        except RecursionError:
            return _LATER
        except ValueError:
            if self._tool >= 0:
                raise
            return _LATER  # another thread has stopped us meanwhile
        return watched

    def _watch_main(self, code: CodeType, main: ExitWatch) -> None:
        main.begun = True
        self._main_code = code
        self._watch_unwinding()
        if facts.UNWINDS_LOCALLY and sys.version_info >= (3, 12):
            sys.monitoring.set_local_events(self._tool, code, sys.monitoring.events.PY_UNWIND)

    # The callbacks are closures, as the recorder's probes are: a cell is read faster than an attribute.

    def _make_start(self) -> Any:
        known = self._known
        disable: object = None
        if sys.version_info >= (3, 12):
            disable = sys.monitoring.DISABLE
        meet = self._meet

        def started(code: CodeType, offset: int) -> object:
            watched = known.get(id(code))
            if watched is None:
                met = guarded_within("watching a function", meet, code, offset)
                if met is None:
                    return disable
                if met is _LATER:
                    return None
                watched = known[id(code)]
            elif watched.released:
                return disable
            elif watched.entry < 0:  # known by a mark before it first ran
                guarded_within("watching a function", meet, code, offset)
            watched.start()
            return None

        return started

    def _make_leave(self) -> Any:
        known = self._known

        def returned(code: CodeType, offset: int, value: object) -> None:  # noqa: ARG001 - the interpreter's signature
            watched = known.get(id(code))
            if watched is not None:
                watched.leave()

        return returned

    def _make_suspend(self) -> Any:
        known = self._known

        def yielded(code: CodeType, offset: int, value: object) -> None:  # noqa: ARG001 - the same
            watched = known.get(id(code))
            if watched is not None:
                watched.suspend()

        return yielded

    def _make_resume(self) -> Any:
        known = self._known

        def resumed(code: CodeType, offset: int) -> None:  # noqa: ARG001 - the same
            watched = known.get(id(code))
            if watched is not None:
                watched.resume()

        return resumed

    def _make_throw(self) -> Any:
        known = self._known

        def thrown(code: CodeType, offset: int, error: BaseException) -> None:  # noqa: ARG001 - the same
            watched = known.get(id(code))
            if watched is not None and offset > watched.entry >= 0 and not watched.released:
                watched.resume()

        return thrown

    def _make_unwind(self) -> Any:
        known = self._known
        main = self._main
        before = 0 if facts.SIGNALS_BEFORE_START else -1

        def unwound(code: CodeType, offset: int, error: BaseException) -> None:
            watched = known.get(id(code))
            if watched is not None:
                # An exception at or before the instruction that reports START leaves a call that never began.
                if offset > watched.entry + before and watched.entry >= 0 and not watched.released:
                    watched.unwind(error)
            elif code is self._main_code:
                main == error  # noqa: B015 - told by comparing, as a probe is

        return unwound
