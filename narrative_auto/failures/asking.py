"""Asks objects of the program's for their own text, which is the program's code: it may raise, or never come back."""

from __future__ import annotations

import weakref

from narrative_auto.failures.brief import is_brief
from narrative_auto.failures.in_thread import NoThreadError, called_within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MOST_LATE = 100


class OwnText:
    """Asks objects for their own texts, each within a time.

    What is sure to come at once is asked for in the caller's thread. Anything else is asked for in a thread of its own,
    in the caller's context: what does not come back in time is left behind, as is what waits for the caller's locks.

    Args:
        function: what makes a text of an object: `repr` or `str`.
        seconds: how long it may take.
        times: how often an object of a type may be late before its type is not asked any more; the machine may be.
        failed: what stands for a text that cannot be had because its code raises.
    """

    __slots__ = ("_failed", "_function", "_late", "_method", "_seconds", "_times")

    def __init__(
        self, function: Callable[[object], str], seconds: float, *, times: int = 2, failed: str | None = None
    ) -> None:
        self._function = function
        self._method = "__repr__" if function is repr else "__str__"
        self._seconds = seconds
        self._times = times
        self._failed = failed
        self._late: dict[int, tuple[weakref.ref[type], int]] = {}  # by identity: a metaclass may have no hash

    def of(self, value: object) -> str | None:
        """Return an object's own text; None where it does not come in time.

        It raises nothing but what a signal handler of the program's raises meanwhile, Ctrl-C among it.
        """
        if is_brief(value, self._method):
            return self._made(value)
        kind = type(value)
        known, times = self._late.get(id(kind), (None, 0))
        if known is None or known() is not kind:
            times = 0
        if times >= self._times:
            return None
        try:
            answer = called_within(self._seconds, self._made, value)
        except NoThreadError:
            return None
        if answer is None and (times or len(self._late) < _MOST_LATE):
            self._late[id(kind)] = (weakref.ref(kind), times + 1)
        return answer[0] if answer else None

    def _made(self, value: object) -> str | None:
        text = undisturbed(self._function, value)
        return text if isinstance(text, str) else self._failed


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
