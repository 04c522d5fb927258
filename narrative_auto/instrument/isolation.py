"""Imports of ours beside a program that may have modules of the same names: a `random.py`, a `token.py`, a `json.py`.

What we import late must be the library's module, never the program's; and what we import early must not stand in
`sys.modules` where the program's own module is to come.
"""

from __future__ import annotations

import _thread
import os
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__))
_LIBRARIES = frozenset(sys.stdlib_module_names) | {"bytecode", "rich", "typing_extensions", "wrapt"}


class Isolation:
    """A context in which this thread's imports are ours.

    Args:
        folders: where the program's own top-level modules lie.
        python_path: the entries of `PYTHONPATH`, which may hold more of them.
    """

    def __init__(self, folders: Iterable[str], python_path: Iterable[str]) -> None:
        self._folders = tuple(dict.fromkeys([*folders, *python_path]))
        self._path = [folder for folder in sys.path if folder not in self._folders]
        self._threads: dict[int, tuple[set[str], dict[str, ModuleType]]] = {}
        self._deeper: dict[int, int] = {}
        self._local_names: frozenset[str] | None = None

    @property
    def local_names(self) -> frozenset[str]:
        """Names of the program's own top-level modules that a library module has too."""
        if self._local_names is None:
            names: set[str] = set()
            for folder in self._folders:
                try:
                    entries = os.listdir(folder)
                except OSError:
                    continue
                names.update(entry.partition(".")[0] for entry in entries if entry.endswith(".py") or "." not in entry)
            self._local_names = frozenset(names & _LIBRARIES)
        return self._local_names

    def is_ours(self) -> bool:
        """Whether the calling thread is importing for us."""
        return _thread.get_ident() in self._threads

    def find_spec(self, fullname: str) -> ModuleSpec | None:
        """Return the spec of a top-level module from where the program's own modules do not lie."""
        return PathFinder.find_spec(fullname, self._path)

    def __enter__(self) -> None:
        """Begin: the program's modules that bear a library's name are put aside.

        It may begin again within itself: in a `__del__` or a signal handler that comes in between.
        """
        if self.is_ours():
            self._deeper[_thread.get_ident()] = self._deeper.get(_thread.get_ident(), 0) + 1
            return
        aside = {}
        for name in self.local_names:
            module = sys.modules.get(name)
            if module is not None and not _is_library(module):
                aside.update(self._take(name))
        self._threads[_thread.get_ident()] = (set(sys.modules), aside)

    def __exit__(self, *_: object) -> None:
        """End: the program's modules are back, and ours make way for those that it has not imported yet."""
        deeper = self._deeper.pop(_thread.get_ident(), 0)
        if deeper:
            if deeper > 1:
                self._deeper[_thread.get_ident()] = deeper - 1
            return
        before, aside = self._threads.pop(_thread.get_ident())
        self.make_way(before)
        for name in aside:
            self._take(name)
        sys.modules.update(aside)

    def make_way(self, before: Iterable[str]) -> None:
        """Forget the library modules that are new since `before`, where the program has one of a library's name.

        All of them, as one imports another: what the program imports then finds the same modules as without us, also
        where that is its own in a library's place. Extension modules stay, they cannot all be loaded twice.
        """
        if not self.local_names:
            return
        known = set(before)
        for name, module in list(sys.modules.items()):
            is_python = str(getattr(module, "__file__", "") or "").endswith(".py")
            if (
                is_python
                and name not in known
                and name.partition(".")[0] in sys.stdlib_module_names
                and _is_library(module)
            ):
                del sys.modules[name]

    @staticmethod
    def _take(name: str) -> dict[str, ModuleType]:
        """Take a module and what lies in it out of `sys.modules`."""
        inside = [one for one in sys.modules if one == name or one.startswith(name + ".")]
        return {one: sys.modules.pop(one) for one in inside}


def _is_library(module: ModuleType) -> bool:
    filename = getattr(module, "__file__", None)
    if not isinstance(filename, str):
        return True
    path = os.path.realpath(filename)
    return path.startswith(_STANDARD_LIBRARY + os.sep) or "site-packages" in path or "dist-packages" in path
