"""Explicit stories and stages in the recorder of this process, where it has one."""

from __future__ import annotations

import sys
import types
from functools import partial

from narrative_auto.errors import guarded_within
from narrative_auto.failures.redaction import Redactor
from narrative_auto.recorder.sites import BLOCK
from narrative_auto.stories.leaving import Leavings
from narrative_auto.stories.narrator import process_story
from narrative_auto.stories.runtime import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import CodeType
    from typing import Any

    from narrative_auto.recorder.base import Recorder
    from narrative_auto.stories.runtime import StoryRuntime
    from narrative_auto.stories.stages import StageRecord

    Place = tuple[int, int]
    """Where and when a block began: see `Recorder.enter_block`."""

MOST_NAMES = 1_000
"""Sites for names of stages and stories; what is named otherwise later shares one: names may hold numbers or dates."""

OTHER_NAMES = "(stages of other names)"

_OPENER = 6
"""Calls between what opens a block, or a decorator of ours, and where its site is looked for."""

_FRAMES_OF_OURS = 20
"""Calls of ours between what opens a block and where its site is made, at most."""

_WHAT = "recording an explicit stage"

_left = Leavings()


def enter(block: StageRecord | StoryRuntime, around: object) -> None:
    """Let a story or stage begin in the recorder of this process, if there is one: it gets its place.

    Args:
        block: it.
        around: the one around it, None for none.
    """
    narrator = process_story()
    if narrator is not None:
        block.place = guarded_within(_WHAT, _enter, narrator.recorder, block, around)


def leave(block: StageRecord | StoryRuntime, error: BaseException | None = None) -> None:
    """Let it end there; with an exception, if that has left it."""
    narrator = process_story()
    if narrator is not None and block.place is not None:
        guarded_within(_WHAT, narrator.recorder.leave_block, block, error)
        if error is not None:
            _left.note(error, block.place)


def was_left(started: int, error: BaseException) -> bool:
    """Whether it was this exception, or one that it was raised from, that left the stage which began then (ns)."""
    return any(when == started for _, when in _left.stages(error))


def suspend(block: StageRecord | StoryRuntime) -> None:
    """Let what follows be outside it there, until `resume`."""
    narrator = process_story()
    if narrator is not None and block.place is not None:
        guarded_within(_WHAT, narrator.recorder.suspend_block, block)


def resume(block: StageRecord | StoryRuntime) -> None:
    """Let what follows be inside it again."""
    narrator = process_story()
    if narrator is not None and block.place is not None:
        guarded_within(_WHAT, narrator.recorder.resume_block, block)


def carried(block: StageRecord | StoryRuntime, awaitable: Awaitable[Any]) -> Awaitable[Any]:
    """Return what to await in place of an awaitable, within a block that code of ours has opened.

    The block is out of the way while it waits. Code of the program's reports its own suspensions.
    """
    return awaitable if block.place is None else _carried(block, awaitable.__await__())


@types.coroutine
def _carried(block: StageRecord | StoryRuntime, steps: Any) -> Generator[Any, Any, Any]:
    step: Callable[[], Any] = partial(next, steps)
    while True:
        try:
            waited = step()
        except StopIteration as end:
            return end.value
        suspend(block)
        try:
            sent = yield waited
        except BaseException as thrown:
            resume(block)
            if not hasattr(steps, "throw"):
                raise
            step = partial(steps.throw, thrown)
        else:
            resume(block)
            step = partial(next, steps) if sent is None else partial(steps.send, sent)


class _Sites:
    """The sites of the explicit stories and stages of a process."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._numbers: dict[tuple[str, int, object], int] = {}
        self._codes: list[CodeType] = []  # kept, so that no other one has the identity
        self._others = 0
        self._redact = Redactor().text

    def number(self, block: StageRecord | StoryRuntime) -> int:
        """Return the number of the site of all stages of a name that one function opens."""
        name, story = block.name, block.story
        if type(name) is not str:
            name = str.__str__(name) if isinstance(name, str) else f"<{type(name).__name__}>"
        rules = story.redaction_rules if story is not None else None
        code = sys._getframe(_OPENER).f_code  # noqa: SLF001 - frames have no other door
        # What one story takes for a secret must not be shown because another had the name first.
        key = (name, id(code), rules)
        return self._numbers.get(key) or self._first(key, code, story)

    def _first(self, key: tuple[str, int, object], code: CodeType, story: StoryRuntime | None) -> int:
        if len(self._numbers) >= MOST_NAMES:
            self._others = self._others or self._new(OTHER_NAMES)
            return self._others
        redact = story.redactor.text if story is not None else self._redact
        self._codes.append(code)
        return self._numbers.setdefault(key, self._new(redact(key[0])))

    def _new(self, name: str) -> int:
        module, filename, line = _first_line()
        site = self.recorder.sites.add(module, name, filename, line, BLOCK)
        site.recorder = self.recorder
        return site.number


_sites: list[_Sites] = []


def _enter(recorder: Recorder, block: StageRecord | StoryRuntime, around: object) -> Place | None:
    if not _sites or _sites[-1].recorder is not recorder:
        recorder.follow(current)
        _sites[:] = [_Sites(recorder)]
    return recorder.enter_block(_sites[-1].number(block), block, around)


def _first_line() -> tuple[str, str, int]:
    """Return the module, file and line that opens a block: the first one on the way out that is not ours."""
    package = __name__.partition(".")[0]
    for depth in range(1, _FRAMES_OF_OURS):
        frame = sys._getframe(depth)  # noqa: SLF001 - frames have no other door
        module = frame.f_globals.get("__name__")
        if not isinstance(module, str) or module.partition(".")[0] != package or frame.f_back is None:
            return str(module), frame.f_code.co_filename, frame.f_lineno
    return "", "", 0
