"""Finds what is secret by the name that it is given to, in free text and in source code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from narrative_auto.failures.shapes import Span

_MOST_VALUE = 1_000
"""Characters of a bracketed value that are searched for its end; a longer one counts as open."""

# A name, with what may close it (`name"`, `name']`, `name)`), and what assigns or compares. Escaped quotes are those of
# JSON inside a `repr`. Possessive throughout: each name is read once.
_ASSIGNED = re.compile(
    r"""
    (?<![\w-])
    (?P<name> (?:api|private)\ key | [\w-]++ )
    (?P<closing> (?:\\{0,3}+["'])? [\])]? )
    (?P<sign> [ \t]*+ (?: => | [=!]?={1,2} | :=? ) [ \t]*+ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OPTION = re.compile(r"""(?<![\w-])--?(?P<name>\w[\w-]*+)(?:[ \t]++|\\?["'],[ \t]*+(?=\\?[bu]?["']))""")
_PAIR = re.compile(r"""\([bu]?["'](?P<name>[\w-]++)["'],[ \t]*+(?=[bu]?["'])""")
_ELEMENT = re.compile(r"<(?P<name>[\w.:-]++)>(?P<value>[^<>]++)</")

_STRING = re.compile(
    r"""
    [bBfFrRtTuU]{0,2}
    (?: \"{3} (?:\\.|[^\\])*? (?:\"{3}|\Z)
      | '{3} (?:\\.|[^\\])*? (?:'{3}|\Z)
      | " (?:\\.|[^"\\\n])*+ (?:"|$|\Z)
      | ' (?:\\.|[^'\\\n])*+ (?:'|$|\Z) )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_STRING_OR_COMMENT = re.compile(rf"(?:(?<!\w){_STRING.pattern})|\#[^\n]*+", _STRING.flags)

_ESCAPED_QUOTE = re.compile(r"""\\{1,3}+["']""")
_REST_OF_LINE = re.compile(r"[^\r\n]++")
_REST_OF_QUOTED_LINE = re.compile(r"""[^\r\n"'\\]++""")
# Brackets, commas and semicolons belong to a bare value where more of it follows, unless that is the next assignment.
_BARE = re.compile(
    r"""
    (?: [^\s"'&,;()\[\]{}<>\\]
      | [,;()\[\]{}<>\\&"'] (?! [\w.-]{1,64}+ [ \t]?+ [=:] ) (?= [^\s"'&,;()\[\]{}<>\\] )
    )++
    """,
    re.VERBOSE,
)
_CALL = re.compile(r"[A-Za-z_][\w.]{0,100}+\(")
# What is no secret is so only as a whole: in `password=None!x` the word is part of one.
_ENDS = r"""(?=[\s"'&,;)\]}>|]|\Z)"""
_HARMLESS = re.compile(
    r"""
    (?: <[^<>\n]{1,200}\ at\ 0x[0-9a-fA-F]{1,16}> | <class\ '[\w.]{1,200}'> | <\w{1,60}(?:\.\w{1,60}){1,8}>
      | %s | %\(\w{1,60}\)s | \? | \$?\{\w{1,60}\} | \*{3,100} | \.\.\. | …
      | None | null | nil | True | true | False | false | undefined
      | str | bytes | int | bool | float | dict | list | tuple | set | object | Any
    )
    """
    + _ENDS,
    re.VERBOSE,
)
_AFTER_CALL = re.compile(r"""[\s"'&,;)\]}>|.\[:]|\Z""")
_NO_SECRET_NAME = re.compile(r"(?:Error|Exception|Warning)\Z")
_ENVIRONMENT_NAME = re.compile(r"[A-Z0-9]++(?:_[A-Z0-9]++)++")
_QUOTE_OR_BRACKET = re.compile(r"""["'()\[\]{}]""")
_EMPTY = {"''", '""', "b''", 'b""'}
_CONTINUED = re.compile(r"[ \t]*+=[ \t]*+(?!=)")
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_OPENS = {closing: opening for opening, closing in _CLOSES.items()}


def text_spans(text: str, is_secret: Callable[[str], bool], start: int = 0, end: int | None = None) -> Iterator[Span]:
    """Give where free text has values of secret names: messages, command lines, tracebacks, JSON, `repr`s.

    What cannot be told from a secret is taken for one: any bare word after `password=`. Calls such as `Session()`
    stay, but for the strings in them.

    Args:
        text: any text; the caller bounds its length.
        is_secret: whether a name is a secret's name.
        start, end: the part of the text to look at.
    """
    end = len(text) if end is None else end
    position = start
    while assigned := _ASSIGNED.search(text, position, end):
        position = assigned.end()
        if not is_secret(assigned["name"]) or (":" in assigned["sign"] and _is_no_key(text, assigned)):
            continue
        for span in _text_value(text, assigned.end(), end, _header_rest(text, assigned)):
            yield span
            position = max(position, span[1])
    for pattern in (_OPTION, _PAIR):
        for found in pattern.finditer(text, start, end):
            if is_secret(found["name"]) and not text.startswith("--", found.end()):
                yield from _text_value(text, found.end(), end)
    for found in _ELEMENT.finditer(text, start, end):
        if is_secret(found["name"]):
            yield found.span("value")


def source_spans(text: str, is_secret: Callable[[str], bool]) -> Iterator[Span]:
    """Give where Python source has string literals that are values of secret names.

    Names, calls and numbers stay readable: `token = tokenize(source)` gives nothing away. Inside strings and comments
    the rules of free text hold.

    Args:
        text: whole lines; the caller bounds the length.
        is_secret: whether a name is a secret's name.
    """
    strings: dict[int, int] = {}
    for found in _STRING_OR_COMMENT.finditer(text):
        yield from text_spans(text, is_secret, found.start(), found.end())
        strings[found.start()] = found.end()
    inside = _inside(strings)
    position = 0
    while assigned := _ASSIGNED.search(text, position):
        position = assigned.end()
        # A quoted key has its name inside the string that ends with it; its sign stands in the code.
        if is_secret(assigned["name"]) and assigned.start("sign") not in inside:
            literals, position = _code_value(text, assigned.end(), strings, is_secret)
            yield from literals
    for pattern in (_OPTION, _PAIR):
        for found in pattern.finditer(text):
            if is_secret(found["name"]) and found.end() in strings:
                yield found.end(), strings[found.end()]


def _inside(strings: dict[int, int]) -> set[int]:
    """Return every position inside a string or comment, its first character apart."""
    return {position for start, end in strings.items() for position in range(start + 1, end)}


def _is_no_key(text: str, found: re.Match[str]) -> bool:
    """Return whether a colon ends something else than a name: `TokenError: …`, `session://host`."""
    return bool(_NO_SECRET_NAME.search(found["name"])) or text.startswith("//", found.end())


def _header_rest(text: str, found: re.Match[str]) -> re.Pattern[str] | None:
    """Return what matches the value of an HTTP header, which has spaces in it; None where it is not one."""
    name = found["name"].lower()
    if not found["sign"].startswith(":") or found["closing"] or not ("authorization" in name or "cookie" in name):
        return None
    before = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
    return _REST_OF_QUOTED_LINE if "'" in before or '"' in before else _REST_OF_LINE


def _text_value(text: str, start: int, end: int, rest: re.Pattern[str] | None = None) -> Iterator[Span]:
    """Give the part or parts of a value in free text that have to go.

    Args:
        text: the whole text.
        start, end: of the value, and of what is looked at.
        rest: what matches the whole value where that is known.
    """
    while True:
        kept = _HARMLESS.match(text, start, end)
        if kept is None:
            spans, start = _next_value(text, start, end, rest)
            yield from spans
        else:
            start = kept.end()
        # `password: str = "…"`: what stood after the colon was an annotation.
        again = _CONTINUED.match(text, start, end)
        if again is None:
            return
        start = again.end()
        rest = None


def _next_value(text: str, start: int, end: int, rest: re.Pattern[str] | None) -> tuple[list[Span], int]:
    """Return the parts of one value that have to go, and where it ends."""
    if escaped := _ESCAPED_QUOTE.match(text, start, end):
        closing = text.find(escaped.group(), escaped.end(), end)
        stop = closing if closing >= 0 else _line_end(text, start, end)
        return [(escaped.end(), stop)], stop
    if literal := _STRING.match(text, start, end):
        return ([] if literal.group() in _EMPTY else [literal.span()]), literal.end()
    if rest is not None and (line := rest.match(text, start, end)):
        return [line.span()], line.end()
    if call := _CALL.match(text, start, end):
        closed = _closing(text, call.end() - 1, end)
        if closed is not None and _AFTER_CALL.match(text, closed, end):
            return [string.span() for string in _STRING.finditer(text, call.end(), closed)], closed
    if start < end and text[start] in _CLOSES:
        closed = _closing(text, start, end)
        stop = closed if closed is not None else _line_end(text, start, end)
        return [(start, stop)], stop
    if bare := _BARE.match(text, start, end):
        return [bare.span()], bare.end()
    return [], start


def _line_end(text: str, start: int, end: int) -> int:
    found = text.find("\n", start, end)
    return found if found >= 0 else end


def _closing(text: str, start: int, end: int) -> int | None:
    """Return the position after the bracket that closes the one at `start`; None where it stays open."""
    open_ones = [text[start]]
    position = start + 1
    end = min(end, start + _MOST_VALUE)
    while found := _QUOTE_OR_BRACKET.search(text, position, end):
        position = found.end()
        mark = found.group()
        if mark in _CLOSES:
            open_ones.append(mark)
        elif mark in _OPENS:
            if open_ones.pop() != _OPENS[mark]:
                return None
            if not open_ones:
                return position
        elif string := _STRING.match(text, found.start(), end):
            position = string.end()
    return None


def _code_value(
    text: str, start: int, strings: dict[int, int], is_secret: Callable[[str], bool]
) -> tuple[list[Span], int]:
    """Return the string literals of an expression in source code, and the comma, bracket or line end that ends it."""
    literals = []
    depth = 0
    position = start
    end = min(len(text), start + _MOST_VALUE)
    while position < end:
        if position in strings:
            literal = (position, strings[position])
            if text[position] != "#" and not _stays(text, *literal, depth, is_secret):
                literals.append(literal)
            position = literal[1]
            continue
        mark = text[position]
        if mark in _CLOSES:
            depth += 1
        elif mark in _OPENS:
            depth -= 1
        if depth < 0 or (depth == 0 and mark in ",\n;"):
            break
        position += 1
    return literals, position


def _stays(text: str, start: int, end: int, depth: int, is_secret: Callable[[str], bool]) -> bool:
    """Return whether a literal is a key (`row["password"]`) or a variable's name (`getenv("DB_PASSWORD")`)."""
    before = text[max(0, start - 2) : start]
    if before[-1:] == "[" and (before[0].isalnum() or before[0] in "_)]"):
        return True
    name = text[start:end].strip("'\"")
    return depth > 0 and is_secret(name) and _ENVIRONMENT_NAME.fullmatch(name) is not None
