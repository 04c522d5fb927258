"""Finds the literals of SQL statements that are values of secret columns or of clauses about passwords."""

from __future__ import annotations

import re

from narrative_auto.failures.naming import may_be_described
from narrative_auto.failures.pattern import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from narrative_auto.failures.shapes import Span

_MOST_STATEMENT = 20_000
"""Characters of a statement's values that are searched; beyond them, literals go."""

_OF_CLAUSES = ("identified", "passw", "passphrase", "pwd", "secret", "access_key", "credential", "crypt")
"""What a clause or a function about passwords has in it, in small letters."""

_SPOKEN = lazily(
    r"\b(?:insert|replace|update|select|delete|merge|alter|create|grant|set|identified|password|secret|crypt|encrypt)\b",
    re.IGNORECASE,
)
_STATEMENT = lazily(
    r"\b(?:insert|replace|update|select|delete|merge|alter|create|where|values|and|set)\b", re.IGNORECASE
)
_LITERAL = r"""(?:\b[NnEeXxBb])?\\{0,3}'(?:''|\\[^']|\\'(?=[^,);\s])|[^'\\]){0,1000}+\\{0,3}(?:'|\Z)"""
_COLUMN = r"""\\{0,3}(?:[\w$.]{1,128}+|["`\[][^"`\[\]\n]{1,128}["`\]])"""

