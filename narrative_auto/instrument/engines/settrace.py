"""The last resort: a trace function in every thread (`sys.settrace`), on any CPython.

It leaves code as it is and costs far more than the other engines. A tracer that is there before it goes on getting its
events; a debugger or a coverage tool that comes later takes the place, and this engine steps aside.
"""

from __future__ import annotations

import sys
from _functools import partial  # type: ignore[import-not-found] # functools would import collections
from _weakref import ref
from opcode import opmap

from narrative_auto.errors import guarded_within
from narrative_auto.instrument.engines import base, facts
from narrative_auto.instrument.engines.base import (
    KEEPS_CODE,
    KEEPS_MONITORING,
    SEES_CLOSE,
    SEES_EXEC,
    SEES_EXISTING,
    SEES_THROW,
)
from narrative_auto.instrument.engines.watched import Watched, WatchedCode
from narrative_auto.recorder.base import BY_CALLBACK
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD
from narrative_auto.recorder.sites import FUNCTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType, FunctionType
    from typing import Any

    from narrative_auto.instrument.exit_watch import ExitWatch
    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.recorder.sites import Site

_RETURNS = frozenset(opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in opmap)

_SUSPENSIONS = frozenset({opmap["YIELD_VALUE"], opmap["RESUME"]})
"""Where a suspended frame is: at its YIELD_VALUE, from 3.13 on at the RESUME behind it."""


_DEBUGGER = 0
"""The tool id of debuggers in `sys.monitoring`."""


class TracedCode(Watched):
    """A code object that reports: what to call at its transitions.

    Attributes:
        start, leave, suspend, resume: report START, RETURN, YIELD and RESUME.
        left: reports UNWIND, given the exception's identity and type.
        entry: the offset of the instruction at which the function begins to run; -1 before that was seen.
    """

    __slots__ = ("entry", "leave", "left", "resume", "start", "suspend")

    def __init__(self, code: ref[CodeType], site: Site, probes: list[Any]) -> None:
        super().__init__(code, site)
        self.entry = -1
        start, leave, unwind, *others = probes
        self.start: Callable[[], bool] = start.__bool__
        self.leave: Callable[[], bool] = leave.__bool__
        self.left: Callable[[int, type], None] = unwind.left
        # A plain function has neither; to report something else would be worse than to report nothing.
        self.suspend: Callable[[], bool] = others[0].__bool__ if site.kind != FUNCTION else bool
        self.resume: Callable[[], bool] = others[1].__bool__ if site.kind != FUNCTION else bool


class SettraceEngine:
    """Reports the functions of the scope by a trace function.

    Args:
        scope: says which modules and functions are stages.
        main: what the main module's start and unwinding are reported to; None for nothing.
        is_on: says whether functions that did not run yet are still to report.
    """

    name = "settrace"
    capabilities = frozenset(
        {SEES_EXISTING, SEES_EXEC, KEEPS_CODE, KEEPS_MONITORING}
        | (set() if facts.CLOSES_SILENTLY else {SEES_CLOSE})
        | (set() if facts.THROW_FINISHES_SILENTLY else {SEES_THROW})
    )

    def __init__(self, scope: Scope, main: ExitWatch | None = None, is_on: Callable[[], bool] = lambda: True) -> None:
        self._scope = scope
        self._is_on = is_on
        self._main = main
        self._watched: WatchedCode | None = None
        self._stopped: list[bool] = []
        self._before: Any = None
        self._before_in_threads: Any = None
        self._trace: Any = None

    def start(self, recorder: Recorder) -> None:
        """Become the trace function of this thread and of those that `threading` starts from here on."""
        import threading  # costs a millisecond or two, which is little here

        probes: dict[int, list[Any]] = {}

        def traced(code: ref[CodeType], site: Site) -> TracedCode:
            if site.number not in probes:  # code that is compiled again for the same place shares them
                every = (START, RETURN, UNWIND, YIELD, RESUME)
                probes[site.number] = recorder.probes(site, every, BY_CALLBACK)
            return TracedCode(code, site, probes[site.number])

        self._watched = WatchedCode(recorder, self._scope, self._is_on, traced)
        self._before, self._before_in_threads = sys.gettrace(), threading.gettrace()
        self._trace = self._make_trace(self._watched)
        base.started.append(self)
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def instrument(self, code: CodeType, module: str) -> CodeType:  # noqa: ARG002 - the contract
        """Return the code itself: its functions are met when they start."""
        return code

    def site(self, function: FunctionType) -> Site | None:
        """Return the site of a function of the scope."""
        watched = self._watched.of(function) if self._watched is not None else None
        return watched.site if watched is not None else None

    def release(self, site: Site) -> None:
        """Let calls of a site run untraced from here on."""
        site.released = True

    def restore(self, sites: Sequence[Site]) -> None:
        """Trace the calls of sites again."""
        for site in sites:
            site.released = False

    def stop(self) -> None:
        """Give the place back, where it still is ours."""
        import threading

        if self in base.started:
            base.started.remove(self)
        self._stopped.append(True)
        if self._trace is not None and sys.gettrace() is self._trace:
            sys.settrace(self._before)
        if self._trace is not None and threading.gettrace() is self._trace:
            threading.settrace(self._before_in_threads)

    def _is_tracing(self) -> bool:
        return sys.gettrace() is self._trace  # the interpreter removes a trace function that fails, as may the program

    def _make_trace(self, code_of: WatchedCode) -> Any:
        known = code_of.known
        chained = self._before
        main = self._main
        unseen: dict[int, object] = {}  # what runs unseen, by identity, until it is gone
        suspended: dict[int, dict[int, int]] = {}
        tool: Callable[[int], object] | None = None
        if facts.DEBUGGERS_MONITOR and sys.version_info >= (3, 12):
            tool = sys.monitoring.get_tool
        stopped = self._stopped

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            if stopped:
                return None
            other = chained(frame, event, argument) if chained is not None else None
            if tool is not None and tool(_DEBUGGER) is not None:
                sys.settrace(chained)  # what it keeps in each frame would be called for the trace function too
                return other
            code = frame.f_code
            try:
                watched = known.get(id(code))
                if watched is None:
                    if id(code) in unseen:
                        return other
                    watched = guarded_within("watching a function", code_of.meet, code, frame.f_globals)
                    if watched is None:
                        if main is not None and not main.begun and code_of.is_main(code, frame.f_globals):
                            main.begun = True
                            main.still_watching = self._is_tracing
                            return _MainActivation(main, frame, other).trace
                        identity = id(code)
                        unseen[identity] = ref(code, partial(unseen.pop, identity))
                        return other
                if watched.site.released:
                    return other
                if watched.entry < 0:
                    watched.entry = _entry(code)
                if frame.f_lasti < watched.entry:
                    return other  # thrown into before it began: it is left without having started
                if frame.f_lasti == watched.entry:
                    watched.start()
                else:
                    watched.resume()
                return _Activation(watched, frame, other, suspended).trace
            except RecursionError:  # where the stack ends; an exception that left this function would end all tracing
                return other

        return trace


