"""The address that a language model answers at."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit, urlunsplit

from narrative_auto.errors import SettingError, attempted
from narrative_auto.records import field, record


@record(frozen=True, slots=True)
class Endpoint:
    """An address over HTTP.

    Attributes:
        shown: without what may be secret: user, password, query.
        url: without user and password.
        authorization: the header that they are sent as; "" without them.
    """

    shown: str
    url: str = field(repr=False)
    authorization: str = field(repr=False)


def read_endpoint(text: str) -> Endpoint:
    """Return the endpoint that an address names, such as `http://127.0.0.1:11434/api/generate`.

    Raises:
        SettingError: it is none.
    """
    text = text.strip()
    parts = attempted(urlsplit, text)
    host = parts.netloc.rpartition("@")[2] if parts is not None else ""
    printable = text.isascii() and text.isprintable() and " " not in text
    if (
        parts is None
        or parts.scheme not in {"http", "https"}
        or not parts.hostname
        or not printable
        or attempted(lambda: parts.port or 0) is None
    ):
        shown = text.rpartition("@")[2].partition("?")[0]
        raise SettingError(f"an endpoint is an address such as http://127.0.0.1:11434/api/generate, not {shown!r}")
    return Endpoint(
        shown=urlunsplit((parts.scheme, host, parts.path, "", "")),
        url=urlunsplit((parts.scheme, host, parts.path, parts.query, "")),
        authorization=_basic(parts.username, parts.password or "") if parts.username is not None else "",
    )


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
