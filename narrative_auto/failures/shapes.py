"""Finds what is secret by its shape alone: tokens, keys, passwords in addresses, card numbers."""

from __future__ import annotations

import base64
import binascii
import re

REDACTED = "[redacted]"
"""What stands where a secret stood."""

Span = tuple[int, int]
"""Start and end in a text, in characters; the end is not part of it."""

# Every repetition below is possessive or has an upper bound, so that no text makes a search worse than linear (times
# the bound). The prefixes are those that the issuers document so that scanners can find their keys.
_KEYS = re.compile(
    r"""
      (?<![A-Z0-9]) (?:AKIA|ASIA|ABIA|ACCA) [A-Z0-9]{16} (?![A-Z0-9])      # AWS access keys
    | gh[opsur]_ [A-Za-z0-9]{20,255}+ | github_pat_ \w{20,255}+            # GitHub
    | gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)- [\w-]{20,255}+                # GitLab
    | xox[a-z]- [A-Za-z0-9-]{10,255}+ | xapp- [A-Za-z0-9-]{20,255}+        # Slack
    | hooks\.slack\.com/services/ [\w/]{20,255}+
    | [prs]k_(?:live|test)_ [A-Za-z0-9]{10,255}+ | whsec_ [A-Za-z0-9]{20,255}+   # Stripe
    | (?<![A-Za-z0-9]) sk- (?=[A-Za-z_-]{0,200}+[0-9]) [\w-]{20,255}+      # OpenAI, Anthropic: a digit, unlike words
    | AIza [\w-]{30,255}+ | ya29\. [\w-]{20,2000}+ | GOCSPX- [\w-]{20,255}+      # Google
    | npm_ [A-Za-z0-9]{30,255}+ | pypi- [\w-]{50,2000}+                    # package registries
    | SG\. [\w-]{16,255}+ \. [\w-]{16,255}+                                # SendGrid
    | (?<![A-Za-z0-9]) hf_ [A-Za-z0-9]{30,255}+                            # Hugging Face
    | (?<![A-Za-z0-9]) hv[bs]\. [\w-]{20,2000}+                            # Vault
    | do[opr]_v1_ [a-f0-9]{40,255}+                                        # DigitalOcean
    | (?<![0-9]) [0-9]{8,10} :AA [\w-]{32,255}+                            # Telegram bots
    | (?<=AccountKey=) [A-Za-z0-9+/=]{40,255}+                             # Azure storage
    | AGE-SECRET-KEY-1 [A-Z0-9]{20,255}+                                   # age
    | (?<![A-Za-z0-9]) eyJ [\w-]{8,4096}+ \. [\w-]{8,}+ (?: \. [\w-]*+ )?  # JSON web tokens begin with '{"'
    """,
    re.VERBOSE | re.ASCII,
)

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
# A snippet can begin or end inside a block; then only one of its two lines is there.
_PRIVATE_KEY_END = re.compile(
    r"(?:^[ \t]*+[A-Za-z0-9+/=]{16,100}+\r?\n){1,200}+(?=[^\n]{0,20}?-----END [A-Z0-9 ]{0,40}PRIVATE KEY)",
    re.MULTILINE,
)

# A password reaches to the last "@" before the query, else to the last of all: people do not quote an "@" or "/" in
# one. Digits and a "/" after the colon are a port.
_ADDRESS = re.compile(
    r"""
    //[^\s/?\#'"<>:@]{0,256} :
    (?! [0-9]{1,5} (?:[/?\#]|$) )
    (?P<password> [^\s'"<>?\#]{1,256} (?<!/) (?=@) | [^\s'"<>]{1,256} (?=@) )
    """,
    re.VERBOSE,
)
_ADDRESS_KEY = re.compile(r"""//(?P<key>[A-Za-z0-9_-]{20,256})@""")

_SCHEME = re.compile(r"\b(?P<scheme>bearer|basic|token|apikey)[ \t]{1,8}+(?P<value>[\w.~+/=-]{8,8192}+)", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]{1,15}[.]?")

# In one piece, or in the groups that are printed on cards. Looked for ahead, so that numbers in a row (an amount, the
# digits from a card's back) hide none of them.
_CARDS = [
    re.compile(rf"(?<![\w.])(?=({form})(?!\w|\.[0-9]))", re.ASCII)
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
    spans = [found.span() for found in _KEYS.finditer(text)]
    if "PRIVATE KEY" in text:
        spans += [found.span() for found in _PRIVATE_KEY.finditer(text)]
        spans += [found.span() for found in _PRIVATE_KEY_END.finditer(text)]
    if "@" in text:
        spans += [found.span("password") for found in _ADDRESS.finditer(text)]
        spans += [found.span("key") for found in _ADDRESS_KEY.finditer(text)]
    spans += [
        found.span("value") for found in _SCHEME.finditer(text) if _is_credential(found["scheme"], found["value"])
    ]
    for card in _CARDS:
        spans += [found.span(1) for found in card.finditer(text) if _is_card(found[1])]
    return spans


def _is_credential(scheme: str, value: str) -> bool:
    """Tell what follows "Bearer" or "Basic" in a header from what follows it in a sentence."""
    if _WORD.fullmatch(value):
        return False
    if scheme.lower() in {"basic", "token"}:
        # People write "basic-authentication" and "token 12345678" too.
        mixed = any(mark.isdigit() for mark in value) and any(mark.isalpha() for mark in value)
        return mixed or _holds_colon(value)
    return True


def _holds_colon(value: str) -> bool:
    """Return whether a text is the base64 of something with a colon, as "user:password" has."""
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
