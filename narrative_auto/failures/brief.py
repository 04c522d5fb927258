"""Tells which objects put themselves into words at once.

An object's own `__repr__` or `__str__` is the program's code, which may loop, sleep, or wait for a lock. It does none
of it where it is made in C for a type that is known, or where it does no more than to format attributes that are such
values themselves, as what `dataclasses` generates does. Nothing of the program's runs to find that out.
"""

from __future__ import annotations

import sys
from itertools import islice
from types import FunctionType, MemberDescriptorType, MethodDescriptorType

from narrative_auto.errors import attempted_within
from narrative_auto.failures.looks import looks_of
from narrative_auto.failures.members import NOT_FOUND, attribute_of, attribute_of_type, defined, members_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_PLAIN = frozenset((str, int, float, bool, complex, bytes, type(None)))
_CONTAINERS = frozenset((list, tuple, set, frozenset))
_SHOWN_AT_ONCE = frozenset((object, *_PLAIN))
"""Classes that have a `__repr__` in C which calls nothing of an object's."""

_READ_AT_ONCE = tuple(one.__getattribute__ for one in (object, BaseException, str, int, float, complex, bytes))
"""What looks an attribute up without any code of a class."""

_MOST = 1_000_000
"""Characters that may be met in all; a value counts as `_SMALL` of them at least, whatever it is."""

_MOST_MEMBERS = 200
_MOST_BITS = 4_096
_SMALL = 200
_DEPTH = 4
_MOST_DIGITS = 1_000

_OF_LIBRARY: dict[str, dict[str, tuple[str, ...]]] = {
    "decimal": {"Decimal": ()},
    "fractions": {"Fraction": ("_numerator", "_denominator")},
    "uuid": {"UUID": ("int",)},
    "pathlib": dict.fromkeys(("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"), ()),
    "pathlib._local": dict.fromkeys(("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"), ()),
    "datetime": dict.fromkeys(("date", "timedelta", "timezone"), ()),
    "ipaddress": {"IPv4Address": ("_ip",), "IPv6Address": ("_ip",), "IPv4Network": (), "IPv6Network": ()},
}
"""Types of the standard library whose text runs no code of the program's, if what is named here are numbers."""

_SHOWN_OF_ERRORS = frozenset(
    (
        *("errno", "strerror", "filename", "filename2", "msg", "lineno"),
        *("encoding", "reason", "object", "start", "end"),
    )
)
"""What the interpreter's own exceptions show beside their arguments."""

_Slot = type(object.__repr__)


def is_brief(value: object, method: str) -> bool:
    """Return whether an object's own text is made at once, and short.

    Args:
        value: the object.
        method: what makes the text: "__repr__" or "__str__".
    """
    return attempted_within(_Look().is_made_at_once, value, method, _DEPTH) or False


def is_of_library(value: Any) -> bool:
    """Return whether an object is one of the standard library's whose text is made at once.

    The name of a type can be borrowed, and what it was made with can be the program's.
    """
    kind = type(value)
    module, name = attribute_of_type("__module__", kind), attribute_of_type("__name__", kind)
    parts = _OF_LIBRARY.get(module, {}).get(name) if type(module) is str else None
    if parts is None or vars(sys.modules.get(module) or object).get(name) is not kind:
        return False
    if name == "Decimal":
        return bool(abs(value.adjusted()) < _MOST_DIGITS)
    if name == "timezone":
        return type(value.tzname(None)) is str
    if module.startswith("pathlib"):
        given = attribute_of(value, "_raw_paths")  # from CPython 3.12 on
        return given is NOT_FOUND or (type(given) is list and all(type(one) is str for one in given))
    return all(type(part) is int and _is_small(part) for part in (attribute_of(value, name) for name in parts))


