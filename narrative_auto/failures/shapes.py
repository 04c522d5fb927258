"""Finds what is secret by its shape alone: tokens, key blocks, passwords in addresses, card numbers."""

from __future__ import annotations

import re

from narrative_auto.failures.pattern import lazily
from narrative_auto.failures.tokens import token_spans

REDACTED = "[redacted]"
"""What stands where a secret stood."""

Span = tuple[int, int]
"""Start and end in a text, in characters; the end is not part of it."""

# Every repetition below is possessive or has an upper bound, so that no text makes a search worse than linear (times
# the bound).
_PRIVATE_KEY = lazily(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
# A snippet can begin or end inside a block; then only one of its two lines is there. The lines may be those of a JSON
# string, in which line ends are escapes. The last of a PGP block is a checksum.
_PRIVATE_KEY_END = lazily(
    r"""
    (?: (?:(?<=\n)|(?<=\\n)|(?<=["'])|\A) [ \t]*+ (?:[A-Za-z0-9+/=]{16,100}+|=[A-Za-z0-9+/]{4})
        (?: \r?\n | (?:\\{1,4}+r)? \\{1,4}+n ) ){1,200}+
    (?= [^\n]{0,20}?-----END\ [A-Z0-9 ]{0,40}PRIVATE\ KEY )
    """,
    re.VERBOSE,
)
_PUTTY_KEY = lazily(r"Private-Lines: [0-9]{1,4}(?:\r?\n|\\{1,4}r?n)(?P<lines>[A-Za-z0-9+/=\r\n\\]{16,20000}+)")

# A password reaches to the last "@" before the query, else to the last of all: people do not quote an "@" or "/" in
# one. Digits and a "/" after the colon are a port.
_ADDRESS = lazily(
    r"""
    //[^\s/?\#'"<>:@]{0,256} :
    (?! [0-9]{1,5} (?:[/?\#]|$) )
    (?P<password> [^\s'"<>?\#]{1,256} (?<!/) (?=@) | [^\s'"<>]{1,256} (?=@) )
    """,
    re.VERBOSE,
)
_ADDRESS_KEY = lazily(r"""//(?P<key>[A-Za-z0-9_-]{20,256}+)@""")
# curl's and its like's: the one option whose value has a colon and a password after it.
_USER_OPTION = lazily(
    r"""
    (?:(?<=\s)|(?<=["'])) (?:-u|--(?:proxy-)?user) (?:[ \t=]|["'],[ \t]) [ \t]{0,3}["']?
    [^\s"':]{1,100} : (?! [0-9]{1,6} \b ) (?P<password> [^\s"']{1,256}+ )      # two numbers are a user and a group
    """,
    re.VERBOSE,
)

_PASSWORD_OPTION = lazily(
    r"""
    \b(?: (?:mysql\w{0,10}|mariadb\w{0,10}) \b [^\n|;]{0,200}? [ ] -p (?P<attached> [^\s"'-][^\s"']{0,256}+ )
        | sshpass [ ] -p [ ]? (?P<ssh> [^\s]{1,256}+ )
        | redis-cli \b [^\n|;]{0,200}? [ ] -a [ ] (?P<redis> [^\s]{1,256}+ )
      )
    """,
    re.VERBOSE,
)
_SCHEME = lazily(
    r"\b(?P<scheme>bearer|basic|token|apikey|negotiate|ntlm|genie-?key|splunk)[ \t]{1,8}+"
    r"(?P<value>[\w.~+/=-]{8,8192}+)",
    re.IGNORECASE,
)
_DIGEST = lazily(r"""\bresponse=\\{0,3}["']?(?P<value>[a-f0-9]{32,64}+)""")
_WORD = lazily(r"[A-Z]?[a-z]{1,15}[.]?")

_THIRTEEN_DIGITS = lazily(r"[0-9](?:[ -]?[0-9]){12}", re.ASCII)
# In one piece, or in the groups that are printed on cards. Looked for ahead, so that numbers in a row (an amount, the
# digits from a card's back) hide none of them.
_CARDS = [
    lazily(rf"(?<![\w.])(?=({form})(?!\w|\.[0-9]))", re.ASCII)
    for form in (
        r"[2-9][0-9]{12,18}",
        r"(?<!\w-)[2-9][0-9]{3}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{4}",
        r"(?<!\w-)[2-9][0-9]{3}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{1,3}",
        r"(?<!\w-)[2-9][0-9]{3}(?P<gap>[ -])[0-9]{6}(?P=gap)[0-9]{4,5}",
    )
]


def shape_spans(text: str) -> list[Span]:
    """Return where a text has secrets that can be told by their shape; in no order, they may overlap.

    Args:
        text: any text; the caller bounds its length.
    """
    spans = list(token_spans(text))
    if "PRIVATE KEY" in text:
        spans += [found.span() for found in _PRIVATE_KEY.finditer(text)]
        spans += [found.span() for found in _PRIVATE_KEY_END.finditer(text)]
    if "Private-Lines" in text:
        spans += [found.span("lines") for found in _PUTTY_KEY.finditer(text)]
    if "@" in text:
        spans += [found.span("password") for found in _ADDRESS.finditer(text)]
        spans += [found.span("key") for found in _ADDRESS_KEY.finditer(text)]
    if "-u" in text:
        spans += [found.span("password") for found in _USER_OPTION.finditer(text)]
    if " -p" in text or " -a " in text:
        spans += [found.span(found.lastgroup or 0) for found in _PASSWORD_OPTION.finditer(text)]
    spans += [
        found.span("value") for found in _SCHEME.finditer(text) if _is_credential(found["scheme"], found["value"])
    ]
    if "response=" in text:
        spans += [found.span("value") for found in _DIGEST.finditer(text)]
    if _THIRTEEN_DIGITS.search(text):
        for card in _CARDS:
            spans += [found.span(1) for found in card.finditer(text) if _is_card(found[1])]
    return spans


def _is_credential(scheme: str, value: str) -> bool:
    """Tell what follows "Bearer" or "Basic" in a header from what follows it in a sentence."""
    if _WORD.fullmatch(value):
        return False
    if scheme.lower() != "bearer":
        # People write "basic-authentication" and "token 12345678" too.
        mixed = any(mark.isdigit() for mark in value) and any(mark.isalpha() for mark in value)
        return mixed or _holds_colon(value)
    return True


def _holds_colon(value: str) -> bool:
    """Return whether a text is the base64 of something with a colon, as "user:password" has."""
    import base64
    import binascii

    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


def _is_card(text: str) -> bool:
    """Return whether digits pass the check of card numbers (ISO/IEC 7812-1, Annex B: Luhn's).

    Numbers that begin with 0 or 1 are never asked about: no card of the large schemes does, while times in
    milliseconds or nanoseconds do, and one in ten of them would pass.
    """
    digits = [int(mark) for mark in text if mark.isdigit()]
    if not 13 <= len(digits) <= 19:
        return False
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
