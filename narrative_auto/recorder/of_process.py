"""The recorder of this process, for those who begin after it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from narrative_auto.recorder.base import Recorder


class OfProcess:
    """What this process has.

    Attributes:
        recorder: its recorder; None where it has none.
        has_report: whether a failure is reported on stderr, with the crumbs.
        redact: parts of names whose values are secret here, beside those that always are.
    """

    __slots__ = ("has_report", "recorder", "redact")

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self.has_report: Callable[[], bool] = lambda: False
        self.redact: tuple[str, ...] = ()


of_process = OfProcess()
