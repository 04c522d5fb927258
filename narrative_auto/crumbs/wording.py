"""Puts what crumbs hold into words: bounded, without secrets, at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from narrative_auto.failures.naming import is_weak
from narrative_auto.failures.redaction import Redactor
from narrative_auto.failures.shapes import REDACTED
from narrative_auto.failures.showing import Shower

if TYPE_CHECKING:
    from narrative_auto.crumbs.scopes import Scope

UNSERIALIZABLE = "<unserializable>"

_SLOW = 0.02
"""Seconds from which on a type's `repr` is not called any more."""

_MOST_KNOWN = 1_000
_MOST_IN_CONTEXT = 200
_ORDINARY = 10**12
_SHORT = 8
"""A text of fewer characters holds no secret that has a shape."""

_KEPT_AS_IT_IS = frozenset((float, bool, type(None)))

redactor = Redactor()

_names: dict[str, bool] = {}
_events: dict[str, str] = {}
_slow_types: set[type] = set()


def text_under(name: str, value: Any) -> str:
    """Return a value's `repr`, bounded and redacted: by what it is, and by the name that it has."""
    may_be_secret = _names.get(name)
    if may_be_secret is None:
        may_be_secret = redactor.name(name) or is_weak(name)
        if len(_names) < _MOST_KNOWN:
            _names[name] = may_be_secret
    return shower.text(value, name) if may_be_secret else text_of(value)


def text_of(value: Any) -> str:
    """Return a value's `repr`, bounded and redacted by what it is."""
    kind = type(value)
    if (kind is int and -_ORDINARY < value < _ORDINARY) or (kind is str and len(value) < _SHORT):
        return repr(value)
    return shower.text(value)


def text_of_event(event: str) -> str:
    """Return an event's name, bounded and redacted; programs have few of them."""
    known = _events.get(event)
    if known is None:
        known = redactor.text(str.__str__(event)[:200])
        if len(_events) < _MOST_KNOWN:
            _events[event] = known
    return known


def own_text(value: Any) -> str:
    """Return the `repr` of an object of the program's, which asked for it; a type that is slow at it only once."""
    kind = type(value)
    if kind in _slow_types:
        return f"<{kind.__module__}.{kind.__qualname__}>"
    began = time.perf_counter()
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - whatever it does
        return UNSERIALIZABLE
    finally:
        if time.perf_counter() - began > _SLOW and len(_slow_types) < _MOST_KNOWN:
            _slow_types.add(kind)


shower = Shower(redactor, own_text=own_text)


def shown_context(scope: Scope | None) -> dict[str, Any]:
    """Return the values of a context as its crumbs have them; worked out once."""
    if scope is None:
        return {}
    if scope.shown is None:
        scope.shown = {name: _in_context(name, value) for name, value in scope.values.items()}
    return scope.shown


def _in_context(name: str, value: Any) -> Any:
    """Return a value of a context: what JSON knows as it is, the text of all else."""
    text = text_under(name, value)
    if text == REDACTED:
        return text
    if type(value) is str:
        return redactor.text(value[:_MOST_IN_CONTEXT])
    is_ordinary = type(value) in _KEPT_AS_IT_IS or (type(value) is int and -_ORDINARY < value < _ORDINARY)
    return value if is_ordinary else text
