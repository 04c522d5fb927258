"""Crumbs as JSON, as text, and in a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from narrative_auto.crumbs.interface import snapshot
from narrative_auto.crumbs.wording import UNSERIALIZABLE, text_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping


def format_json(crumbs: Iterable[Mapping[str, Any]]) -> str:
    """Return crumbs as indented JSON; a value that JSON cannot hold costs nothing but itself."""
    return json.dumps([_json_value(dict(one)) for one in crumbs], indent=2)


def format_text(crumbs: Iterable[Mapping[str, Any]]) -> str:
    """Return crumbs as text, a line each: time, thread, event, values, context."""
    return "\n".join(map(_line, crumbs))


def dump() -> None:
    """Print the crumbs as indented JSON."""
    print(format_json(snapshot()))  # noqa: T201 - what it is for


def export_json(path: str | os.PathLike[str]) -> None:
    """Write the crumbs into a file as indented JSON.

    Raises:
        OSError: it cannot be written.
    """
    content = format_json(snapshot())
    with open(path, "w", encoding="utf-8") as file:
        file.write(content + "\n")


def _json_value(value: Any, depth: int = 4) -> Any:
    kind = type(value)
    if kind is dict:
        return {_text(name): _json_value(one, depth - 1) for name, one in value.items()} if depth else UNSERIALIZABLE
    if kind in {list, tuple}:
        return [_json_value(one, depth - 1) for one in value] if depth else UNSERIALIZABLE
    if kind in {str, int, bool, type(None)}:
        return value
    if kind is float:
        return value if value - value == 0 else repr(value)  # JSON knows no infinity
    return text_of(value)


def _text(value: Any) -> str:
    return value if type(value) is str else text_of(value)


def _line(one: Mapping[str, Any]) -> str:
    parts = [_text(one[name]) for name in ("ts",) if name in one]
    parts += [f"[{_text(one[name])}]" for name in ("thread",) if name in one]
    parts.append(_text(one.get("event", "")))
    shown = [(name, value) for name, value in one.items() if name not in {"event", "ts", "thread", "context"}]
    parts += [f"{_text(name)}={_text(value)}" for name, value in shown]
    context = one.get("context")
    if isinstance(context, dict) and context:
        parts.append("{" + ", ".join(f"{_text(name)}={_text(value)}" for name, value in context.items()) + "}")
    return " ".join(parts)
