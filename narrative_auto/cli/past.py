"""Past stories as lines: a list of them, and one whole."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING

from narrative_auto import store_folder
from narrative_auto.crash.report import analysis_lines
from narrative_auto.page import Line, columns, counted, cut, duration, printable, relative, rule, thousands
from narrative_auto.renderers.left_behind import OUTCOME
from narrative_auto.renderers.stored import StoredStories, StoredStory
from narrative_auto.renderers.tree import tree_lines

if TYPE_CHECKING:
    from narrative_auto.renderers.stored import StoredFailure


def open_store(wanted: str, here: str) -> StoredStories:
    """Open the store that a person means.

    Args:
        wanted: a database file or a folder with one; "" for the nearest `.narrative/` upwards, else
            `runtime_narrative.db` in the current folder.
        here: the current folder.

    Raises:
        StoreError: it is not there or cannot be read.
    """
    path = wanted
    if not path:
        found = store_folder.find_upwards(here)
        seed = os.path.join(here, "runtime_narrative.db")
        folder = found or os.path.join(here, store_folder.NAME)
        path = seed if found is None and os.path.exists(seed) else folder
    return StoredStories(os.path.join(path, store_folder.DATABASE) if not os.path.isfile(path) else path)


def list_lines(store: StoredStories, count: int) -> list[Line]:
    """Return one line a story, the newest first."""
    found = store.newest(count)
    if not found:
        return [[("no stories yet: narrative-run python app.py", "")]]
    lines: list[Line] = []
    for story in found:
        child = "  child of " + story.parent_story_id[:6] if story.parent_story_id else ""
        took = duration(story.duration_seconds) if story.completed_at else ""
        lines.append(
            [
                (story.story_id[:6], "cyan"),
                (f"  {_when(story.started_at)}", ""),
                (f"  {outcome(story):<15}", _style(story)),
                (f"{took:>12}", "bold"),
                (f"  {cut(printable(story.name), 40)}{child}", ""),
            ]
        )
    return lines


def outcome(story: StoredStory) -> str:
    """Return how a story ended, in a word or two."""
    if story.outcome == "exited":
        return f"exit status {story.exit_status}"
    if story.outcome:
        return story.outcome
    if story.success is None:
        return "no end seen"
    return "ok" if story.success else "failed"


def _style(story: StoredStory) -> str:
    return "green" if story.success else "yellow" if story.success is None else "red"


def _when(text: str) -> str:
    """Return a stored UTC timestamp as local time, to the second."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return text


def story_lines(store: StoredStories, prefix: str, width: int) -> list[Line]:
    """Return one story: heading, circumstances, failure, the whole tree, what was left plain, children.

    Args:
        store: where to look.
        prefix: how the story's id begins.
        width: columns.

    Raises:
        StoreError: there is no such story, or more than one.
    """
    story = store.find(prefix)
    took = duration(story.duration_seconds) if story.completed_at else "no end"
    style = f"bold {_style(story)}"
    lines = [rule(["narrative", printable(story.name), outcome(story), took, story.story_id[:6]], width, style)]
    facts = (
        ("story", story.story_id),
        ("began", _when(story.started_at)),
        ("command", story.command),
        ("in", story.folder),
        ("python", f"{story.python}, pid {story.pid}" if story.python else ""),
        ("child of", story.parent_story_id[:6]),
    )
    lines += [[(f"{name:<9}", "dim"), (printable(text), "")] for name, text in facts if text]
    for failure in store.failures(story):
        lines += failure_lines(failure, width)
    here = os.getcwd()
    lines += [[("dump    ", "dim"), (relative(path, here), "")] for path in store.dumps(story)]
    totals = store.totals(story)
    lines.append([("", "")])
    if totals:
        lines += tree_lines(totals, story.duration_seconds, width, None)
        sites = len({total.site for total in totals})
        calls = sum(total.calls for total in totals)
        text = f"{counted(sites, 'site')}, {counted(calls, 'call')}, own cost {story.own_cost * 100:.1f} %"
        if story.folded:
            text += f"; {thousands(story.folded)} notable stages are in the totals only"
        if story.disordered:
            text += f"; nesting is not sure: stacks were switched under {counted(story.disordered, 'call')}"
        lines.append([(text, "")])
    else:
        lines.append([("no totals: the end of this story was not seen", "dim")])
    if story.outcome == OUTCOME:
        lines.append([(f"what it was doing: narrative recover {story.story_id[:6]}", "")])
    for module, function, reason in store.left_plain(story):
        where = f"{module}:{function}" if function else module
        lines.append([(f"left plain  {printable(where)}: {printable(reason)}", "dim")])
    for child in store.children(story):
        took = duration(child.duration_seconds) if child.completed_at else ""
        lines.append([(f"child  {child.story_id[:6]}  {outcome(child)}  {took}  {printable(child.name)}", "")])
    return lines


def failure_lines(failure: StoredFailure, width: int) -> list[Line]:
    """Return a stored failure: error, chain, place, source, path, what a language model made of it."""
    lines: list[Line] = [[("", "")], [(f"{failure.error_type}: {printable(failure.error_message)}", "bold red")]]
    lines += [[(f"  {printable(link)}", "red")] for link in failure.exception_chain]
    if failure.filename:
        lines.append([(f"  {failure.filename}:{failure.lineno} in {failure.function}", "bold")])
    lines += [[(line.rstrip(), "")] for line in failure.source_snippet.splitlines() if columns(line)]
    if failure.stage_timeline:
        lines.append([("path    ", "dim"), (printable(failure.stage_timeline), "")])
    return lines + (analysis_lines(failure.llm_analysis, width) if failure.llm_analysis else [])
