"""Changes single values in a JSON text; numbers, blanks and everything else stay as somebody has written them."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]|[^\s\[\]{}",:]++', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


_AGAIN = "\0"


def parsed(text: str) -> Any:
    """Return the value of a JSON text. A key that stands there again has a mark behind it, so that nothing is lost.

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(text, object_pairs_hook=_all_of)


def _all_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = key
        while name in found:
            name += _AGAIN
        found[name] = value
    return found


def rewritten(text: str, before: Any, after: Any) -> str:
    """Return a JSON text with other values.

    Args:
        text: JSON.
        before: what `parsed` makes of it.
        after: the same with other texts, numbers and keys, and with texts in place of whole lists and objects. Apart
            from these each object has as many keys as before, in the same order, and each list as many members.

    Raises:
        ValueError: it has not.
    """
    tokens = _TOKEN.finditer(text)
    parts: list[str] = []
    end = 0
    open_pairs: list[Iterator[tuple[Any, Any]]] = [iter([(before, after)])]
    while open_pairs:
        pair = next(open_pairs[-1], None)
        if pair is None:
            open_pairs.pop()
            next(tokens, None)  # the closing bracket
            continue
        old, new = pair
        token = next(tokens)
        if isinstance(old, dict | list):
            if type(old) is type(new):
                open_pairs.append(zip(_parts(old), _parts(new), strict=True))
                continue
            stop = _end(tokens)
        else:
            stop = token.end()
        if new is not old and new != old:
            parts += (text[end : token.start()], _literal(old, new, text[token.start() : stop]))
            end = stop
    return "".join(parts) + text[end:]


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


def _literal(old: Any, new: Any, literal: str) -> str:
    """Return a new value as JSON; what is not ASCII, or no UTF-8, stands in it as it stood in the old one's."""
    if isinstance(old, str):
        new = new.removesuffix(old[len(json.loads(literal)) :])  # the mark
    told = json.dumps(new, ensure_ascii=literal.isascii())
    was_escaped = set(_SURROGATE.findall(told)) - set(_SURROGATE.findall(literal))
    return json.dumps(new) if was_escaped else told
