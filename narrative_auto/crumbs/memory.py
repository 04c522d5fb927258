"""Keeps the last crumbs.

No lock: a crumb is one `append` to a deque of limited length, which is whole or has not happened, so a signal handler,
a `__del__` or a child of `fork` that comes in between finds nothing half done.
"""

from __future__ import annotations

import _thread
import sys
import time
from collections import deque

from narrative_auto.failures.values import clean
from narrative_auto.recorder.layout import CRUMB_PART, OF_CONTEXT
from narrative_auto.recorder.of_process import of_process
from narrative_auto.records import changed, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Unworded(Protocol):
        """What was met without the program's doing, not yet put into words."""

        def as_crumb(self) -> Crumb:
            """Return it as a crumb, without secrets."""


MOST_CRUMBS = 50
"""Crumbs that are kept unless `enable` says otherwise; and as many that nobody had to leave."""

_QUIET = 0.05
"""Seconds without anything met, after which the black box gets the next at once. To word one takes some 10 µs, as long
as `logging` takes for a record: where a program logs a lot, only the last ones are, when somebody comes round to it."""

_NO_PARTS = {ord(CRUMB_PART): " "}
_WORDING = "narrative_auto.crumbs.wording"
"""The module that puts things into words. To load it takes longer than a program should wait for a line of its log."""


@record(slots=True)
class Crumb:
    """A crumb; all of its texts are bounded and redacted.

    Attributes:
        event: what happened.
        at: ns since 1970.
        thread: the thread's name.
        context: what held where it was left.
        data: names and texts.
        is_automatic: nobody had to leave it.
    """

    event: str
    at: int
    thread: str
    context: dict[str, Any]
    data: tuple[tuple[str, str], ...]
    is_automatic: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as `snapshot()` does."""
        shown: dict[str, Any] = {"event": self.event}
        if self.at:
            from datetime import UTC, datetime

            shown["ts"] = datetime.fromtimestamp(self.at / 1e9, UTC).isoformat(timespec="microseconds")
        if self.thread:
            shown["thread"] = self.thread
        if self.context:
            shown["context"] = dict(self.context)
        for name, text in self.data:
            # No value takes the place of what a crumb has itself.
            shown[f"{name}_" if name in {"event", "ts", "thread", "context"} else name] = text
        return shown

    def line(self) -> str:
        """Return it for a person, without its time: `log WARNING shop.store: retry 1 of 1`."""
        texts = [text for _, text in self.data]
        if self.is_automatic and self.event == "log":
            shown = f"log {texts[0]} {texts[1]}: {', '.join(texts[2:])}"
        elif self.is_automatic and self.event == "warning":
            shown = f"warning {texts[0]}: {texts[1]} ({texts[2]})"
        elif self.is_automatic:
            shown = f"{self.event} {' '.join(texts)}"
        else:
            shown = " ".join(["crumb", self.event, *(f"{name}={text}" for name, text in self.data)])
        held = ", ".join(f"{name}={value}" for name, value in self.context.items())
        return f"{shown}  {{{held}}}" if held else shown


class Memory:
    """The crumbs of this process.

    Attributes:
        kept: those that the program left.
        include_timestamp, include_thread: whether crumbs have a `ts` and a `thread`.
        mirror: given each crumb as `layout.CRUMB_PART` describes it: the black box; None for nobody.
    """

    __slots__ = ("_met", "_seen", "_unmirrored", "include_thread", "include_timestamp", "kept", "mirror")

    def __init__(self) -> None:
        self.kept: deque[Crumb] = deque(maxlen=MOST_CRUMBS)
        self._seen: deque[Unworded] = deque(maxlen=MOST_CRUMBS)
        self._unmirrored: deque[Unworded] = deque(maxlen=MOST_CRUMBS)
        self._met = 0.0
        self.include_timestamp = self.include_thread = True
        recorder = of_process.recorder
        self.mirror: Callable[[str], object] | None = None if recorder is None else recorder.keep_crumb

    def leave(self, one: Crumb) -> None:
        """Keep what the program says."""
        self.kept.append(
            changed(one, at=one.at if self.include_timestamp else 0, thread=one.thread if self.include_thread else "")
            if not (self.include_timestamp and self.include_thread)
            else one
        )
        if self.mirror is not None:
            self.mirror(_as_parts(one))

    def see(self, one: Unworded) -> None:
        """Keep what was met. Where much is met at once, the black box has it when somebody comes round to it."""
        self._seen.append(one)
        if self.mirror is None:
            return
        self._unmirrored.append(one)
        before, self._met = self._met, time.monotonic()
        if self._met - before > _QUIET and _WORDING in sys.modules:
            self.mirror_all()

    def mirror_all(self) -> None:
        """Bring the black box what it does not have yet."""
        while self._unmirrored and self.mirror is not None:
            try:
                one = self._unmirrored.popleft()
            except IndexError:  # another thread was quicker
                break
            self.mirror(_as_parts(one.as_crumb()))

    def last(self) -> list[Crumb]:
        """Return all crumbs, oldest first."""
        return sorted([*(one.as_crumb() for one in self._seen.copy()), *self.kept.copy()], key=lambda one: one.at)

    def keep(self, most: int) -> None:
        """Keep at most so many from here on."""
        if most != self.kept.maxlen:
            self.kept = deque(self.kept, maxlen=most)


memory = Memory()


def thread_name() -> str:
    """Return the name of the calling thread; none comes to be by being asked for it."""
    threading: Any = sys.modules.get("threading")
    if threading is None:
        return "MainThread"
    ident = _thread.get_ident()
    thread = threading._active.get(ident)  # noqa: SLF001 - current_thread() would make one up
    return str(thread._name) if thread is not None else f"thread {ident}"  # noqa: SLF001


def _as_parts(one: Crumb) -> str:
    parts = [str(one.at), one.thread, one.event]
    for name, text in one.data:
        parts += (name.lstrip(OF_CONTEXT), text)
    for name, value in one.context.items():
        parts += (OF_CONTEXT + name.lstrip(OF_CONTEXT), str(value))
    return CRUMB_PART.join([clean(part.translate(_NO_PARTS)) for part in parts])
