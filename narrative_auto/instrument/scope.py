"""Which modules and functions are application code: one answer, with its reason."""

from __future__ import annotations

import os
import stat
import sys

from narrative_auto.errors import attempted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_stat, _lstat = os.stat, os.lstat  # as they were before a program put others in their place
_LIBRARY_FOLDERS = frozenset({"site-packages", "dist-packages"})
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_HOOK = os.path.join(os.path.dirname(_PACKAGE), "sitecustomize_template")
_STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__))
_KEPT_DUNDERS = frozenset({"__init__", "__call__"})


class Verdict:
    """Whether something is instrumented, and the reason in words that `narrative explain` can print."""

    __slots__ = ("instrument", "reason")

    def __init__(self, *, instrument: bool, reason: str) -> None:
        self.instrument = instrument
        self.reason = reason

    def __repr__(self) -> str:
        return f"Verdict(instrument={self.instrument}, reason={self.reason!r})"


def matches(pattern: str, module: str) -> bool:
    """Return whether a module pattern takes a module: `shop.*` takes `shop` and everything below it.

    `*` stands for any characters, `?` for one. (fnmatch would be imported while a module is being found, with re.)
    """
    if pattern.endswith(".*") and module == pattern[:-2]:
        return True
    at = position = 0
    star, resume = -1, 0
    while position < len(module):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in {"?", module[position]}:
            at += 1
            position += 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


def _exists(path: str) -> bool:
    try:
        _stat(path)
    except (OSError, ValueError):
        return False
    return True


def _is_ours(path: str) -> bool:
    return is_under(path, _PACKAGE) or is_under(path, _HOOK)


def is_under(path: str, folder: str) -> bool:
    """Return whether a path lies in a folder, by components: `/app2/x.py` does not lie in `/app`."""
    return path.startswith(folder if folder.endswith(os.sep) else folder + os.sep)


