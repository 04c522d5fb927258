"""Instruments the script that the interpreter runs as `__main__`, and as `__mp_main__` in a spawned child.

CPython runs a script without asking any finder, unless something on `sys.path_hooks` claims its path: then `runpy`
runs it, as it runs a folder or a zip file. So the hook below claims the one path, and a probe at the start of the
module's code puts back what differs: `sys.path[0]`, `__spec__`, `__package__`, `__loader__`.
What remains are the two frames of `runpy` below the module's own (RUNPY_FRAMES).
"""

from __future__ import annotations

import os
import stat
import sys
import time
from importlib.machinery import ModuleSpec, SourceFileLoader

from narrative_auto.errors import DeclinedError, guarded_within
from narrative_auto.instrument.exit_watch import assemble_module
from narrative_auto.recorder.layout import START, UNWIND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType, ModuleType
    from typing import Any

    from narrative_auto.instrument.engines.base import Engine
    from narrative_auto.instrument.exit_watch import ExitWatch
    from narrative_auto.instrument.isolation import Isolation

RUNPY_FRAMES = frozenset({"_run_module_as_main", "_run_code"})
"""The functions whose frames lie below `__main__` here, and do not when CPython runs the script itself."""


class _ModuleStart:
    """The probe at the start of a main module's code: calls back with the module's frame."""

    __slots__ = ("_begin",)

    def __init__(self, begin: Callable[[FrameType], None]) -> None:
        self._begin = begin

    def __bool__(self) -> bool:
        guarded_within("preparing __main__", self._begin, sys._getframe(1))  # noqa: SLF001 - the module's own frame
        return True


class ScriptHook:
    """A path hook that claims one script, and the finder of its module.

    Args:
        engine: puts the probes in.
        script: the script's path, symbolic links resolved; "" to claim what a spawned child runs, the first
            source file that the function `wanted` accepts.
        wanted: says whether a path is application code.
        isolation: our own imports on the way, and those of `runpy`, which make way when the module's code begins.
        watch: gets to know how the module is left.

    Attributes:
        claimed: the path that was claimed, as the interpreter wrote it; "" before.
        seconds: time spent on reading and rewriting.
    """

    def __init__(
        self,
        engine: Engine,
        script: str,
        wanted: Callable[[str], bool],
        isolation: Isolation,
        watch: ExitWatch,
    ) -> None:
        self._engine = engine
        self._script = script
        self._wanted = wanted
        self._isolation = isolation
        self._loaded_before: frozenset[str] = frozenset()
        self._watch = watch
        self._code: CodeType | None = None
        self._declined = False
        self.claimed = ""
        self.seconds = 0.0

    def install(self) -> None:
        """Ask to be offered the script."""
        sys.path_hooks.insert(0, self)  # type: ignore[arg-type]

    def uninstall(self) -> None:
        """Step aside for good."""
        hooks: list[Any] = sys.path_hooks
        if self in hooks:
            hooks.remove(self)
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self.claimed:  # as the interpreter notes a script's path: nobody imports from it
            sys.path_importer_cache[self.claimed] = None

    def __call__(self, path: str) -> ScriptHook:
        """Claim the script's path.

        Raises:
            ImportError: for every other path, and for a script that is better run plain.
        """
        if not guarded_within("instrumenting the script", self._claim, path):
            raise ImportError(path)
        return self

    def _claim(self, path: str) -> bool:
        if self.claimed or self._declined or not self._is_script(path):
            return False
        started = time.perf_counter()
        # One script, once. A hook that declines stays where it is: the interpreter is walking over the list of hooks.
        self._declined = bool(self._script)
        self._loaded_before = frozenset(sys.modules)
        if not self._wanted(path):
            return False
        try:
            with open(path, "rb") as file:
                code = compile(file.read(), path, "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return False  # the interpreter meets it again and tells it in its own words
        try:
            with self._isolation:
                code = self._engine.instrument(code, "__main__")
                self._code = assemble_module(code, {START: _ModuleStart(self._begin), UNWIND: self._watch})
        except DeclinedError:
            return False
        self.claimed = path
        self._watch.begun = True
        sys.meta_path.insert(0, self)
        self.seconds += time.perf_counter() - started
        return True

    def _is_script(self, path: str) -> bool:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return False  # reading a pipe would take it away from the interpreter
        except (OSError, ValueError):
            return False
        return os.path.realpath(path) == self._script if self._script else path.endswith(".py")

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the finder's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return the spec of the claimed script when `runpy` asks for its `__main__`."""
        if fullname != "__main__" or self._code is None or sys.path[:1] != [self.claimed]:
            return None
        code = self._code
        loader = SourceFileLoader("__main__", self.claimed)

        def get_code(_: str) -> CodeType:
            vars(loader).pop("get_code", None)
            return code

        loader.get_code = get_code  # type: ignore[method-assign, assignment]
        return ModuleSpec("__main__", loader, origin=self.claimed)

    def _begin(self, frame: FrameType) -> None:
        """Make the module and `sys.path` what they are when CPython runs the script itself."""
        names = frame.f_globals
        self.uninstall()
        self._code = None
        names["__spec__"] = None
        if names.get("__name__") == "__main__":
            names["__package__"] = None
            if sys.path[:1] == [self.claimed]:
                if getattr(sys.flags, "safe_path", False):
                    del sys.path[0]
                else:
                    sys.path[0] = os.path.dirname(os.path.realpath(self.claimed))
        else:
            # runpy.run_path, as multiprocessing calls it, gives such a module no loader and takes the path away again.
            names["__loader__"] = None
            if self.claimed in sys.path:
                sys.path.remove(self.claimed)
        self._isolation.make_way(self._loaded_before)
