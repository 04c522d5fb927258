"""Records: classes of named fields, as `dataclasses` makes them, in a sixth of the time.

The import and 23 classes of eight fields take 6 to 8 ms in a fresh process, with `dataclasses` 41 to 46 (CPython 3.11
to 3.13): the start, the end and the report of a failure do not have that.

A type checker sees `dataclasses.dataclass` here, and whoever uses records as dataclasses (`asdict`, `replace`,
`fields`, a dataclass that extends one) finds what `dataclasses` would have made, made then.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as record
    from dataclasses import field
    from typing import Any, TypeVar

    _T = TypeVar("_T")

__all__ = ["Record", "changed", "field", "record"]

_MISSING = object()


class Record:
    """What all records are: equal to their like with equal fields, printed with them, copied and pickled by them."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()
    _hidden: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__match_args__ if name not in self._hidden)
        return f"{self.__class__.__qualname__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    __hash__: Any = None

    def __replace__(self, **values: Any) -> Any:
        return changed(self, **values)


class _Frozen(Record):
    """A record whose fields stay as they were made."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        _refuse("assign to", name)

    def __delattr__(self, name: str) -> None:
        _refuse("delete", name)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__match_args__))

    def __setstate__(self, state: Any) -> None:
        for values in state if isinstance(state, tuple) else [state]:
            for name, value in (values or {}).items():
                object.__setattr__(self, name, value)


def _refuse(what: str, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot {what} field {name!r}")


def changed(one: _T, **values: Any) -> _T:
    """Return a record with some fields replaced."""
    kind: Any = one.__class__
    made: _T = kind(**{name: getattr(one, name) for name in kind.__match_args__} | values)
    return made


class _Field:
    """What is said of a field: its default or what makes one each time, and whether `repr` shows it."""

    __slots__ = ("default", "default_factory", "repr")

    def __init__(self, *, default: Any = _MISSING, default_factory: Any = _MISSING, repr: bool = True) -> None:  # noqa: A002
        self.default = default
        self.default_factory = default_factory
        self.repr = repr


def _record(*, frozen: bool = False, slots: bool = False) -> Callable[[type], type]:
    return lambda kind: _made(kind, _Frozen if frozen else Record, slots=slots)


def _made(kind: type, base: type[Record], *, slots: bool) -> type:
    body = {name: value for name, value in kind.__dict__.items() if name not in {"__dict__", "__weakref__"}}
    fields = {}
    for name in kind.__annotations__:
        default = body.pop(name, _MISSING)
        fields[name] = default if isinstance(default, _Field) else _Field(default=default)
    twin = _Twin(kind, fields, frozen=base is _Frozen)
    if slots:
        body["__slots__"] = tuple(fields)
    body |= {
        "__match_args__": tuple(fields),
        "_hidden": frozenset(name for name, one in fields.items() if not one.repr),
        "__init__": _initializer(kind, fields, frozen=base is _Frozen),
        "__dataclass_fields__": _OfTwin("__dataclass_fields__", twin),
        "__dataclass_params__": _OfTwin("__dataclass_params__", twin),
    }
    return type(kind.__name__, (base,), body)


def _initializer(kind: type, fields: dict[str, _Field], *, frozen: bool) -> Any:
    """Return the `__init__` of a record: one parameter a field, in order."""
    scope: dict[str, Any] = {"_MISSING": _MISSING, "_set": object.__setattr__}
    parameters = ["self"]
    lines = []
    for name, one in fields.items():
        value = name
        if one.default_factory is not _MISSING:
            scope[f"_{name}"] = one.default_factory
            parameters.append(f"{name}=_MISSING")
            value = f"_{name}() if {name} is _MISSING else {name}"
        elif one.default is not _MISSING:
            scope[f"_{name}"] = one.default
            parameters.append(f"{name}=_{name}")
        else:
            parameters.append(name)
        lines.append(f" _set(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
    if "__post_init__" in kind.__dict__:
        lines.append(" self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines), scope)  # noqa: S102 - names of fields only
    initializer = scope["__init__"]
    initializer.__module__ = kind.__module__
    initializer.__qualname__ = f"{kind.__qualname__}.__init__"
    initializer.__annotations__ = {**kind.__annotations__, "return": "None"}
    return initializer


class _Twin:
    """The dataclass that a record stands for, made when somebody asks for it."""

    def __init__(self, kind: type, fields: dict[str, _Field], *, frozen: bool) -> None:
        self._kind = kind
        self._fields = fields
        self._frozen = frozen
        self._made: type | None = None

    def dataclass(self) -> type:
        if self._made is None:
            import dataclasses

            given = {
                name: {key: getattr(one, key) for key in one.__slots__ if getattr(one, key) is not _MISSING}
                for name, one in self._fields.items()
            }
            self._made = dataclasses.make_dataclass(
                self._kind.__name__,
                [(name, kind, dataclasses.field(**given[name])) for name, kind in self._kind.__annotations__.items()],
                frozen=self._frozen,
            )
        return self._made


class _OfTwin:
    """An attribute of a record's class that its twin has."""

    def __init__(self, name: str, twin: _Twin) -> None:
        self._name = name
        self._twin = twin

    def __get__(self, one: object, kind: type) -> Any:
        return getattr(self._twin.dataclass(), self._name)


if not TYPE_CHECKING:
    record, field = _record, _Field
