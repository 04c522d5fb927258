"""Code objects that stay as compiled: which of them report, found when they first start.

Two engines watch code that runs instead of changing code that is loaded. They share this table, by the identity of the
code object.
"""

from __future__ import annotations

from _functools import partial  # type: ignore[import-not-found] # functools would import collections
from _weakref import ref

from narrative_auto.instrument.engines.base import CO_OPTIMIZED, kind_of
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD
from narrative_auto.recorder.pure import BY_CALLBACK
from narrative_auto.recorder.sites import FUNCTION, site_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FunctionType
    from typing import Any

    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.pure import PureRecorder
    from narrative_auto.recorder.sites import Site


class Watched:
    """A code object that reports: what to call at its transitions.

    Attributes:
        site: where it reports to.
        start, leave, suspend, resume: report START, RETURN, YIELD and RESUME.
        unwind: reports UNWIND, given the exception.
        left: reports UNWIND, given the exception's identity and type.
        entry: the offset of the instruction at which the function begins to run; -1 before that was seen.
        released: it is to be silent.
    """

    __slots__ = ("code", "entry", "leave", "left", "released", "resume", "site", "start", "suspend", "unwind")

    def __init__(self, code: ref[CodeType], recorder: PureRecorder, site: Site) -> None:
        self.code = code
        self.site = site
        self.entry = -1
        self.released = site.released
        # Code that is compiled again for the same place shares the site's probes.
        probes = {probe.word >> 32: probe for probe in site.probes} or {
            each: recorder.probe(site, each, BY_CALLBACK) for each in (START, RETURN, UNWIND, YIELD, RESUME)
        }
        self.start: Callable[[], bool] = probes[START].__bool__
        self.leave: Callable[[], bool] = probes[RETURN].__bool__
        unwinding = probes[UNWIND]
        self.unwind: Callable[[BaseException], bool] = unwinding.__eq__
        self.left: Callable[[int, type], None] = unwinding.left
        suspends = site.kind != FUNCTION
        # A plain function has neither; to report something else would be worse than to report nothing.
        self.suspend = probes[YIELD].__bool__ if suspends else bool
        self.resume = probes[RESUME].__bool__ if suspends else bool


class WatchedCode:
    """The code objects of the scope, by identity, and the files that are known to hold others.

    Args:
        recorder: gives sites and probes.
        scope: says which modules and functions are stages.
        is_on: says whether code that was not met yet is still to report.
    """

    def __init__(self, recorder: PureRecorder, scope: Scope, is_on: Callable[[], bool]) -> None:
        self._recorder = recorder
        self._scope = scope
        self._is_on = is_on
        self._files: dict[tuple[str, object], bool] = {}
        self._places: dict[tuple[str, str, str, int], Site] = {}
        self.known: dict[int, Watched] = {}

    def meet(self, code: CodeType, names: Mapping[str, Any]) -> Watched | None:
        """Return what to call for a code object that has not been seen before; None if it is to run unseen.

        Args:
            code: of anything that starts.
            names: its global names.
        """
        if not code.co_flags & CO_OPTIMIZED or not self._is_on() or not self.is_application(code.co_filename, names):
            return None
        if not self._scope.function(code.co_qualname).instrument or site_in(code) is not None:
            return None
        generated = code.co_filename.startswith("<")
        if generated and code.co_name.startswith("__") and code.co_name.endswith("__"):
            return None  # what dataclasses and attrs write is not the application's own
        module = names.get("__name__")
        site = self._site(code, module if isinstance(module, str) else "")
        # The callback is not Python: it would be traced where a debugger is at work, and fail at the end of all.
        gone = ref(code, partial(self.known.pop, id(code)))
        watched = self.known[id(code)] = Watched(gone, self._recorder, site)
        self._recorder.sites.bind(code, site)
        return watched

    def is_main(self, code: CodeType, names: Mapping[str, Any]) -> bool:
        """Return whether code that starts is that of the main module, and application code."""
        is_main = code.co_name == "<module>" and names.get("__name__") == "__main__"
        return is_main and self.is_application(code.co_filename, names)

    def of(self, function: FunctionType) -> Watched | None:
        """Return what to call for a function's code; None if it is to run unseen."""
        return self.known.get(id(function.__code__)) or self.meet(function.__code__, function.__globals__)

    def at(self, site: Site) -> list[Watched]:
        """Return the code objects that report to a site."""
        return [watched for watched in list(self.known.values()) if watched.site is site]

    def _site(self, code: CodeType, module: str) -> Site:
        """Return the site of a place; code that is compiled again and again for the same place shares one."""
        place = (module, code.co_qualname, code.co_filename, code.co_firstlineno)
        site = self._places.get(place)
        if site is None or site.kind != kind_of(code):
            site = self._places[place] = self._recorder.sites.add(*place, kind_of(code))
        return site

    def is_application(self, filename: str, names: Mapping[str, Any]) -> bool:
        """Return whether code of a file is application code, given the global names that it runs with."""
        module = names.get("__name__")
        key = (filename, module)
        known = self._files.get(key)
        if known is None:
            name = module if isinstance(module, str) else ""
            place: object = filename
            if filename.startswith("<"):  # no file: what the module runs by `exec`, or the code of `-c`
                place = names.get("__file__") or ""
            if place:
                known = isinstance(place, str) and self._scope.module(name, place).instrument
            else:
                known = name == "__main__" and not filename.startswith("<frozen ")
            self._files[key] = known
        return known
