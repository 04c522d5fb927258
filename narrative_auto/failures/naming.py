"""Tells the names of secrets from other names, and what a value says where its name does not."""

from __future__ import annotations

import re

from narrative_auto.failures.pattern import lazily
from narrative_auto.failures.randomness import is_mixed, is_ordinary, looks_random

SECRET_NAMES = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "cookie",
    "session",
    "sessid",
    "credential",
    "private_key",
    "privatekey",
    "access_key",
    "accesskey",
    "account_key",
    "accountkey",
    "signing_key",
    "encryption_key",
    "auth_key",
    "authkey",
    "license_key",
)
"""A name that contains one of these, in any case and with "-" or " " for "_", is a secret's name."""

_OTHER_WORDS = lazily(r"secretar(?:y|ies|iat|ial)|tokeni[sz]\w*|detoken\w*|cookiecutter\w*|sessionmaker|obsession\w*")
# What names are called that are secret only where the value looks like it: `key=customer_17` is none.
_WEAK_NAME = lazily(
    r"""
    (?:\A|[_.-]|(?-i:(?<=[a-z0-9])(?=[A-Z])))
    (?: (?P<typed> pass | pw | pin | otp | cvv2? | cvc2? )
      | keys? | auth | sid | sig | signature | salt | hmac | mac | seed | nonce | dsn | jwt | bearer | code
      | csrf | xsrf | license | creds? )
    \Z
    """,
    re.VERBOSE | re.IGNORECASE,
)
# What is counted or described under a secret's name is none, where the value is a number or a word.
_DESCRIBED = lazily(
    r"""
    (?:\A|[_.-]|(?-i:(?<=[a-z0-9])(?=[A-Z])))
    (?: counts? | limits? | size | length | len | total | max | min | ttl | age | timeout | expir(?:y|es|ed)
      | expires_?(?:in|at) | usage | used | rate | type | kind | status | state | name | class | scheme | format
      | fields? | header | param | path | file | url | uri | endpoint | dir | policy | backend | engine | store
      | algorithm | alg | required | enabled | valid | version )
    \Z
    | \A (?: max | min | n | num | total | prompt | completion | input | output | cached | used ) [_.-]? tokens? \Z
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PLAIN_NUMBER = lazily(r"[-+]?[0-9]{1,12}(?:[.,][0-9]{1,9})?(?:ns|us|ms|s|m|h|d|%)?")
_CURRENT_FOLDER = lazily(r"(?:OLD)?PWD", re.IGNORECASE)


def plain(name: str) -> str:
    """Return a name as names are compared."""
    return name.lower().replace("-", "_").replace(" ", "_")


def without_other_words(name: str) -> str:
    """Return a plain name without words that only begin as a secret's name does: `secretary`, `tokenizer`."""
    return _OTHER_WORDS.sub("", name)


def is_weak(name: str) -> bool:
    """Return whether a name such as `key` or `pass` makes what looks like a secret one."""
    return _WEAK_NAME.search(name) is not None


def may_be_described(name: str) -> bool:
    """Return whether a secret's name is one of something about it: its count, its type, its place."""
    return _DESCRIBED.search(name) is not None or _CURRENT_FOLDER.fullmatch(name) is not None


def is_described(name: str, value: str) -> bool:
    """Return whether a value under a secret's name is none: a count, a type, where something is.

    Args:
        name: a secret's name: `token_count`, `cookie_path`.
        value: its value, without quotes.
    """
    if _CURRENT_FOLDER.fullmatch(name):
        return value.startswith(("/", "~")) and is_ordinary(value)
    if not _DESCRIBED.search(name):
        return False
    return bool(_PLAIN_NUMBER.fullmatch(value)) or (not value[:1].isdigit() and is_ordinary(value))


def is_secret_by_value(name: str, value: str) -> bool:
    """Return whether a value is secret because of what it looks like beside a name such as `key` or `pass`."""
    weak = _WEAK_NAME.search(name)
    if weak is None:
        return False
    typed = (weak["typed"] or "").lower()
    if typed.startswith(("cv", "otp")):
        return 3 <= len(value) <= 8 and value.isdigit()
    return is_mixed(value) if typed else looks_random(value)
