"""Puts texts and names of the program's into a shape that can be kept."""

from __future__ import annotations

from narrative_auto.errors import attempted
from narrative_auto.failures.members import attribute_of_type

MOST_MESSAGE_CHARACTERS = 2_000
"""Characters of an exception's message that are kept."""


def name_of_type(kind: type) -> str:
    """Return a type's name as tracebacks print it: qualified, without `builtins` and `__main__`."""
    # Through `type` itself, since a metaclass can have attributes of these names that raise or say something else.
    name = attribute_of_type("__qualname__", kind)
    module = attempted(attribute_of_type, "__module__", kind)
    if not isinstance(module, str):
        return f"<unknown>.{name}"
    return str(name) if module in {"builtins", "__main__"} else f"{clean(module)}.{name}"


def clean(text: str) -> str:
    """Return a text that can be encoded: lone surrogates become escapes; of type `str`, though a subclass came in."""
    return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")


def shortened(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters; what was cut off leaves an ellipsis."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


MOST_SEARCHED = 4_000
"""Characters of a text of the program's that are searched for secrets and shown from, where no more than a line is."""


def clipped(text: str) -> str:
    """Return the first `MOST_SEARCHED` characters, for redaction; half a word at the end may be half a secret."""
    if len(text) <= MOST_SEARCHED:
        return text
    kept = text[:MOST_SEARCHED]
    end = max(kept.rfind(" "), kept.rfind("\n"))
    return f"{kept[:end]} …" if end > 0 else f"<{len(text)} characters>"
