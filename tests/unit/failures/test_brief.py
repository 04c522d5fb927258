"""Which objects put themselves into words at once, and that none of their code runs to find that out."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import fractions
import pathlib
import sys
import threading
import uuid
from collections import OrderedDict
from datetime import date, datetime, timedelta, timezone
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
        return "%s %s" % (self.__class__.__qualname__, self.number)  # noqa: UP031


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


class ConstantAfter(Asks):
    """Formats something else than what it holds."""

    def __repr__(self) -> str:
        return self.held + f"{'a'!r}"  # type: ignore[operator,no-any-return]


class Width(Asks):
    """Is as long as it says."""

    def __repr__(self) -> str:
        return f"{1:{self.held}}"


class Wide:
    """Asks for much room."""

    def __init__(self) -> None:
        self.held = 1

    def __repr__(self) -> str:
        return f"{self.held:100000000}"


class OwnDictionary(dict[str, Any]):
    """Is its own dictionary, as many programs do it."""

    name = "n"

    def __init__(self, **values: object) -> None:
        super().__init__(values)
        self.__dict__ = self

    def __repr__(self) -> str:
        return f"<{self.name}>"


class LazySlot:
    """Computes what its slot does not hold."""

    __slots__ = ("held",)

    def __getattr__(self, name: str) -> str:
        LOOKED_AT.append(name)
        return "x"

    def __repr__(self) -> str:
        return f"<{self.held}>"


class BorrowedError(Exception):
    """Shows its own `repr` as its text."""

    __str__ = object.__str__

    def __repr__(self) -> str:
        return ", ".join(map(str, self.args))


class FileError(OSError):
    """Has the text of what it extends."""

    __str__ = OSError.__str__


class Speaking(type):
    """Its classes speak for themselves."""

    name = "x"

    def __repr__(cls) -> str:
        return f"<{cls.name}>"


class Spoken(metaclass=Speaking):
    """One of them."""


class ReadStatus(enum.Enum):
    """Notes whoever reads it."""

    OPEN = "open"

    def __getattribute__(self, name: str) -> Any:
        LOOKED_AT.append(name)
        return object.__getattribute__(self, name)


class Name(str):
    """Shows itself in its own way."""

    __slots__ = ()

    def __repr__(self) -> str:
        LOOKED_AT.append("name")
        return "x"


class Local(threading.local):
    """Is made again in each thread that looks at it."""

    name = "n"

    def __init__(self) -> None:
        LOOKED_AT.append("local")

    def __repr__(self) -> str:
        return f"<{self.name}>"


def local_of_another_thread() -> Local:
    """Return one that this thread has not looked at."""
    made: list[Local] = []
    thread = threading.Thread(target=lambda: made.append(Local()))
    thread.start()
    thread.join()
    return made[0]


ZONE = timezone(timedelta(hours=1), Name("zone"))
BOTH = ("__repr__", "__str__")

NOT_BRIEF: list[tuple[object, tuple[str, ...]]] = [
    (Noted(), BOTH),
    (Order(Noted()), BOTH),
    (Property(1), ("__repr__",)),
    (Loop(), BOTH),
    (Endless(), BOTH),
    (Order(Endless()), BOTH),
    (Order([Endless()]), BOTH),
    (Order({Slotted(Endless()): 1}), BOTH),
    (Order(Formats(1)), BOTH),
    (Line(Formats(1)), BOTH),
    (Asks(Adds()), BOTH),
    (ConstantAfter(Adds()), BOTH),
    (Width(3), BOTH),
    (Wide(), BOTH),
    (OwnDictionary(name=Endless()), BOTH),
    (LazySlot(), BOTH),
    (BorrowedError(Endless()), BOTH),
    (FileError(2, "x", Endless()), ("__str__",)),
    (Spoken, BOTH),
    (Order(Spoken), BOTH),
    (Order(ReadStatus.OPEN), BOTH),
    (Order(ZONE), BOTH),
    (Order(pathlib.PurePosixPath(Name("x"))), BOTH if sys.version_info >= (3, 12) else ()),
    (local_of_another_thread(), BOTH),
    (Itself(), BOTH),
    (Shadowed(), BOTH),
    (WithMeta(), BOTH),
    (Doubles(), BOTH),
    (Missing(), BOTH),
    (Chain(), BOTH),
    (Members([Endless()]), BOTH),
    (Order(OrderedDict()), BOTH),
    (Order(NamedStatus.OPEN), BOTH),
    (Cycle(), BOTH),
    (OwnDataclass(1), BOTH),
    (Order(1 << 100_000), BOTH),
    (Number(1 << 100_000), BOTH),
    (Order(fractions.Fraction(1 << 100_000)), BOTH),
    (Order(decimal.Decimal("1E+100000")), BOTH),
    (Order("x" * 2_000_000), BOTH),
    (Order([["x" * 50_000] * 50] * 50), BOTH),
    (ValueError(*range(10_000)), BOTH),
    (ValueError(Endless()), BOTH),
    (OSError(2, Endless()), BOTH),
    (ImportError(Endless()), BOTH),
    (Order(datetime(2026, 1, 2, tzinfo=ZONE)), BOTH),
]


@pytest.mark.parametrize(
    ("value", "method"),
    [(value, method) for value, methods in NOT_BRIEF for method in methods],
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_what_is_not_brief(value: object, method: str) -> None:
    """Whatever may call code of the program's, or make much of little; none of that code runs."""
    LOOKED_AT.clear()
    assert not is_brief(value, method)
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
