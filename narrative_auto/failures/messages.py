"""The messages of exceptions, whatever their classes do."""

from __future__ import annotations

from types import ModuleType

from narrative_auto.failures.asking import OwnText
from narrative_auto.failures.members import bases_of, defined, held_by, members_of
from narrative_auto.failures.values import clean, name_of_type

_MOST_SECONDS = 0.5
"""How long an exception's own `__str__` may take; after that its type is not asked again."""

_WAYS = ("__getattribute__", "__traceback__", "__cause__", "__context__", "__suppress_context__")
"""What Python asks an exception for, which a class can have replaced."""

_OWN_WAYS = ("__getattr__", "__notes__")
"""The same, which no class has but one of the program's."""

_FAILED = "<failed>"
_texts = OwnText(str, _MOST_SECONDS, times=1, failed=_FAILED, always=True)


def message_of(error: BaseException) -> str:
    """Return an exception's whole message, for redaction: half a secret is not recognised.

    It is "<unprintable ValueError>" where there is none to be had. It raises nothing but what a signal handler does.
    """
    message = text_of(error)
    return f"<unprintable {name_of_type(type(error))}>" if message is None else message


def text_of(value: object) -> str | None:
    """Return `str(value)`, encodable and a plain `str`; None where it raises, takes too long or gives no text."""
    text = _texts.of(value)
    return None if text is None or text is _FAILED else clean(text)


def notes_of(error: BaseException) -> tuple[object, ...]:
    """Return what `add_note` has added to an exception; a program can set the list itself, to anything."""
    notes = (held_by(error) or {}).get("__notes__")
    return tuple(notes) if type(notes) is list or type(notes) is tuple else ()


def is_plainly_told(error: BaseException) -> bool:
    """Return whether Python's own way to tell of an exception, and of none that is linked to it, runs none of its code.

    It asks for attributes and for texts; and for the names that an object has, where one was not found.
    """
    kind = type(error)
    if type(kind) is not type or any(name in members_of(one) for one in bases_of(kind) for name in _OWN_WAYS):
        return False
    if any(defined(kind, name)[1] is not defined(BaseException, name)[1] for name in _WAYS):
        return False
    asked = AttributeError.__dict__["obj"].__get__(error) if issubclass(kind, AttributeError) else None
    names = defined(type(asked), "__dir__")[0]
    if not any(names is one for one in (object, type, ModuleType)) or "__dir__" in (held_by(asked) or ()):
        return False
    return all(map(_texts.is_brief, (error, *notes_of(error))))
