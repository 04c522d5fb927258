"""Turns any object into bounded, redacted text, running as little of the program's code as possible.

Only known types are walked: what they hold is read through the slots of the built-in type, never through a method that
a class of the program's may have replaced. Everything else is `<module.Type>`, so that no ORM object is loaded, no lazy
query runs, no tensor is copied from a device, and no generator is advanced.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict, defaultdict, deque
from itertools import islice
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)

from narrative_auto.errors import attempted, attempted_within
from narrative_auto.failures.brief import is_of_library
from narrative_auto.failures.held import texts_held
from narrative_auto.failures.naming import is_described, is_secret_by_value, is_weak
from narrative_auto.failures.shapes import REDACTED
from narrative_auto.failures.unasked import shown_unasked
from narrative_auto.failures.values import MOST_SEARCHED, clean, clipped, name_of_type, shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from narrative_auto.failures.redaction import Redactor

MOST_SECONDS = 0.1
"""Time after which no more of a value is walked."""

_ORDINARY = 10**12
"""Numbers of fewer digits than a card's are no secrets."""

_MOST_BITS = 256

_ONCE = (type(None), bool, float, complex, range, type(Ellipsis), type(NotImplemented))
_SIMPLE = frozenset(_ONCE)

_NAMED = {
    FunctionType: "function",
    GeneratorType: "generator",
    CoroutineType: "coroutine",
    AsyncGeneratorType: "async_generator",
}
_OF_INTERPRETER = (CodeType, FrameType, TracebackType)


