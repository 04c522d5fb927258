"""Code objects that stay as compiled: which of them report, found when they first start.

Two engines watch code that runs instead of changing code that is loaded. They share this table, by the identity of the
code object.
"""

from __future__ import annotations

from _functools import partial  # type: ignore[import-not-found] # functools would import collections
from _weakref import ref

from narrative_auto.instrument.engines.base import CO_OPTIMIZED
from narrative_auto.recorder.sites import kind_of, site_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FunctionType
    from typing import Any

    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.recorder.sites import Site


class Watched:
    """A code object that reports.

    Attributes:
        code: of the function; a weak reference.
        site: where it reports to.
    """

    __slots__ = ("code", "site")

    def __init__(self, code: ref[CodeType], site: Site) -> None:
        self.code = code
        self.site = site


class WatchedCode:
    """The code objects of the scope, by identity, and the files that are known to hold others.

    Args:
        recorder: gives sites and probes.
        scope: says which modules and functions are stages.
        is_on: says whether code that was not met yet is still to report.
        make: makes what stands for a code object.

    Attributes:
        known: what stands for the code objects that report, by identity; of the kind that `make` makes.
        foreign: files whose code is not of the scope, whatever module runs it.
    """

    def __init__(
        self,
        recorder: Recorder,
        scope: Scope,
        is_on: Callable[[], bool],
        make: Callable[[ref[CodeType], Site], Watched],
    ) -> None:
        self._recorder = recorder
        self._make = make
        self.foreign: set[str] = set()
        self._scope = scope
        self._is_on = is_on
        self._files: dict[tuple[str, object], bool] = {}
        self._places: dict[tuple[str, str, str, int], Site] = {}
        self.known: dict[int, Any] = {}

    def meet(self, code: CodeType, names: Mapping[str, Any]) -> Any:
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
        watched = self.known[id(code)] = self._make(gone, site)
        self._recorder.sites.bind(code, site)
        return watched

    def is_main(self, code: CodeType, names: Mapping[str, Any]) -> bool:
        """Return whether code that starts is that of the main module, and application code."""
        is_main = code.co_name == "<module>" and names.get("__name__") == "__main__"
        return is_main and self.is_application(code.co_filename, names)

    def of(self, function: FunctionType) -> Any:
        """Return what to call for a function's code; None if it is to run unseen."""
        return self.known.get(id(function.__code__)) or self.meet(function.__code__, function.__globals__)

    def at(self, site: Site) -> list[Any]:
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
            if not known and self._scope.is_never_wanted(filename):
                self.foreign.add(filename)
        return known