class Scope:
    """The rules for what is application code.

    Args:
        app_roots: folders, absolute; symbolic links are resolved.
        include: module patterns that add, wherever the module lies.
        exclude: module patterns that take away; they win.
        private: whether functions whose names start with `_` are stages.
    """

    def __init__(
        self,
        app_roots: Iterable[str],
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        *,
        private: bool = True,
    ) -> None:
        self.app_roots = tuple(dict.fromkeys(os.path.realpath(root) for root in app_roots))
        self.include = tuple(include)
        self.exclude = tuple(exclude)
        self.private = private
        self._environments: dict[str, bool] = {}
        self._folders: dict[str, Verdict] = {}
        self._real_folders: dict[str, str] = {}
        self._installed: dict[str, frozenset[str]] = {}
        self._editable: tuple[str, ...] | None = None

    def add_roots(self, app_roots: Iterable[str]) -> None:
        """Take further folders as application code."""
        self.app_roots = tuple(dict.fromkeys([*self.app_roots, *map(os.path.realpath, app_roots)]))
        self._folders.clear()

    @property
    def function_rules(self) -> str:
        """What the verdicts on functions depend on, as text: code that was instrumented by others is no use here."""
        return f"private={self.private}"

    def module(self, name: str, filename: str, *, is_link: bool | None = None) -> Verdict:
        """Return the verdict on a module.

        Args:
            name: the module's full name; the script's is `__main__`.
            filename: its source file.
            is_link: whether that is a symbolic link; None to have it looked at.
        """
        path = self._real(filename, is_link=is_link)
        if (not self.exclude and not self.include) or _is_ours(path):
            return self.file(path, name)
        for pattern in self.exclude:
            if matches(pattern, name):
                return Verdict(instrument=False, reason=f"--exclude {pattern}")
        for pattern in self.include:
            if matches(pattern, name):
                return Verdict(instrument=True, reason=f"--include {pattern}")
        return self.file(path, name)

    def file(self, path: str, name: str = "") -> Verdict:
        """Return the verdict on a source file by where it lies, `path` absolute and without symbolic links."""
        folder = path.rpartition(os.sep)[0]
        known = self._folders.get(folder)
        if known is not None:
            return known
        verdict, holds_for_folder = self._file(path, name)
        if holds_for_folder:
            self._folders[folder] = verdict
        return verdict

    def _file(self, path: str, name: str) -> tuple[Verdict, bool]:
        """Return the verdict on a source file, and whether it is that of all files in its folder."""
        if _is_ours(path):
            return Verdict(instrument=False, reason="it belongs to narrative_auto itself"), True
        library = self._library_folder(path)
        if library is not None:
            if name.partition(".")[0] in self._own_packages(library):
                return Verdict(instrument=True, reason=f"installed into {library} from a folder or a wheel file"), False
            return Verdict(instrument=False, reason=f"an installed package under {library}"), False
        if is_under(path, _STANDARD_LIBRARY):
            return Verdict(instrument=False, reason="part of the standard library"), True
        for root in self.app_roots:
            if is_under(path, root):
                environment = self._environment(path, root)
                if environment is not None:
                    return Verdict(instrument=False, reason=f"in the virtual environment {environment}"), True
                return Verdict(instrument=True, reason=f"under the app root {root}"), True
        for root in self._editable_roots():
            if is_under(path, root) and self._environment(path, root) is None:
                return Verdict(instrument=True, reason=f"installed as editable from {root}"), True
        where = ", ".join(self.app_roots) or "there is none"
        return Verdict(instrument=False, reason=f"not under an app root ({where})"), True

    def is_never_wanted(self, filename: str) -> bool:
        """Return whether a file can hold no application code, whatever the name of the module; False if unsure."""
        return bool(attempted(self._is_never_wanted, filename))  # in a program that may have forbidden to look at files

    def _is_never_wanted(self, filename: str) -> bool:
        if self.include:
            return False
        if filename.startswith("<"):
            return filename.startswith("<frozen ")
        path = self._real(filename)
        library = self._library_folder(path)
        if library is not None:
            return not self._own_packages(library)
        return is_under(path, _STANDARD_LIBRARY)

    def function(self, qualname: str) -> Verdict:
        """Return the verdict on a function of a module that is instrumented, by its qualified name."""
        own = qualname.rpartition(".")[2]
        if own.startswith("<"):
            return Verdict(instrument=False, reason="a lambda or a comprehension")
        if own.startswith("__") and own.endswith("__"):
            if own in _KEPT_DUNDERS:
                return Verdict(instrument=True, reason="a constructor or a call")
            return Verdict(instrument=False, reason="a dunder method")
        if own.startswith("_") and not self.private:
            return Verdict(instrument=False, reason="--no-private")
        return Verdict(instrument=True, reason="a function of the application")

    def _real(self, filename: str, *, is_link: bool | None = None) -> str:
        """Return a file's path without symbolic links; a folder is looked at once."""
        folder, _, name = filename.rpartition(os.sep)
        real = self._real_folders.get(folder)
        if real is None:
            # A program may have forbidden calls that can block, as tools for event loops do.
            real = attempted(os.path.realpath, folder or os.curdir)
            if real is None:
                return filename
            self._real_folders[folder] = real
        path = f"{real}{os.sep}{name}" if real != os.sep else f"{os.sep}{name}"
        if is_link is None:
            try:
                is_link = stat.S_ISLNK(_lstat(path).st_mode)
            except (OSError, ValueError):  # a path within a zip file, say
                is_link = False
        return attempted(os.path.realpath, path) or path if is_link else path

    @staticmethod
    def _library_folder(path: str) -> str | None:
        """Return the innermost `site-packages` or `dist-packages` that the path goes through."""
        parts = path.split(os.sep)
        for index in range(len(parts) - 2, 0, -1):
            if parts[index] in _LIBRARY_FOLDERS:
                return os.sep.join(parts[: index + 1])
        return None

    def _environment(self, path: str, root: str) -> str | None:
        """Return the virtual environment between the root and the file, if there is one."""
        folder = os.path.dirname(path)
        while is_under(folder, root) and folder != root:  # a root may be "/"
            known = self._environments.get(folder)
            if known is None:
                known = _exists(os.path.join(folder, "pyvenv.cfg"))
                self._environments[folder] = known
            if known:
                return folder
            folder = os.path.dirname(folder)
        return None

    def _editable_roots(self) -> tuple[str, ...]:
        """Return the folders of distributions that are installed as editable: application code, wherever it lies."""
        if self._editable is None:
            libraries = [folder for folder in sys.path if os.path.basename(folder) in _LIBRARY_FOLDERS]
            self._editable = tuple(
                os.path.realpath(root) for library in libraries for root in _editable_folders(library)
            )
        return self._editable

    def _own_packages(self, library: str) -> frozenset[str]:
        """Return the top-level names that were installed into a library folder from a folder or a wheel file."""
        known = self._installed.get(library)
        if known is None:
            known = self._installed[library] = frozenset(_installed_from_files(library))
        return known


def _local_origins(library: str) -> Iterable[tuple[str, str]]:
    """Yield (dist-info folder, its `direct_url.json`) of what was installed from a local folder or file (PEP 610)."""
    try:
        entries = os.listdir(library)
    except OSError:
        return
    for entry in entries:
        if not entry.endswith(".dist-info"):
            continue
        try:
            with open(f"{library}/{entry}/direct_url.json", encoding="utf-8") as file:
                origin = file.read()
        except OSError:
            continue
        if '"file:' in origin:  # else from a version-control system or an index: a library
            yield f"{library}/{entry}", origin


def _editable_folders(library: str) -> Iterable[str]:
    """Yield the folders of distributions that are installed as editable."""
    for _, origin in _local_origins(library):
        if '"editable": true' not in origin:
            continue
        # Read by hand: json and urllib would be imported before the program's first line.
        url = origin.partition('"url"')[2].partition('"')[2].partition('"')[0]
        if url.startswith("file://"):
            yield _unquoted(url.removeprefix("file://"))


def _unquoted(text: str) -> str:
    """Return the path that a file URL's path stands for."""
    first, *rest = text.split("%")
    return (first.encode() + b"".join(bytes.fromhex(one[:2]) + one[2:].encode() for one in rest)).decode()


def _installed_from_files(library: str) -> Iterable[str]:
    """Yield top-level names of distributions that were installed from a local folder or wheel file."""
    for folder, _ in _local_origins(library):
        try:
            with open(f"{folder}/RECORD", encoding="utf-8") as file:
                paths = file.read().splitlines()
        except OSError:
            continue
        for line in paths:
            top = line.partition(",")[0].split("/")[0]
            if top.endswith(".py"):
                yield top[:-3]
            elif "." not in top:
                yield top
