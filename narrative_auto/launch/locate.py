"""Finds a module as an import would, and its code, without importing or running anything of it."""

from __future__ import annotations

import os
import sys
import warnings
from difflib import get_close_matches
from importlib.machinery import (
    BuiltinImporter,
    ExtensionFileLoader,
    FrozenImporter,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from tokenize import open as open_source
from typing import TYPE_CHECKING, Any

from narrative_auto.errors import NarrativeError
from narrative_auto.page import relative
from narrative_auto.records import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType

SOURCE, BYTECODE, ZIP, SCRIPT = "source", "bytecode without source", "zip file", "script"
EXTENSION, BUILTIN, FROZEN = "extension module", "built-in", "frozen"
NAMESPACE, OTHER = "namespace package", "other"

_UNREADABLE = (OSError, ImportError, ValueError, EOFError, TypeError, RecursionError, MemoryError)
"""What reading a module's code raises where it is broken, beside SyntaxError: no permission, a damaged .pyc, …"""


@record(frozen=True, slots=True)
class Located:
    """A module that was found.

    Attributes:
        name: its full name; `__main__` for a script.
        kind: how it is kept, one of the constants of this module.
        path: its file; "" where there is none.
        folders: where its submodules are looked for; empty for what is no package.
        loader: what an import would load it with; None for a script.
    """

    name: str
    kind: str
    path: str
    folders: tuple[str, ...] = ()
    loader: Any = None


def search_path(first: Iterable[str]) -> list[str]:
    """Return where modules are looked for: these folders, then as this interpreter does, without our own command's."""
    own = os.path.dirname(os.path.abspath(sys.argv[0] if sys.argv else ""))
    return list(dict.fromkeys([*first, *(entry for entry in sys.path if entry and entry != own)]))


def find_module(name: str, path: Sequence[str]) -> Located:
    """Find a module by its full name.

    Args:
        name: such as `shop.pricing`.
        path: where to look for its first part.

    Raises:
        NarrativeError: there is no such module; the message suggests others.
    """
    parts = name.split(".")
    places: Sequence[str] = path
    located = None
    for index, part in enumerate(parts):
        full = ".".join(parts[: index + 1])
        located = _find_part(full, part, places, is_top=index == 0)
        if located is None:
            raise NarrativeError(_unknown(parts[:index], part, parts[index + 1 :], places, path))
        places = located.folders
    assert located is not None
    return located


def _find_part(full: str, part: str, places: Sequence[str], *, is_top: bool) -> Located | None:
    """Find a module in the folders of its parent, or on the path."""
    if BuiltinImporter.find_spec(full) is not None:
        return Located(full, BUILTIN, "")
    frozen = FrozenImporter.find_spec(full)
    if frozen is not None:
        filename = getattr(frozen.loader_state, "filename", None)
        return Located(full, FROZEN, filename or "", _folders(frozen) or _beside(filename), FrozenImporter)
    # Asked for by its last name: for a namespace package in another one, PathFinder asks for the parent in sys.modules.
    spec = PathFinder.find_spec(part, list(places))
    if spec is None:
        spec = _found_by_editable(full, places, is_top=is_top)
    return None if spec is None else _located(full, spec)


def _found_by_editable(full: str, places: Sequence[str], *, is_top: bool) -> ModuleSpec | None:
    """Return what setuptools' finders for editable installs find; they look at names alone."""
    for finder in sys.meta_path:
        if str(getattr(finder, "__module__", "")).startswith("__editable__"):
            spec: ModuleSpec | None = finder.find_spec(full, None if is_top else list(places))
            if spec is not None:
                return spec
    return None


def _located(full: str, spec: ModuleSpec) -> Located:
    loader: Any = spec.loader
    path = spec.origin or ""
    if loader is None or not spec.has_location:
        return Located(full, NAMESPACE if spec.submodule_search_locations else OTHER, "", _folders(spec), loader)
    if type(loader) is SourceFileLoader:
        kind = SOURCE
    elif type(loader) is SourcelessFileLoader:
        kind = BYTECODE
    elif type(loader).__module__ == "zipimport":
        kind = ZIP
    else:
        kind = EXTENSION if isinstance(loader, ExtensionFileLoader) else OTHER
    return Located(full, kind, path, _folders(spec), loader)


def _beside(filename: str | None) -> tuple[str, ...]:
    """Return the folder of a package by the file of its own code."""
    return (os.path.dirname(filename),) if filename and os.path.basename(filename) == "__init__.py" else ()


def _folders(spec: ModuleSpec) -> tuple[str, ...]:
    return tuple(spec.submodule_search_locations or ())


def _unknown(parents: list[str], part: str, rest: list[str], places: Sequence[str], path: Sequence[str]) -> str:
    """Return the line for a module that is not there, with what may have been meant."""
    wanted = ".".join([*parents, part])
    parent = ".".join(parents)
    if parents and not places:
        return (
            f"{parent} is a module, not a package: for what is defined in it, "
            f"narrative explain {parent}:{'.'.join([part, *rest])}"
        )
    near = get_close_matches(part, sorted(set(names_in(places, is_top=not parents))), 3)
    if near:
        return f"there is no module {wanted}: did you mean {' or '.join('.'.join([*parents, one]) for one in near)}?"
    if parents:
        return f"there is no module {wanted}: {parent} has no {part} in {' or '.join(places)}"
    here = relative(path[0], os.path.dirname(path[0])) if path else "here"
    return f"there is no module {wanted} in {here} or on the path: go to its folder, or name it by --app-root DIR"


def names_in(places: Sequence[str], *, is_top: bool) -> Iterable[str]:
    """Yield the names of the modules that lie in some folders, at the top those of the interpreter too."""
    import pkgutil

    try:
        yield from (module.name for module in pkgutil.iter_modules(list(places)))
    except _UNREADABLE:
        return
    if is_top:
        yield from sys.stdlib_module_names


def find_script(path: str) -> Located:
    """Find a script by its path.

    Raises:
        NarrativeError: there is no such file.
    """
    if os.path.isfile(path):
        return Located("__main__", SCRIPT, os.path.abspath(path))
    if os.path.isdir(path):
        raise NarrativeError(f"{path} is a folder: name a file in it, or a module as it is imported (shop.pricing)")
    folder, name = os.path.split(path)
    try:
        near = get_close_matches(name, os.listdir(folder or "."), 3)
    except OSError:
        near = []
    meant = f": did you mean {' or '.join(os.path.join(folder, one) for one in near)}?" if near else ""
    raise NarrativeError(f"there is no file {path}{meant}")


def read_code(module: Located) -> CodeType | None:
    """Return a module's code as an import would have it; None for what has none that can be read.

    Nothing is written, and no warning of the compiler is shown.

    Raises:
        NarrativeError: it is broken; the message says where, in one line.
    """
    if module.kind not in {SOURCE, BYTECODE, ZIP, SCRIPT, FROZEN}:
        return None
    keeps_nothing = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if module.loader is None:
                with open(module.path, "rb") as file:
                    return compile(file.read(), module.path, "exec", dont_inherit=True)
            code: CodeType | None = module.loader.get_code(_own_name(module))
            return code
    except SyntaxError as error:
        place = f"{error.filename or module.path}:{error.lineno}" if error.lineno else module.path
        raise NarrativeError(f"{place}: {error.msg}; it cannot be imported until that is mended") from None
    except _UNREADABLE as error:
        said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise NarrativeError(f"{module.path} cannot be read ({said})") from None
    finally:
        sys.dont_write_bytecode = keeps_nothing


def read_source(module: Located) -> str:
    """Return a module's source text; "" where it has none that can be read."""
    try:
        if module.loader is None:
            with open_source(module.path) as file:
                return file.read()
        source: str | None = module.loader.get_source(_own_name(module))
    except (SyntaxError, *_UNREADABLE):
        return ""
    return source or ""


def _own_name(module: Located) -> str:
    """Return the name that the loader goes by: it was asked for the last part alone; others take any."""
    return str(getattr(module.loader, "name", module.name))
