"""How the main module is left: what exit status it asked for, and by which exception."""

from __future__ import annotations

from narrative_auto.recorder.layout import UNWIND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

_issubclass = issubclass
_exit_code: Any = SystemExit.__dict__["code"].__get__


class ExitWatch:
    """The probe for an exception that leaves the main module: notes which exit status was asked for.

    Attributes:
        status: the exit status of `SystemExit`; None while the module has not been left by one.
        left_by: the identity of the exception that left the module, 0 for none; the exception itself is not kept.
        begun: the main module is application code and reports here.
        still_watching: says whether whoever watches has not lost its place meanwhile.
    """

    __slots__ = ("begun", "left_by", "status", "still_watching")
    __hash__ = object.__hash__

    def __init__(self) -> None:
        self.status: int | None = None
        self.left_by = 0
        self.begun = False
        self.still_watching: Callable[[], bool] = lambda: True

    @property
    def knows(self) -> bool:
        """Whether how the main module is left is known here."""
        return self.begun and self.still_watching()

    def __eq__(self, error: object) -> bool:
        self.left(id(error), type(error), error)  # isinstance would ask the exception for its __class__
        return self is error

    def left(self, identity: int, kind: type, error: object) -> None:
        """Note the exception that leaves the module; the exception itself is needed of a `SystemExit` only."""
        self.left_by = identity
        if _issubclass(kind, SystemExit):
            code = _exit_code(error)  # a subclass may have a property of that name
            if code is None:
                self.status = 0
            else:
                self.status = int.__and__(code, 0xFF) if _issubclass(type(code), int) else 1

    def finish(self, code: CodeType) -> CodeType:
        """Return a main module's code that reports how it is left."""
        self.begun = True
        return assemble_module(code, {UNWIND: self})


def assemble_module(code: CodeType, probes: dict[int, Any]) -> CodeType:
    """Return a module's code that reports its own transitions to the given probes."""
    from narrative_auto.instrument.engines.assembly import assemble

    return assemble(code, probes.get)
