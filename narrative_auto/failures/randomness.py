"""Tells made-up values, such as keys are, from words, numbers, names and paths."""

from __future__ import annotations

from narrative_auto.failures.pattern import lazily

_ALPHABET = lazily(r"[A-Za-z0-9_.~+/=:%@!#^*-]{12,}+")
_UUID = lazily(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_TIME = lazily(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,20}(?:Z|[+-][0-9:]{2,6})?")
_LETTER_BESIDE_DIGIT = lazily(r"(?<=[0-9])[A-Za-z]|(?<=[A-Za-z])[0-9]")
_OTHER_KIND = lazily(r"(?<=[0-9])[A-Za-z]|(?<=[A-Za-z])[0-9]|(?<=[a-z])[A-Z]|(?<=[A-Z])[a-z]")
_WORDS = lazily(r"[A-Za-z][A-Za-z_. :/-]*+")
_NUMBER = lazily(r"[-+]?[0-9][0-9.,:_ TZ+-]*+")
_PATH = lazily(r"(?:~|\.{1,2}|[A-Za-z]:)?[/\\][^\s'\"]*+|[a-z][a-z0-9+.-]{1,20}+://[^@?]*+")

_WORDS_TO_A_SHARE = 0.3
"""CamelCase changes its kind of character at a quarter of its places at most; base64 does at more than a half."""


def looks_random(text: str) -> bool:
    """Return whether a text is of the kind that generators of keys give: no words, no number, no UUID, no time.

    Args:
        text: a value without its quotes.
    """
    if not _ALPHABET.fullmatch(text) or _UUID.fullmatch(text) or _TIME.fullmatch(text):
        return False
    length = len(text)
    if length >= 16 and len(_LETTER_BESIDE_DIGIT.findall(text)) >= 3:
        return True
    return len(_OTHER_KIND.findall(text)) > (0.4 if length < 20 else _WORDS_TO_A_SHARE) * length


def is_mixed(text: str) -> bool:
    """Return whether a text has letters and digits, or marks beside them, as the passwords of people have."""
    return len(text) >= 6 and not is_ordinary(text) and not text.isalpha()


def is_ordinary(text: str) -> bool:
    """Return whether a text is a word, words, a number, a time, a path or an address of no made-up part.

    Such a text says nothing where it turns up again, and would take much with it: `password=password`.
    """
    if _TIME.fullmatch(text) or _NUMBER.fullmatch(text):
        return True
    return bool(_WORDS.fullmatch(text) or _PATH.fullmatch(text)) and not looks_random(text)
