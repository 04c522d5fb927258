"""Regular expressions that are compiled when they are first used.

To compile all that redaction has takes some 30 ms, and most texts need a few of them.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Lazy:
    """Stands for a pattern: its methods are found here once it has been compiled."""

    def __init__(self, pattern: str, flags: int) -> None:
        self.pattern = pattern
        self.flags = flags

    def __getattr__(self, name: str) -> Any:
        method = getattr(re.compile(self.pattern, self.flags), name)
        setattr(self, name, method)
        return method


def lazily(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Return what serves as `re.compile(pattern, flags)`, and is compiled by the first search."""
    stand_in: Any = _Lazy(pattern, int(flags))
    return stand_in  # type: ignore[no-any-return]
