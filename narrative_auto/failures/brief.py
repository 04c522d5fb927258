"""Tells which objects put themselves into words at once.

An object's own `__repr__` or `__str__` is the program's code, which may loop, sleep, or wait for a lock. It does none
of it where it is made in C for a type that is known, or where it does no more than to format attributes that are such
values themselves, as what `dataclasses` generates does. Nothing of the program's runs to find that out.
"""

from __future__ import annotations

import sys
from types import FunctionType, MemberDescriptorType, MethodDescriptorType

from narrative_auto.errors import attempted
from narrative_auto.failures.looks import looks_of
from narrative_auto.failures.members import NOT_FOUND, attribute_of_type, defined, held_by, members_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_PLAIN = (str, int, float, bool, complex, bytes, type(None))
_CONTAINERS = (list, tuple, set, frozenset)
_SHOWN_AT_ONCE = (object, *_PLAIN)
"""Classes that have a `__repr__` in C which calls nothing of an object's."""

_MOST_MEMBERS = 50
_MOST_LONG = 100_000
_MOST_BITS = 4_096
_DEPTH = 4

_OF_LIBRARY = {
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "uuid": ("UUID",),
    "pathlib": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "pathlib._local": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "datetime": ("date", "timedelta", "timezone"),
    "ipaddress": ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network"),
}
"""Types of the standard library whose text runs no code of the program's and takes no time."""

_Slot = type(object.__repr__)


def is_brief(value: object, method: str, depth: int = _DEPTH) -> bool:
    """Return whether an object's own text is made at once.

    Args:
        value: the object.
        method: what makes the text: "__repr__" or "__str__".
        depth: objects within objects that are looked at.
    """
    return attempted(_is_brief, value, method, depth) or False


def is_of_library(kind: type) -> bool:
    """Return whether a type is one of the standard library's whose text is made at once; its name can be borrowed."""
    module = attribute_of_type("__module__", kind)
    if type(module) is not str or kind.__name__ not in _OF_LIBRARY.get(module, ()):
        return False
    return vars(sys.modules.get(module) or object).get(kind.__name__) is kind


def _is_brief(value: object, method: str, depth: int) -> bool:
    kind = type(value)
    owner, function = defined(kind, method)
    if type(function) is FunctionType:
        return depth > 0 and _is_brief_function(value, _generated(function), depth)
    if type(function) is not _Slot:
        return False
    if owner is object and method == "__str__":
        return _is_brief(value, "__repr__", depth)
    if issubclass(owner, BaseException):
        return all(_is_shown_at_once(one, depth - 1) for one in _parts_of_error(value, owner))
    return any(owner is one for one in _SHOWN_AT_ONCE)


def _is_brief_function(value: object, function: FunctionType, depth: int) -> bool:
    looks = looks_of(function.__code__)
    if looks is None or dict.__contains__(function.__globals__, "type"):
        return False
    kind = type(value)
    if type(kind) is not type or type(kind.__name__) is not str or type(kind.__qualname__) is not str:
        return False
    if type(defined(kind, "__getattribute__")[1]) is not _Slot or defined(kind, "__class__")[0] is not object:
        return False
    members = [(_attribute(value, kind, name), is_only_shown) for name, is_only_shown in looks]
    return all(
        _is_plain(one) or (is_only_shown and _is_shown_at_once(one, depth - 1)) for one, is_only_shown in members
    )


def _generated(function: FunctionType) -> FunctionType:
    """Return what `dataclasses` has made, from within its guard against recursion."""
    within: Any = vars(function).get("__wrapped__")
    guards = (vars(sys.modules[name]) for name in ("dataclasses", "reprlib") if name in sys.modules)
    return within if type(within) is FunctionType and any(function.__globals__ is one for one in guards) else function


def _attribute(value: object, kind: type, name: str) -> object:
    """Return an attribute of an object that is there without any code; `NOT_FOUND` for all others."""
    found = defined(kind, name)[1]
    if type(found) is MemberDescriptorType:
        return attempted(found.__get__, value, kind)
    if defined(type(found), "__get__")[1] is not NOT_FOUND:
        return NOT_FOUND  # what it gives is up to its code
    return held_by(value).get(name, found)


def _is_plain(value: object) -> bool:
    kind = type(value)
    if kind is int:
        return int.bit_length(value) <= _MOST_BITS  # type: ignore[arg-type] # its type is int
    if kind is str or kind is bytes:
        return len(value) <= _MOST_LONG  # type: ignore[arg-type] # its type is one of the two
    return any(kind is one for one in _PLAIN)


def _is_shown_at_once(value: object, depth: int) -> bool:
    """Return whether a value's `repr`, `str` and `format` are all made at once."""
    kind = type(value)
    if value is NOT_FOUND or any(kind is one for one in _PLAIN):
        return _is_plain(value)
    if any(kind is one for one in _CONTAINERS):
        members: Iterable[Any] = value  # type: ignore[assignment] # one of the containers
        return depth > 0 and len(members) <= _MOST_MEMBERS and _all_at_once(list(members), depth)  # type: ignore[arg-type] # the same
    if kind is dict:
        pairs: dict[Any, Any] = value  # type: ignore[assignment] # its type is dict
        return depth > 0 and len(pairs) <= _MOST_MEMBERS and _all_at_once([*pairs, *pairs.values()], depth)
    if is_of_library(kind) or _is_enum_member(value, kind):
        return True
    formats = defined(kind, "__format__")[0]
    is_formatted_by_str = any(formats is one for one in _SHOWN_AT_ONCE)
    return is_formatted_by_str and _is_brief(value, "__repr__", depth) and _is_brief(value, "__str__", depth)


def _is_enum_member(value: object, kind: type) -> bool:
    """Return whether an object is a member of an enumeration that has no way of its own to show them."""
    enum = sys.modules.get("enum")
    if enum is None or type(kind) is not enum.EnumType:
        return False
    made = [defined(kind, name)[1] for name in ("__repr__", "__str__", "__format__", "_value_repr_")]
    is_usual = all(
        one is None
        or type(one) in {_Slot, MethodDescriptorType}
        or (type(one) is FunctionType and one.__globals__ is vars(enum))
        for one in made
    )
    return is_usual and _is_plain(_attribute(value, kind, "_value_"))


def _all_at_once(members: list[Any], depth: int) -> bool:
    return all(_is_shown_at_once(one, depth - 1) for one in members)


def _parts_of_error(value: object, owner: type) -> list[Any]:
    """Return what an exception's text is made of by a class of the interpreter's."""
    found = members_of(owner).values()
    parts = [attempted(one.__get__, value) for one in found if type(one) is MemberDescriptorType]
    return [*parts, *BaseException.__dict__["args"].__get__(value)]