_COLUMNS = lazily(
    rf"""
    \b(?:INSERT|REPLACE|MERGE)\b [^()]{{1,400}}?
    \( (?P<columns> \s*+ {_COLUMN} (?: \s*+ , \s*+ {_COLUMN} ){{0,300}}+ \s*+ ) \)
    [^();'"]{{0,200}}? \bVALUES?\b \s*+
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TOKEN = lazily(rf"{_LITERAL}|[(),;]|[^'(),;]++")
_CLAUSE = lazily(
    rf"""
    (?<![\w"'`\[.-])
    (?: IDENTIFIED \s{{1,8}} (?:WITH \s{{1,8}} [\w"'`]{{1,60}} \s{{1,8}})? (?:BY|AS) (?: \s{{1,8}} PASSWORD )?
        | (?:ENCRYPTED \s{{1,8}})? (?:PASSWORD|PASSPHRASE|SECRET|SECRET_KEY|ACCESS_KEY|CREDENTIALS?)
        | PASSWORD \s{{1,8}} FOR \s{{1,8}} [^\s=]{{1,120}}
      ) (?: \s{{1,8}} | \s{{0,8}} = \s{{0,8}} )
    (?P<value> {_LITERAL} | (?<=BY\ )"[^"\n]{{1,1000}}" )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FUNCTION = lazily(
    r"""\b(?: (?:old_)?password | pwdencrypt | pwdcompare | crypt
            | pgp_(?:pub|sym)_(?:en|de)crypt(?:_bytea)? | (?:aes|des)?_?(?:en|de)crypt(?:bypassphrase)?
        ) \s{0,4} \( """,
    re.VERBOSE | re.IGNORECASE,
)
_COMPARED = lazily(
    rf"""
    (?<![\w$]) (?P<name> [\w$]{{1,128}}+ ) ["`\]]?
    \s{{0,8}}
    (?: = | <> | != | <=> | >= | <= | < | > | := | ~~?\*? | DEFAULT\b
      | (?:NOT \s{{1,8}})? (?: I?LIKE\b | IN\b \s{{0,4}} \( | BETWEEN\b )
      | IS \s{{1,8}} (?:NOT \s{{1,8}})? DISTINCT \s{{1,8}} FROM\b
    )
    \s{{0,8}}
    (?P<values>
      {_LITERAL} (?: (?: \s{{0,4}},\s{{0,4}} | \s{{1,4}}AND\s{{1,4}} | \s{{0,4}}\|\|\s{{0,4}} ) {_LITERAL} ){{0,200}}+
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TEXT = lazily(_LITERAL)
_THEN_COLUMN = lazily(r"""\s{0,8}(?:=|<>|!=)\s{0,8}(?:\w{1,60}\.)?["`\[]?(?P<name>\w{1,128}+)""")
_PARAMETERS = lazily(r"\[parameters: (?P<values>[(\[])")
_PLACE = lazily(r"\?|%s|\$[0-9]{1,4}|:[0-9]{1,4}\b")
_NAMED_PLACE = lazily(
    rf"""(?<![\w$])(?P<name>[\w$]{{1,128}}+)["`\]]?\s{{0,8}}(?:=|<>|!=|(?:I?LIKE|IN)\b\s{{0,4}}\(?)\s{{0,8}}"""
    rf"""(?={_PLACE.pattern})""",
    re.IGNORECASE,
)
_STRINGS = lazily(r"""[bu]?'(?:\\.|[^'\\\n]){0,4000}+'|[bu]?"(?:\\.|[^"\\\n]){0,4000}+"|[()\[\],]|[^'"()\[\],]++""")


def sql_spans(text: str, is_secret: Callable[[str], bool]) -> Iterator[Span]:
    """Give where a text has SQL literals that are secret by the column or the clause that they stand in.

    Everything else of a statement stays: other literals, columns, placeholders.

    Args:
        text: any text; the caller bounds its length.
        is_secret: whether a column's name is a secret's name.
    """
    lower = text.lower()
    if not any(mark in lower for mark in ("'", '"', "value", "[parameters: ")):
        return
    if any(word in lower for word in _OF_CLAUSES):
        yield from _clauses(text)
    if not _SPOKEN.search(text) or not _STATEMENT.search(text):
        return
    if "'" in text:
        yield from _comparisons(text, is_secret)
    position = 0
    while "value" in lower and (insert := _COLUMNS.search(text, position)):
        position = insert.end()
        secret = {number for number, name in enumerate(insert["columns"].split(",")) if is_secret(_bare(name))}
        if secret:
            values, position = _rows(text, insert.end(), secret)
            yield from values
    position = 0
    while "[parameters: " in text and (parameters := _PARAMETERS.search(text, position)):
        values, position = _parameters(text, position, parameters, is_secret)
        yield from values


def _clauses(text: str) -> Iterator[Span]:
    """Give the literals of clauses and functions that are about passwords."""
    for found in _CLAUSE.finditer(text):
        yield found.span("value")
    position = 0
    while function := _FUNCTION.search(text, position):
        arguments, position = _arguments(text, function.end())
        yield from arguments


def _comparisons(text: str, is_secret: Callable[[str], bool]) -> Iterator[Span]:
    """Give the literals that secret columns are compared with or set to."""
    for found in _COMPARED.finditer(text):
        if is_secret(found["name"]) and not may_be_described(found["name"]):
            yield found.span("values")
    for literal in _TEXT.finditer(text):
        column = _THEN_COLUMN.match(text, literal.end())
        if column and is_secret(column["name"]):
            yield literal.span()


def _bare(column: str) -> str:
    return column.strip().strip('\\"`[]')


def _arguments(text: str, start: int) -> tuple[list[Span], int]:
    """Return the literals among a function's arguments, and where these end."""
    literals = []
    depth = 1
    position = start
    for token in _TOKEN.finditer(text, start, start + _MOST_STATEMENT):
        mark = token.group()
        position = token.end()
        depth += (mark == "(") - (mark == ")")
        if depth == 0 or mark == ";":
            break
        if mark[-1] == "'" and len(mark) > 1:
            literals.append(token.span())
    return literals, position


def _rows(text: str, start: int, secret: set[int]) -> tuple[list[Span], int]:
    """Return the literals of secret columns in `(…), (…)`, and where the rows end.

    Args:
        text: the whole text.
        start: where the first row begins.
        secret: the numbers of the secret columns, from 0.
    """
    literals = []
    depth = column = 0
    position = start
    for token in _TOKEN.finditer(text, start, start + _MOST_STATEMENT):
        mark = token.group()
        if mark == ";" or (depth == 0 and mark.strip(", \t\r\n\\") and mark != "("):
            break
        position = token.end()
        if mark == "(":
            depth += 1
            column = column if depth > 1 else 0
        elif mark == ")":
            depth -= 1
        elif mark == "," and depth == 1:
            column += 1
        elif column in secret and depth >= 1 and _is_value(mark):
            literals.append((token.start() + len(mark) - len(mark.lstrip()), token.start() + len(mark.rstrip())))
    return literals, position


def _is_value(mark: str) -> bool:
    """Return whether a piece between commas is a literal: a text, or a number; not a placeholder, a name, NULL."""
    mark = mark.strip()
    return (len(mark) > 1 and "'" in mark) or bool(re.fullmatch(r"(?:0x)?[0-9a-fA-F.+-]*[0-9][0-9a-fA-F.+-]*", mark))


def _parameters(
    text: str, start: int, found: re.Match[str], is_secret: Callable[[str], bool]
) -> tuple[list[Span], int]:
    """Return the parameters of placeholders of secret columns, as SQLAlchemy adds them to a message, and their end.

    Args:
        text: the whole text.
        start: where its statement can begin.
        found: the beginning of the parameters.
        is_secret: whether a column's name is a secret's name.
    """
    statement = text[max(start, found.start() - _MOST_STATEMENT) : found.start()]
    places = [place.start() for place in _PLACE.finditer(statement)]
    secret: set[int] = set()
    for insert in _COLUMNS.finditer(statement):
        columns = [is_secret(_bare(name)) for name in insert["columns"].split(",")]
        later = [number for number, place in enumerate(places) if place >= insert.end()]
        secret |= {number for nth, number in enumerate(later) if columns[nth % len(columns)]}
    numbers = {place: number for number, place in enumerate(places)}
    secret |= {
        numbers[named.end()]
        for named in _NAMED_PLACE.finditer(statement)
        if named.end() in numbers and is_secret(named["name"])
    }
    return _members(text, found.start("values"), secret)


def _members(text: str, start: int, numbers: set[int]) -> tuple[list[Span], int]:
    """Return the texts and numbers at some places of a tuple, or of each tuple of a list, and where that ends."""
    texts = []
    depth = member = 0
    position = start
    for token in _STRINGS.finditer(text, start, start + _MOST_STATEMENT):
        mark = token.group()
        position = token.end()
        if mark in {"(", "["}:
            depth += 1
            member = 0 if mark == "(" else member
        elif mark in {")", "]"}:
            depth -= 1
            if depth <= 0:
                break
        elif mark == ",":
            member += 1
        elif member in numbers and (mark[-1] in {"'", '"'} or mark.strip().isdigit()):
            texts.append(token.span())
    return texts, position
