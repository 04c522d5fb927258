"""Instruments application modules as they are imported, by a finder in front of the others.

The module's code is read and rewritten when its spec is found, and handed over once: the spec keeps the plain
`SourceFileLoader` that it would have had, so nothing of ours is left on the module, and a module whose code cannot be
had (a syntax error, say) fails later exactly as it does without us.
"""

from __future__ import annotations

import _thread
import os
import sys
import time
from importlib.machinery import SourceFileLoader, SourcelessFileLoader

from narrative_auto.errors import attempted, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    from narrative_auto.instrument.engines.base import Engine
    from narrative_auto.instrument.scope import Scope


class NarrativeFinder:
    """A meta path finder that asks the finders behind it and instruments what they find, if the scope wants it.

    Args:
        engine: puts the probes in.
        scope: says which modules are application code.
        leave_plain: told of each module that stays as it is although the scope wanted it: module, "", reason.
        finish: for the names in `main_modules` (what `python -m` runs), makes the last change to the code.

    Attributes:
        instrumented: names of the modules that were instrumented.
        seconds: time spent on reading and rewriting.
    """

    def __init__(
        self,
        engine: Engine,
        scope: Scope,
        leave_plain: Callable[[str, str, str], None],
        main_modules: frozenset[str] = frozenset(),
        finish: Callable[[CodeType], CodeType] | None = None,
    ) -> None:
        self._engine = engine
        self._scope = scope
        self._leave_plain = leave_plain
        self._main_modules = main_modules
        self._finish = finish
        self._busy: set[int] = set()
        self.instrumented: list[str] = []
        self.seconds = 0.0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the finders behind this one give, made ready where it is application code."""
        thread = _thread.get_ident()
        if thread in self._busy:
            return None  # what we ourselves import on the way is found as if we were not here
        self._busy.add(thread)
        try:
            spec = self._found_behind(fullname, path, target)
            if spec is not None and spec.loader is not None and spec.origin and spec.has_location:
                guarded(f"instrumenting {fullname}", self._prepare, fullname, spec)
        finally:
            self._busy.discard(thread)
        return spec

    def _found_behind(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        finders = list(sys.meta_path)
        behind = finders[finders.index(self) + 1 :] if self in finders else []
        for finder in behind:
            find_spec = getattr(finder, "find_spec", None)
            if find_spec is None:
                continue
            # A finder that raises is asked again by the import machinery, without our frame in the traceback.
            spec: ModuleSpec | None = attempted(find_spec, fullname, path, target)
            if spec is not None:
                return spec
        return None

    def _prepare(self, fullname: str, spec: ModuleSpec) -> None:
        """Let the spec's loader hand out instrumented code, once."""
        filename = spec.origin or ""
        verdict = self._scope.module(fullname, filename)
        if not verdict.instrument:
            return
        loader = spec.loader
        if type(loader) is SourcelessFileLoader:
            self._leave_plain(fullname, "", "it has no source, only bytecode")
            return
        if type(loader) is not SourceFileLoader:
            self._leave_plain(fullname, "", f"it is loaded by {type(loader).__module__}.{type(loader).__qualname__}")
            return
        started = time.perf_counter()
        stamp = _stamp(filename)
        code = attempted(loader.get_code, fullname)
        if code is None:
            return  # it cannot be read or compiled: the import itself says so
        code = self._engine.instrument(code, fullname)
        if fullname in self._main_modules and self._finish is not None:
            code = self._finish(code)
        self.instrumented.append(fullname)
        self.seconds += time.perf_counter() - started

        def get_code(name: str) -> CodeType | None:
            vars(loader).pop("get_code", None)
            return code if _stamp(filename) == stamp else loader.get_code(name)

        loader.get_code = get_code  # type: ignore[method-assign, assignment]


def _stamp(filename: str) -> tuple[int, int]:
    """Return what changes when a source file is written."""
    try:
        status = os.stat(filename)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