class _Activation:
    """One run of a function, from its start or resumption to its end or suspension.

    Args:
        watched: the function's code.
        frame: where it runs.
        other: the local trace function of the tracer that was there before; None for none.
        suspended: by the identity of suspended frames, the line of each offset at which an exception was raised since
            the frame last came to that line.
    """

    __slots__ = ("_error", "_other", "_raised", "_suspended", "_watched")

    def __init__(self, watched: TracedCode, frame: FrameType, other: Any, suspended: dict[int, dict[int, int]]) -> None:
        self._watched = watched
        self._other = other
        self._error: tuple[int, type] = (0, BaseException)
        self._suspended = suspended
        self._raised = suspended.pop(id(frame), {})
        if other is None and facts.DEBUGGERS_ASK_FOR_LINES and not self._raised:
            frame.f_trace_lines = False

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Take an event of the frame; the tracer that was there before gets each of them too."""
        if self._other is not None:
            self._other = self._other(frame, event, argument)
        try:
            if event == "line":
                if self._raised:
                    self._raised = {at: line for at, line in self._raised.items() if line != frame.f_lineno}
            elif event == "exception":
                self._error = (id(argument[1]), argument[0])  # not the exception: it would live longer
                self._raised[frame.f_lasti] = frame.f_lineno
                frame.f_trace_lines = True
            elif event == "return":
                report = self._way_out(frame, argument)
                if report is None:
                    self._watched.left(*self._error)
                else:
                    if self._raised and report is self._watched.suspend:
                        self._suspended[id(frame)] = self._raised
                    report()
        except RecursionError:
            pass
        return self.trace

    def _way_out(self, frame: FrameType, value: object) -> Callable[[], bool] | None:
        """Tell the ways out of a frame apart, which all come as one event: by the instruction that it is at.

        Returns:
            What reports it; None where an exception leaves.

        RERAISE puts the frame back to where the exception was raised, which may be a yield: what was thrown in there
        has left the frame, unless the frame has come to that line once more.
        """
        at = frame.f_lasti
        instruction = frame.f_code.co_code[at]
        if instruction in _RETURNS:
            return self._watched.leave
        if instruction in _SUSPENSIONS and not (value is None and at in self._raised):
            return self._watched.suspend
        return None


class _MainActivation:
    """The run of the main module: sees the exception that leaves it."""

    __slots__ = ("_last", "_main", "_other")

    def __init__(self, main: ExitWatch, frame: FrameType, other: Any) -> None:
        self._main = main
        self._other = other
        self._last: tuple[int, type, object] | None = None
        if other is None and facts.DEBUGGERS_ASK_FOR_LINES:
            frame.f_trace_lines = False

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Take an event of the module's frame."""
        if self._other is not None:
            self._other = self._other(frame, event, argument)
        if event == "exception":
            kind = argument[0]  # no other exception is kept: it would live longer than without us
            self._last = (id(argument[1]), kind, argument[1] if issubclass(kind, SystemExit) else None)
        elif event == "return":
            if self._last is not None and frame.f_code.co_code[frame.f_lasti] not in _RETURNS:
                self._main.left(*self._last)
            self._last = None
        return self.trace


def _entry(code: CodeType) -> int:
    """Return the offset at which a trace function sees a function begin: of its first RESUME."""
    return next(at for at in range(0, len(code.co_code), 2) if code.co_code[at] == opmap["RESUME"])
