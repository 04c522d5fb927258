"""Which objects put themselves into words at once, and that none of their code runs to find that out."""

from __future__ import annotations

import dataclasses
import enum
import fractions
import pathlib
import uuid
from collections import OrderedDict
from datetime import date, datetime
from typing import Any

import pytest

from narrative_auto.failures.brief import is_brief

LOOKED_AT: list[str] = []


class Status(enum.Enum):
    """As many programs have them."""

    OPEN = "open"


class Level(enum.IntEnum):
    """A number, too."""

    HIGH = 3


class Order:
    """Shows what it holds."""

    currency = "EUR"

    def __init__(self, number: object, name: object = "n") -> None:
        self.number = number
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.name!r:>10} {self.currency}>"

    def __str__(self) -> str:
        return "%s %s" % (self.__class__.__qualname__, self.number) if self.number is not None else "none"  # noqa: UP031


class Slotted:
    """Has no dictionary."""

    __slots__ = ("width",)

    def __init__(self, width: object) -> None:
        self.width = width

    def __repr__(self) -> str:
        return f"Slotted({self.width!r})"


@dataclasses.dataclass
class Line:
    """What `dataclasses` makes."""

    order: object
    status: object = Status.OPEN
    when: object = dataclasses.field(default_factory=lambda: date(2026, 1, 2))
    secret: object = dataclasses.field(default=1, repr=False)


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Frozen:
    """The same with slots."""

    tags: tuple[str, ...]


class GoneError(Exception):
    """Says what is gone."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __str__(self) -> str:
        return f"order {self.number} is gone"


class Number(int):
    """Extends what is known."""


BRIEF = [
    Order(1),
    Order(None),
    Order(1.5, Status.OPEN),
    Order("a", Order("b", [1, Slotted("w"), Line(3)])),
    Slotted({"a": (1, b"x", None)}),
    Line(Order(1)),
    Line([Level.HIGH, fractions.Fraction(1, 2), uuid.UUID(int=3), pathlib.PurePosixPath("/x")]),
    Frozen(("a", "b")),
    Number(3),
    object(),
    ValueError("x", 3, [Order(1)]),
    OSError(2, "No such file", "/x"),
    KeyError("x"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    GoneError(3),
]


@pytest.mark.parametrize("value", BRIEF, ids=lambda value: type(value).__name__)
def test_what_is_brief(value: object) -> None:
    """Plain attributes, formatted; what `dataclasses` makes; what is written in C and calls nothing of the program's."""
    assert is_brief(value, "__repr__")
    assert is_brief(value, "__str__")
    assert repr(value)


class Noted:
    """Notes whoever looks at it, in each way that there is."""

    def __getattribute__(self, name: str) -> Any:
        LOOKED_AT.append(name)
        return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        return "noted"


class Property(Order):
    """Computes an attribute."""

    @property
    def currency(self) -> str:  # type: ignore[override]
        LOOKED_AT.append("currency")
        return "EUR"


class Loop:
    """Goes through what it holds."""

    def __repr__(self) -> str:
        return ", ".join(str(one) for one in (1, 2))


class Endless:
    """Never ends."""

    def __repr__(self) -> str:
        while True:
            pass


class Formats(Slotted):
    """Formats itself in its own way."""

    def __format__(self, specification: str) -> str:
        LOOKED_AT.append("format")
        return "x"


class Asks:
    """Puts itself, or what it holds, into an operator."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __repr__(self) -> str:
        return "held: " + self.held  # type: ignore[operator]


class Adds:
    """Has an operator of its own."""

    def __radd__(self, other: object) -> str:
        LOOKED_AT.append("radd")
        return "x"


class Itself:
    """Shows itself as a whole."""

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        LOOKED_AT.append("itself")
        return "x"


class Shadowed:
    """Its class lies."""

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__}>"

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        LOOKED_AT.append("class")
        return Shadowed


class Meta(type):
    """Has a name of its own."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        LOOKED_AT.append("name")
        return "x"


class WithMeta(metaclass=Meta):
    """Asks it."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Doubles:
    """Makes much of little."""

    def __init__(self) -> None:
        self.many = 10**9

    def __repr__(self) -> str:
        return "x" * self.many


class Missing:
    """Has what it shows from elsewhere."""

    def __getattr__(self, name: str) -> str:
        LOOKED_AT.append(name)
        return "x"

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Chain:
    """Calls a method of what it holds."""

    def __init__(self) -> None:
        self.held = "x"

    def __repr__(self) -> str:
        return f"<{self.held.upper()}>"


class Members(list[Any]):
    """Is shown with its members by C code."""


class NamedStatus(enum.Enum):
    """Shows itself in its own way."""

    OPEN = 1

    def __str__(self) -> str:
        LOOKED_AT.append("status")
        return "x"


class Cycle:
    """Holds itself."""

    def __init__(self) -> None:
        self.held = self

    def __repr__(self) -> str:
        return f"<{self.held!r}>"


@dataclasses.dataclass
class OwnDataclass:
    """Has a `repr` of its own."""

    number: int

    def __repr__(self) -> str:
        return ", ".join(map(str, [self.number]))


NOT_BRIEF = [
    Noted(),
    Order(Noted()),
    Property(1),
    Loop(),
    Endless(),
    Order(Endless()),
    Order([Endless()]),
    Order({Slotted(Endless()): 1}),
    Order(Formats(1)),
    Line(Formats(1)),
    Asks(Adds()),
    Itself(),
    Shadowed(),
    WithMeta(),
    Doubles(),
    Missing(),
    Chain(),
    Members([Endless()]),
    Order(OrderedDict()),
    Order(NamedStatus.OPEN),
    Cycle(),
    OwnDataclass(1),
    Order(1 << 100_000),
    Order("x" * 1_000_000),
    ValueError(Endless()),
    OSError(2, Endless()),
    ImportError(Endless()),
    Order(datetime(2026, 1, 2)),  # noqa: DTZ001 - it may have a zone of the program's
]


@pytest.mark.parametrize("value", NOT_BRIEF, ids=lambda value: type(value).__name__)
def test_what_is_not_brief(value: object) -> None:
    """Whatever may call code of the program's, or make much of little; none of that code runs."""
    LOOKED_AT.clear()
    assert not (is_brief(value, "__repr__") and is_brief(value, "__str__"))
    assert LOOKED_AT == []


def test_a_name_that_is_taken() -> None:
    """A module can have a `type` of its own."""
    source = "def type(x): raise ValueError\nclass Own:\n    def __repr__(self): return f'<{type(self).__name__}>'\nown = Own()"
    names: dict[str, Any] = {}
    exec(source, names)
    assert not is_brief(names["own"], "__repr__")
    names.pop("type")
    assert is_brief(names["own"], "__repr__")


def test_a_method_that_changes() -> None:
    """What is known belongs to the code, not to the class."""
    order = type("Order", (Order,), {})(1)
    assert is_brief(order, "__repr__")
    type(order).__repr__ = Endless.__repr__  # type: ignore[assignment]
    assert not is_brief(order, "__repr__")
