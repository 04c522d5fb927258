"""Instruments functions that exist already, by exchanging their code: whoever holds a function holds the same one.

Decorated functions, handlers in tables, bound methods and closures are all reached, as the function object itself stays
what it was. Calls that are running go on with the code that they began with.
"""

from __future__ import annotations

import gc
import sys

from narrative_auto.recorder.sites import site_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType, FunctionType, ModuleType
    from typing import Any

    from narrative_auto.instrument.engines.base import Rewriter
    from narrative_auto.instrument.scope import Scope


def instrument_existing(rewriter: Rewriter, modules: Iterable[ModuleType]) -> list[str]:
    """Let all functions that were defined in some modules report; a function that does already stays as it is.

    Args:
        rewriter: makes the new code.
        modules: whose functions; they are found wherever they are held.

    Returns:
        The names of the modules that had functions to be instrumented.
    """
    namespaces = {id(vars(module)): module for module in modules}
    functions: dict[int, list[Any]] = {}
    one: Any
    for one in gc.get_objects():
        if type(one) is _Function and id(one.__globals__) in namespaces:
            functions.setdefault(id(one.__globals__), []).append(one)
    changed = []
    for namespace, found in functions.items():
        module = namespaces[namespace]
        filename = getattr(module, "__file__", None)
        own = [one for one in found if one.__code__.co_filename == filename and site_in(one.__code__) is None]
        if own and _exchange(rewriter, own, module.__name__):
            changed.append(module.__name__)
    return changed


def modules_of(scope: Scope) -> list[ModuleType]:
    """Return the modules that are imported already and are application code."""
    found = []
    for name, module in list(sys.modules.items()):
        filename = vars(module).get("__file__") if type(module) is _Module else None  # no code of the module's runs
        if isinstance(filename, str) and scope.module(name, filename).instrument:
            found.append(module)
    return found


def _exchange(rewriter: Rewriter, functions: list[FunctionType], module: str) -> bool:
    """Give functions new code, one site for all that share one; return whether any was changed."""
    new: dict[int, CodeType] = {}
    for code in _outermost(functions):
        renewed = rewriter.instrument(code, module)
        if renewed is not code:
            _pair(code, renewed, new)
    changed = False
    for function in functions:
        renewed_own = new.get(id(function.__code__))
        if renewed_own is not None and renewed_own is not function.__code__:
            function.__code__ = renewed_own
            changed = True
    return changed


def _outermost(functions: list[FunctionType]) -> list[CodeType]:
    """Return the functions' code objects, by identity, without those that are nested in another's."""
    codes = {id(function.__code__): function.__code__ for function in functions}
    nested: set[int] = set()
    for code in codes.values():
        _walk(code, lambda inner: nested.add(id(inner)))
    return [code for identity, code in codes.items() if identity not in nested]


def _walk(code: CodeType, visit: Callable[[CodeType], None]) -> None:
    for constant in code.co_consts:
        if type(constant) is type(code):
            visit(constant)
            _walk(constant, visit)


def _pair(old: CodeType, new: CodeType, pairs: dict[int, CodeType]) -> None:
    """Note which new code object takes the place of which old one; constants keep their order, probes follow them."""
    pairs[id(old)] = new
    for before, after in zip(old.co_consts, new.co_consts, strict=False):
        if type(before) is type(old):
            _pair(before, after, pairs)


def _function() -> None: ...


_Function = type(_function)
_Module = type(sys)
