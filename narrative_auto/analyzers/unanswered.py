"""Why a language model gave no answer, and how that is said."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from narrative_auto.errors import NarrativeError, guarded, say

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 1 << 20
"""Bytes of an answer that are read."""

_REMEDIES = {
    400: "check the model's name",
    401: "check the API key",
    403: "check the API key",
    404: "check the address and the model's name",
    407: "check the proxy",
    413: "make max_context_chars smaller",
    429: "ask it less often",
}


class Unanswered(Exception):  # noqa: N818 - it is no error of anybody's
    """There is no answer.

    Attributes:
        what: the endpoint did, as the rest of a sentence.
        remedy: what to do about it.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def of_status(code: int) -> Unanswered:
    """Return what to say of an HTTP status."""
    if code // 100 == 3:
        return Unanswered(f"answered {code}, a redirection, which is not followed", "name the address that it leads to")
    remedy = _REMEDIES.get(code, "see what its own log says" if code >= 500 else "check the address and the model")
    return Unanswered(f"answered {code}", remedy)


def unreadable() -> Unanswered:
    """Return what to say of an answer in another protocol."""
    return Unanswered("sent an answer that is none of this protocol", "check the address")


def too_long() -> Unanswered:
    """Return what to say of an answer that was not read to its end."""
    return Unanswered("sent more than can be an analysis", "check the address")


def empty() -> Unanswered:
    """Return what to say of an answer without words."""
    return Unanswered("sent an empty answer", "try another model")


@contextmanager
def said_if_unanswered(endpoint: str, seconds: float) -> Iterator[None]:
    """Say once for each endpoint and reason why there is no answer, and let nothing out but what ends the program.

    Args:
        endpoint: as it may be shown.
        seconds: how long it had.
    """
    try:
        yield
    except TimeoutError:
        _say(endpoint, Unanswered(f"gave no answer within {seconds:g} s", "allow more with timeout_seconds"))
    except Unanswered as reason:
        _say(endpoint, reason)
    except Exception as fault:  # noqa: BLE001 - told without its message, which may have the key
        guarded("asking a language model", _raise_without_message, fault)


def _say(endpoint: str, reason: Unanswered) -> None:
    say(f"no analysis of the failure: {endpoint} {reason.what}; {reason.remedy}")


def _raise_without_message(fault: Exception) -> NoReturn:
    raise NarrativeError(type(fault).__name__) from fault
