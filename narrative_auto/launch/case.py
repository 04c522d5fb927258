"""What the doctor has to go by, and what it says: one fact a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narrative_auto import settings
from narrative_auto.page import relative
from narrative_auto.records import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from narrative_auto.launch.interpreter import Answer, Interpreter

PROBLEM, REMARK, FINE = "!", "-", ""
"""Something will not work; something to know, which costs little; neither."""


@record(frozen=True, slots=True)
class Fact:
    """One line of what the doctor says.

    Attributes:
        mark: `PROBLEM`, `REMARK` or `FINE`.
        remedy: what to do next; "" where there is nothing to be done.
    """

    label: str
    text: str
    mark: str = FINE
    remedy: str = ""


@record(frozen=True, slots=True)
class Case:
    """What there is to go by.

    Attributes:
        interpreter: the command's.
        plain: what it says when it is started as ever.
        launched: what it says when narrative-run has started it.
        environ: the environment variables.
        here: the current folder.
        blind: the option that keeps it from seeing the hook, or None.
    """

    interpreter: Interpreter
    plain: Answer
    launched: Answer
    environ: Mapping[str, str]
    here: str
    blind: str | None

    @property
    def engines(self) -> dict[str, Any]:
        """The engines at work under narrative-run; empty where the recorder does not start."""
        found: dict[str, Any] = self.launched.facts.get("engines", {})
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the program would find, the defaults where that cannot be known."""
        return {**settings.DEFAULTS, **self.plain.facts.get("settings", {})}

    def shown(self, path: str) -> str:
        """Return a path as it is typed here."""
        return relative(path, self.here)