class _Look:
    """One look at an object and at what it holds.

    Attributes:
        left: characters that may still be met.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MOST

    def is_made_at_once(self, value: object, method: str, depth: int) -> bool:
        kind = type(value)
        if issubclass(kind, type):
            return False
        function = defined(kind, method)[1]
        if type(function) is FunctionType:
            return depth > 0 and self._formats_only(value, _generated(function), depth)
        if type(function) is not _Slot:
            return False
        owner: type = function.__objclass__  # type: ignore[attr-defined] # where it was made, not where it stands
        if owner is object and method == "__str__":
            return self.is_made_at_once(value, "__repr__", depth)
        if issubclass(owner, BaseException):
            is_known = attribute_of_type("__module__", owner) == "builtins"
            return is_known and all(self.is_shown_at_once(one, depth - 1) for one in _parts_of_error(value, owner))
        return type(owner) is type and owner in _SHOWN_AT_ONCE and self._is_short(value)

    def is_shown_at_once(self, value: object, depth: int) -> bool:
        """Return whether a value's `repr`, `str` and `format` are all made at once."""
        kind = type(value)
        if value is NOT_FOUND or self.left < 0:
            return False
        has_usual_hash = type(kind) is type
        if has_usual_hash and kind in _PLAIN:
            return self._is_short(value)
        self.left -= _SMALL
        if has_usual_hash and kind in _CONTAINERS:
            members: Iterable[Any] = value  # type: ignore[assignment] # one of the containers
            return depth > 0 and self._are_shown_at_once(members, depth)
        if kind is dict:
            pairs: dict[Any, Any] = value  # type: ignore[assignment] # its type is dict
            return (
                depth > 0 and self._are_shown_at_once(pairs, depth) and self._are_shown_at_once(pairs.values(), depth)
            )
        if is_of_library(value) or self._is_enum_member(value, kind):
            return True
        formats = defined(kind, "__format__")[1]
        is_formatted_by_str = type(formats) is MethodDescriptorType and any(
            formats.__objclass__ is one for one in _SHOWN_AT_ONCE
        )
        makes = is_formatted_by_str and self.is_made_at_once(value, "__repr__", depth)
        return makes and self.is_made_at_once(value, "__str__", depth)

    def _are_shown_at_once(self, members: Iterable[Any], depth: int) -> bool:
        some = list(islice(members, _MOST_MEMBERS + 1))  # of its own, as another thread may change them
        return len(some) <= _MOST_MEMBERS and all(self.is_shown_at_once(one, depth - 1) for one in some)

    def _formats_only(self, value: object, function: FunctionType, depth: int) -> bool:
        """Return whether a method of an object only formats what is there and shown at once."""
        looks = looks_of(function.__code__)
        if looks is None or not _means_type(function):
            return False
        kind = type(value)
        reads = defined(kind, "__getattribute__")[1]
        if type(kind) is not type or not any(reads is one for one in _READ_AT_ONCE):
            return False
        if any(type(name) is not str for name in (kind.__name__, kind.__qualname__)):
            return False
        if defined(kind, "__class__")[0] is not object:
            return False
        for name, is_only_shown in looks:
            member = attribute_of(value, name)
            if not (self.is_shown_at_once(member, depth - 1) if is_only_shown else self._is_text_or_number(member)):
                return False
        return True

    def _is_short(self, value: object) -> bool:
        """Return whether an object is not too long, if it is a text or a number, or extends one."""
        kind = type(value)
        if issubclass(kind, int):
            self.left -= _SMALL
            return _is_small(value)  # type: ignore[arg-type] # an int
        base = str if issubclass(kind, str) else bytes if issubclass(kind, bytes) else None
        self.left -= _SMALL if base is None else base.__len__(value)  # type: ignore[arg-type] # one of the two
        return self.left >= 0

    def _is_enum_member(self, value: object, kind: type) -> bool:
        """Return whether an object is a member of an enumeration that has no way of its own to show them."""
        enum = sys.modules.get("enum")
        if enum is None or type(kind) is not enum.EnumType:
            return False
        made = [defined(kind, name)[1] for name in ("__repr__", "__str__", "__format__", "_value_repr_")]
        is_usual = all(
            one is None
            or type(one) is _Slot
            or type(one) is MethodDescriptorType
            or (type(one) is FunctionType and one.__globals__ is vars(enum))
            for one in made
        )
        reads = defined(kind, "__getattribute__")[1]
        is_read = any(reads is one for one in _READ_AT_ONCE)
        return is_usual and is_read and self._is_text_or_number(attribute_of(value, "_value_"))

    def _is_text_or_number(self, value: object) -> bool:
        kind = type(value)
        return type(kind) is type and kind in _PLAIN and self._is_short(value)


def _is_small(number: int) -> bool:
    return int.bit_length(number) <= _MOST_BITS


def _generated(function: FunctionType) -> FunctionType:
    """Return what `dataclasses` has made, from within its guard against recursion."""
    within: Any = vars(function).get("__wrapped__")
    guards = (vars(sys.modules[name]) for name in ("dataclasses", "reprlib") if name in sys.modules)
    return within if type(within) is FunctionType and any(function.__globals__ is one for one in guards) else function


def _means_type(function: FunctionType) -> bool:
    """Return whether a function means the built-in `type` when it says so."""
    names: object = function.__globals__
    own: object = getattr(function, "__builtins__", None)
    return type(names) is dict and "type" not in names and type(own) is dict and own.get("type") is type


def _parts_of_error(value: object, owner: type) -> list[Any]:
    """Return what an exception's text is made of by a class of the interpreter's."""
    found = [one for name, one in members_of(owner).items() if name in _SHOWN_OF_ERRORS]
    parts = [one.__get__(value) for one in found if type(one) is MemberDescriptorType]
    return [*parts, *BaseException.__dict__["args"].__get__(value)]
