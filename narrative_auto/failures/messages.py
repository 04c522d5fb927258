"""The messages of exceptions, whatever their classes do."""

from __future__ import annotations

from narrative_auto.failures.asking import OwnText
from narrative_auto.failures.members import held_by
from narrative_auto.failures.values import MOST_MESSAGE_CHARACTERS, clean, name_of_type, shortened

_MOST_SECONDS = 0.5
"""How long an exception's own `__str__` may take; after that its type is not asked again."""


_FAILED = "<failed>"
_texts = OwnText(str, _MOST_SECONDS, times=1, failed=_FAILED)


def message_of(error: BaseException, limit: int = MOST_MESSAGE_CHARACTERS) -> str:
    """Return an exception's message, whatever its `__str__` does; it never raises but on Ctrl-C.

    Args:
        error: the exception.
        limit: characters kept at most; a longer message ends with an ellipsis.

    Returns:
        The message, or "<unprintable ValueError>" where there is none to be had.
    """
    return shortened(full_message_of(error), limit)


def full_message_of(error: BaseException) -> str:
    """Return an exception's whole message, for redaction: half a secret is not recognised."""
    message = text_of(error)
    if message is None:
        return f"<unprintable {name_of_type(type(error))}>"
    return message


def text_of(value: object) -> str | None:
    """Return `str(value)`, encodable and a plain `str`; None where it raises, takes too long or gives no text."""
    text = _texts.of(value)
    return None if text is None or text is _FAILED else clean(text)


def is_late(value: object) -> bool:
    """Return whether `str(value)` takes too long; not if it raises."""
    return _texts.of(value) is None


def notes_of(error: BaseException) -> tuple[object, ...]:
    """Return what `add_note` has added to an exception; a program can set the list itself, to anything."""
    notes = held_by(error).get("__notes__")
    return tuple(notes) if type(notes) is list or type(notes) is tuple else ()
