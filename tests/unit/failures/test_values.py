"""An exception's message can always be had."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from narrative_auto.failures.messages import message_of, text_of
from narrative_auto.failures.values import MOST_MESSAGE_CHARACTERS, name_of_type, shortened


class Stop(BaseException):
    """Not an `Exception`."""


class Text(str):
    """A text that does not want to be looked at."""

    __slots__ = ()

    def __len__(self) -> int:
        raise ValueError

    def encode(self, *_: object) -> bytes:
        raise ValueError


class RaisingError(ValueError):
    def __str__(self) -> str:
        raise self.args[0]


class NumberError(ValueError):
    def __str__(self) -> str:
        number: Any = 42
        return number  # type: ignore[no-any-return]


class RecursiveError(ValueError):
    def __str__(self) -> str:
        return str(self)


class TextError(ValueError):
    def __str__(self) -> str:
        return Text("all the same")


def test_plain_message() -> None:
    """The message is what `str` gives, in the words of the exception's own type."""
    assert message_of(ValueError("no good")) == "no good"
    assert message_of(KeyError("x")) == "'x'"
    assert message_of(ValueError()) == ""


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), Stop(), GeneratorExit()])
def test_str_that_raises(error: BaseException) -> None:
    """Whatever `__str__` raises, the type's name is told instead."""
    assert message_of(RaisingError(error)) == f"<unprintable {__name__}.RaisingError>"


@pytest.mark.parametrize("error_type", [NumberError, RecursiveError])
def test_str_that_gives_no_text(error_type: type[ValueError]) -> None:
    """A `__str__` that gives no text is the same as one that raises."""
    assert message_of(error_type()) == f"<unprintable {__name__}.{error_type.__name__}>"


def test_interrupt_gets_through() -> None:
    """Ctrl-C while a message is made is the person's, and goes on."""

    class SlowError(ValueError):
        def __str__(self) -> str:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
            return "late"

    with pytest.raises(KeyboardInterrupt):
        message_of(SlowError())


def test_subclass_of_str() -> None:
    """A text of the program's own class becomes a plain one."""
    message = message_of(TextError())
    assert message == "all the same"
    assert type(message) is str


def test_length() -> None:
    """A long message is cut, with a sign that it was."""
    assert message_of(ValueError("x" * 10_000)) == "x" * 10_000
    message = shortened("x" * 10_000, MOST_MESSAGE_CHARACTERS)
    assert len(message) == MOST_MESSAGE_CHARACTERS
    assert message.endswith("x…")
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_surrogates() -> None:
    """Bytes that were no text in a file's name become escapes, so that the message can be written."""
    assert message_of(OSError("caf\udce9")) == "caf\\udce9"
    json.dumps(text_of("\ud800"), ensure_ascii=False).encode()


def test_names_of_types() -> None:
    """A type is named as tracebacks name it, and a metaclass cannot lie or raise."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> object:
            raise ValueError(name)

    class InnerError(Exception, metaclass=Meta):
        pass

    odd = type("Odd", (Exception,), {"__module__": 3})
    main = type("Own", (Exception,), {"__module__": "__main__"})
    assert name_of_type(ValueError) == "ValueError"
    assert name_of_type(json.JSONDecodeError) == "json.decoder.JSONDecodeError"
    assert name_of_type(main) == "Own"
    assert name_of_type(odd) == "<unknown>.Odd"
    assert name_of_type(InnerError) == f"{__name__}.test_names_of_types.<locals>.InnerError"
