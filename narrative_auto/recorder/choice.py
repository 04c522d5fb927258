"""Which recorder works in a process: the compiled one, where it was built, else its twin in Python."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from narrative_auto.recorder.base import Recorder


def make(
    wanted: str,
    min_duration: int = 1_000_000,
    wake: Callable[[], object] | None = None,
    budget: float = 0.0,
    clock: str = "auto",
) -> tuple[Recorder, str]:
    """Return an empty recorder, and why there is no compiled one where one was to be had; "" for no reason.

    Args:
        wanted: "auto", "native" or "pure".
        min_duration: ns from which a finished call is notable.
        wake: called, from a thread that has recorded something new, when there is something to tell.
        budget: the share of the process's CPU time that recording may take, which the compiled recorder keeps; 0.0 for
            any.
        clock: what the compiled recorder reads the time from: "auto", "counter" or "kernel".
    """
    reason = ""
    if wanted != "pure":
        try:
            from narrative_auto.recorder.native import NativeRecorder
        except ImportError as why:
            reason = f"the compiled recorder was not built for this interpreter ({why})"
        else:
            recorder = NativeRecorder(min_duration, wake, budget)
            if clock != "auto":
                recorder.use_clock(clock)
            return recorder, ""
    from narrative_auto.recorder.pure import PureRecorder

    return PureRecorder(min_duration, wake), reason
