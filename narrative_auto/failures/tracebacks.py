"""The traceback of an exception as a text: Python's own, or one that has a limit."""

from __future__ import annotations

import time
import traceback

from narrative_auto.errors import attempted
from narrative_auto.failures.messages import is_plainly_told, message_of, notes_of, text_of
from narrative_auto.failures.redaction import MOST_CHARACTERS
from narrative_auto.failures.values import clean, name_of_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from narrative_auto.failures.redaction import Redactor

_MOST_LINKED = 20_000
"""Exceptions that a whole traceback may be of."""

_MOST_LINKS = 20
"""Exceptions in a chain, members of a group and notes that are told, where exceptions have ways of their own."""

_MOST_SECONDS = 0.5
"""How long their messages may take in all, and the last one longer."""

_AS_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_AS_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
"""As Python says it."""


def traceback_text(error: BaseException, redactor: Redactor, most: int | None) -> tuple[str, bool]:
    """Return an exception's traceback without secrets, of a long one the end; and whether anything is missing.

    Args:
        error: the exception.
        redactor: takes secrets out.
        most: characters; None for as many as can be searched for secrets, `MOST_CHARACTERS`.
    """
    linked = _linked_with(error)
    is_plain = len(linked) < _MOST_LINKED and all(map(is_plainly_told, linked))
    format_whole = traceback.format_exception if is_plain else _format_links
    whole = attempted(lambda: "".join(format_whole(error))) or ""
    searched = redactor.text(_tail(whole, MOST_CHARACTERS))
    shown = clean(searched if most is None else _tail(searched, most)[-most:])
    return shown, len(whole) > MOST_CHARACTERS or len(shown) < len(searched)


def _linked_with(error: BaseException) -> list[BaseException]:
    """Return an exception with all that it is linked with, and with the members of groups, `_MOST_LINKED` at most."""
    waiting = [error]
    found: dict[int, BaseException] = {}
    while waiting and len(found) < _MOST_LINKED:
        one = waiting.pop()
        if id(one) in found:
            continue
        found[id(one)] = one
        waiting += [other for name in ("__cause__", "__context__") if (other := _link(one, name)) is not None]
        if issubclass(type(one), BaseExceptionGroup):
            waiting += BaseExceptionGroup.__dict__["exceptions"].__get__(one)
    return list(found.values())


def _link(error: BaseException, name: str) -> BaseException | None:
    found: BaseException | None = BaseException.__dict__[name].__get__(error)
    return found


def _format_links(error: BaseException) -> list[str]:
    """Return the traceback of an exception that has ways of its own to tell of itself, which have a limit.

    Members of groups are told in a line.
    """
    until = time.monotonic() + _MOST_SECONDS
    links = [("", error)]
    seen = {id(error)}
    while len(links) < _MOST_LINKS:
        one = links[-1][1]
        cause = _link(one, "__cause__")
        is_hidden = BaseException.__dict__["__suppress_context__"].__get__(one)
        other = cause if cause is not None or is_hidden else _link(one, "__context__")
        if other is None or id(other) in seen:
            break
        seen.add(id(other))
        links.append((_AS_CAUSE if other is cause else _AS_CONTEXT, other))
    lines: list[str] = []
    for at in range(len(links) - 1, -1, -1):
        lines += _format_one(links[at][1], until)
        lines += [links[at][0]] if at else []
    return lines


def _format_one(error: BaseException, until: float) -> list[str]:
    steps = BaseException.__dict__["__traceback__"].__get__(error)
    head = ["Traceback (most recent call last):\n", *traceback.format_tb(steps)] if steps is not None else []
    members = (
        BaseExceptionGroup.__dict__["exceptions"].__get__(error) if issubclass(type(error), BaseExceptionGroup) else ()
    )
    told = [_line_of(error, until)]
    told += [f"{_in_time(text_of, note, until) or '<unprintable note>'}\n" for note in notes_of(error)[:_MOST_LINKS]]
    told += [f"  | {_line_of(member, until)}" for member in members[:_MOST_LINKS]]
    return [*head, *told]


def _line_of(error: BaseException, until: float) -> str:
    """Return type and message of an exception; without the message where there is none, or the time is over."""
    message = _in_time(message_of, error, until)
    return f"{name_of_type(type(error))}: {message}\n" if message else f"{name_of_type(type(error))}\n"


def _in_time(text: Callable[[Any], str | None], value: object, until: float) -> str | None:
    return text(value) if time.monotonic() < until else None


def _tail(text: str, most: int) -> str:
    """Return the end of a text, from a line's beginning: half a secret is none that can be recognised."""
    if len(text) <= most:
        return text
    return text[-most:].partition("\n")[2] or text
