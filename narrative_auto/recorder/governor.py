"""Takes released sites back from time to time: what has turned slow is to be seen again.

Releasing is the compiled recorder's own work (`c/governor.h`), as a thread that wakes up now and then comes too late
for a hot loop. A site that still is hot is released again within milliseconds.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from narrative_auto.recorder.base import Recorder
    from narrative_auto.recorder.sites import Site

INTERVAL = 1.0
"""Seconds between two samples."""

AT_ONCE = 500
"""Sites that are taken back in one sample, at least; half of all that are released, if that is more."""


class Sampler:
    """Lets released sites report again, each of them at least every two intervals.

    Args:
        recorder: knows which sites its governor has released.
        restore: lets sites report again.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        recorder: Recorder,
        restore: Callable[[Sequence[Site]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recorder = recorder
        self._restore = restore
        self._clock = clock
        self._due = clock() + INTERVAL
        self._last = 0

    def look(self) -> None:
        """Take a sample, if one is due."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + INTERVAL
        numbers = self._recorder.released
        if not numbers:
            return
        after = [number for number in numbers if number > self._last]
        chosen = [*after, *(number for number in numbers if number <= self._last)]
        del chosen[max(AT_ONCE, (len(numbers) + 1) // 2) :]
        self._last = chosen[-1]
        self._restore([self._recorder.sites[number] for number in chosen])
