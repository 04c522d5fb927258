"""The report of a crash, last on the screen: what failed, where, on which path, and what came before."""

from __future__ import annotations

import re
import textwrap

from narrative_auto.page import Line, columns, cut, duration, printable, relative, rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from narrative_auto.crash.collect import Crash, StageOnPath
    from narrative_auto.failures.extract import LinkedError

MOST_CRUMBS = 8
"""Crumbs that are shown; the dump has all."""

_HINT = re.compile(r"\. Did you (?:mean|forget)\b[^\n]{1,200}\?\Z")
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
    if crash.where:
        where = f"unhandled in {crash.where}"
    room = max(12, width - columns(crash.story_name) - 40)
    heading = ["narrative", printable(crash.story_name), cut(printable(where), room), duration(crash.seconds)]
    lines = [rule(heading, width, "bold red")]
    lines += _error_lines(failure.error_type, failure.error_message + _hint(crash), "", width)
    for link in failure.chain[:_MOST_CHAIN]:
        lines += _error_lines(link.error_type, link.message, f"  {link.relation_words} ", width)
    for index, lead in enumerate(_leads(failure.members)):
        member = failure.members[index]
        is_group = any(one.depth > member.depth for one in failure.members[index + 1 : index + 2])
        place = "" if is_group else _place_of(member, here)
        lines += _error_lines(member.error_type, member.message, lead, width, place)
    if failure.members_left_out:
        lines.append([(f"  and {failure.members_left_out} more", "")])
    for note in failure.notes[:_MOST_CHAIN]:
        lines.append([(cut(f"  note: {printable(note)}", width), "")])
    lines += _place_lines(crash, here)
    lines += _variable_lines(crash, width, here)
    lines.append([("", "")])
    if crash.path:
        lines += _path_lines(crash.path, width)
    lines += _before_lines(crash, width)
    lines += _more_lines(width, here, dump, more)
    return lines


def _leads(members: Sequence[LinkedError]) -> list[str]:
    """Return what stands before each member of a tree of groups."""
    leads = []
    goes_on: list[bool] = []  # by depth: whether the group has another member further down
    for index, member in enumerate(members):
        later = (one.depth for one in members[index + 1 :] if one.depth <= member.depth)
        goes_on[member.depth - 1 :] = [next(later, 0) == member.depth]
        around = "".join("│  " if more else "   " for more in goes_on[:-1])
        leads.append(f"  {around}{'├─' if goes_on[-1] else '└─'} ")
    return leads


def interrupted_line(crash: Crash, here: str) -> Line:
    """Return one line about where Ctrl-C met the program."""
    place = crash.failure.place
    at = f" at {relative(place.filename, here)}:{place.lineno}" if place is not None else ""
    within = f" in {printable(crash.failed_in)}" if crash.failed_in else ""
    return [(f"narrative: interrupted{within}{at} after {duration(crash.seconds)}", "")]


def _hint(crash: Crash) -> str:
    """Return what Python itself suggests behind the message, "Did you mean: …?"; "" for nothing."""
    last = crash.traceback_text.rstrip().rpartition("\n")[2]
    found = _HINT.search(last)
    return found.group() if found is not None and found.group() not in crash.failure.error_message else ""


def _place_of(member: LinkedError, here: str) -> str:
    """Return where a member of a group was raised, if that is in the application."""
    place = member.place
    if place is None or not place.is_application:
        return ""
    return f"  ({relative(place.filename, here)}:{place.lineno} in {printable(place.function)})"


def _error_lines(error_type: str, message: str, lead: str, width: int, place: str = "") -> list[Line]:
    """Return an error as Python words it; a long message in a few lines, the first and the last ones."""
    texts = message.splitlines() or [""]
    error_type = error_type.rpartition(".")[2]  # Python's own traceback above has the whole name
    first = f"{lead}{error_type}: {printable(texts[0])}" if texts[0] else f"{lead}{error_type}"
    style = "" if lead else "bold red"
    first += place
    below = lead.replace("├─", "│ ").replace("└─", "  ") if lead.rstrip().endswith("─") else " " * len(lead)
    shown = texts[1:]
    if len(texts) > _MOST_MESSAGE_LINES + 1:  # the end says more: it is where a traceback in a message leads to
        shown = [f"… {len(texts) - _MOST_MESSAGE_LINES} more lines …", *texts[1 - _MOST_MESSAGE_LINES :]]
    rest = [f"{below}  {printable(text)}" for text in shown]
    indent = f"{below}  "
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


def _variable_lines(crash: Crash, width: int, here: str) -> list[Line]:
    """Return the variables of the frames that matter; two and more in a line where they fit."""
    lines: list[Line] = []
    for index, frame in enumerate(crash.failure.variables):
        if not frame.values:
            continue
        if index:
            lines += [[("", "")], [(f"  {relative(frame.filename, here)}:{frame.lineno} in {frame.function}", "bold")]]
        row = ""
        for name, text in frame.values:
            piece = cut(f"{name} = {printable(text)}", width - 2)
            if row and columns(row) + columns(piece) + 8 > width:
                lines.append([(row, "")])
                row = ""
            row = f"{row}      {piece}" if row else f"  {piece}"
        lines.append([(row, "")])
        if frame.left_out:
            lines.append([(f"  and {frame.left_out} more", "dim")])
    return lines


def _before_lines(crash: Crash, width: int) -> list[Line]:
    """Return what happened just before: the last calls and the last crumbs, in the order of their times."""
    name_width = min(max((columns(call.name) for call in crash.before), default=0), width - 40)
    told = []
    for call in crash.before:
        name = cut(printable(call.name), name_width)
        took = f", {duration(call.seconds)}" if call.seconds is not None else ""
        told.append((call.seconds_before, f"{name}{' ' * (name_width - columns(name))}  {call.outcome}{took}"))
    told += [(one.seconds_before, printable(one.line)) for one in crash.crumbs[-MOST_CRUMBS:]]
    told.sort(key=lambda one: -one[0])
    lines: list[Line] = []
    for seconds, text in told:
        lead = "        " if lines else "before  "
        ago = f"{'-' if seconds >= 0 else '+'}{duration(abs(seconds))}"
        lines.append([(lead, "dim"), (cut(f"{ago:>8}  {text}", width - 8), "")])
    return lines


def analysis_lines(analysis: str, width: int) -> list[Line]:
    """Return what a language model made of a failure, wrapped."""
    lines: list[Line] = [[("", "")]]
    for text in analysis.splitlines():
        style = "bold" if text.startswith("#") else ""
        lines += [[(part, style)] for part in textwrap.wrap(printable(text), width) or [""]]
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
