"""Sends a question over plain HTTP and reads the answer, against a deadline that holds for all of it."""

from __future__ import annotations

import http.client
import io
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import (
    AbstractHTTPHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from narrative_auto.analyzers.pausing import retry_after
from narrative_auto.analyzers.unanswered import MOST_BYTES, Unanswered, of_status, too_long

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

_PIECE = 1 << 16


def post(url: str, headers: Mapping[str, str], content: Any, deadline: float) -> bytes:
    """Return what an address answers to some JSON.

    Being refused because of too many questions is heeded once, where it says how long to wait and the time suffices. A
    redirection is not followed: it would take the key elsewhere, and leave the question behind. Proxies are those of
    the environment.

    Args:
        url: the address.
        headers: besides those that say what is sent.
        content: what to send.
        deadline: in seconds of `time.monotonic()`.

    Raises:
        TimeoutError: the deadline has come.
        Unanswered: there is no such answer.
    """
    body = json.dumps(content).encode()
    try:
        answer = _exchange(url, headers, body, deadline)
        if answer is None:
            answer = _exchange(url, headers, body, deadline, has_paused=True)
        return answer or b""
    except HTTPError as refusal:
        with refusal:
            raise of_status(refusal.code) from None
    except URLError as fault:
        raise _unreached(fault.reason) from None
    except (OSError, http.client.HTTPException) as fault:
        raise _unreached(fault) from None
    except ValueError:  # its message has the header
        remedy = "the address or the key has characters that do not belong there"
        raise Unanswered("cannot be asked", remedy) from None


def _exchange(
    url: str, headers: Mapping[str, str], body: bytes, deadline: float, *, has_paused: bool = False
) -> bytes | None:
    """Ask and return the answer; None after a pause that was asked for."""
    headers = {"Content-Type": "application/json", "User-Agent": "narrative-auto", **headers}
    request = Request(url, body, headers)  # noqa: S310 - an Endpoint is one over HTTP
    try:
        with _opener(deadline).open(request, timeout=max(0.001, deadline - time.monotonic())) as response:
            return _read(response)
    except HTTPError as refusal:
        pause = retry_after(refusal.headers.get("Retry-After", ""), deadline - time.monotonic())
        if has_paused or refusal.code != http.HTTPStatus.TOO_MANY_REQUESTS or pause is None:
            raise
        refusal.close()
        time.sleep(pause)
        return None


def _read(response: http.client.HTTPResponse) -> bytes:
    content = bytearray()
    while piece := response.read(_PIECE):
        content += piece
        if len(content) > MOST_BYTES:
            raise too_long()
    if response.length:  # `read` with a size does not complain
        raise http.client.IncompleteRead(bytes(content), response.length)
    return bytes(content)


def _unreached(fault: object) -> Exception:
    """Return what to say of a connection that did not come about or that broke."""
    match fault:
        case TimeoutError():
            return fault
        case ConnectionRefusedError():
            return Unanswered("refused the connection", "start it, or name another endpoint")
        case http.client.HTTPException() | ConnectionError():
            return Unanswered("broke off", "see what its own log says")
        case OSError(strerror=str(said)):
            return Unanswered(f"cannot be reached ({said})", "check the address, the network and the proxy")
        case _:
            return Unanswered("cannot be reached", "check the address, the network and the proxy")


def _opener(deadline: float) -> OpenerDirector:
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        UnknownHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        _PacedHandler(deadline),
    ):
        opener.add_handler(handler)
    return opener


class _PacedHandler(AbstractHTTPHandler):
    """Opens addresses whose answers are read against a deadline."""

    http_request = AbstractHTTPHandler.do_request_
    https_request = AbstractHTTPHandler.do_request_

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, request: Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._deadline), request)

    def https_open(self, request: Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, http.client.HTTPSConnection, self._deadline), request)


def _connection(
    kind: type[http.client.HTTPConnection], deadline: float, host: str, **more: Any
) -> http.client.HTTPConnection:
    connection = kind(host, **more)
    connection.response_class = partial(_Response, deadline)  # type: ignore[assignment]
    return connection


class _Response(http.client.HTTPResponse):
    """A response of which every piece, the headers' too, has only what is left of the time."""

    def __init__(self, deadline: float, sock: socket.socket, **more: Any) -> None:
        super().__init__(sock, **more)
        self.fp = io.BufferedReader(_Paced(self.fp.detach(), sock, deadline))


class _Paced(io.RawIOBase):
    """A socket's file, which gives each read what is left of the time; a timeout of the socket is one of each read."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
