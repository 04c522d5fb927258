"""What a program calls to leave crumbs, and to look at them."""

from __future__ import annotations

import time
from typing import Any

from narrative_auto.crumbs.memory import Crumb, memory, thread_name
from narrative_auto.crumbs.scopes import current_scope
from narrative_auto.crumbs.wording import shown_context, text_of_event, text_under
from narrative_auto.errors import attempted, is_of_program


def crumb(event: str = "", /, **data: Any) -> None:
    """Leave a crumb. It raises nothing but what a signal handler of the program's raises meanwhile.

    Args:
        event: what happened; without a text nothing does.
        data: values; each becomes its `repr`, bounded and without secrets, at once.
    """
    try:
        if type(event) is str and not event and "event" in data:
            event = data.pop("event")
        if type(event) is not str:
            event = str.__str__(event) if issubclass(type(event), str) else ""
        if event:
            memory.leave(
                Crumb(
                    text_of_event(event),
                    time.time_ns(),
                    thread_name(),
                    shown_context(current_scope.get()),
                    tuple([(name, text_under(name, value)) for name, value in data.items()]),
                )
            )
    except Exception as fault:
        if attempted(is_of_program, fault):
            raise
        # A fault of ours: the program's own work is more important, also while the interpreter ends.


def snapshot() -> list[dict[str, Any]]:
    """Return the crumbs that the program has left, oldest first; they are the caller's."""
    return [one.as_dict() for one in memory.kept.copy()]


def clear() -> None:
    """Forget the crumbs that the program has left."""
    memory.kept.clear()
