"""Reads what a language model answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from narrative_auto.analyzers.unanswered import empty, unreadable
from narrative_auto.errors import attempted
from narrative_auto.failures.values import clean, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

SECTIONS = {
    "exact_why": "Exact Why",
    "evidence": "Evidence",
    "targeted_fix": "Targeted Fix",
    "code_changes": "Code Changes",
}
"""The members of the object that is asked for, and the headings under which they are told."""

MOST_CHARACTERS = 16_000
"""Characters of an analysis."""

_MOST_OBJECTS = 50
_END_OF_THOUGHT = "</think>"


def analysis_of(content: bytes, find: Callable[[Any], Any]) -> str:
    """Return the analysis that a service sent.

    Args:
        content: its whole answer.
        find: takes what the model said out of the JSON; may raise anything where it is not there.

    Raises:
        Unanswered: the content is in another protocol, or the model said nothing.
    """
    text = attempted(lambda: find(json.loads(content)))
    if not isinstance(text, str):
        raise unreadable()
    said = read_answer(text)
    if said is None:
        raise empty()
    return said


def text_of(message: Any) -> Any:
    """Return the text of a message, which may be in parts, of which some are none: thoughts, say."""
    if not isinstance(message, list):
        return message
    return "".join(part["text"] for part in message if part.get("type") == "text")


def read_answer(text: str) -> str | None:
    """Return an answer in sections, or as it is where it is no object with them; None for an empty one.

    Args:
        text: what the model said. The object may stand in a fence, after thoughts, or with words around it.
    """
    text = clean(text).rpartition(_END_OF_THOUGHT)[2].strip()
    found = _object(text)
    sections = attempted(_sections, found) if found is not None else None  # nested deeper than Python calls may be
    said = text if sections is None else sections
    return shortened(said, MOST_CHARACTERS) or None


def _object(text: str) -> dict[str, Any] | None:
    """Return the first object that has one of the sections."""
    decoder = json.JSONDecoder(strict=False)  # models break lines inside a text
    start = -1
    for _ in range(_MOST_OBJECTS):
        start = text.find("{", start + 1)
        if start < 0:
            return None
        value, _end = attempted(decoder.raw_decode, text, start) or (None, 0)
        if isinstance(value, dict) and SECTIONS.keys() & value.keys():
            return value
    return None


def _sections(found: dict[str, Any]) -> str:
    written = {heading: _written(found.get(name)) for name, heading in SECTIONS.items()}
    return "\n\n".join(f"## {heading}\n{text}" for heading, text in written.items() if text)


def _written(value: Any) -> str:
    """Return a JSON value as a person would write it down."""
    if isinstance(value, str):
        return clean(value).strip()
    if isinstance(value, list):
        return "\n".join("- " + text.replace("\n", "\n  ") for text in map(_written, value) if text)
    if isinstance(value, dict):
        return "\n".join(_entry(clean(name), _written(one)) for name, one in value.items() if _written(one))
    return "" if value is None else json.dumps(value)


def _entry(name: str, text: str) -> str:
    return f"{name}: {text}" if "\n" not in text else f"{name}:\n  " + text.replace("\n", "\n  ")
