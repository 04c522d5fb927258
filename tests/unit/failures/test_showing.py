"""Values become text: bounded, redacted, and without running the program's code."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import pathlib
import socket
import sys
import threading
import time
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from narrative_auto.failures.config import FailureDiagnosticsConfig
from narrative_auto.failures.redaction import Redactor
from narrative_auto.failures.showing import Shower
from narrative_auto.failures.variables import Variables

SHOWER = Shower(Redactor())
HERE = __name__


class TouchedError(Exception):
    """The program's own code was run."""


class Untouchable:
    """Whatever is done to it is told."""

    def _touched(self, *_: object) -> Any:
        raise TouchedError

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __getattr__ = __format__ = _touched


class Rows(list[int]):
    """A list with a mind of its own."""

    def __iter__(self) -> Iterator[int]:
        raise TouchedError

    def __len__(self) -> int:
        raise TouchedError

    def __repr__(self) -> str:
        raise TouchedError


class Lazy:
    """Loads when it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise TouchedError


@dataclass
class Order:
    """As ORMs and applications have them."""

    number: int
    password: str


class Colour(enum.Enum):
    """A colour."""

    RED = 1


class Row(NamedTuple):
    """A row."""

    number: int
    token: str


Pair = namedtuple("Pair", "a b")


def generator() -> Iterator[int]:
    """Is never begun."""
    yield 1


SHOWN = [
    (None, "None"),
    (True, "True"),
    (17, "17"),
    (-(10**11), "-100000000000"),
    (10**400, "<int of 1329 bits>"),
    (1.5, "1.5"),
    (float("nan"), "nan"),
    (2j, "2j"),
    ("text", "'text'"),
    ("", "''"),
    (b"\x00a", "b'\\x00a'"),
    (bytearray(b"x"), "bytearray(b'x')"),
    (b"x" * 5_000, "<bytes, 5000 bytes>"),
    ([], "[]"),
    ([1, [2, [3, [4]]]], "[1, [2, […]]]"),
    ((), "()"),
    ((1,), "(1,)"),
    ((1, "a"), "(1, 'a')"),
    ({1}, "{1}"),
    (frozenset({1}), "frozenset({1})"),
    (deque([1]), "deque([1])"),
    ({"a": 1, 2: "b"}, "{'a': 1, 2: 'b'}"),
    (OrderedDict(a=1), "OrderedDict({'a': 1})"),
    (defaultdict(int, a=1), "defaultdict({'a': 1})"),
    (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 10 more]"),
    (range(5), "range(0, 5)"),
    (decimal.Decimal("3.20"), "Decimal('3.20')"),
    (fractions.Fraction(1, 3), "Fraction(1, 3)"),
    (dt.date(2026, 11, 22), "datetime.date(2026, 11, 22)"),
    (
        dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
        "datetime.datetime(2026, 11, 22, 0, 0, tzinfo=datetime.timezone.utc)",
    ),
    (uuid.UUID(int=5), "UUID('00000000-0000-0000-0000-000000000005')"),
    (pathlib.PurePosixPath("/srv/app"), "PurePosixPath('/srv/app')"),
    (Colour.RED, f"<{HERE}.Colour.RED>"),
    (Pair(1, "x"), "Pair(a=1, b='x')"),
    (Row(7, "s3cr3t-value"), "Row(number=7, token=[redacted])"),
    (ValueError("x", 1), "ValueError('x', 1)"),
    (ValueError(Untouchable()), f"ValueError(<{HERE}.Untouchable>)"),
    (len, "<built-in function len>"),
    (generator, "<function generator>"),
    (generator(), "<generator generator>"),
    (Order, f"<class {HERE}.Order>"),
    (sys, "<module sys>"),
    (Order(1, "hunter22"), f"<{HERE}.Order>"),
    (Untouchable(), f"<{HERE}.Untouchable>"),
    (Lazy(), f"<{HERE}.Lazy>"),
    ([Untouchable(), 1], f"[<{HERE}.Untouchable>, 1]"),
    ({"key": Lazy()}, f"{{'key': <{HERE}.Lazy>}}"),
    (Rows([1, 2]), f"<{HERE}.Rows, 2 items>"),
    (Counter("ab"), "<collections.Counter, 2 items>"),
    (threading.Lock(), "<_thread.lock>"),
    (memoryview(b"x"), "<memoryview>"),
    ({"password": "hunter22", "user": "ada"}, "{'password': [redacted], 'user': 'ada'}"),
    ([["authorization", "abc"], ["host", "x"]], "[['authorization', [redacted]], ['host', 'x']]"),
    ("AKIA" + "Q3EGRIRTV7TUWXYZ", "'[redacted]'"),
    (4111111111111111, "[redacted]"),
]


@pytest.mark.parametrize("number", range(len(SHOWN)), ids=[text for _, text in SHOWN])
def test_shown(number: int) -> None:
    """As a person wants to read it."""
    assert SHOWER.text(SHOWN[number][0]) == SHOWN[number][1]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("password", "hunter22", "[redacted]"),
        ("api_key", 3.5, "[redacted]"),
        ("token_count", 3, "3"),
        ("key", "customer_17", "'customer_17'"),
        ("key", "9fJ2kLq0ZxPw8sVt", "[redacted]"),
        ("row", 3, "3"),
    ],
)
def test_names(name: str, value: object, text: str) -> None:
    """A secret's name hides its value, unless that says that it is none."""
    assert SHOWER.text(value, name) == text


