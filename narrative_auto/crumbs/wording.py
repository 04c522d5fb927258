"""Puts what crumbs hold into words: bounded, without secrets, at once."""

from __future__ import annotations

from narrative_auto.failures.asking import OwnText
from narrative_auto.failures.naming import is_weak
from narrative_auto.failures.redaction import Redactor
from narrative_auto.failures.shapes import REDACTED
from narrative_auto.failures.showing import Shower
from narrative_auto.failures.unasked import holds_unasked
from narrative_auto.failures.values import clean, clipped, shortened
from narrative_auto.recorder.of_process import of_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from narrative_auto.crumbs.scopes import Scope

UNSERIALIZABLE = "<unserializable>"

_MOST_SECONDS = 0.25
"""How long the `repr` of an object may take."""

_MOST_KNOWN = 1_000
_MOST_REMEMBERED = 20
"""Secrets that are taken out of later crumbs too; a crumb costs more for each."""

_MOST_IN_LINE = 200
_ORDINARY = 10**12
_SHORT = 8
"""A text of fewer characters holds no secret that has a shape."""

_PLAIN = (str, int, float, bool, type(None))

redactor = Redactor(of_process.redact).remembering(_MOST_REMEMBERED)

_names: dict[str, bool] = {}
_events: dict[str, str] = {}
_reprs = OwnText(repr, _MOST_SECONDS, failed=UNSERIALIZABLE, spares=holds_unasked)


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
        known = _line(event)
        if len(event) <= _MOST_IN_LINE and len(_events) < _MOST_KNOWN:
            _events[event] = known
    return known


def _line(text: str) -> str:
    # Redacted before it is cut: half a secret is not recognised.
    return shortened(redactor.text(clean(clipped(text))), _MOST_IN_LINE)


def use_names(names: Iterable[str]) -> None:
    """Take these parts of names for those of secrets, too."""
    redactor.also(names)
    _names.clear()
    _events.clear()


shower = Shower(redactor, own_text=_reprs.of)


def shown_context(scope: Scope | None) -> dict[str, Any]:
    """Return the values of a context as its crumbs have them; worked out once where they cannot change."""
    if scope is None:
        return {}
    if scope.shown is not None:
        return scope.shown
    shown = shown_values(scope.values)
    if all(is_plain(value) for value in scope.values.values()):
        scope.shown = shown
    return shown


def shown_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a context: what JSON knows as it is, the text of all else."""
    return {clean(name): _in_context(name, value) for name, value in values.items()}


def is_plain(value: Any) -> bool:
    """Return whether a value is a text, a number or the like, which nobody can change."""
    return any(type(value) is kind for kind in _PLAIN)


def _in_context(name: str, value: Any) -> Any:
    text = text_under(name, value)
    if text == REDACTED:
        return text
    if type(value) is str:
        return _line(value)
    is_ordinary = is_plain(value) and (type(value) is not int or -_ORDINARY < value < _ORDINARY)
    return value if is_ordinary else text
