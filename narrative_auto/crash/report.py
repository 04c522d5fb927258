"""The report of a crash, last on the screen: what failed, where, on which path, and what came before."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from narrative_auto.page import Line, columns, cut, duration, printable, relative, rule

if TYPE_CHECKING:
    from narrative_auto.crash.collect import Crash, StageOnPath

_MOST_CHAIN = 6
_MOST_MESSAGE_LINES = 4


def report_lines(crash: Crash, width: int, here: str, dump: str, more: str) -> list[Line]:
    """Return the report's lines.

    Args:
        crash: what is known.
        width: columns.
        here: the current folder; paths below it are shown relative to it.
        dump: the dump's path, "" if there is none.
        more: the command that shows the story, "" where it is not kept.
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
    lines += _more_lines(width, here, dump, more)
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
    indent = " " * (len(lead) + 2)
    wrapped = []
    for text in [first, *rest]:
        wrapped += textwrap.wrap(
            text,
            width,
            subsequent_indent=indent,
            max_lines=_MOST_MESSAGE_LINES,
            placeholder=" …",
            drop_whitespace=False,
        )
    return [[(text, style)] for text in wrapped]


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
        took = f", {duration(call.seconds)}" if call.seconds is not None else ""
        lines.append([(lead, "dim"), (f"{ago:>8}  {padded}  {call.outcome}{took}", "")])
    return lines


def _more_lines(width: int, here: str, dump: str, more: str) -> list[Line]:
    """Return where there is more to see; a path is never cut, so that it can be copied."""
    path = relative(dump, here)
    if more and dump and len(more) + len(path) + 20 <= width:
        return [[("more    ", "dim"), (f"{more}       dump {path}", "")]]
    lines: list[Line] = []
    if more:
        lines.append([("more    ", "dim"), (more, "")])
    if dump:
        lines.append([("dump    ", "dim"), (path, "")])
    return lines