class Shower:
    """Shows values.

    Args:
        redactor: takes secrets out.
        most_characters: of a value's text.
        depth: levels of containers that are opened.
        items: members of a container that are shown.
        own_text: asked for the text of an object of no known type; None for `<module.Type>`.
        learns: whether what objects hold under secrets' names is remembered: it may stand elsewhere.
    """

    __slots__ = ("_depth", "_items", "_learns", "_most", "_own_text", "_redactor", "_until")

    def __init__(
        self,
        redactor: Redactor,
        *,
        most_characters: int = 200,
        depth: int = 2,
        items: int = 10,
        own_text: Callable[[Any], str | None] = lambda _: None,
        learns: bool = False,
    ) -> None:
        self._redactor = redactor
        self._most = most_characters
        self._depth = depth
        self._items = items
        self._own_text = own_text
        self._learns = learns
        self._until = 0.0

    def text(self, value: object, name: str = "") -> str:
        """Return a value's text, whatever the value is; raises nothing but what a signal handler raises meanwhile.

        Args:
            value: anything.
            name: what it is called; the value of a secret's name is not looked at.
        """
        self._until = time.perf_counter() + MOST_SECONDS
        text = attempted_within(self._under, name, value, self._depth, ())
        return shortened(clean(text), self._most) if text is not None else _type_of(value)

    def _under(self, name: str, value: Any, depth: int, around: tuple[int, ...]) -> str:
        """Return a value's text unless its name says that it is secret, or its name and its looks do."""
        if not name:
            return self._walk(value, depth, around)
        kind = type(value)
        if self._redactor.name(name):
            if kind not in {str, int, float, bool, type(None)} or not is_described(name, str(value)):
                if kind is str:
                    self._redactor.learn(value)
                return REDACTED
        elif kind in {tuple, list} and name.lower().endswith("auth"):  # a user and a password, as requests wants them
            return REDACTED
        elif kind is str and is_weak(name) and is_secret_by_value(name, value):
            self._redactor.learn(value)
            return REDACTED
        return self._walk(value, depth, around)

    def _walk(self, value: Any, depth: int, around: tuple[int, ...]) -> str:
        kind = type(value)
        if kind is str:
            kept = clipped(value)
            return self._redacted(repr(kept) if kept[:1] != "<" or kept == value else f"<str, {len(value)} characters>")
        if type(kind) is not type:  # none that is known has a metaclass, whose `==` and hash are the program's
            return self._unknown(value, kind, depth, around)
        if kind is int:
            return self._number(value)
        if kind in _SIMPLE:
            return repr(value)
        if kind in {bytes, bytearray}:
            return self._bytes(value)
        if kind in _CONTAINERS or _is_named_tuple(kind):
            if id(value) in around:
                return "..."
            return self._container(value, kind, depth, (*around, id(value)))
        return self._unknown(value, kind, depth, around)

    def _unknown(self, value: Any, kind: type, depth: int, around: tuple[int, ...]) -> str:
        if self._learns:
            self._learn_from(value)
        shown = attempted(_without_code, value, kind)  # a metaclass may have attributes of its own that raise
        if shown is None:
            own = self._own_text(value)
            if own is not None:
                return self._redacted(clipped(own))
            shown = attempted(self._named_type, value, kind, depth, around) or _type_of(value)
        return self._redacted(shown)

    def _learn_from(self, value: Any) -> None:
        """Remember what an object holds under a secret's name, or in a URL."""
        for name, text in texts_held(value):
            if self._redactor.name(name) or (is_weak(name) and is_secret_by_value(name, text)):
                if not is_described(name, text):
                    self._redactor.learn(text)
            elif "://" in text and "@" in text:
                self._redactor.text(clipped(text))

    def _redacted(self, text: str) -> str:
        return self._redactor.text(text)

    def _number(self, value: int) -> str:
        if -_ORDINARY < value < _ORDINARY:
            return repr(value)
        if value.bit_length() > _MOST_BITS:
            return f"<int of {value.bit_length()} bits>"
        return self._redacted(repr(value))

    def _bytes(self, value: bytes | bytearray) -> str:
        if len(value) > MOST_SEARCHED // 4:  # an escape takes four characters
            return f"<{type(value).__name__}, {len(value)} bytes>"
        return self._redacted(repr(value))

    def _container(self, value: Any, kind: type, depth: int, around: tuple[int, ...]) -> str:
        opening, closing, members = _CONTAINERS.get(kind) or (f"{kind.__name__}(", ")", _named_members)
        count = _length(value)
        if depth <= 0:
            return f"{opening}…{closing}" if count else opening + closing
        shown = []
        length = 0
        for name, member in islice(members(value), self._items):
            if length > self._most or time.perf_counter() > self._until:
                break
            text = self._member(name, member, depth - 1, around)
            shown.append(text)
            length += len(text) + 2
        if len(shown) < count:
            shown.append(f"… {count - len(shown)} more")
        elif kind is tuple and count == 1:
            closing = ",)"
        return f"{opening}{', '.join(shown)}{closing}"

    def _member(self, name: Any, member: Any, depth: int, around: tuple[int, ...]) -> str:
        """Return a member with the key or field that it has, if any: `_NO_NAME`, `_Field` or a key."""
        if name is _NO_NAME:
            return self._walk(member, depth, around)
        if type(name) is _Beside:
            lead, plain = "", str(name)
        elif type(name) is _Field:
            lead, plain = f"{name}=", str(name)
        else:
            lead = f"{self._walk(name, depth, around)}: "
            plain = name if type(name) is str else name.decode("latin-1") if type(name) is bytes else ""
        return lead + self._under(plain, member, depth, around)

    def _named_type(self, value: Any, kind: type, depth: int, around: tuple[int, ...]) -> str:
        """Return what can be said of an object without asking it: its type, and a little more of some."""
        if issubclass(kind, BaseException) and kind.__module__ == "builtins":
            told = ", ".join(self._walk(one, depth - 1, around) for one in _arguments(value)[: self._items])
            return f"{kind.__name__}({told})" if depth > 0 else _type_of(value)
        for base in (dict, list, tuple, set, frozenset, str, bytes):
            if issubclass(kind, base):
                return f"<{name_of_type(kind)}, {_length(value)} {'items' if base not in {str, bytes} else 'long'}>"
        known = shown_unasked(value, kind)
        return f"<{name_of_type(kind)} {known}>" if known else _type_of(value)


class _Beside(str):
    """What stands before a value in a pair."""

    __slots__ = ()


class _Field(str):
    """The name of a field, unlike a key."""

    __slots__ = ()


_NO_NAME = object()


