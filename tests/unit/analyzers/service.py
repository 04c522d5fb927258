"""Servers on loopback that speak the protocols of language models, well and badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from narrative_auto import (
    AnthropicFailureAnalyzer,
    FailureSummary,
    LLMFailureAnalyzer,
    OllamaFailureAnalyzer,
)

KEY = "test-key-of-no-known-shape"
REASON = {"exact_why": "the id is there twice", "evidence": ["row 7", "row 9"], "targeted_fix": "skip it"}
SECTIONS = "## Exact Why\nthe id is there twice\n\n## Evidence\n- row 7\n- row 9\n\n## Targeted Fix\nskip it"


@dataclass
class Asked:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    content: Any


@dataclass
class Server:
    """A server, and what it was asked.

    Attributes:
        behave: answers a request; the last one goes on being used.
        closing: set when it ends, for those that take their time.
    """

    behave: list[Callable[[Server, BaseHTTPRequestHandler], None]]
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def serving(*behave: Callable[[Server, BaseHTTPRequestHandler], None]) -> Iterator[Server]:
    """Serve until the end of the block."""
    server = Server(list(behave))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.asked.append(Asked(self.command, self.path, headers, json.loads(content or b"null")))
            self.close_connection = True
            do = server.behave[0] if len(server.behave) == 1 else server.behave.pop(0)
            try:
                do(server, self)
            except OSError:  # whoever asked has gone
                return

        do_GET = do_POST  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None: ...

    class Listening(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...

    listening = Listening(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        listening.shutdown()
        thread.join()
        listening.server_close()


def reply(content: bytes, status: int = 200, **headers: str) -> Callable[[Server, BaseHTTPRequestHandler], None]:
    """Answer with a content."""

    def behave(_: Server, request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(content)

    return behave


def closed_at_once(_: Server, request: BaseHTTPRequestHandler) -> None:
    """Say nothing."""
    request.connection.close()


def closed_mid_body(_: Server, request: BaseHTTPRequestHandler) -> None:
    """Announce more than is sent."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"response": "it')


def silent(server: Server, _: BaseHTTPRequestHandler) -> None:
    """Say nothing, and stay."""
    server.closing.wait(30)


def trickling_headers(server: Server, request: BaseHTTPRequestHandler) -> None:
    """Send a byte of a header now and then, which keeps a timeout of single reads from coming."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not server.closing.wait(0.1):
        request.wfile.write(b"x")
        request.wfile.flush()


def trickling_body(server: Server, request: BaseHTTPRequestHandler) -> None:
    """Send a byte of the answer now and then."""
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    while not server.closing.wait(0.1):
        request.wfile.write(b" ")
        request.wfile.flush()


@dataclass(frozen=True)
class Protocol:
    """A way to ask a model.

    Attributes:
        make: an analyzer for a server's address and a timeout.
        wrap: what a server sends for a text.
        path: that is asked.
        prompt: finds it in what is sent.
    """

    make: Callable[[str, float], Any]
    wrap: Callable[[str], bytes]
    path: str
    prompt: Callable[[Any], str]


PROTOCOLS = {
    "ollama": Protocol(
        lambda url, seconds: OllamaFailureAnalyzer("llama3", f"{url}/api/generate", seconds),
        lambda text: json.dumps({"model": "llama3", "response": text, "done": True}).encode(),
        "/api/generate",
        lambda content: str(content["prompt"]),
    ),
    "openai": Protocol(
        lambda url, seconds: LLMFailureAnalyzer("gpt-4o-mini", f"{url}/v1/chat/completions", KEY, seconds),
        lambda text: json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode(),
        "/v1/chat/completions",
        lambda content: str(content["messages"][0]["content"]),
    ),
    "anthropic": Protocol(
        lambda url, seconds: AnthropicFailureAnalyzer("claude-x", KEY, 500, seconds, base_url=url),
        lambda text: json.dumps(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude-x",
                "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
        ).encode(),
        "/v1/messages",
        lambda content: str(content["messages"][0]["content"]),
    ),
}


def question(**changed: Any) -> dict[str, Any]:
    """Return what an analyzer is asked; keywords change the failure's fields."""
    failure = {
        "error_type": "ValueError",
        "error_message": "duplicate customer id",
        "filename": "app/db.py",
        "lineno": 47,
        "function": "insert_row",
        "source_line": 'raise ValueError("duplicate customer id")',
        "exception_chain": ["from sqlite3.IntegrityError: UNIQUE constraint failed"],
        "exact_cause": "sqlite3.IntegrityError: UNIQUE constraint failed",
        "traceback_text": 'Traceback (most recent call last):\n  File "app/db.py", line 47, in insert_row\nValueError: x\n',
        **changed,
    }
    return {
        "story_name": "Import Customers",
        "stage_name": "Insert Records",
        "failure": FailureSummary(**failure),
        "stage_timeline": "Load CSV  0.012 s\nInsert Records  failed",
        "progress_percent": 66,
    }
