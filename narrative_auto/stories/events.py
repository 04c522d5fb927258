"""The events that tell a story: what renderers see. Timestamps are aware, in UTC; durations are seconds."""

from __future__ import annotations

from narrative_auto.records import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime


@record(slots=True)
class StoryStarted:
    """A story began."""

    story_id: str
    story_name: str
    timestamp: datetime
    parent_story_id: str | None = None
    root_story_id: str = ""


@record(slots=True)
class StageStarted:
    """A stage began; `timestamp` is when it really did, also when this is delivered later."""

    story_id: str
    stage_name: str
    timestamp: datetime
    stage_index: int = 0
    parent_stage_name: str | None = None
    story_name: str = ""
    root_story_id: str = ""
    stage_id: str = ""
    parent_stage_id: str = ""
    lane: int = 0


@record(slots=True)
class StageCompleted:
    """A stage returned; `progress_percent` is that of its story after it, `total_stages` how many were announced."""

    story_id: str
    stage_name: str
    timestamp: datetime
    duration_seconds: float
    stage_index: int = 0
    parent_stage_name: str | None = None
    story_name: str = ""
    root_story_id: str = ""
    stage_id: str = ""
    parent_stage_id: str = ""
    lane: int = 0
    running_seconds: float = 0.0
    progress_percent: int = 0
    total_stages: int = 0


@record(slots=True)
class StageFailed:
    """A stage was left by an exception; whether it was handled further out, the story's end tells."""

    story_id: str
    stage_name: str
    timestamp: datetime
    duration_seconds: float
    error_type: str
    error_message: str = ""
    stage_index: int = 0
    parent_stage_name: str | None = None
    story_name: str = ""
    root_story_id: str = ""
    stage_id: str = ""
    parent_stage_id: str = ""
    lane: int = 0
    running_seconds: float = 0.0


@record(slots=True)
class FailureOccurred:
    """An exception left the story, or was recorded as its failure."""

    story_id: str
    story_name: str
    stage_name: str
    error_type: str
    error_message: str
    filename: str
    lineno: int
    function: str
    source_line: str
    exception_chain: list[str]
    exact_cause: str
    llm_analysis: str | None
    stage_timeline: str
    progress_percent: int
    completed_stages: int
    total_stages: int
    timestamp: datetime
    traceback_text: str
    diagnostics_mode: str = "lean"
    primary_frame_reason: str = "leaf"
    stack_frames: list[str] = field(default_factory=list)
    source_snippet: str | None = None
    compressed_stack_summary: str = ""
    hidden_frame_count: int = 0
    traceback_truncated: bool = False
    locals_by_frame: dict[str, dict[str, str]] | None = None
    redaction_removed_keys: int = 0
    parent_story_id: str | None = None
    root_story_id: str = ""
    crumbs: tuple[str, ...] = ()


@record(frozen=True, slots=True)
class StageTotal:
    """The totals of one site called from one other.

    Attributes:
        site, caller: numbers that are the same for the same function within a story; 0 is "no stage".
        name: the stage's name, unique within the story.
        module, filename, line: where the function is defined.
        private: its name starts with `_`.
        calls, raised: how many calls there were, and how many an exception left.
        total_seconds: from start to end, of all calls; for generators the time in which they ran.
        self_seconds: without the stages inside.
        longest_seconds: of the longest call.
        errors: how many calls which exception type left.
        exact: every call is in it; False where the function was released for a time, to keep the budget.
        records: what its calls wrote: two each, and two more for each time that a suspended one went on.
    """

    site: int
    caller: int
    name: str
    module: str
    filename: str
    line: int
    private: bool
    calls: int
    total_seconds: float
    self_seconds: float
    longest_seconds: float
    raised: int
    errors: dict[str, int]
    exact: bool = True
    records: int = 0


@record(slots=True)
class StoryTotals:
    """What an automatic story counted, just before it completes.

    Attributes:
        totals: in the order of the first calls.
        own_cost: the recorder's share of the story's time, 0.0 to 1.0, as measured.
        left_plain: (module, function or "", reason) of what was not instrumented although it was wanted.
        records, folded: records written; notable stages that are in the totals only.
        modules: modules of the application that were instrumented.
        disordered: calls whose caller was left before them, so that their place in the tree is not sure.
        outcome: "ok", "failed", "exited" (with `exit_status`), "interrupted" or "ended" where it is not known.
    """

    story_id: str
    totals: tuple[StageTotal, ...]
    own_cost: float
    left_plain: tuple[tuple[str, str, str], ...]
    app_roots: tuple[str, ...]
    outcome: str
    exit_status: int | None = None
    records: int = 0
    folded: int = 0
    modules: int = 0
    disordered: int = 0


@record(slots=True)
class StoryCompleted:
    """A story ended."""

    story_id: str
    story_name: str
    success: bool
    progress_percent: int
    completed_stages: int
    total_stages: int
    timestamp: datetime
    duration_seconds: float = 0.0
    parent_story_id: str | None = None
    root_story_id: str = ""


@record(slots=True)
class LLMAnalysisReady:
    """An analysis that was not waited for is there; `FailureOccurred` came before it."""

    story_id: str
    story_name: str
    stage_name: str
    llm_analysis: str
    timestamp: datetime


@record(slots=True)
class LogRecorded:
    """A record of `logging` was made inside the story; `level` is its name, such as "WARNING"."""

    story_id: str
    story_name: str
    root_story_id: str
    stage_name: str | None
    level: str
    logger_name: str
    message: str
    timestamp: datetime
    exc_text: str | None = None
