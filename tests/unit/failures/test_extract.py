"""A failure says what went wrong and where, and holds none of the program's objects."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from narrative_auto.failures.extract import (
    FIRST_FRAMES,
    LAST_FRAMES,
    MOST_LINKS,
    MOST_MEMBERS,
    Failure,
    codes_to_place,
    extract_failure,
)
from narrative_auto.failures.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

APPLICATION = """
import sqlite3
import library

class ImportFailed(Exception):
    pass

class Store:
    def insert(self, row):
        try:
            library.execute(row)
        except KeyError as error:
            raise ImportFailed("order rejected") from error

def import_orders(row):
    Store().insert(row)

def convert(row):
    try:
        import_orders(row)
    except ImportFailed as error:
        raise RuntimeError("no import") from error

def handle(row):
    try:
        library.execute(row)
    except KeyError:
        recover()

def recover():
    raise ValueError("cannot recover")

def hide(row):
    try:
        library.execute(row)
    except KeyError:
        raise ValueError("hidden") from None

def deep(number):
    if number:
        deep(number - 1)
    raise ValueError(number)

def call(function, *arguments):
    return function(*arguments)
"""

LIBRARY = """
def execute(row):
    check(row)

def check(row):
    raise KeyError("unique constraint, token=abc123")
"""


@pytest.fixture
def application(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give a module of an application that uses a library."""
    modules = {}
    for name, source in (("library", LIBRARY), ("application", APPLICATION)):
        path = tmp_path / f"{name}.py"
        path.write_text(source, "utf-8")
        module = modules[name] = ModuleType(name)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(source, str(path), "exec"), module.__dict__)
    return modules["application"]


def is_application(filename: str) -> bool:
    """Return whether a file is the application's."""
    return filename.endswith("application.py")


def caught(function: Callable[..., object], *arguments: object) -> BaseException:
    """Return what a call raises, with the frames of the tests taken from its traceback."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - which one is the test's business
        function(*arguments)
    error = raised.value
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


def extracted(error: BaseException) -> Failure:
    """Return the failure, and make sure that it can be written as JSON and is what it is for good."""
    failure = extract_failure(error, is_application=is_application, redactor=Redactor())
    json.dumps(dataclasses.asdict(failure), ensure_ascii=False).encode()
    hash(failure)
    return failure


def test_frames(application: ModuleType) -> None:
    """The frames are those of the traceback, outermost first, each with its place in the source."""
    failure = extracted(caught(application.call, application.deep, 1))
    assert [frame.function for frame in failure.frames] == ["call", "deep", "deep"]
    assert [frame.module for frame in failure.frames] == ["application"] * 3
    assert failure.frames_left_out == 0
    assert failure.frames[0].positions is not None
    assert failure.frames[0].positions[2:] == (11, 31)
    assert failure.error_type == "ValueError"
    assert failure.error_message == "0"


def test_place_of_a_cause(application: ModuleType) -> None:
    """With explicit causes, the place is the innermost application frame of the error that began it all."""
    failure = extracted(caught(application.convert, {}))
    assert failure.error_type == "RuntimeError"
    assert failure.place is not None
    assert failure.place.function == "Store.insert"
    (line,) = [line for line in failure.snippet if line.marked]
    assert line.text.strip() == "library.execute(row)"
    assert line.caret is not None
    assert line.text[slice(*line.caret)] == "library.execute(row)"
    assert [(link.relation, link.error_type) for link in failure.chain] == [
        ("cause", "application.ImportFailed"),
        ("cause", "KeyError"),
    ]
    assert failure.chain[0].relation_words == "from"


def test_path_to_a_cause(application: ModuleType) -> None:
    """The path goes on from the frame that caught the cause, down to where the cause was raised."""
    codes = codes_to_place(caught(application.convert, {}))
    names = [code.co_qualname for code in codes]
    assert names == ["convert", "import_orders", "Store.insert", "execute", "check"]


def test_context(application: ModuleType) -> None:
    """What fails in a handler goes wrong there; what was being handled is told but not followed."""
    error = caught(application.handle, {})
    failure = extracted(error)
    assert failure.place is not None
    assert failure.place.function == "recover"
    assert [(link.relation, link.error_type) for link in failure.chain] == [("context", "KeyError")]
    assert failure.chain[0].place is not None
    assert failure.chain[0].place.function == "handle"
    assert [code.co_qualname for code in codes_to_place(error)] == ["handle", "recover"]


def test_suppressed_context(application: ModuleType) -> None:
    """`raise … from None` hides what was being handled."""
    assert extracted(caught(application.hide, {})).chain == ()


def test_place_without_application() -> None:
    """Where no frame is the application's, the innermost one of all is the place."""
    failure = extracted(caught(json.loads, "{"))
    assert failure.error_type == "json.decoder.JSONDecodeError"
    assert failure.place is not None
    assert failure.place.function == "JSONDecoder.raw_decode" or failure.place.module == "json.decoder"
    assert not failure.place.is_application


def test_place_in_generated_code() -> None:
    """Beside files of the application it is a library's; where all code is without a file, it is the program."""

    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int

    def move() -> None:
        Point(1).x = 2  # type: ignore[misc]

    error = caught(move)
    place = extract_failure(error, is_application=lambda _: True, redactor=Redactor()).place
    assert place is not None
    assert (place.filename, place.function.rpartition(".")[2]) == (__file__, "move")
    error = caught(exec, "def f(): 1/0\nf()", {})
    place = extract_failure(error, is_application=lambda _: True, redactor=Redactor()).place
    assert place is not None
    assert (place.filename, place.function) == ("<string>", "f")


