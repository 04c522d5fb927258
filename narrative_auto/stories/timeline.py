"""What a story has done, folded: stages of one name below the same ones are one line, however many there were."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LINES = 200
"""Lines that a timeline keeps: stages whose names hold numbers are as many as there are numbers."""

MOST_DEPTH = 20
"""Lines below each other: what is further in counts as the last of them."""


class TimelineLine:
    """What is known of stages of one name below the same ones.

    Attributes:
        name: theirs.
        began, ended, failed: how many began, ended, and were left by an exception.
        nanoseconds: of all that ended.
        below: the lines of the stages inside them, by name, in the order in which they first began.
    """

    __slots__ = ("began", "below", "depth", "ended", "failed", "name", "nanoseconds")

    def __init__(self, name: str, depth: int) -> None:
        self.name = name
        self.depth = depth
        self.began = self.ended = self.failed = self.nanoseconds = 0
        self.below: dict[str, TimelineLine] = {}

    def words(self) -> str:
        """Return the line as text."""
        words = [self.name]
        if self.began > 1:
            words.append(f"×{self.began}")
        words.append(f"{self.nanoseconds / 1e9:.3f}s")
        still = self.began - self.ended
        if still:
            words.append("open" if still == 1 else f"{still} open")
        if self.failed:
            words.append("failed" if self.began == 1 else f"{self.failed} failed")
        return " ".join(words)


class Timeline:
    """The lines of a story; `root` stands above all."""

    __slots__ = ("_count", "_others", "root")

    def __init__(self) -> None:
        self.root = TimelineLine("", -1)
        self._others = TimelineLine("others", 0)
        self._count = 0

    def line(self, name: str, around: TimelineLine) -> TimelineLine:
        """Return the line of stages of a name inside another one; that of all others where there are too many."""
        found = around.below.get(name)
        if found is not None:
            return found
        if around.depth >= MOST_DEPTH:
            return around
        if self._count >= MOST_LINES or around is self._others:
            return self._others
        self._count += 1
        made = around.below[name] = TimelineLine(name, around.depth + 1)
        return made

    def text(self) -> str:
        """Return the timeline, a line each, those of inner stages indented."""
        lines = ["  " * line.depth + line.words() for line in self._lines(self.root)]
        if self._others.began:
            lines.append(self._others.words())
        return "\n".join(lines)

    def _lines(self, around: TimelineLine) -> Iterator[TimelineLine]:
        for line in around.below.values():
            yield line
            yield from self._lines(line)
