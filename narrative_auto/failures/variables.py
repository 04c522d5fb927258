"""The local variables of the frames that matter."""

from __future__ import annotations

from fnmatch import fnmatchcase
from types import BuiltinFunctionType, FunctionType, ModuleType

from narrative_auto.errors import attempted
from narrative_auto.failures.asking import OwnText
from narrative_auto.failures.showing import Shower
from narrative_auto.failures.values import name_of_type
from narrative_auto.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

    from narrative_auto.failures.config import FailureDiagnosticsConfig
    from narrative_auto.failures.redaction import Redactor

_MOST_LOOKED_AT = 200
"""Variables of a frame among which those that are shown are chosen."""

_OWN_SECONDS = 0.25
"""How long the `repr` of an object may take that the person allowed."""

_CODE = (ModuleType, FunctionType, BuiltinFunctionType, type)
"""What is no value: at the level of a module there is little else."""


@record(frozen=True, slots=True)
class FrameVariables:
    """What the variables of a frame held when the exception left it, or went through.

    Attributes:
        filename, lineno, function: of the frame.
        values: name and text of each, those of the failing line first.
        left_out: how many there are beside.
    """

    filename: str
    lineno: int
    function: str
    values: tuple[tuple[str, str], ...]
    left_out: int


class Variables:
    """Shows the variables of frames.

    Args:
        redactor: takes secrets out.
        config: how much is shown.
        allowed: patterns of `module.Type` of the program's types that are shown by their own `repr`.
    """

    def __init__(self, redactor: Redactor, config: FailureDiagnosticsConfig, allowed: Sequence[str] = ()) -> None:
        self._allowed = tuple(allowed)
        self._own = OwnText(repr, _OWN_SECONDS)
        self._most = config.max_locals_per_frame
        self.most_frames = config.max_frames_with_locals
        self._shower = Shower(
            redactor,
            most_characters=config.max_local_value_len,
            depth=config.max_local_depth,
            own_text=self._own_text,
            learns=True,
        )

    def of(self, frame: FrameType, lineno: int, used: Sequence[str]) -> FrameVariables:
        """Return the variables of a frame.

        Args:
            frame: of a traceback; it may be running.
            lineno: the line that it was at.
            used: names that stand in that line; their values come first.
        """
        code = frame.f_code
        found = attempted(_locals_of, frame) or {}
        is_module = code.co_name == "<module>"
        names = [
            name
            for name, value in found.items()
            if type(name) is str and not (is_module and (name.startswith("__") or issubclass(type(value), _CODE)))
        ]
        names.sort(key=lambda name: used.index(name) if name in used else len(used))
        shown = tuple((name, self._text(found[name], name)) for name in names[: self._most])
        return FrameVariables(
            code.co_filename, lineno, code.co_qualname, shown, max(0, len(found) - len(shown) if not is_module else 0)
        )

    def _text(self, value: Any, name: str) -> str:
        return attempted(self._shower.text, value, name) or f"<{name_of_type(type(value))}>"

    def _own_text(self, value: Any) -> str | None:
        kind = type(value)
        names = (name_of_type(kind), f"__main__.{name_of_type(kind)}" if kind.__module__ == "__main__" else "")
        if not any(fnmatchcase(name, pattern) for pattern in self._allowed for name in names):
            return None
        return self._own.of(value)


def _locals_of(frame: FrameType) -> dict[str, Any]:
    found = {}
    for name, value in frame.f_locals.items():
        found[name] = value
        if len(found) == _MOST_LOOKED_AT:
            break
    return found
