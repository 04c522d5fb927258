"""The contract of renderers."""

from __future__ import annotations

from typing import Any, Protocol


class Renderer(Protocol):
    """Consumes the events of a story.

    A renderer may also have `flush()`, called when no event waits any more, and `close()`, called after the last one.
    One that raises is named on stderr once; the others go on.
    """

    def handle(self, event: Any) -> Any:
        """Take one event of `narrative_auto.stories.events`."""
        ...
