"""The story as a folded tree on stderr, when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narrative_auto.page import Line, Page, columns, cut, duration, printable, rule, thousands
from narrative_auto.stories.events import FailureOccurred, StoryCompleted, StoryTotals
from narrative_auto.stories.folding import StageNode, fold, keep_largest, without_private

if TYPE_CHECKING:
    from narrative_auto.stories.events import StageTotal

MOST_LINES = 24
"""Lines of a whole story on the screen."""

_LONGEST_NAME = 46


class TreeRenderer:
    """Prints the tree of a story when it completes; a story that failed has been told by the crash report.

    Args:
        page: where to print.
        whole: the tree and the summary; False for the first and the last line only.
    """

    def __init__(self, page: Page | None = None, *, whole: bool = True) -> None:
        self._page = page or Page()
        self._whole = whole
        self._totals: StoryTotals | None = None
        self._failed = False

    def handle(self, event: Any) -> None:
        """Keep the totals, print at the end."""
        if isinstance(event, FailureOccurred):
            self._failed = True
        elif isinstance(event, StoryTotals):
            self._totals = event
        elif isinstance(event, StoryCompleted) and self._totals is not None and not self._failed:
            self._page.write(self._lines(event, self._totals))

    def _lines(self, story: StoryCompleted, totals: StoryTotals) -> list[Line]:
        width = self._page.width
        ok = totals.outcome in {"ok", "ended"}
        style = "bold green" if ok else "bold red"
        heading = rule(
            ["narrative", printable(story.story_name), outcome_text(totals), duration(story.duration_seconds)],
            width,
            style,
        )
        if not totals.totals:
            return [heading, *no_stages_lines(totals.app_roots)]
        more: Line = [(f"more: narrative story {story.story_id[:6]}", "dim")]
        if not self._whole:
            return [heading, more]
        tree = tree_lines(list(totals.totals), story.duration_seconds, width, MOST_LINES - 3, handled=ok)
        return [heading, *tree, summary_line(totals), more]


def outcome_text(totals: StoryTotals) -> str:
    """Return the outcome in a heading's words."""
    return f"exit status {totals.exit_status}" if totals.outcome == "exited" else totals.outcome


def no_stages_lines(app_roots: tuple[str, ...]) -> list[Line]:
    """Return what a person who sees no stage wants to know."""
    where = ", ".join(app_roots) or "(no folder)"
    return [
        [(f"no stages: no application code was imported under {where}", "")],
        [("application code elsewhere? narrative-run --app-root ../src …", "dim")],
        [("                            (or --include 'shop.*')", "dim")],
    ]


def summary_line(totals: StoryTotals) -> Line:
    """Return the line that counts: `6 sites, 9 003 calls, own cost 1.2 %`."""
    sites = len({total.site for total in totals.totals})
    calls = sum(total.calls for total in totals.totals)
    text = f"{_counted(sites, 'site')}, {_counted(calls, 'call')}"
    text += f", own cost {totals.own_cost * 100:.1f} %"
    if totals.left_plain:
        text += f", {len(totals.left_plain)} left plain"
    return [(text, "")]


def _counted(number: int, noun: str) -> str:
    return f"{thousands(number)} {noun}{'' if number == 1 else 's'}"


def tree_lines(totals: list[StageTotal], seconds: float, width: int, most: int | None, *, handled: bool) -> list[Line]:
    """Return the folded tree, one line a stage.

    Args:
        totals: in the order of the first calls.
        seconds: the story's duration, by which a private helper is slow or not.
        width: columns.
        most: lines at most, and private helpers only where they matter; None for all.
        handled: nothing left the story, so whatever was raised was handled in it.
    """
    root = fold(totals)
    left_out = 0
    if most is not None:
        root = without_private(root, seconds)
        raising = sum(node.total is not None and node.total.raised > 0 for _, node in root.walk())
        root, left_out = keep_largest(root, max(4, most - raising))
    rows: list[tuple[str, StageNode | None, str]] = []
    for node in root.below:
        _add_rows(rows, node, "  ", "  ", ", handled" if handled else "")
    if left_out:
        rows.append(("  ", None, f"and {left_out} more"))
    name_width = min(
        _LONGEST_NAME, max((columns(lead) + columns(_name(node)) for lead, node, _ in rows if node), default=0)
    )
    return [_row_line(lead, node, text, name_width, width) for lead, node, text in rows]


def _name(node: StageNode) -> str:
    assert node.total is not None
    return printable(node.total.name)


def _add_rows(
    rows: list[tuple[str, StageNode | None, str]], node: StageNode, lead: str, below: str, after: str
) -> None:
    """Append a stage's line, the line about what it raised, and those of the stages that it called."""
    total = node.total
    assert total is not None
    rows.append((lead, node, ""))
    notes = []
    if total.raised:
        kinds = ", ".join(sorted(total.errors)) or "an exception"
        notes.append(f"{thousands(total.raised)} raised {printable(kinds)}{after}")
    for index, note in enumerate(notes):
        last = not node.below and index == len(notes) - 1
        rows.append((below + ("└─ " if last else "├─ "), None, note))
    for index, child in enumerate(node.below):
        last = index == len(node.below) - 1
        _add_rows(rows, child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), after)


def _row_line(lead: str, node: StageNode | None, text: str, name_width: int, width: int) -> Line:
    if node is None or node.total is None:
        return [(lead, "dim"), (cut(text, max(8, width - columns(lead))), "yellow" if "raised" in text else "dim")]
    total = node.total
    name = cut(_name(node), max(8, name_width - columns(lead)))
    calls = f"×{total.calls}" if total.calls != 1 else ""
    padded = name + " " * max(0, name_width - columns(lead) - columns(name))
    line: Line = [
        (lead, "dim"),
        (padded, "red" if total.raised else ""),
        (f"  {calls:>9}", "cyan"),
        (f"  {duration(total.total_seconds):>11}", "bold"),
    ]
    tail = f"   longest {duration(total.longest_seconds)}" if total.calls > 1 else ""
    if node.recursive_calls:
        tail += f"   recursive ×{node.recursive_calls}"
    room = width - sum(columns(piece) for piece, _ in line)
    line.append((cut(tail, room) if room > 8 else "", "dim"))
    return line
