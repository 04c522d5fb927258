"""Finds values that stand on the lines below their name, as in YAML."""

from __future__ import annotations

from narrative_auto.failures.pattern import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

    from narrative_auto.failures.shapes import Span

_MOST_LINE = 2_000
# YAML: a block of lines further in than the name, an item or a bare value below it.
_BLOCK = lazily(r"[|>][0-9+-]{0,2}[ \t]*+(?:\#[^\n]*+)?\r?\n")
_BELOW = lazily(r"\r?\n(?P<indent>[ \t]*+)(?P<value>-[ \t]+[^\s:](?:[^\n:]|:(?!\s))*+|[^\s:=-][^\n:=]*+)(?=\n|\Z)")
_INDENT = lazily(r"[ \t]*+(?:-[ \t]++)?")


def lines_below(text: str, assigned: re.Match[str], end: int) -> list[Span]:
    """Return where the value of a YAML key stands on the lines below it; nothing where it does not.

    Args:
        text: the whole text.
        assigned: the key with its sign, as groups `name` and `sign`.
        end: of what is looked at.
    """
    if not assigned["sign"].startswith(":") or assigned.end() >= end:
        return []
    line = text.rfind("\n", max(0, assigned.start() - _MOST_LINE), assigned.start()) + 1
    indent = _INDENT.match(text, line)
    assert indent is not None
    if indent.end() != assigned.start() - (text[assigned.start() - 1 : assigned.start()] in {"'", '"'}):
        return []
    deep = indent.end() - line
    if block := _BLOCK.match(text, assigned.end(), end):
        stop = block.end()
        while stop < end:
            line_end = text.find("\n", stop, end)
            next_line = line_end if line_end >= 0 else end
            here = text[stop:next_line]
            if here.strip() and len(here) - len(here.lstrip(" \t")) <= deep:
                break
            stop = min(end, next_line + 1)
        return [(block.end(), stop - (text[stop - 1 : stop] == "\n" and stop > block.end()))]
    below = []
    position = assigned.end()
    while found := _BELOW.match(text, position, end):
        item = found["value"].startswith("- ")
        if len(found["indent"]) < deep + (not item) or found["value"].startswith(("File ", "at ")):
            break
        below.append((found.start("value") + 2 * item, found.end("value")))
        position = found.end()
        if not item:
            break
    return below
