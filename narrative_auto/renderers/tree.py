"""The story as a folded tree on stderr, when it has ended."""

from __future__ import annotations

from narrative_auto.page import Line, Page, columns, counted, cut, duration, printable, rule, thousands
from narrative_auto.stories.events import StoryCompleted, StoryTotals
from narrative_auto.stories.folding import StageNode, fold, keep_largest, without_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from narrative_auto.stories.events import StageTotal

MOST_LINES = 24
"""Lines of a whole story on the screen."""

_SHORTEST_NAME = 8
_GAP = 3


class TreeRenderer:
    """Prints the tree of a story when it completes; a story that failed has been told by the crash report.

    Args:
        page: where to print.
        whole: the tree and the summary; False for the first and the last line only.
        more: gives the command that shows a story by its id, "" where it is not kept.
    """

    def __init__(
        self, page: Page | None = None, *, whole: bool = True, more: Callable[[str], str] = lambda _: ""
    ) -> None:
        self._more = more
        self._page = page or Page()
        self._whole = whole
        self._totals: StoryTotals | None = None

    def handle(self, event: Any) -> None:
        """Keep the totals, print at the end."""
        if isinstance(event, StoryTotals):
            self._totals = event
        elif isinstance(event, StoryCompleted) and self._totals is not None and self._totals.outcome != "failed":
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
            reasons = no_stages_lines(totals)
            return [heading, *(reasons if self._whole else reasons[:1])]
        command = self._more(story.story_id)
        more: list[Line] = [[(f"more: {command}", "dim")]] if command else []
        if not self._whole:
            return [heading, *more]
        tree = tree_lines(list(totals.totals), story.duration_seconds, width, MOST_LINES - 3)
        return [heading, *tree, summary_line(totals), *more]


def outcome_text(totals: StoryTotals) -> str:
    """Return the outcome in a heading's words."""
    return f"exit status {totals.exit_status}" if totals.outcome == "exited" else totals.outcome


def no_stages_lines(totals: StoryTotals) -> list[Line]:
    """Return what a person who sees no stage wants to know."""
    where = ", ".join(totals.app_roots) or "(no folder)"
    if totals.modules:
        said = (
            f"no stages: no function of the application was called ({counted(totals.modules, 'module')} under {where})"
        )
        return [[(said, "")]]
    if totals.left_plain:
        module, _, reason = totals.left_plain[0]
        said = f"no stages: {counted(len(totals.left_plain), 'module')} of the application left as they are"
        return [[(said, "")], [(f"{printable(module)}: {printable(reason)}", "dim")]]
    return [
        [(f"no stages: no application code was imported under {where}", "")],
        [("application code elsewhere? narrative-run --app-root ../src …", "dim")],
        [("                            (or --include 'shop.*')", "dim")],
    ]


def summary_line(totals: StoryTotals) -> Line:
    """Return the line that counts: `6 sites, 9 003+ calls, 1 site sampled, own cost 1.2 %`."""
    sites = len({total.site for total in totals.totals})
    calls = sum(total.calls for total in totals.totals)
    sampled = len({total.site for total in totals.totals if not total.exact})
    text = f"{counted(sites, 'site')}, {counted(calls, 'call', more=sampled > 0)}"
    if sampled:
        text += f", {counted(sampled, 'site')} sampled"
    text += f", own cost {totals.own_cost * 100:.1f} %"
    if totals.left_plain:
        text += f", {len(totals.left_plain)} left plain"
    if totals.disordered:
        text += ", nesting not sure"
    return [(text, "")]


def tree_lines(totals: list[StageTotal], seconds: float, width: int, most: int | None) -> list[Line]:
    """Return the folded tree, one line a stage.

    Args:
        totals: in the order of the first calls.
        seconds: the story's duration, by which a private helper is slow or not.
        width: columns.
        most: lines at most, and private helpers only where they matter; None for all.
    """
    root = fold(totals)
    left_out = 0
    if most is not None:
        root, left_out = keep_largest(without_private(root, seconds), most)
    rows: list[tuple[str, StageNode | None, str]] = []
    for node in root.below:
        _add_rows(rows, node, "  ", "  ", handled=False)  # what leaves an outermost stage, nobody saw handled
    if left_out:
        rows.append(("  ", None, f"and {left_out} more"))
    return _columns(rows, width)


def _columns(rows: list[tuple[str, StageNode | None, str]], width: int) -> list[Line]:
    """Lay rows of (what leads to the name, stage or None, text instead) out in columns."""
    stages = [(lead, node, node.total) for lead, node, _ in rows if node is not None and node.total is not None]
    calls_width = max((len(_calls(total)) for _, _, total in stages), default=0)
    time_width = max((len(duration(total.total_seconds)) for _, _, total in stages), default=0)
    tail_width = max((len(_tail(node, total)) for _, node, total in stages), default=0)
    room = max(_SHORTEST_NAME, width - calls_width - time_width - tail_width - 3 * _GAP)
    name_width = min(room, max((columns(lead) + columns(_name(node)) for lead, node, _ in stages), default=0))
    lines: list[Line] = []
    for lead, node, text in rows:
        if node is None or node.total is None:
            shown = cut(text, max(_SHORTEST_NAME, width - columns(lead)))
            lines.append([(lead, "dim"), (shown, "yellow" if "raised" in text else "dim")])
            continue
        name = cut(_name(node), max(_SHORTEST_NAME, name_width - columns(lead)))
        line: Line = [
            (lead, "dim"),
            (name + " " * (name_width - columns(lead) - columns(name)), "red" if node.total.raised else ""),
            (" " * _GAP + _calls(node.total).rjust(calls_width), "cyan"),
            (" " * _GAP + duration(node.total.total_seconds).rjust(time_width), "bold"),
        ]
        tail = _tail(node, node.total)
        if tail:
            line.append((" " * _GAP + tail, "dim"))
        lines.append(line)
    return lines


def _calls(total: StageTotal) -> str:
    if not total.exact:
        return f"≥×{total.calls}"
    return f"×{total.calls}" if total.calls != 1 else ""


def _tail(node: StageNode, total: StageTotal) -> str:
    parts = [f"longest {duration(total.longest_seconds)}"] if total.calls > 1 else []
    if node.recursive_calls:
        parts.append(f"recursive ×{node.recursive_calls}")
    if not total.exact:
        parts.append("sampled")
    return "   ".join(parts)


def _name(node: StageNode) -> str:
    assert node.total is not None
    return printable(node.total.name)


def _add_rows(
    rows: list[tuple[str, StageNode | None, str]], node: StageNode, lead: str, below: str, *, handled: bool
) -> None:
    """Append a stage's line, the line about what it raised, and those of the stages that it called.

    What leaves a stage is handled if it does not leave the stage above.
    """
    total = node.total
    assert total is not None
    rows.append((lead, node, ""))
    if total.raised:
        kinds = printable(", ".join(sorted(total.errors)))
        text = f"{thousands(total.raised)} raised {kinds}{', handled' if handled else ''}"
        rows.append((below + ("├─ " if node.below else "└─ "), None, text))
    for index, child in enumerate(node.below):
        last = index == len(node.below) - 1
        _add_rows(
            rows,
            child,
            below + ("└─ " if last else "├─ "),
            below + ("   " if last else "│  "),
            handled=not total.raised,
        )
