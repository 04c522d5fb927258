"""Objects that are never asked for their own text: what it costs is not theirs alone.

Arrays, data frames and tensors would compute or copy it, from a device even; what belongs to a database would be
loaded, or load others. They show shape and kind of content, or their number.
"""

from __future__ import annotations

from narrative_auto.errors import attempted
from narrative_auto.failures.members import attribute_of_type, bases_of, held_by, members_of

_BY_SHAPE = {
    "numpy": ("ndarray",),
    "pandas": ("DataFrame", "Series", "Index"),
    "polars": ("DataFrame", "Series"),
    "torch": ("Tensor",),
    "tensorflow": ("Tensor",),
    "jax": ("Array", "ArrayImpl"),
    "jaxlib": ("Array", "ArrayImpl"),
    "cupy": ("ndarray",),
    "xarray": ("DataArray",),
}
"""Types, by the first part of their module's name, that say their shape and kind without looking at their content."""

_OF_DATABASES = ("django.db.", "sqlalchemy.orm.", "peewee.", "tortoise.", "pony.orm.", "mongoengine.")
"""What the modules of libraries begin with whose objects are loaded, or load others, when they are looked at."""

_OF_SQLALCHEMY = "_sa_class_manager"
"""What each class has that SQLAlchemy maps, which need not extend one of its own."""

_MOST_DIGITS = 60


def is_unasked(kind: type) -> bool:
    """Return whether objects of a type are never asked for their own text."""
    return _has_shape(kind) or _is_of_database(kind)


def shown_unasked(value: object, kind: type) -> str:
    """Return what of an object is known without its code, such as "shape=(3, 4) dtype=float64" or "id=7"; else ""."""
    if _has_shape(kind):
        found = [(name, attempted(getattr, value, name, None)) for name in ("shape", "dtype", "device")]
        texts = [(name, attempted(str, one)) for name, one in found if one is not None]
        return " ".join(f"{name}={text[:_MOST_DIGITS]}" for name, text in texts if text and text != "cpu")
    number = held_by(value).get("id") if _is_of_database(kind) else None
    return f"id={number}" if type(number) is int and number.bit_length() < _MOST_DIGITS else ""


def _has_shape(kind: type) -> bool:
    for one in bases_of(kind):
        module = attribute_of_type("__module__", one)
        names = _BY_SHAPE.get(module.partition(".")[0]) if type(module) is str else None
        if names is not None and one.__name__ in names:
            return True
    return False


def _is_of_database(kind: type) -> bool:
    for one in bases_of(kind):
        module = attribute_of_type("__module__", one)
        if type(module) is str and f"{module}.".startswith(_OF_DATABASES):
            return True
        if _OF_SQLALCHEMY in members_of(one):
            return True
    return False
