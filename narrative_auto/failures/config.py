"""What is said of a failure, and what is not."""

from __future__ import annotations

import re

from narrative_auto import settings
from narrative_auto.errors import say
from narrative_auto.records import changed, field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ENVIRONMENTS = ("development", "production")
DIAGNOSTICS = ("lean", "rich")


@record(frozen=True)
class FailureDiagnosticsConfig:
    """How much is said of a failure.

    Attributes:
        runtime_environment: "development" or "production", where tracebacks are shorter and rich becomes lean.
        failure_diagnostics: "lean", or "rich": with local variables, redacted.
        allow_rich_in_production: rich stays rich there.
        app_roots: folders of application code; none for the folder that the program runs in.
        redact_extra: further parts of names whose values are secret.
        redact_patterns: regular expressions for such names, searched without regard to case.
        redact_callback: says of a name whether its value is secret; one that raises says no.
        max_traceback_chars, production_traceback_cap: characters of a traceback; None for all.
        max_locals_per_frame, max_local_value_len, max_local_depth, max_frames_with_locals: bounds of local variables.
        snippet_context_lines: lines of source before and after the one that failed.

    Raises:
        ValueError: an environment or a mode that there is none of.
    """

    runtime_environment: str = "development"
    failure_diagnostics: str = "lean"
    allow_rich_in_production: bool = False
    app_roots: tuple[str, ...] = ()
    redact_extra: tuple[str, ...] = ()
    redact_patterns: tuple[str, ...] = ()
    redact_callback: Callable[[str], bool] | None = field(default=None, repr=False)
    max_traceback_chars: int | None = 12_000
    production_traceback_cap: int | None = 8_000
    max_locals_per_frame: int = 12
    max_local_value_len: int = 200
    max_local_depth: int = 2
    max_frames_with_locals: int = 2
    snippet_context_lines: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, taken in (("runtime_environment", ENVIRONMENTS), ("failure_diagnostics", DIAGNOSTICS)):
            if getattr(self, name) not in taken:
                raise ValueError(f"{name} is {' or '.join(map(repr, taken))}, not {getattr(self, name)!r}")
        for name in ("app_roots", "redact_extra", "redact_patterns"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        for pattern in self.redact_patterns:
            try:
                re.compile(pattern)
            except re.error as why:
                raise ValueError(f"redact_patterns: {pattern!r} is no regular expression: {why}") from None

    @classmethod
    def from_env(cls) -> FailureDiagnosticsConfig:
        """Return what the environment asks for: `NARRATIVE_ENV` and the others, `RUNTIME_NARRATIVE_ENV` as well.

        Raises:
            ValueError: a variable has a value that it does not take.
        """
        environment = settings.either_variable("ENV", "development")
        if environment not in ENVIRONMENTS:
            say(f"NARRATIVE_ENV is {environment}, which is taken as development: development and production are known")
            environment = "development"
        return cls(
            runtime_environment=environment,
            failure_diagnostics=settings.either_variable("FAILURE_DIAGNOSTICS", "lean"),
            allow_rich_in_production=settings.either_variable("ALLOW_RICH_IN_PRODUCTION", "").lower() in {"1", "true"},
        )

    @staticmethod
    def merge(base: FailureDiagnosticsConfig, **overrides: Any) -> FailureDiagnosticsConfig:
        """Return a configuration with some values replaced; None leaves a value as it is."""
        return changed(base, **{name: value for name, value in overrides.items() if value is not None})


def effective_diagnostics_mode(config: FailureDiagnosticsConfig) -> str:
    """Return "lean" or "rich": what is asked for, but not rich in production unless that is allowed."""
    if config.runtime_environment == "production" and not config.allow_rich_in_production:
        return "lean"
    return config.failure_diagnostics
