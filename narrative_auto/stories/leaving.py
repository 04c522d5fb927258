"""Which exceptions have left which stages."""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any

KEPT_FAILURES = 64
"""Exceptions that left a stage, of which is known which stage that was."""


class Leavings:
    """The newest `KEPT_FAILURES` exceptions that left a stage, and what that is known by.

    Exceptions are not kept alive and their addresses are used again: they are known together with the innermost step of
    their traceback, and with what was running in the stage's own block, which is never running outside it.
    """

    def __init__(self) -> None:
        self._left: deque[tuple[int, int, tuple[int, int], Any]] = deque(maxlen=KEPT_FAILURES)

    def note(self, error: BaseException, stage: Any) -> None:
        """Take in that an exception has left a stage, whatever that is known by."""
        steps = list(_steps(error))
        if steps:
            self._left.append((id(error), id(steps[-1]), _place(steps[0]), stage))

    def stages(self, error: BaseException) -> Iterator[Any]:
        """Yield the stages that an exception has left, and those that it was raised from; of each in their order."""
        for link in _links(error):
            steps = list(_steps(link))
            known = {id(step) for step in steps}
            places = {_place(step) for step in steps}
            for error_id, step_id, place, stage in list(self._left):
                if error_id == id(link) and step_id in known and place in places:
                    yield stage


def _links(error: BaseException) -> list[BaseException]:
    """Return an exception and those that it was raised from."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(links) < KEPT_FAILURES and not any(link is one for one in links):
        links.append(link)
        link = link.__cause__
    return links


def _steps(error: BaseException) -> Iterator[TracebackType]:
    step = error.__traceback__
    while step is not None:
        yield step
        step = step.tb_next


def _place(step: TracebackType) -> tuple[int, int]:
    """Return which instruction was running."""
    return id(step.tb_frame.f_code), step.tb_lasti
