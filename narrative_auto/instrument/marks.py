"""What a program says about its own functions: `@no_stage`, `@narrative_stage("Name")`."""

from __future__ import annotations

import types

from narrative_auto.instrument.engines.base import site_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    Target = TypeVar("Target")

NO_STAGE = "__narrative_no_stage__"
STAGE_NAME = "__narrative_stage__"
REPLACED = "__narrative_replaced__"


def apply(function: Any) -> None:
    """Let what a function was marked with hold for its site, which came after the mark."""
    marks = function.__dict__
    name = marks.get(STAGE_NAME)
    found = site_of(function) if name or NO_STAGE in marks or REPLACED in marks else None
    if found is None:
        return
    engine, site = found
    if name:
        site.recorder.mark(site, name)
    if NO_STAGE in marks or REPLACED in marks:
        engine.release(site)


def replace(function: Any) -> None:
    """Let a function have no automatic stage, as each of its calls is an explicit one."""
    setattr(function, REPLACED, True)
    found = site_of(function)
    if found is not None:
        engine, site = found
        engine.release(site)


def no_stage(target: Target) -> Target:
    """Take a function, a method of any kind, a property or a whole class out of the story.

    It works in either order with other decorators, whatever name it was imported as.

    Args:
        target: what to leave out; for a class, all functions of its own.

    Returns:
        The target itself.
    """
    for function in _functions(target):
        setattr(function, NO_STAGE, True)
        found = site_of(function)
        if found is not None:
            engine, site = found
            engine.release(site)
    return target


def narrative_stage(name: str | None = None) -> Callable[[Target], Target]:
    """Give a function's stages a name, and tell each of its calls, however short.

    Args:
        name: the stage's name; without one the function's name in title case (`validate_order`: "Validate Order").

    Returns:
        A decorator that returns the function itself.

    Raises:
        TypeError: it was used without parentheses.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError('narrative_stage is used with parentheses: @narrative_stage() or @narrative_stage("Name")')

    def mark(target: Target) -> Target:
        for function in _functions(target):
            stage_name = name or function.__name__.replace("_", " ").strip().title()
            setattr(function, STAGE_NAME, stage_name)
            found = site_of(function)
            if found is not None:
                found[1].recorder.mark(found[1], stage_name)
        return target

    return mark


def _functions(target: Any) -> Iterator[types.FunctionType]:
    """Yield the functions behind a target: through descriptors, `functools.wraps` and, for a class, its own body."""
    seen: set[int] = set()
    waiting = [target]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, types.FunctionType):
            yield one
            waiting.append(one.__dict__.get("__wrapped__"))
        elif isinstance(one, staticmethod | classmethod | types.MethodType):
            waiting.append(one.__func__)
        elif isinstance(one, property):
            waiting += [one.fget, one.fset, one.fdel]
        elif isinstance(one, type):
            waiting += list(vars(one).values())
        elif hasattr(type(one), "__wrapped__") or "__wrapped__" in getattr(one, "__dict__", ()):
            waiting.append(one.__wrapped__)  # functools.lru_cache and the like
