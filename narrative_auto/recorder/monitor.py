"""Callbacks for `sys.monitoring` in Python: the twin of those in `c/monitor.h`."""

from __future__ import annotations

import sys
from _functools import partial  # type: ignore[import-not-found] # functools would import collections
from _weakref import ref

from narrative_auto.recorder.base import BY_CALLBACK
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

    from narrative_auto.recorder.pure import PureRecorder
    from narrative_auto.recorder.sites import Site


class _Watched:
    """What a code object reports to: its site's probes, or what is told of the exception that leaves it."""

    __slots__ = ("entry", "gone", "leave", "resume", "site", "start", "suspend", "told", "unwind")

    def __init__(self, gone: object, site: Site | None, probes: dict[int, Any], told: object) -> None:
        self.gone = gone
        self.site = site
        self.told = told
        self.entry = -1
        self.start, self.leave, self.suspend, self.resume = (
            # What a plain function cannot do is not reported: something else would be worse.
            probes[each].__bool__ if each in probes else bool
            for each in (START, RETURN, YIELD, RESUME)
        )
        self.unwind: Callable[[object], bool] = probes[UNWIND].__eq__ if probes else bool


class PureMonitor:
    """Callbacks that report to the pure recorder; the arguments are those of `Recorder.monitor`."""

    def __init__(
        self,
        recorder: PureRecorder,
        meet: Callable[[CodeType, Any], object],
        disable: object,
        foreign: set[str],
        *,
        before: bool,
    ) -> None:
        self.meets_modules = True
        self._recorder = recorder
        self._known: dict[int, _Watched] = {}  # by identity: code objects compare by structure
        self._make_callbacks(meet, disable, foreign, 0 if before else -1)

    def watch(self, code: CodeType, site: Site) -> None:
        """Let a code object report at a site."""
        # Code that is compiled again for the same place shares the site's probes.
        probes = {probe.word >> 32: probe for probe in site.probes} or {
            probe.word >> 32: probe
            for probe in self._recorder.probes(site, (START, RETURN, UNWIND, YIELD, RESUME), BY_CALLBACK)
        }
        self._keep(code, site, probes, None)

    def watch_unwinding(self, code: CodeType, told: object) -> None:
        """Compare `told` with the exception that leaves a code object."""
        self._keep(code, None, {}, told)

    @staticmethod
    def attend(arm: Callable[[int, CodeType, int], object], tool: int, events: int) -> bool:  # noqa: ARG004 - the protocol
        """Return that it cannot: nothing tells Python of new functions."""
        return False

    def rest(self) -> None:
        """Do nothing."""

    @staticmethod
    def silence(site: Site) -> None:
        """Do nothing: the callbacks look at the site."""

    unsilence = silence

    def forget(self, code: CodeType) -> None:
        """Let a code object report nothing."""
        self._known.pop(id(code), None)

    def _keep(self, code: CodeType, site: Site | None, probes: dict[int, Any], told: object) -> None:
        # The callback is not Python: it would be traced where a debugger is at work, and fail at the end of all.
        gone = ref(code, partial(self._known.pop, id(code)))
        self._known[id(code)] = _Watched(gone, site, probes, told)

    def _make_callbacks(
        self, meet: Callable[[CodeType, Any], object], disable: object, foreign: set[str], before: int
    ) -> None:
        """Make the callbacks; closures, as the probes are: a cell is read faster than an attribute."""
        known = self._known

        def started(code: CodeType, offset: int) -> object:
            watched = known.get(id(code))
            if watched is None or watched.entry < 0:
                if watched is None and (
                    code.co_filename in foreign or (not self.meets_modules and code.co_name == "<module>")
                ):
                    return disable
                answer = meet(code, sys._getframe(1).f_globals)  # noqa: SLF001 - of what starts
                watched = known.get(id(code))
                if watched is None or watched.site is None:
                    return answer
                if watched.entry < 0:
                    watched.entry = offset
            if watched.site is not None and watched.site.released:
                return disable
            watched.start()
            return None

        def returned(code: CodeType, offset: int, value: object) -> None:  # noqa: ARG001 - the interpreter's signature
            watched = known.get(id(code))
            if watched is not None:
                watched.leave()

        def yielded(code: CodeType, offset: int, value: object) -> None:  # noqa: ARG001 - the same
            watched = known.get(id(code))
            if watched is not None:
                watched.suspend()

        def resumed(code: CodeType, offset: int) -> None:  # noqa: ARG001 - the same
            watched = known.get(id(code))
            if watched is not None:
                watched.resume()

        def thrown(code: CodeType, offset: int, error: BaseException) -> None:  # noqa: ARG001 - the same
            watched = known.get(id(code))
            if watched is None or watched.site is None or watched.site.released:
                return
            if offset > watched.entry >= 0:
                watched.resume()

        def unwound(code: CodeType, offset: int, error: BaseException) -> None:
            watched = known.get(id(code))
            if watched is None:
                return
            if watched.site is None:
                watched.told == error  # noqa: B015 - told by comparing, as a probe is
            # An exception at or before the instruction that reports START leaves a call that never began.
            elif offset > watched.entry + before and watched.entry >= 0 and not watched.site.released:
                watched.unwind(error)

        self.started, self.returned, self.yielded = started, returned, yielded
        self.resumed, self.thrown, self.unwound = resumed, thrown, unwound