def _plain_members(value: Any) -> Iterator[tuple[Any, Any]]:
    members = _some(value)
    if len(members) == 2 and type(members[0]) is str:  # a header and its value, say
        return iter([(_NO_NAME, members[0]), (_Beside(members[0]), members[1])])
    return ((_NO_NAME, member) for member in members)


def _some(value: Any) -> list[Any]:
    """Return the first members of a container, which another thread may change meanwhile."""
    kind: Any = next((base for base in (list, tuple) if isinstance(value, base)), None)
    if kind is not None:
        return list(kind.__getitem__(value, slice(0, 100)))
    return attempted(lambda: list(islice(value, 100))) or []


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(attempted(lambda: list(islice(dict.items(value), 100))) or [])


def _named_members(value: Any) -> Iterator[tuple[Any, Any]]:
    return ((_Field(name), member) for name, member in zip(type(value)._fields, _some(value), strict=False))


_CONTAINERS: dict[type, tuple[str, str, Callable[[Any], Iterator[tuple[Any, Any]]]]] = {
    list: ("[", "]", _plain_members),
    tuple: ("(", ")", _plain_members),
    set: ("{", "}", _plain_members),
    frozenset: ("frozenset({", "})", _plain_members),
    deque: ("deque([", "])", _plain_members),
    dict: ("{", "}", _pairs),
    OrderedDict: ("OrderedDict({", "})", _pairs),
    defaultdict: ("defaultdict({", "})", _pairs),
}


_SIZED = (dict, list, tuple, set, frozenset, str, bytes, deque)


def _is_named_tuple(kind: type) -> bool:
    """Return whether a type is made by `namedtuple` or `NamedTuple`; nothing of its own is called."""
    if not issubclass(kind, tuple) or kind is tuple:
        return False
    fields = kind.__dict__.get("_fields")
    return type(fields) is tuple and all(type(field) is str for field in fields)


def _length(value: Any) -> int:
    kind: Any = next((base for base in _SIZED if isinstance(value, base)), None)
    return int(kind.__len__(value)) if kind is not None else 0


def _arguments(error: BaseException) -> tuple[Any, ...]:
    arguments: tuple[Any, ...] = BaseException.__dict__["args"].__get__(error)
    return arguments


def _without_code(value: Any, kind: type) -> str | None:
    """Return the text of an object of a type that is known well; None for all others."""
    if issubclass(kind, type):
        return f"<class {name_of_type(value)}>"
    if type(kind) is not type:  # a metaclass may have a hash of its own
        return repr(value) if is_of_library(value) else _enum_member(value, kind)
    if kind in _NAMED:
        return f"<{_NAMED[kind]} {clean(value.__qualname__)}>"
    if kind is MethodType:
        return f"<method {clean(value.__func__.__qualname__)}>" if type(value.__func__) is FunctionType else "<method>"
    if kind is BuiltinFunctionType:
        return f"<built-in function {clean(value.__name__)}>"
    if kind is ModuleType:
        name = vars(value).get("__name__")
        return f"<module {clean(name)}>" if isinstance(name, str) else "<module>"
    if kind in _OF_INTERPRETER:
        return f"<{kind.__name__}>"
    return repr(value) if is_of_library(value) or _is_moment(value, kind) else None


def _is_moment(value: Any, kind: type) -> bool:
    """Return whether an object is a date and time, or a time, in no zone or one that is known."""
    datetime = sys.modules.get("datetime")
    if datetime is None or (kind is not datetime.datetime and kind is not datetime.time):
        return False
    zone = value.tzinfo
    zoneinfo = sys.modules.get("zoneinfo")
    is_named = zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo and type(zone.key) is str
    return zone is None or is_named or is_of_library(zone)


def _enum_member(value: Any, kind: type) -> str | None:
    enum = sys.modules.get("enum")
    if enum is None or not isinstance(kind, enum.EnumMeta):
        return None
    name = attempted(object.__getattribute__, value, "_name_")
    return f"<{name_of_type(kind)}.{name}>" if isinstance(name, str) else None


def _type_of(value: object) -> str:
    return f"<{name_of_type(type(value))}>"