def test_a_socket() -> None:
    """Nothing of it is asked."""
    with socket.socket() as one:
        assert SHOWER.text(one) == "<socket.socket>"


def test_circles() -> None:
    """Containers that hold themselves end."""
    loop: list[Any] = [1]
    loop.append(loop)
    mapping: dict[str, Any] = {}
    mapping["self"] = mapping
    assert SHOWER.text(loop) == "[1, ...]"
    assert SHOWER.text(mapping) == "{'self': ...}"


def test_bounds() -> None:
    """However large a value is, its text and the time for it are small."""
    values = ("x" * 10**8, [["y" * 10**6] * 10**5] * 10**5, dict.fromkeys(range(10**6), "z" * 1000), 1 << 10**7)
    began = time.perf_counter()
    for value in values:
        assert len(SHOWER.text(value)) <= 200
    assert time.perf_counter() - began < 1.0


def test_a_secret_at_the_cut() -> None:
    """What a bound would cut in half is gone as a whole."""
    for length in range(3_900, 4_010, 7):
        assert "aB3dE6" not in SHOWER.text("x " * (length // 2) + "ghp_" + "aB3dE6gH9jK2" * 3)
    for length in range(100, 210, 7):
        assert "aB3dE6" not in SHOWER.text("x " * (length // 2) + "ghp_" + "aB3dE6gH9jK2" * 3)


def test_a_container_that_changes_meanwhile() -> None:
    """Another thread may be at work on it."""
    shared: dict[int, int] = {}
    done = threading.Event()

    def work() -> None:
        number = 0
        while not done.is_set():
            shared[number % 1000] = number
            shared.pop((number * 7) % 1000, None)
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(300):
            assert SHOWER.text(shared).startswith("{")
    finally:
        done.set()
        thread.join()


def test_arrays_say_their_shape() -> None:
    """Their content is not looked at."""
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    assert SHOWER.text(numpy.zeros((3, 4))) == "<numpy.ndarray shape=(3, 4) dtype=float64>"


# -- variables of frames -------------------------------------------------------------------------------------------


class Own:
    """Allowed to speak."""

    def __repr__(self) -> str:
        return "Own(password='hunter22', n=1)"


class Hangs:
    """Allowed to speak, and does not come to an end."""

    def __repr__(self) -> str:
        time.sleep(5)
        return "late"


def variables_of(function: Any, *allowed: str, used: tuple[str, ...] = (), **limits: int) -> dict[str, str]:
    """Return the variables of a function at the exception that it raises."""
    try:
        function()
    except ValueError as error:
        traceback = error.__traceback__
    assert traceback is not None
    assert traceback.tb_next is not None
    shown = Variables(Redactor(), FailureDiagnosticsConfig(**limits), allowed)  # type: ignore[arg-type]
    return dict(shown.of(traceback.tb_next.tb_frame, traceback.tb_next.tb_lineno, used).values)


def test_variables() -> None:
    """Those of the failing line first; bounded in number; secrets by their names."""

    def fail() -> None:
        a, b, row, password = 1, 2, (3, "x"), "hunter22"
        raise ValueError(a, b, row, password)

    assert next(iter(variables_of(fail, used=("row",)))) == "row"
    assert variables_of(fail) == {"a": "1", "b": "2", "row": "(3, 'x')", "password": "[redacted]"}
    assert len(variables_of(fail, max_locals_per_frame=2)) == 2
    assert variables_of(fail, max_local_value_len=5)["row"] == "(3, …"


def test_objects_that_may_speak() -> None:
    """Only those that were allowed, redacted, and not for long."""

    def fail() -> None:
        own, hangs = Own(), Hangs()
        raise ValueError(own, hangs)

    assert variables_of(fail) == {"own": f"<{HERE}.Own>", "hangs": f"<{HERE}.Hangs>"}
    began = time.perf_counter()
    shown = variables_of(fail, f"{HERE}.*")
    assert time.perf_counter() - began < 2
    assert shown == {"own": "Own(password=[redacted], n=1)", "hangs": f"<{HERE}.Hangs>"}


def test_variables_of_a_module() -> None:
    """Its functions, classes and modules are no values."""
    namespace: dict[str, Any] = {"__name__": "m"}
    code = compile("import os\ndef f(): pass\nclass C: pass\nrows = [1]\nraise ValueError\n", "m.py", "exec")

    def fail() -> None:
        exec(code, namespace)

    with pytest.raises(ValueError, match=r"^$") as caught:
        fail()
    frame = caught.traceback[-1].frame.raw
    shown = Variables(Redactor(), FailureDiagnosticsConfig()).of(frame, 5, ())
    assert shown.values == (("rows", "[1]"),)
