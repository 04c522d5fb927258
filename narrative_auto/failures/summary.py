"""What an analyzer is told of a failure."""

from __future__ import annotations

from narrative_auto.records import record


@record(frozen=True, slots=True)
class FailureSummary:
    """A failure in plain fields, redacted.

    Attributes:
        error_type, error_message: of the exception.
        filename, lineno, function, source_line: where it went wrong.
        exception_chain: what it came from, nearest first: "from IntegrityError: …".
        exact_cause: the error that began it all.
        traceback_text: bounded.
        crumbs: what came before, a line each, oldest first.
    """

    error_type: str
    error_message: str
    filename: str
    lineno: int
    function: str
    source_line: str
    exception_chain: list[str]
    exact_cause: str
    traceback_text: str
    crumbs: tuple[str, ...] = ()
