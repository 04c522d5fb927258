"""Asks objects of the program's for their own text, which is the program's code: it may raise, or never come back."""

from __future__ import annotations

import weakref

from narrative_auto.errors import attempted_within, is_of_program
from narrative_auto.failures.brief import is_brief
from narrative_auto.failures.in_thread import EndingError, NoThreadError, called_within
from narrative_auto.failures.looks import looks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
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
        spares: which objects are not asked, unless their texts are sure to come at once.
        always: whether it is asked for in the caller's thread where there is no other to be had, as Python
            asks as well; not in exit handlers, when it has told all.
    """

    __slots__ = ("_always", "_failed", "_function", "_late", "_method", "_seconds", "_spares", "_times")

    def __init__(
        self,
        function: Callable[[object], str],
        seconds: float,
        *,
        times: int = 2,
        failed: str | None = None,
        spares: Callable[[object], bool] = lambda _: False,
        always: bool = False,
    ) -> None:
        self._function = function
        self._method = "__repr__" if function is repr else "__str__"
        self._seconds = seconds
        self._times = times
        self._failed = failed
        self._spares = spares
        self._always = always
        self._late: dict[int, tuple[weakref.ref[type], int]] = {}  # by identity: a metaclass may have no hash

    def of(self, value: object) -> str | None:
        """Return an object's own text; None where it does not come in time.

        It raises nothing but what a signal handler of the program's raises meanwhile, Ctrl-C among it.
        """
        if is_brief(value, self._method):
            return self._made_at_once(value)
        kind = type(value)
        times = self._times_late(kind)
        if times >= self._times or attempted_within(self._spares, value):
            return None
        try:
            answer = called_within(self._seconds, self._made, value)
        except EndingError:
            return None
        except NoThreadError:
            return self._made(value) if self._always else None
        if answer is None:
            self._was_late(kind, times + 1)
        return answer[0] if answer else None

    def is_brief(self, value: object) -> bool:
        """Return whether an object's text is sure to come at once."""
        return is_brief(value, self._method)

    def _made_at_once(self, value: object) -> str | None:
        try:
            return _plain(self._function(value))
        except Exception as raised:
            if _is_of_handler(raised):
                raise
            return self._failed

    def _made(self, value: object) -> str | None:
        text = undisturbed(self._function, value)
        return _plain(text) if isinstance(text, str) else self._failed

    def _times_late(self, kind: type) -> int:
        known, times = self._late.get(id(kind), (None, 0))
        return times if known is not None and known() is kind else 0

    def _was_late(self, kind: type, times: int) -> None:
        if len(self._late) >= _MOST_LATE:
            self._late = {key: entry for key, entry in self._late.items() if entry[0]() is not None}
        if times > 1 or len(self._late) < _MOST_LATE:
            self._late[id(kind)] = (weakref.ref(kind), times)


def _plain(text: str) -> str:
    """Return a text that runs nothing of the program's when it is cut: `repr` may give one of a class of its own."""
    return str.__str__(text)


def _is_of_handler(raised: BaseException) -> bool:
    """Return whether a signal handler raised what comes out of a text that calls nothing of the program's."""
    step: TracebackType | None = raised.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return step is not None and looks_of(step.tb_frame.f_code) is None and is_of_program(raised)


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
