"""Turns a program's objects into text without ever raising."""

from __future__ import annotations

import _thread
import contextvars
import time
import weakref

from narrative_auto.errors import attempted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOST_MESSAGE_CHARACTERS = 2_000
"""Characters of an exception's message that are kept."""

_MOST_SECONDS = 0.5
"""How long an exception's own `__str__` may take before it is not asked again."""

_MOST_ARGUMENTS = 20
_MOST_SLOW = 100
_Slot = type(BaseException.__str__)
_CONTAINERS = (list, tuple, dict, set, frozenset)


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


def name_of_type(kind: type) -> str:
    """Return a type's name as tracebacks print it: qualified, without `builtins` and `__main__`."""
    # Through `type` itself, since a metaclass can have attributes of these names that raise or say something else.
    name = _descriptor("__qualname__")(kind)
    module = attempted(_descriptor("__module__"), kind)
    if not isinstance(module, str):
        return f"<unknown>.{name}"
    return str(name) if module in {"builtins", "__main__"} else f"{clean(module)}.{name}"


def text_of(value: object) -> str | None:
    """Return `str(value)`, encodable and a plain `str`; None where it raises, takes too long or gives no text."""
    text = undisturbed(str, value) if _is_quick(value) else _text_in_time(value)
    return None if text is None else clean(text)


class SlowTypes:
    """Types whose own text took too long. They are not kept alive.

    Args:
        seconds: from which on it is too long.
        times: how often it has to be: once may be the machine.
    """

    __slots__ = ("_known", "_seconds", "_times")

    def __init__(self, seconds: float, times: int = 1) -> None:
        self._seconds = seconds
        self._times = times
        self._known: dict[int, tuple[Any, int]] = {}  # by identity: a metaclass may have no hash

    def has(self, kind: type) -> bool:
        """Return whether a type is one of them."""
        reference, times = self._known.get(id(kind), (None, 0))
        return times >= self._times and reference is not None and reference() is kind

    def timed(self, kind: type, seconds: float) -> None:
        """Note how long it took."""
        if seconds < self._seconds:
            return
        reference, times = self._known.get(id(kind), (None, 0))
        if reference is None or reference() is not kind:
            times = 0
        if times or len(self._known) < _MOST_SLOW:
            self._known[id(kind)] = (weakref.ref(kind), times + 1)


slow_errors = SlowTypes(_MOST_SECONDS)
"""Types of exceptions whose text is not asked for any more."""


def _text_in_time(value: object) -> str | None:
    """Return `str(value)` of an object of the program's, in its own thread: it may say something else in another one.

    Python itself asks for it, too, so an exception whose text never ends is never told.
    """
    kind = type(value)
    if slow_errors.has(kind):
        return None
    began = time.perf_counter()
    text: str | None = undisturbed(str, value)
    slow_errors.timed(kind, time.perf_counter() - began)
    return text


def _is_quick(value: object, depth: int = 2) -> bool:
    """Return whether `str` of an object runs no code that is written in Python, as far as types tell."""
    kind = type(value)
    for one in _descriptor("__mro__")(kind):
        own = _descriptor("__dict__")(one)
        if any(name in own and type(own[name]) is not _Slot for name in ("__str__", "__repr__")):
            return False
        if attempted(_descriptor("__module__"), one) == "builtins":
            break
    if issubclass(kind, BaseException) and depth:
        return all(_is_quick(one, depth - 1) for one in BaseException.__dict__["args"].__get__(value)[:_MOST_ARGUMENTS])
    return not any(kind is one for one in _CONTAINERS) or not value


def within(seconds: float, function: Callable[[Any], str], value: object) -> str | None:
    """Call a function of the program's that may never end; None where it raises, gives no text, or takes too long.

    It runs in a thread of its own, which is left behind where it does not come back, and in the caller's context.
    """
    told: list[str] = []
    done = _thread.allocate_lock()
    done.acquire()
    run = contextvars.copy_context().run

    def work() -> None:
        try:
            text = run(function, value)
            if isinstance(text, str):
                told.append(text)
        except BaseException:  # noqa: BLE001, S110 - whatever the program's code does
            pass
        finally:
            done.release()

    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:  # the interpreter is about to end
        return None
    done.acquire(timeout=seconds)
    return told[0] if told else None


def clean(text: str) -> str:
    """Return a text that can be encoded: lone surrogates become escapes; of type `str`, though a subclass came in."""
    return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")


def shortened(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters; what was cut off leaves an ellipsis."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def _descriptor(name: str) -> Callable[[type], Any]:
    getter: Callable[[type], Any] = type.__dict__[name].__get__
    return getter


def undisturbed(function: Callable[..., Any], /, *args: object) -> Any:
    """Call `function`; what it raises is None, but for the person's own Ctrl-C."""
    try:
        return function(*args)
    except KeyboardInterrupt:
        raise
    # `__str__` is the program's code: a `SystemExit` or a framework's cancellation out of it would end the report,
    # and with it the program's own traceback, which is printed after it.
    except BaseException:  # noqa: BLE001
        return None


MOST_SEARCHED = 4_000
"""Characters of a text of the program's that are searched for secrets and shown from, where no more than a line is."""


def clipped(text: str) -> str:
    """Return the first `MOST_SEARCHED` characters, for redaction; half a word at the end may be half a secret."""
    if len(text) <= MOST_SEARCHED:
        return text
    kept = text[:MOST_SEARCHED]
    end = max(kept.rfind(" "), kept.rfind("\n"))
    return f"{kept[:end]} …" if end > 0 else f"<{len(text)} characters>"
