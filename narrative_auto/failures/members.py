"""Reads what classes and objects have, without running any code of theirs."""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType

from narrative_auto.errors import attempted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOT_FOUND = object()

bases_of = type.__dict__["__mro__"].__get__
"""Returns the classes that a class is made of, itself first."""

members_of = type.__dict__["__dict__"].__get__
"""Returns what a class itself has, whatever its metaclass says."""


def attribute_of_type(name: str, kind: type) -> Any:
    """Return what `type` itself knows by a name of a class, whatever its metaclass has under that name."""
    return type.__dict__[name].__get__(kind)


def defined(kind: type, name: str) -> tuple[type, Any]:
    """Return the class that has an attribute, and what it has; `NOT_FOUND` where none has it."""
    for one in bases_of(kind):
        own = members_of(one)
        if name in own:
            return one, own[name]
    return object, NOT_FOUND


def held_by(value: object) -> dict[str, object] | None:
    """Return what an object's `__dict__` holds, {} where it has none; None where that is not of the usual kind."""
    kind = type(value)
    holder = defined(kind, "__dict__")[1]
    if holder is NOT_FOUND:
        return {}
    held = attempted(holder.__get__, value, kind) if type(holder) is GetSetDescriptorType else None
    return held if type(held) is dict else None


def attribute_of(value: object, name: str) -> object:
    """Return an attribute of an object that is there without any code; `NOT_FOUND` for all others."""
    kind = type(value)
    held = held_by(value)
    found = defined(kind, name)[1]
    if type(found) is MemberDescriptorType:
        try:
            return found.__get__(value, kind)
        except AttributeError:  # of a slot that is not filled
            return NOT_FOUND
    if held is None or defined(type(found), "__get__")[1] is not NOT_FOUND:
        return NOT_FOUND  # what it gives is up to its code
    return held.get(name, found)
