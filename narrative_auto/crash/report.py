"""The report of a crash, last on the screen: what failed, where, on which path, and what came before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from narrative_auto.page import Line, columns, cut, duration, printable, rule

if TYPE_CHECKING:
    from narrative_auto.crash.collect import Crash, StageOnPath

_MOST_CHAIN = 6
_MOST_MESSAGE_LINES = 4


def report_lines(crash: Crash, width: int, here: str, dump: str, *, kept: bool) -> list[Line]:
    """Return the report's lines.

    Args:
        crash: what is known.
        width: columns.
        here: the current folder; paths below it are shown relative to it.
        dump: the dump's path, "" if there is none.
        kept: whether the story is in the store.
    """
    failure = crash.failure
    where = f"failed in {crash.failed_in}" if crash.failed_in else "failed"
    room = max(12, width - columns(crash.story_name) - 40)
    heading = ["narrative", printable(crash.story_name), cut(printable(where), room), duration(crash.seconds)]
    lines = [rule(heading, width, "bold red")]
    lines += _error_lines(failure.error_type, failure.error_message, "", width)
    for link in failure.chain[:_MOST_CHAIN]:
        lines += _error_lines(link.error_type, link.message, f"  {link.relation_words} ", width)
    for member in failure.members:
        lines += _error_lines(member.error_type, member.message, "  | ", width)
    for note in failure.notes[:_MOST_CHAIN]:
        lines.append([(cut(f"  note: {printable(note)}", width), "")])
    lines += _place_lines(crash, here)
    lines.append([("", "")])
    if crash.path:
        lines += _path_lines(crash.path, width)
    lines += _before_lines(crash, width)
    if kept:
        lines += _more_lines(crash, width, here, dump)
    return lines


def _error_lines(error_type: str, message: str, lead: str, width: int) -> list[Line]:
    """Return an error as Python words it; a long message in a few lines."""
    texts = message.splitlines() or [""]
    error_type = error_type.rpartition(".")[2]  # Python's own traceback above has the whole name
    first = f"{lead}{error_type}: {printable(texts[0])}" if texts[0] else f"{lead}{error_type}"
    style = "" if lead else "bold red"
    rest = [f"{' ' * len(lead)}  {printable(text)}" for text in texts[1:_MOST_MESSAGE_LINES]]
    if len(texts) > _MOST_MESSAGE_LINES:
        rest.append(f"{' ' * len(lead)}  and {len(texts) - _MOST_MESSAGE_LINES} more lines")
    return [[(cut(text, 2 * width), style)] for text in [first, *rest]]


def _place_lines(crash: Crash, here: str) -> list[Line]:
    place = crash.failure.place
    if place is None:
        return []
    lines: list[Line] = [[("", "")]]
    lines.append([(f"  {relative(place.filename, here)}:{place.lineno} in {printable(place.function)}", "bold")])
    for source in crash.failure.snippet:
        mark = "  > " if source.marked else "    "
        lead = f"{mark}{source.number:>4}     "
        lines.append([(lead, "bold red" if source.marked else "dim"), (printable(source.text), "")])
        if source.caret is not None and source.caret[1] > source.caret[0]:
            start, end = source.caret
            lines.append([(" " * (len(lead) + start) + "^" * (end - start), "bold red")])
    return lines


def _path_lines(path: tuple[StageOnPath, ...], width: int) -> list[Line]:
    """Return the stages from the outermost to the innermost, wrapped, repetitions folded."""
    folded: list[tuple[str, int]] = []
    for index, stage in enumerate(path):
        text = printable(stage.name)
        if index == len(path) - 1:
            text += f", call {stage.call}" if stage.call > 1 else ""
        elif stage.seconds is not None:
            text += f" {duration(stage.seconds)}"
        if folded and index < len(path) - 1 and path[index - 1].name == stage.name:
            folded[-1] = (folded[-1][0], folded[-1][1] + 1)
        else:
            folded.append((text, 1))
    steps = [text if count == 1 else f"{text} ×{count}" for text, count in folded]
    if len(steps) > 12:
        steps = [*steps[:5], f"… {len(steps) - 10} more …", *steps[-5:]]
    lines = [""]
    for index, step in enumerate(steps):
        piece = step if index == 0 else f" > {step}"
        if columns(lines[-1]) + columns(piece) > width - 8 and lines[-1]:
            lines.append(piece.lstrip())
        else:
            lines[-1] += piece
    return [[("path    " if index == 0 else " " * 8, "dim"), (text, "")] for index, text in enumerate(lines)]


def _before_lines(crash: Crash, width: int) -> list[Line]:
    name_width = max((columns(call.name) for call in crash.before), default=0)
    name_width = min(name_width, width - 40)
    lines: list[Line] = []
    for index, call in enumerate(crash.before):
        name = cut(printable(call.name), name_width)
        padded = name + " " * (name_width - columns(name))
        lead = "before  " if index == 0 else " " * 8
        ago = f"-{duration(call.seconds_before)}"
        lines.append([(lead, "dim"), (f"{ago:>8}  {padded}  {call.outcome}, {duration(call.seconds)}", "")])
    return lines


def _more_lines(crash: Crash, width: int, here: str, dump: str) -> list[Line]:
    """Return where there is more to see; a path is never cut, so that it can be copied."""
    story = f"narrative story {crash.story_id[:6]}"
    path = relative(dump, here)
    if dump and len(story) + len(path) + 20 > width:
        return [[("more    ", "dim"), (story, "")], [("dump    ", "dim"), (path, "")]]
    return [[("more    ", "dim"), (f"{story}       dump {path}" if dump else story, "")]]


def relative(path: str, here: str) -> str:
    """Return a path as it is typed with the fewest characters: relative to the current folder, or whole."""
    try:
        seen_from_here = os.path.relpath(path, here) if os.path.isabs(path) else path
    except ValueError:  # on another drive
        return path
    return min(seen_from_here, path, key=len)
