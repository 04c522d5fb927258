"""Explicit stories and stages in the recorder of this process, where it has one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from narrative_auto.failures.redaction import Redactor
from narrative_auto.recorder.sites import BLOCK

if TYPE_CHECKING:
    from contextvars import ContextVar
    from typing import Any

    from narrative_auto.recorder.base import Recorder
    from narrative_auto.stories.runtime import StoryRuntime
    from narrative_auto.stories.stages import StageRecord

MOST_NAMES = 1_000
"""Sites for names of stages and stories; what is named otherwise later shares one: names may hold numbers or dates."""

OTHER_NAMES = "(stages of other names)"

_FRAMES_OF_OURS = 8
"""Calls of ours between a block's first line and the recorder, at most."""


Place = tuple[int, int, int, int]
"""Where and when a block began, and in which call: see `Recorder.enter_block`."""


class RecordedBlocks:
    """The sites of the explicit stories and stages of a process.

    Args:
        recorder: where their beginnings and ends go.
        innermost: the variable in which a context has its innermost block.
    """

    def __init__(self, recorder: Recorder, innermost: ContextVar[Any]) -> None:
        self.recorder = recorder
        self._sites: dict[str, int] = {}
        recorder.follow(innermost)

    def enter(self, block: StageRecord | StoryRuntime, around: object) -> Place | None:
        """Begin a story or stage; return where, None where nothing is recorded.

        Args:
            block: it.
            around: the one around it, None for none.
        """
        return self.recorder.enter_block(self._sites.get(block.name) or self._site(block), block, around)

    def _site(self, block: StageRecord | StoryRuntime) -> int:
        """Return the number of the site of all stages of a name."""
        name = block.name
        shown = (block.story.redactor if block.story is not None else Redactor()).text(name)
        if len(self._sites) >= MOST_NAMES:
            name = shown = OTHER_NAMES
        module, filename, line = _first_line()
        number = self._sites.get(name)
        if number is None:
            site = self.recorder.sites.add(module, shown, filename, line, BLOCK)
            site.recorder = self.recorder
            number = self._sites[name] = site.number
        return number


def _first_line() -> tuple[str, str, int]:
    """Return the module, file and line that opens a block: the first one on the way out that is not ours."""
    package = __name__.partition(".")[0]
    for depth in range(1, _FRAMES_OF_OURS + 2):
        frame = sys._getframe(depth)  # noqa: SLF001 - frames have no other door
        module = frame.f_globals.get("__name__")
        if not isinstance(module, str) or module.partition(".")[0] != package or frame.f_back is None:
            return str(module), frame.f_code.co_filename, frame.f_lineno
    return "", "", 0
