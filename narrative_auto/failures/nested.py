"""Takes secrets out of values as JSON has them, by the keys that they stand under."""

from __future__ import annotations

from narrative_auto.failures.assignments import is_harmless
from narrative_auto.failures.naming import is_described, is_secret_by_value
from narrative_auto.failures.shapes import REDACTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from narrative_auto.failures.redaction import Redactor

MOST_LEVELS = 100
"""What lies deeper is redacted as a whole."""

_NAMING_KEYS = ("name", "key", "header", "Name", "Key")
_VALUE_KEYS = {"value", "val", "Value"}
_SOURCE_KEYS = {"source_line", "source_snippet"}
_SOURCE_LINE = {"number", "text", "marked", "caret"}
"""The keys of a line of source in a crash dump."""


def nested(value: Any, redactor: Redactor) -> Any:
    """Return a JSON-like value without its secrets; see `Redactor.nested`.

    Args:
        value: what to go through.
        redactor: one that remembers.
    """
    return _known_taken_out(_walked(value, redactor, "", ()), redactor)


def _walked(value: Any, redactor: Redactor, name: str, around: tuple[int, ...]) -> Any:
    """Return a value without what its texts and keys give away.

    Args:
        value: anything.
        redactor: takes secrets out.
        name: what the value is called, "" where it is not.
        around: the ids of the containers that it lies in.
    """
    if isinstance(value, str):
        return _text(value, redactor, name)
    if isinstance(value, dict | list | tuple):
        if id(value) in around or len(around) >= MOST_LEVELS:
            return REDACTED
        around = (*around, id(value))
        if isinstance(value, dict):
            return _dict(value, redactor, name, around)
        if len(value) > 1 and all(isinstance(one, str) for one in value) and not _is_secret(name, redactor):
            return _texts([str(one) for one in value], redactor, name)
        if isinstance(value, tuple) or (value and all(_is_pair(one) for one in value)):
            return [
                _walked(one, redactor, name, around) if not _is_pair(one) else _pair(one, redactor, name, around)
                for one in value
            ]
        return [_walked(one, redactor, name, around) for one in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if _is_secret(name, redactor) and not is_described(name, str(value)):
            redactor.learn(str(value))
            return REDACTED
        shown = redactor.text(str(value))
        return value if shown == str(value) else shown
    return value


def _is_secret(name: str, redactor: Redactor) -> bool:
    return bool(name) and redactor.name(name)


def _text(text: str, redactor: Redactor, name: str) -> str:
    if not name or is_harmless(text) or text == REDACTED:
        return redactor.text(text)
    if _is_secret(name, redactor):
        if is_described(name, text):
            return redactor.text(text)
    elif not is_secret_by_value(name, text):
        return redactor.source(text) if name in _SOURCE_KEYS else redactor.text(text)
    if redactor.memory is not None:
        redactor.memory.learn(text)
    return REDACTED


def _texts(texts: list[str], redactor: Redactor, name: str) -> list[str]:
    """Return a list of texts, which is a command line if it has options."""
    if any(one.startswith("-") for one in texts):
        return redactor.arguments(texts)
    return [_text(one, redactor, name) for one in texts]


def _dict(value: dict[Any, Any], redactor: Redactor, name: str, around: tuple[int, ...]) -> dict[Any, Any]:
    told: dict[Any, Any] = {}
    # What is called by a sibling: {"name": "Cookie", "value": "…"}.
    called = next((value[key] for key in _NAMING_KEYS if isinstance(value.get(key), str)), "")
    in_source = value.keys() >= _SOURCE_LINE
    secret = _is_secret(name, redactor)
    for key, member in value.items():
        inner = name if secret else called if key in _VALUE_KEYS else str(key) if isinstance(key, str) else ""
        if in_source and key == "text" and isinstance(member, str):
            told[key] = redactor.source(member)
            continue
        shown = redactor.text(key) if isinstance(key, str) else key
        told[_unused(shown, told)] = _walked(member, redactor, inner, around)
    return told


def _unused(key: Any, told: dict[Any, Any]) -> Any:
    """Return a key, with a number where another one has become the same."""
    if key not in told:
        return key
    return next(f"{key} {number}" for number in range(2, len(told) + 3) if f"{key} {number}" not in told)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)


def _pair(value: Any, redactor: Redactor, name: str, around: tuple[int, ...]) -> Any:
    """Return ["password", "…"] among others of its kind."""
    first, second = value
    inner = name if _is_secret(name, redactor) else first
    return [redactor.text(first), _walked(second, redactor, inner, (*around, id(value)))]


def _known_taken_out(value: Any, redactor: Redactor) -> Any:
    """Return a value without what is remembered by now."""
    if isinstance(value, str):
        return redactor.without_remembered(value)
    if isinstance(value, list):
        return [_known_taken_out(one, redactor) for one in value]
    if isinstance(value, dict):
        told: dict[Any, Any] = {}
        for key, member in value.items():
            shown = redactor.without_remembered(key) if isinstance(key, str) else key
            told[_unused(shown, told)] = _known_taken_out(member, redactor)
        return told
    return value
