"""Changes single values in a JSON text; numbers, blanks and everything else stay as somebody has written them."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]|[^\s\[\]{}",:]+', re.DOTALL)


def rewritten(text: str, before: Any, after: Any) -> str:
    """Return a JSON text with other values.

    Args:
        text: JSON in which no object has a key twice.
        before: what `json.loads` makes of it.
        after: the same with other texts, numbers and keys, and whole lists and objects replaced by a text. Else each
            object has as many keys as before, in the same order, and each list as many members.

    Raises:
        ValueError: it has not, or holds a text that cannot be encoded.
    """
    parts: list[str] = []
    end = 0
    for start, stop, value in _changes(_TOKEN.finditer(text), before, after):
        parts += (text[end:start], _literal(value, text))
        end = stop
    return "".join(parts) + text[end:]


def _changes(tokens: Iterator[re.Match[str]], before: Any, after: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield where the values that change begin and end, and the new ones."""
    first = next(tokens)
    if not isinstance(before, dict | list):
        if after is not before and after != before:
            yield first.start(), first.end(), after
    elif type(before) is not type(after):
        yield first.start(), _end(tokens), after
    else:
        for value, new_value in zip(_parts(before), _parts(after), strict=True):
            yield from _changes(tokens, value, new_value)
        next(tokens)  # the closing bracket


def _parts(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    """Return what stands in an object or a list, in order, a key before its value."""
    return chain.from_iterable(value.items()) if isinstance(value, dict) else iter(value)


def _end(tokens: Iterator[re.Match[str]]) -> int:
    """Return where a list or an object ends, whose opening bracket has been taken."""
    level = 1
    while level:
        token = next(tokens)
        level += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
    return token.end()


def _literal(value: Any, text: str) -> str:
    """Return a value as JSON, with characters beyond ASCII where the text has some."""
    literal = json.dumps(value, ensure_ascii=text.isascii())
    literal.encode("utf-8", "surrogateescape")
    return literal
