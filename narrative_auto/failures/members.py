"""Reads what classes and objects have, without running any code of theirs."""

from __future__ import annotations

from types import GetSetDescriptorType

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


def held_by(value: object) -> dict[str, object]:
    """Return what an object's `__dict__` holds, without any code; empty where it has none of the usual kind."""
    kind = type(value)
    holder = defined(kind, "__dict__")[1]
    held = attempted(holder.__get__, value, kind) if type(holder) is GetSetDescriptorType else None
    return held if type(held) is dict else {}
