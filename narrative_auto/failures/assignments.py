"""Finds what is secret by the name that it is given to, in free text and in source code."""

from __future__ import annotations

import re

from narrative_auto.failures.lines_below import lines_below
from narrative_auto.failures.naming import is_described, is_secret_by_value, is_weak, may_be_described
from narrative_auto.failures.pattern import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from narrative_auto.failures.shapes import Span

_MOST_VALUE = 1_000
"""Characters of a bracketed value that are searched for its end; a longer one counts as open."""

_MOST_LOOKED_AT = 200
"""Characters of a value, or of a statement before it, that say what kind it is."""

# A name, with what may close it (`name"`, `name']`, `name)`), and what assigns or compares. Escaped quotes are those of
# JSON inside a `repr`. Possessive throughout: each name is read once.
_ASSIGNED = lazily(
    r"""
    (?<![\w-])
    (?P<name> (?:api|private)\ key | [\w-]++ )
    (?P<closing> (?:\\{0,3}+["'`]|%22)? [\])]? )
    (?P<sign> [ \t]*+ (?: :[ \t]*+\r?\n[ \t]*+(?=["']) | => | [=!]?={1,2} | :=? | %3[AaDd](?:%22|%20|\+)? ) [ \t]*+ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HEAD = lazily(r"[ \t]*+(?:async[ \t]++)?(?:if|elif|while|for|with|def|class|except|match|case)\b")
_OPTION = lazily(r"""(?<![\w-])--?(?P<name>\w[\w-]*+)(?:(?:[ \t]|\\\n)++|\\?["'],[ \t]*+(?=\\?[bu]?["']))""")
_PAIR = lazily(r"""\([bu]?["'](?P<name>[\w-]++)["'],[ \t]*+(?=[bu]?["'])""")
_ATTRIBUTE = lazily(
    r"""\b(?:name|key|id)=["'](?P<name>[\w.:-]++)["'][ \t]++(?:[a-z]++=["'][^"'<>]{0,60}["'][ \t]++){0,4}"""
    r"""value=["'](?P<value>[^"'<>]++)""",
    re.IGNORECASE,
)
_ADJACENT = lazily(r"""[ \t]*+(?=[bBfFrRtTuU]{0,2}["'])""")
_ELEMENT = lazily(r"<(?P<name>[\w.:-]++)>(?P<value>[^<>]++)</")

_STRING = lazily(
    r"""
    [bBfFrRtTuU]{0,2}
    (?: \"{3} (?:\\.|[^\\])*? (?:\"{3}|\Z)
      | '{3} (?:\\.|[^\\])*? (?:'{3}|\Z)
      | " (?:\\.|[^"\\\n])*+ (?:"|$|\Z)
      | ' (?:\\.|[^'\\\n])*+ (?:'|$|\Z) )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_STRING_OR_COMMENT = lazily(rf"(?:(?<!\w){_STRING.pattern})|\#[^\n]*+", _STRING.flags)

_ESCAPED_QUOTE = lazily(r"""\\{1,3}+["']""")
_REST_OF_LINE = lazily(r"[^\r\n]++")
_REST_OF_QUOTED = {mark: lazily(rf"""(?:[^\r\n{mark}\\]|\\["'])++""") for mark in "'\""}
_REST_OF_ESCAPED = lazily(r"""[^\r\n"'\\]++""")
_MOST_LINE = 2_000
# The rest of a quoted text over several lines, whose last one ends with the quote and has no other.
_FURTHER_LINES = {
    quote: lazily(
        rf"(?:\n(?![ \t]*+[\w.-]{{1,64}}+[ \t]?(?:=(?![=\n])|:\s))[^{quote}\n]{{0,400}}+){{1,40}}?{quote}"
        r"(?=[ \t,;)\]}]*+(?:\n|\Z))"
    )
    for quote in "'\""
}
# Brackets, commas and semicolons belong to a bare value where more of it follows, unless that is the next assignment.
_BARE = lazily(
    r"""
    (?: [^\s"'&,;()\[\]{}<>\\]
      | [,;()\[\]{}<>\\&"'] (?! [\w.-]{1,64}+ [ \t]?+ [=:] ) (?= [^\s"'&,;()\[\]{}<>\\] )
    )++
    """,
    re.VERBOSE,
)
_CALL = lazily(r"[A-Za-z_][\w.]{0,100}+\(")
# What is no secret is so only as a whole: in `password=None!x` the word is part of one.
_ENDS = r"""(?=[\s"'&,;)\]}>|]|\Z)"""
_HARMLESS = lazily(
    r"""
    (?: <[^<>\n]{1,200}\ at\ 0x[0-9a-fA-F]{1,16}> | <class\ '[\w.]{1,200}'> | <\w{1,60}(?:\.\w{1,60}){1,8}>
      | %s | %\(\w{1,60}\)s | \? | \$?\{[\w.\[\]]{1,60}(?:![rsa])?=?(?::[^{}\n]{0,20})?\} | \*{3,100} | \.\.\. | …
      | [A-Z][A-Za-z.]{1,60}\ \|\ None | None | null | nil | True | true | False | false | undefined
      | str | bytes | int | bool | float | dict | list | tuple | set | object | Any
    )
    """
    + _ENDS,
    re.VERBOSE,
)
_AFTER_CALL = lazily(r"""[\s"'&,;)\]}>|.\[:]|\Z""")
_NO_SECRET_NAME = lazily(r"(?:Error|Exception|Warning)\Z")
_ENVIRONMENT_NAME = lazily(r"[A-Z0-9]++(?:_[A-Z0-9]++)++")
_QUOTE_OR_BRACKET = lazily(r"""["'()\[\]{}]""")
_EMPTY = {"''", '""', "b''", 'b""'}
_CONTINUED = lazily(r"[ \t]*+=[ \t]*+(?!=)")
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
    if text.find("=", start, end) >= 0 or text.find(":", start, end) >= 0 or text.find("%3", start, end) >= 0:
        yield from _assigned(text, is_secret, start, end)
    if text.find("-", start, end) >= 0:
        yield from _following(_OPTION, text, is_secret, start, end)
    if text.find("(", start, end) >= 0:
        yield from _following(_PAIR, text, is_secret, start, end)
    for mark, pattern in (("</", _ELEMENT), ("value=", _ATTRIBUTE)):
        if text.find(mark, start, end) >= 0:
            for found in pattern.finditer(text, start, end):
                if is_secret(found["name"]):
                    yield found.span("value")


def _assigned(text: str, is_secret: Callable[[str], bool], start: int, end: int) -> Iterator[Span]:
    """Give the values behind a name and a sign."""
    position = start
    while assigned := _ASSIGNED.search(text, position, end):
        position = assigned.end()
        if ":" in assigned["sign"] and _is_no_key(text, assigned):
            continue
        if not is_secret(assigned["name"]):
            for span in _weak_value(text, assigned, end):
                yield span
                position = max(position, span[1])
            continue
        if _is_described(text, assigned, end):
            continue
        for span in lines_below(text, assigned, end) or _text_value(
            text, assigned.end(), end, _header_rest(text, assigned)
        ):
            yield span
            position = max(position, span[1])


def _following(
    pattern: re.Pattern[str], text: str, is_secret: Callable[[str], bool], start: int, end: int
) -> Iterator[Span]:
    """Give the values behind a name alone: of options, and in pairs."""
    for found in pattern.finditer(text, start, end):
        if not is_secret(found["name"]) or text.startswith("--", found.end()):
            continue
        if not _is_described(text, found, end):
            yield from _text_value(text, found.end(), end)


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
        # A value within ends before the closing quote: `"Password: "` asks for one and has none.
        closed = text[found.start()] != "#" and _is_closed(found.group())
        yield from text_spans(text, is_secret, found.start(), found.end() - closed)
        strings[found.start()] = found.end()
    inside = _inside(strings)
    position = 0
    while assigned := _ASSIGNED.search(text, position):
        position = assigned.end()
        # A quoted key has its name inside the string that ends with it; its sign stands in the code.
        if assigned.start("sign") in inside:
            continue
        if assigned["sign"].strip() == ":" and _opens_block(text, assigned.start("sign"), inside):
            continue
        if is_secret(assigned["name"]):
            literals, position = _code_value(text, assigned.end(), strings, is_secret)
            yield from literals
        elif assigned.end() in strings:
            yield from _weak_value(text, assigned, len(text))
    for pattern in (_OPTION, _PAIR):
        for found in pattern.finditer(text):
            if is_secret(found["name"]) and found.end() in strings:
                yield found.end(), strings[found.end()]


def _opens_block(text: str, colon: int, inside: Container[int]) -> bool:
    """Return whether a colon ends the head of a statement: `if not password: raise …` gives the name no value."""
    begin = text.rfind("\n", 0, colon) + 1
    if colon - begin > _MOST_LOOKED_AT or not _HEAD.match(text, begin, colon):
        return False
    depth = 0
    for position in range(begin, colon):
        if position in inside:
            continue
        one = text[position]
        depth += (one in "([{") - (one in ")]}")
        if one == ":" and not depth:  # the head ends there
            return False
    return not depth


def _single(text: str, start: int, end: int) -> Span:
    """Return where a value stands that is one literal, without its quotes, or one bare word; empty where neither."""
    if escaped := _ESCAPED_QUOTE.match(text, start, end):
        closing = text.find(escaped.group(), escaped.end(), min(end, escaped.end() + _MOST_VALUE))
        return escaped.end(), max(closing, escaped.end())
    if literal := _STRING.match(text, start, end):
        quoted = literal.group()
        lead = len(quoted) - len(quoted.lstrip("bBfFrRtTuU"))
        marks = 3 if quoted[lead:].startswith(('"""', "'''")) and len(quoted) >= lead + 6 else 1
        closed = marks if quoted.endswith(quoted[lead]) else 0
        return literal.start() + lead + marks, max(literal.start() + lead + marks, literal.end() - closed)
    bare = _BARE.match(text, start, end)
    return bare.span() if bare else (start, start)


def _weak_value(text: str, assigned: re.Match[str], end: int) -> Iterator[Span]:
    """Give the value of a name such as `key` or `pass` where it looks like a secret."""
    name = assigned["name"]
    if is_weak(name) and not _HARMLESS.match(text, assigned.end(), end):
        start, stop = _single(text, assigned.end(), min(end, assigned.end() + _MOST_LOOKED_AT))
        if is_secret_by_value(name, text[start:stop]):
            yield _single(text, assigned.end(), end)


def is_harmless(value: str) -> bool:
    """Return whether a value is a placeholder, a constant or an object: nothing that anybody would keep secret."""
    return not value or _HARMLESS.fullmatch(value) is not None


def _is_described(text: str, assigned: re.Match[str], end: int) -> bool:
    if not may_be_described(assigned["name"]):
        return False
    start, stop = _single(text, assigned.end(), min(end, assigned.end() + _MOST_LOOKED_AT))
    return start < stop and is_described(assigned["name"], text[start:stop])


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
    before = text[text.rfind("\n", max(0, found.start() - _MOST_LINE), found.start()) + 1 : found.start()]
    quote = max(before.rfind("'"), before.rfind('"'))
    if quote < 0:
        return _REST_OF_LINE
    return _REST_OF_ESCAPED if before[:quote].endswith("\\") else _REST_OF_QUOTED[before[quote]]


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
        stop = literal.end()
        opening = literal.group().lstrip("bBfFrRtTuU")[:1]
        if stop == end or (text[stop] == "\n" and (len(literal.group()) == 1 or not literal.group().endswith(opening))):
            further = _FURTHER_LINES[opening].match(text, stop, min(end, stop + _MOST_VALUE))
            stop = further.end() if further else stop
        # Literals side by side are one in Python; `''` is empty, and what comes after it is something else.
        while literal.group() not in _EMPTY and (gap := _ADJACENT.match(text, stop, end)):
            next_one = _STRING.match(text, gap.end(), end)
            if next_one is None or next_one.group() in _EMPTY or not _is_closed(next_one.group()):
                break
            stop = next_one.end()
        return ([] if literal.group() in _EMPTY else [(literal.start(), stop)]), stop
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


def _is_closed(literal: str) -> bool:
    return len(literal.lstrip("bBfFrRtTuU")) > 1 and literal[-1] in {"'", '"'}


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
            if (
                text[position] != "#"
                and text[slice(*literal)] not in _EMPTY
                and not _stays(text, *literal, depth, is_secret)
            ):
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
