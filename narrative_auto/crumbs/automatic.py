"""Crumbs that nobody has to leave: log records, warnings, processes that are started.

What is taken down is what cannot change and belongs to nobody: the program's own objects show as their types. They are
put into words when somebody reads them, which mostly is nobody.
"""

from __future__ import annotations

import time

from narrative_auto.crumbs.memory import Crumb, memory, thread_name
from narrative_auto.crumbs.scopes import current_scope
from narrative_auto.errors import attempted
from narrative_auto.failures.values import MOST_MESSAGE_CHARACTERS, clean, clipped, name_of_type, shortened
from narrative_auto.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


INFO = 20
"""The lowest level of log records that are taken down, as `logging` counts."""

_SIMPLE = (int, float, bool, type(None))
_MOST_ARGUMENTS = 20
_OF_WARNINGS = "py.warnings"
"""The logger through which `logging.captureWarnings` sends what we have met already."""


@record(slots=True)
class Seen:
    """What was met, not yet put into words.

    Attributes:
        words: make names and texts of `parts`, when somebody reads it.
        event, at, thread: as of a crumb.
        context: what held then.
        parts: nothing of the program's but what is immutable and built in.
    """

    words: Callable[[Any], Iterator[tuple[str, str]]]
    event: str
    at: int
    thread: str
    context: dict[str, Any]
    parts: Any

    def as_crumb(self) -> Crumb:
        """Return it as a crumb, without secrets."""
        from narrative_auto.crumbs.wording import redactor, shown_values

        words = ((name, redactor.text(clipped(clean(text)))) for name, text in self.words(self.parts))
        data = tuple([(name, shortened(text, MOST_MESSAGE_CHARACTERS)) for name, text in words])
        return Crumb(self.event, self.at, clean(self.thread), shown_values(self.context), data, is_automatic=True)


def see_log(record: Any) -> None:
    """Take down a `logging.LogRecord`, whether or not a handler wants it; programs make many of them."""
    fields = getattr(record, "__dict__", None)
    if type(fields) is not dict:
        return
    level, name = fields.get("levelno"), fields.get("name")
    if type(level) is not int or level < INFO or name == _OF_WARNINGS:
        return
    message, arguments, raised = fields.get("msg"), fields.get("args"), fields.get("exc_info")
    is_short = type(message) is str and len(message) <= MOST_MESSAGE_CHARACTERS
    if raised is not None or not is_short or not _are_plain(arguments):
        message, arguments = _plain(message), _plain_arguments(arguments)
    kind = raised[0] if type(raised) is tuple and raised and issubclass(type(raised[0]), type) else None
    at, thread = fields.get("created"), fields.get("threadName")
    memory.see(
        Seen(
            _words_of_log,
            "log",
            int(at * 1e9) if type(at) is float else time.time_ns(),
            thread if type(thread) is str else "",
            _context_here(),
            (fields.get("levelname"), name, message, arguments, kind),
        )
    )


def _are_plain(arguments: Any) -> bool:
    """Return whether a record's arguments are short texts and numbers, which nobody can change."""
    if type(arguments) is not tuple or len(arguments) > _MOST_ARGUMENTS:
        return arguments is None
    for one in arguments:
        kind = type(one)
        if kind is str:
            if len(one) > MOST_MESSAGE_CHARACTERS:
                return False
        elif kind is not int and kind is not float and kind is not bool and one is not None:
            return False
    return True


def _plain_arguments(arguments: Any) -> Any:
    if type(arguments) is dict:
        return {_plain(name): _plain(value) for name, value in list(arguments.items())[:_MOST_ARGUMENTS]}
    return tuple(map(_plain, arguments[:_MOST_ARGUMENTS])) if type(arguments) is tuple else ()


def see_warning(message: Any) -> None:
    """Take down a `warnings.WarningMessage` that is to be shown."""
    warning, category = message.message, message.category
    arguments = _arguments(warning)
    text = arguments[0] if type(arguments) is tuple and arguments and type(arguments[0]) is str else ""
    _see(_words_of_warning, "warning", (category, text, _text(message.filename), message.lineno))


def see_process(arguments: Any) -> None:
    """Take down the command line of a process that is being started."""
    if type(arguments) in {list, tuple}:
        parts = tuple(_argument(one) for one in arguments[:_MOST_ARGUMENTS])
    else:
        parts = (_argument(arguments),)
    _see(_words_of_process, "subprocess", parts)


def _see(words: Callable[[Any], Iterator[tuple[str, str]]], event: str, parts: Any) -> None:
    memory.see(Seen(words, event, time.time_ns(), thread_name(), _context_here(), parts))


def _arguments(error: BaseException) -> Any:
    """Return an exception's arguments as it was made with, whatever its class has under that name."""
    return BaseException.__dict__["args"].__get__(error)


def _context_here() -> dict[str, Any]:
    """Return what holds here, without the program's objects; worked out once a context."""
    scope = current_scope.get()
    if scope is None:
        return {}
    if scope.plain is None:
        scope.plain = {name: _plain(value) for name, value in scope.values.items()}
    return scope.plain


def _words_of_log(parts: Any) -> Iterator[tuple[str, str]]:
    from narrative_auto.crumbs.wording import redactor

    level, name, message, arguments, kind = parts
    if type(arguments) is dict:  # `%(password)s`: in the message nothing says what it is
        arguments = redactor.nested(arguments)
    shown = attempted(lambda: str(message) % arguments) if arguments else None
    yield "level", _text(level)
    yield "logger", _text(name)
    yield "message", redactor.without_remembered(str(message) if shown is None else shown)
    if kind is not None:
        yield "raised", name_of_type(kind)


def _words_of_warning(parts: Any) -> Iterator[tuple[str, str]]:
    category, text, filename, line = parts
    yield "category", name_of_type(category)
    yield "message", text
    yield "place", f"{filename}:{line}"


def _words_of_process(parts: Any) -> Iterator[tuple[str, str]]:
    from narrative_auto.crumbs.wording import redactor

    yield "command", " ".join(redactor.arguments(parts))


def _plain(value: Any) -> Any:
    """Return a value that nobody can change, or the type of one that somebody could."""
    kind = type(value)
    if kind is str:
        return clipped(value)
    if any(kind is one for one in _SIMPLE):
        return value
    if issubclass(kind, BaseException):
        told = _arguments(value)
        text = clipped(told[0]) if told and type(told[0]) is str else ""
        return text or f"<{name_of_type(kind)}>"
    return f"<{name_of_type(kind)}>"


def _text(value: Any) -> str:
    return clean(clipped(value)) if type(value) is str else ""


def _argument(value: Any) -> str:
    """Return an argument of a command line."""
    if type(value) is bytes:
        return clipped(value.decode("utf-8", "replace"))
    if type(value) is str:
        return clean(clipped(value))
    path = vars(type(value)).get("__fspath__")
    return (
        clean(str(value)) if path is not None and type(value).__module__.startswith("pathlib") else str(_plain(value))
    )
