"""A story's events as lines, as they come: what a story has that names no renderers."""

from __future__ import annotations

import sys
import threading
import zlib
from typing import TYPE_CHECKING, Any

from narrative_auto.page import Line, Page, printable
from narrative_auto.records import field, record
from narrative_auto.stories.events import (
    FailureOccurred,
    LLMAnalysisReady,
    LogRecorded,
    StageCompleted,
    StageFailed,
    StageStarted,
    StoryCompleted,
    StoryStarted,
)

if TYPE_CHECKING:
    from typing import TextIO

_COLOURS = ("cyan", "magenta", "blue", "yellow", "green", "bright_cyan", "bright_magenta", "bright_blue")
_BAR = 20


@record(slots=True)
class _Open:
    """A story that is open.

    Attributes:
        depth: steps of indentation.
        stages: depths of its open stages, by their ids.
        colour: that of its family.
    """

    depth: int
    colour: str
    stages: dict[str, int] = field(default_factory=dict)

    @property
    def inside(self) -> int:
        """The depth of what begins now."""
        return max([self.depth, *self.stages.values()]) + 1


class ConsoleRenderer:
    """Prints a line for each event: a story's short id, indented by its depth, coloured on a terminal.

    Args:
        stream: where to; None for whatever `sys.stdout` is at that moment.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.RLock()  # what is printed may come back as an event
        self._stories: dict[str, _Open] = {}

    def handle(self, event: Any) -> None:
        """Print an event."""
        with self._lock:
            page = Page(self._stream if self._stream is not None else sys.stdout)
            page.write(self._lines(event, page))

    def _lines(self, event: Any, page: Page) -> list[Line]:
        match event:
            case StoryStarted():
                parent = self._stories.get(event.parent_story_id or "")
                family = event.root_story_id or event.story_id
                colour = _COLOURS[zlib.crc32(family.encode()) % len(_COLOURS)]
                opened = self._stories[event.story_id] = _Open(parent.inside if parent else 0, colour)
                return [self._line(event, opened.depth, f"▶ Story started: {event.story_name}")]
            case StageStarted():
                return [self._line(event, self._begin(event), f"▶ Stage started: {event.stage_name}")]
            case StageCompleted():
                text = f"✔ Stage completed: {event.stage_name} ({event.duration_seconds:.3f}s)"
                line = self._line(event, self._end(event), text)
                return [[*line, (_progress(event, page), "dim")]]
            case StageFailed():
                text = f"❌ Stage failed: {event.stage_name} ({event.duration_seconds:.3f}s)"
                return [self._line(event, self._end(event), f"{text} {event.error_type}", "red")]
            case StoryCompleted():
                ended = self._stories.pop(event.story_id, None)
                said = "SUCCESS" if event.success else "FAILED"
                text = f"▶ Story ended: {said} ({event.duration_seconds:.3f}s)"
                return [self._line(event, ended.depth if ended else 0, text, "" if event.success else "red", ended)]
            case FailureOccurred():
                return self._failure(event)
            case LLMAnalysisReady():
                return self._indented(event, ["Analysis:", *event.llm_analysis.splitlines()])
            case LogRecorded():
                rest = (event.exc_text or "").splitlines()
                return self._indented(event, [f"{event.level} {event.logger_name}: {event.message}", *rest])
        return []

    def _begin(self, event: StageStarted) -> int:
        opened = self._stories.get(event.story_id)
        if opened is None:
            return 0
        depth = opened.stages.get(event.parent_stage_id, opened.depth) + 1
        opened.stages[event.stage_id] = depth
        return depth

    def _end(self, event: StageCompleted | StageFailed) -> int:
        opened = self._stories.get(event.story_id)
        return opened.stages.pop(event.stage_id, opened.depth + 1) if opened is not None else 0

    def _line(self, event: Any, depth: int, text: str, style: str = "", opened: _Open | None = None) -> Line:
        opened = opened or self._stories.get(event.story_id)
        colour = opened.colour if opened is not None else ""
        return [("  " * depth, ""), (f"[{event.story_id[:6]}]", colour), (f" {printable(text)}", style or colour)]

    def _indented(self, event: Any, texts: list[str]) -> list[Line]:
        opened = self._stories.get(event.story_id)
        depth = opened.inside if opened is not None else 0
        return [self._line(event, depth, text) for text in texts]

    def _failure(self, event: FailureOccurred) -> list[Line]:
        opened = self._stories.get(event.story_id)
        depth = opened.depth + 1 if opened is not None else 0
        where = event.stage_name or event.story_name
        facts = [f"{event.error_type}: {event.error_message}", ""]
        if event.filename:
            facts.append(f"Location: {event.filename}:{event.lineno} in {event.function}")
        facts += [f"Chain:    {link}" for link in event.exception_chain]
        if event.compressed_stack_summary:
            facts.append(f"Stack:    {event.compressed_stack_summary}")
        if event.source_snippet:
            facts += ["", *event.source_snippet.splitlines()]
        if event.llm_analysis:
            facts += ["", *event.llm_analysis.splitlines()]
        lines = [self._line(event, depth, f"❌ Failure at: {where}", "bold red")]
        return [*lines, *([("  " * depth + "    ", ""), (printable(fact), "")] for fact in facts)]


def _progress(event: StageCompleted, page: Page) -> str:
    """Return how far a story has come that has said how many stages it has: a bar on a terminal, else the number."""
    if not event.total_stages:
        return ""
    text = f"  {event.progress_percent} %"
    if not page.is_terminal:
        return text
    done = _BAR * event.progress_percent // 100
    return f"  {'━' * done}{'─' * (_BAR - done)}{text}"