def test_cause_that_was_never_raised(application: ModuleType) -> None:
    """A cause without a traceback leaves the place where the error itself was raised."""
    error = caught(application.recover)
    error.__cause__ = KeyError("made up")
    failure = extracted(error)
    assert failure.place is not None
    assert failure.place.function == "recover"
    assert failure.chain[0].place is None
    assert [code.co_qualname for code in codes_to_place(error)] == ["recover"]


def test_texts_are_redacted(application: ModuleType) -> None:
    """Messages, notes and those of other errors lose their secrets."""
    error = caught(application.convert, {})
    error.add_note("tried with password='hunter2'")
    failure = extracted(error)
    assert failure.chain[-1].message == "'unique constraint, token=[redacted]'"
    assert failure.notes == ("tried with password=[redacted]",)


def test_secret_at_the_cut() -> None:
    """A secret that the limit of a message would cut in half is gone as a whole."""
    failure = extracted(ValueError("x" * 1_990 + " ghp_" + "aB3dE6gH9jK2" * 3))
    assert "ghp_" not in failure.error_message
    assert len(failure.error_message) <= 2_000


def test_members() -> None:
    """The members of a group are listed, those of groups within it too, up to a bound."""
    inner = ExceptionGroup("inner", [KeyError("a"), OSError("b")])
    failure = extracted(ExceptionGroup("outer", [inner, ValueError("c")]))
    assert failure.error_message == "outer (2 sub-exceptions)"
    assert [(member.relation, member.error_type, member.message) for member in failure.members] == [
        ("member", "ExceptionGroup", "inner (2 sub-exceptions)"),
        ("member", "KeyError", "'a'"),
        ("member", "OSError", "b"),
        ("member", "ValueError", "c"),
    ]
    assert [member.depth for member in failure.members] == [1, 2, 2, 1]
    many = ExceptionGroup("many", [ValueError(number) for number in range(100)])
    assert len(extracted(many).members) == MOST_MEMBERS
    assert extracted(many).members_left_out == 100 - MOST_MEMBERS
    assert extracted(ValueError()).members == ()


def test_deep_recursion(application: ModuleType) -> None:
    """Of ten thousand frames, the first and the last are kept, and the rest is counted."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        error = caught(application.deep, 9_999)
    finally:
        sys.setrecursionlimit(limit)
    failure = extracted(error)
    assert len(failure.frames) == FIRST_FRAMES + LAST_FRAMES
    assert failure.frames_left_out == 10_000 - FIRST_FRAMES - LAST_FRAMES
    assert len(codes_to_place(error)) == 10_000


def test_cycles(application: ModuleType) -> None:
    """Causes that go round in a circle are each told once."""
    first, second = caught(application.recover), caught(application.deep, 0)
    first.__cause__, second.__cause__ = second, first
    failure = extracted(first)
    assert [link.error_type for link in failure.chain] == ["ValueError"]
    codes_to_place(first)
    second.__cause__, second.__context__, second.__suppress_context__ = None, first, False
    assert len(extracted(first).chain) == 1


def test_long_chain() -> None:
    """A chain is followed up to a bound."""
    error = outermost = ValueError()
    for _ in range(100):
        error.__cause__ = error = ValueError()
    assert len(extracted(outermost).chain) == MOST_LINKS


class LyingError(Exception):
    """Lies about everything that it is asked."""

    __notes__: Any = 42

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return ExceptionGroup

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise ValueError

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise ValueError

    def __str__(self) -> str:
        raise ValueError

    def __hash__(self) -> int:
        raise ValueError

    def __eq__(self, other: object) -> bool:
        raise ValueError


def test_errors_that_lie() -> None:
    """A class that raises or lies in everything that can be overridden is told all the same."""
    failure = extracted(LyingError())
    assert failure.error_type == f"{__name__}.LyingError"
    assert failure.error_message == f"<unprintable {__name__}.LyingError>"
    assert failure.frames == ()
    assert failure.place is None
    assert failure.snippet == ()
    assert failure.notes == ()
    assert codes_to_place(LyingError()) == []


def test_odd_notes() -> None:
    """Notes that are no texts are told where they can be, in bounded number."""
    error: Any = ValueError()
    error.__notes__ = [LyingError(), 3, "\ud800"]
    assert extracted(error).notes == ("<unprintable note>", "3", "\\ud800")
    error.__notes__ = ["x"] * 1_000
    assert len(extracted(error).notes) == 10


def test_scope_that_raises(application: ModuleType) -> None:
    """A rule for application code that fails takes nothing for application code."""

    def fail(_: str) -> bool:
        raise OSError

    failure = extract_failure(caught(application.recover), is_application=fail, redactor=Redactor())
    assert failure.place is not None
    assert not failure.place.is_application


def test_nothing_is_kept_alive(application: ModuleType) -> None:
    """A failure holds no exception, frame or value of the program."""

    class Value:
        pass

    value = Value()
    gone = weakref.ref(value)
    failure = extracted(caught(application.call, application.recover))
    error = caught(application.call, application.handle, value)
    failure = extracted(error)
    del error, value
    gc.collect()
    assert gone() is None
    assert failure.error_type == "ValueError"
