"""Objects that are never asked for their own text: what it costs is not theirs alone.

Arrays, data frames and tensors would compute or copy it, from a device even; what belongs to a database would be
loaded, or load others. They show shape and kind of content, or their number.
"""

from __future__ import annotations

from itertools import islice
from types import MemberDescriptorType

from narrative_auto.errors import attempted
from narrative_auto.failures.members import attribute_of, attribute_of_type, bases_of, defined, held_by, members_of

_ARRAY, _TENSOR, _FRAME = ("shape", "dtype"), ("shape", "dtype", "device"), ("shape",)
_SHOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "numpy": {"ndarray": _ARRAY},
    "pandas": {"DataFrame": _FRAME, "Series": _ARRAY, "Index": _ARRAY},
    "polars": {"DataFrame": _FRAME, "Series": _ARRAY},
    "torch": {"Tensor": _TENSOR},
    "tensorflow": {"Tensor": _TENSOR},
    "jax": {"Array": _ARRAY, "ArrayImpl": _ARRAY},
    "jaxlib": {"Array": _ARRAY, "ArrayImpl": _ARRAY},
    "cupy": {"ndarray": _ARRAY},
    "xarray": {"DataArray": _ARRAY},
}
"""What types show, by the first part of their module's name and their own."""

_OF_DATABASES = ("django.db.", "sqlalchemy.orm.", "peewee.", "tortoise.", "pony.orm.", "mongoengine.")
"""What the modules of libraries begin with whose objects are loaded, or load others, when they are looked at."""

_OF_SQLALCHEMY = "_sa_class_manager"
"""What each class has that SQLAlchemy maps, which need not extend one of its own."""

_MOST_DIGITS = 60
_MOST_HELD = 50


def is_unasked(kind: type) -> bool:
    """Return whether objects of a type are never asked for their own text."""
    return _shape(kind) is not None or _is_of_database(kind)


def holds_unasked(value: object, depth: int = 2) -> bool:
    """Return whether an object, or what it holds in plain sight, is never asked: its own text may ask it.

    Args:
        value: the object.
        depth: objects within objects that are looked at.
    """
    kind = type(value)
    if is_unasked(kind):
        return True
    if depth == 0:
        return False
    if any(kind is one for one in (list, tuple, set, frozenset)):
        held = value
    elif kind is dict:
        held = value.values()  # type: ignore[attr-defined] # its type is dict
    else:
        slots = [
            name for one in bases_of(kind) for name, own in members_of(one).items() if type(own) is MemberDescriptorType
        ]
        held = [*(held_by(value) or {}).values(), *(attribute_of(value, name) for name in slots)]
    return any(holds_unasked(one, depth - 1) for one in list(islice(held, _MOST_HELD)))  # type: ignore[call-overload] # iterable


def shown_unasked(value: object, kind: type) -> str:
    """Return what of an object is known without its code, such as "shape=(3, 4) dtype=float64" or "id=7"; else ""."""
    shape = _shape(kind)
    if shape is not None:
        owner, names = shape
        # Of the library's own class: one that extends it may compute them.
        found = [(name, attempted(defined(owner, name)[1].__get__, value, kind)) for name in names]
        texts = [(name, attempted(str, one)) for name, one in found if one is not None]
        return " ".join(f"{name}={text[:_MOST_DIGITS]}" for name, text in texts if text and text != "cpu")
    held = held_by(value)
    number = held.get("id") if held and _is_of_database(kind) else None
    return f"id={number}" if type(number) is int and number.bit_length() < _MOST_DIGITS else ""


def _shape(kind: type) -> tuple[type, tuple[str, ...]] | None:
    """Return the class of a library that a type is or extends, and the names of what is shown of it."""
    for one in bases_of(kind):
        module = attribute_of_type("__module__", one)
        known = _SHOWN.get(module.partition(".")[0]) if type(module) is str else None
        names = known.get(attribute_of_type("__name__", one)) if known else None
        if names is not None:
            return one, names
    return None


def _is_of_database(kind: type) -> bool:
    for one in bases_of(kind):
        module = attribute_of_type("__module__", one)
        if type(module) is str and f"{module}.".startswith(_OF_DATABASES):
            return True
        if _OF_SQLALCHEMY in members_of(one):
            return True
    return False
