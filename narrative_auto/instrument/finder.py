"""Instruments application modules as they are imported, by a finder in front of the one for ordinary modules.

The module's code is read and rewritten when its spec is found, and handed over once: the spec keeps the plain
`SourceFileLoader` that it would have had, so nothing of ours is left on the module, and a module whose code cannot be
had (a syntax error, say) fails later exactly as it does without us.
"""

from __future__ import annotations

import sys
import time
from importlib.machinery import PathFinder, SourceFileLoader, SourcelessFileLoader

from narrative_auto.errors import attempted_within, guarded_within
from narrative_auto.instrument.cache import look_at, stamp_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

    from narrative_auto.instrument.cache import CodeCache
    from narrative_auto.instrument.engines.base import Rewriter
    from narrative_auto.instrument.engines.rewrite import Prepared
    from narrative_auto.instrument.foreign import Watch
    from narrative_auto.instrument.isolation import Isolation
    from narrative_auto.instrument.scope import Scope


_AT_ONCE = 0.002
"""Seconds from finding a module to loading it within which its source is not looked at again: an import takes some ten
microseconds for it, no more than a loader of its own takes from its look at the source to reading the code. A lazy
loader may take hours."""


class NarrativeFinder:
    """A meta path finder that asks `PathFinder`, and instruments what that finds if the scope wants it.

    Args:
        rewriter: puts the probes in; None where code stays as it is.
        scope: says which modules are application code.
        leave_plain: told of each module that stays as it is although the scope wanted it: module, "", reason.
        isolation: how our own imports are told from the program's.
        finish: for the names in `main_modules` (what `python -m` runs), makes the last change to the code.
        cache: keeps what was rewritten.
        watch: which functions of libraries to look after.
        pass_over: told of each file whose module stays as it is because the scope does not want it.

    Attributes:
        instrumented: names of the modules that were instrumented.
        seconds: time spent on reading and rewriting.
    """

    def __init__(
        self,
        rewriter: Rewriter | None,
        scope: Scope,
        leave_plain: Callable[[str, str, str], None],
        isolation: Isolation,
        main_modules: frozenset[str] = frozenset(),
        finish: Callable[[CodeType], CodeType] | None = None,
        cache: CodeCache | None = None,
        watch: Watch | None = None,
        pass_over: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._rewriter = rewriter
        self._scope = scope
        self._leave_plain = leave_plain
        self._isolation = isolation
        self._main_modules = main_modules
        self._finish = finish
        self._cache = cache
        self._watch = watch
        self._pass_over = pass_over
        self._reason = ""
        self.instrumented: list[str] = []
        self.seconds = 0.0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an ordinary module, made ready where it is application code and is being imported.

        It is asked just before `PathFinder`, so finders of the program's own that stand further in front have answered.
        """
        if self._isolation.is_ours():
            return self._found_for_us(fullname, path)
        if self._rewriter is None and not self._reason and not self._is_watched(fullname):
            return None  # its functions are met when they start
        spec = attempted_within(PathFinder.find_spec, fullname, path, target) or _editable(fullname, path, target)
        if spec is not None and spec.loader is not None and spec.origin and spec.has_location and _is_for_import():
            guarded_within(f"instrumenting {fullname}", self._prepare, fullname, spec)
        return spec

    def _found_for_us(self, fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Return the spec of a module that we import, where the program is to get the same one later."""
        is_watched = self._is_watched(fullname)
        if path is not None and not is_watched:
            return None
        spec = self._isolation.find_spec(fullname) if path is None else PathFinder.find_spec(fullname, path)
        if spec is not None and is_watched:
            guarded_within(f"instrumenting {fullname}", self._prepare, fullname, spec)
        return spec

    def _is_watched(self, fullname: str) -> bool:
        return self._watch is not None and self._watch.wants(fullname)

    @property
    def rewrites(self) -> bool:
        """Whether what is imported from here on gets probes by this finder."""
        return self._rewriter is not None

    def stop_rewriting(self, reason: str) -> None:
        """Leave the code of what is imported from here on as it is.

        Args:
            reason: why those modules are left plain; "" where another engine sees them.
        """
        self._rewriter = None
        self._reason = reason

    def install(self) -> None:
        """Stand before `PathFinder`, behind what is there for built-in and frozen modules and of the program's own."""
        finders: list[Any] = sys.meta_path
        finders.insert(finders.index(PathFinder) if PathFinder in finders else len(finders), self)

    def _prepare(self, fullname: str, spec: ModuleSpec) -> None:
        """Let the spec's loader hand out instrumented code, once."""
        filename = spec.origin or ""
        loader: Any = spec.loader
        stamp, is_link = look_at(filename)
        if self._is_watched(fullname) and type(loader) is SourceFileLoader:
            self._pass_over(filename)
            code = attempted_within(loader.get_code, fullname)
            if code is not None:
                self._hand_out(fullname, filename, loader, stamp, lambda: self._watched(code, fullname))
            return
        verdict = self._scope.module(fullname, filename, is_link=is_link)
        if not verdict.instrument:
            self._pass_over(filename)
            return
        rewriter = self._rewriter
        if rewriter is None:
            self._leave_plain(fullname, "", self._reason)
            return
        if type(loader) not in {SourceFileLoader, SourcelessFileLoader} and type(loader).__module__ != "zipimport":
            # To ask a loader of the program's own now for what it gives later, a program could tell.
            self._leave_plain(fullname, "", f"it is loaded by {type(loader).__module__}.{type(loader).__qualname__}")
            return
        self._hand_out(fullname, filename, loader, stamp, lambda: self._instrumented(spec, loader, rewriter, stamp))

    def _watched(self, code: CodeType, fullname: str) -> CodeType:
        assert self._watch is not None
        if self._isolation.is_ours():
            return self._watch.watched(code, fullname)
        with self._isolation:
            self._watch.take_in()
            return self._watch.watched(code, fullname)

    def _hand_out(
        self, fullname: str, filename: str, loader: Any, stamp: tuple[int, int], make: Callable[[], CodeType | None]
    ) -> None:
        started = time.perf_counter()
        code = make()
        made = time.perf_counter()
        self.seconds += made - started
        if code is None:
            return  # it cannot be read or compiled: the import itself says so

        def get_code(name: str) -> CodeType | None:
            if name != fullname:  # a zip file's loader serves all of its modules
                return type(loader).get_code(loader, name)  # type: ignore[no-any-return]
            vars(loader).pop("get_code", None)
            is_current = time.perf_counter() - made < _AT_ONCE or stamp_of(filename) == stamp
            return code if is_current else type(loader).get_code(loader, name)

        loader.get_code = get_code

    def _instrumented(
        self, spec: ModuleSpec, loader: Any, rewriter: Rewriter, stamp: tuple[int, int]
    ) -> CodeType | None:
        fullname = spec.name
        prepared = self._prepared(spec, loader, rewriter, stamp)
        if prepared is None:
            return None
        code = rewriter.bind(prepared, fullname)
        if fullname in self._main_modules and self._finish is not None:
            with self._isolation:
                code = self._finish(code)
        self.instrumented.append(fullname)
        return code

    def _prepared(self, spec: ModuleSpec, loader: Any, rewriter: Rewriter, stamp: tuple[int, int]) -> Prepared | None:
        """Return a module's prepared code, from the cache if it is there; None if the module has no code to be had."""
        cache = self._cache if type(loader) is SourceFileLoader else None
        filename = spec.origin or ""
        kept = attempted_within(cache.get, filename, stamp, spec.cached) if cache is not None else None
        if kept is not None:
            return kept
        code = attempted_within(loader.get_code, spec.name)
        if code is None:
            return None
        with self._isolation:
            prepared = rewriter.prepare(code)
        if cache is not None:
            attempted_within(cache.put, filename, stamp, spec.cached, prepared)
        return prepared


def _editable(fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    """Return what setuptools' finders for editable installs find; they stand behind `PathFinder`."""
    for finder in sys.meta_path:
        if str(getattr(finder, "__module__", "")).startswith("__editable__"):
            spec: ModuleSpec | None = attempted_within(finder.find_spec, fullname, path, target)
            if spec is not None:
                return spec
    return None


def _is_for_import() -> bool:
    """Return whether a module is being imported, reloaded or run, not only looked for.

    `importlib.util.find_spec` must not compile. The frames: this function, our find_spec, importlib's, its caller.
    """
    caller = sys._getframe(3)  # noqa: SLF001 - there is no other way to know
    if caller.f_code.co_name == "find_spec" and caller.f_back is not None:
        caller = caller.f_back
        return caller.f_code.co_name == "_get_module_details"  # runpy, for `python -m`
    return caller.f_code.co_name in {"_find_and_load_unlocked", "reload"}
