"""Gives a function back the code that its compiler made, for those who read code instead of running it."""

from __future__ import annotations

import gc
import sys

from narrative_auto.errors import attempted
from narrative_auto.recorder.sites import site_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any

_SAME = (
    *("co_argcount", "co_cellvars", "co_code", "co_firstlineno", "co_flags", "co_freevars", "co_kwonlyargcount"),
    *("co_linetable", "co_name", "co_names", "co_posonlyargcount", "co_varnames"),
)


def restore(function: Any, *, only_by_value: bool = False) -> bool:
    """Give a function its own code again, and with it what is nested in it; it has no probes from here on.

    Args:
        function: a function; anything else is left alone.
        only_by_value: leave alone what a pickle names instead of holding it.

    Returns:
        Whether it was changed.
    """
    if type(function) is not _Function or (only_by_value and _is_named(function)):
        return False
    return _restore(function, {})


def restore_all() -> None:
    """Give every function of the process its own code again; calls that are running go on with the code they have."""
    files: dict[str, list[CodeType]] = {}
    for one in gc.get_objects():
        if type(one) is _Function:
            _restore(one, files)


def _restore(function: Any, files: dict[str, list[CodeType]]) -> bool:
    code = function.__code__
    own = _compiled(code, files) if _has_probes(code) else None
    if own is None:
        return False
    function.__code__ = own
    return True


def _is_named(function: Any) -> bool:
    """Return whether a pickle holds a function by its name: one that can be imported."""
    if function.__module__ == "__main__":
        return False
    found: object = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    return found is function


def _has_probes(code: CodeType) -> bool:
    return site_in(code) is not None or any(
        _has_probes(constant) for constant in code.co_consts if type(constant) is type(code)
    )


def _compiled(code: CodeType, files: dict[str, list[CodeType]]) -> CodeType | None:
    """Return the code as it is without us, compiled anew from the source file; None if that is another one by now.

    Args:
        code: with probes in it or below it.
        files: the code objects of source files that were compiled already.
    """
    candidates = files.get(code.co_filename)
    if candidates is None:
        source = attempted(_read, code.co_filename)
        whole = attempted(compile, source, code.co_filename, "exec", dont_inherit=True) if source is not None else None
        candidates = files[code.co_filename] = list(_nested(whole)) if whole is not None else []
    for candidate in candidates:
        if candidate.co_qualname == code.co_qualname and attempted(_is_same, candidate, code):
            return candidate
    return None


def _is_same(candidate: CodeType, code: CodeType) -> bool:
    """Return whether code becomes the other one, that runs, when it is given probes: the source may be another now."""
    from narrative_auto.instrument.engines.assembly import assemble

    again = assemble(candidate, lambda _: b"") if site_in(code) is not None else candidate
    if any(getattr(again, name) != getattr(code, name) for name in _SAME):
        return False
    return all(
        _is_same(old, new) if type(old) is type(code) else type(old) is type(new) and old == new
        for old, new in zip(candidate.co_consts, code.co_consts, strict=False)
    )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if type(constant) is type(code):
            yield constant
            yield from _nested(constant)


def _function() -> None: ...


_Function = type(_function)
