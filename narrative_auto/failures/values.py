"""Turns a program's objects into text without ever raising."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narrative_auto.errors import attempted

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_MESSAGE_CHARACTERS = 2_000
"""Characters of an exception's message that are kept."""


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


def name_of_type(error_type: type[BaseException]) -> str:
    """Return an exception type's name as tracebacks print it: qualified, without `builtins` and `__main__`."""
    # Through `type` itself, since a metaclass can have attributes of these names that raise or say something else.
    name = _descriptor("__qualname__")(error_type)
    module = attempted(_descriptor("__module__"), error_type)
    if not isinstance(module, str):
        return f"<unknown>.{name}"
    return str(name) if module in {"builtins", "__main__"} else f"{clean(module)}.{name}"


def text_of(value: object) -> str | None:
    """Return `str(value)`, encodable and of type `str` itself; None where it raises or gives no text."""
    text = _interrupted_only(attempted, str, value)
    return None if text is None else clean(text)


def clean(text: str) -> str:
    """Return a text that can be encoded: lone surrogates become escapes; of type `str`, though a subclass came in."""
    return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")


def shortened(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters; what was cut off leaves an ellipsis."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def _descriptor(name: str) -> Callable[[type], Any]:
    getter: Callable[[type], Any] = type.__dict__[name].__get__
    return getter


def _interrupted_only(function: Callable[..., Any], /, *args: object) -> Any:
    """Call `function`; what it raises is None, but for the person's own Ctrl-C."""
    try:
        return function(*args)
    except KeyboardInterrupt:
        raise
    # `__str__` is the program's code: a `SystemExit` or a framework's cancellation out of it would end the report,
    # and with it the program's own traceback, which is printed after it.
    except BaseException:  # noqa: BLE001
        return None
