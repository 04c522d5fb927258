"""The contract of engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import CodeType


class Engine(Protocol):
    """Puts probes into code.

    Attributes:
        name: as `--engine` takes it.
    """

    name: str

    def instrument(self, code: CodeType, module: str) -> CodeType:
        """Return a module's code in which the functions of the scope report to the recorder.

        Args:
            code: the module's own code object, as compiled.
            module: the module's name, for the sites.
        """
        ...
