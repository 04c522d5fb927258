"""Each analyzer against a real server: what it sends, what it makes of answers, and that nothing holds it up."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from narrative_auto import FailureAnalyzer, LLMFailureAnalyzer, OllamaFailureAnalyzer
from tests.unit.analyzers.service import (
    KEY,
    PROTOCOLS,
    REASON,
    SECTIONS,
    Asked,
    Protocol,
    closed_at_once,
    closed_mid_body,
    question,
    reply,
    serving,
    silent,
    trickling_body,
    trickling_headers,
)

PLENTY = 20.0
"""Seconds that no answer on loopback takes."""


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    """Each of them."""
    if request.param == "anthropic":
        pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    return PROTOCOLS[request.param]


def in_coroutine(analyzer: Any, asked: dict[str, Any]) -> str | None:
    """Ask on an event loop."""
    said: str | None = asyncio.run(analyzer.analyze_failure_async(**asked))
    return said


def plainly(analyzer: Any, asked: dict[str, Any]) -> str | None:
    """Ask without one."""
    said: str | None = analyzer.analyze_failure(**asked)
    return said


@pytest.fixture(params=[plainly, in_coroutine])
def ask(request: pytest.FixtureRequest) -> Callable[[Any, dict[str, Any]], str | None]:
    """Each way to ask."""
    return request.param  # type: ignore[no-any-return]


Ask = Callable[[Any, dict[str, Any]], str | None]
Said = Callable[[], list[str]]


def test_an_answer_becomes_sections(protocol: Protocol, ask: Ask) -> None:
    """And the question has what is known of the failure."""
    with serving(reply(protocol.wrap(json.dumps(REASON)))) as server:
        analyzer: Any = protocol.make(server.url, PLENTY)
        is_one = isinstance(analyzer, FailureAnalyzer)
        assert is_one
        assert ask(analyzer, question()) == SECTIONS
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", protocol.path)
    assert asked.content["model"] == analyzer.model
    assert asked.headers["content-type"] == "application/json"
    prompt = protocol.prompt(asked.content)
    for part in (
        "Import Customers",
        "Insert Records",
        "duplicate customer id",
        "app/db.py:47",
        "66 %",
        "in insert_row",
    ):
        assert part in prompt


def test_the_key_goes_into_the_header_of_its_protocol() -> None:
    """And nowhere where there is none."""
    with serving(reply(PROTOCOLS["openai"].wrap("x"))) as server:
        plainly(PROTOCOLS["openai"].make(server.url, PLENTY), question())
        plainly(LLMFailureAnalyzer("m", f"{server.url}/v1/chat/completions"), question())
    assert [asked.headers.get("authorization") for asked in server.asked] == [f"Bearer {KEY}", None]


def test_the_key_of_anthropic() -> None:
    """Goes where its package sends it; the other limits are sent too."""
    pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    with serving(reply(PROTOCOLS["anthropic"].wrap("x"))) as server:
        plainly(PROTOCOLS["anthropic"].make(server.url, PLENTY), question())
    assert key_of(server.asked[0]) == KEY
    assert server.asked[0].content["max_tokens"] == 500


def key_of(asked: Asked) -> str:
    """Return the key: versions of the package differ in where they send it."""
    return asked.headers.get("x-api-key") or asked.headers["authorization"].removeprefix("Bearer ")


def test_user_and_password_of_an_address_are_sent_and_not_shown(said: Said) -> None:
    """As a browser would."""
    with serving(reply(b"", 500)) as server:
        analyzer = OllamaFailureAnalyzer("m", server.url.replace("//", "//ada:hunter%202@") + "/api/generate?key=k123")
        assert plainly(analyzer, question()) is None
    assert server.asked[0].headers["authorization"] == "Basic YWRhOmh1bnRlciAy"
    assert server.asked[0].path == "/api/generate?key=k123"
    shown = repr(analyzer) + "".join(said())
    assert f"{server.url}/api/generate" in shown
    assert not any(secret in shown for secret in ("ada", "hunter", "k123"))


def test_secrets_are_not_sent(protocol: Protocol) -> None:
    """Whichever field they are in, nor the key itself."""
    planted = {
        "error_message": f"login failed: password=hunter2 for {KEY}",
        "source_line": "connect('postgres://ada:hunter3@db/shop', token='hunter4')",
        "function": "f_ghp_" + "a1B2" * 9,
        "filename": "/srv/AKIAIOSFODNN7EXAMPLE/app.py",
        "exception_chain": ["from HTTPError: Authorization: Bearer hunter5hunter5"],
        "exact_cause": "HTTPError: api_key=hunter6",
        "traceback_text": "Traceback:\n  secret = 'hunter7'\nHTTPError: {'password': 'hunter8'}\n",
    }
    asked = question(**planted)
    asked["stage_timeline"] = "Login password=hunter9\n"
    asked["stage_name"] = "Login token=hunter10"
    asked["story_name"] = "sk-ant-api03-" + "q1W2" * 20
    with serving(reply(protocol.wrap("why"))) as server:
        assert plainly(protocol.make(server.url, PLENTY), asked) == "why"
    sent = str(server.asked[0].content)
    for secret in ("hunter", "a1B2", "AKIA", "q1W2"):
        assert secret not in sent
    assert (KEY in sent) == (protocol is PROTOCOLS["ollama"])  # which has none, so that is no secret there
    assert sent.count("[redacted]") >= 10


UNUSABLE: dict[str, tuple[Callable[[Protocol], Any], str]] = {
    "no JSON": (lambda _: reply(b"<html>busy</html>"), "none of this protocol"),
    "nothing": (lambda _: reply(b""), "none of this protocol"),
    "another protocol": (lambda _: reply(b'{"result": 1}'), "none of this protocol"),
    "a list": (lambda _: reply(b"[[[1]]]"), "none of this protocol"),
    "deep": (lambda _: reply(b"[" * 100_000), "none of this protocol"),
    "no words": (lambda protocol: reply(protocol.wrap(" \n")), "empty answer"),
    "only empty sections": (lambda protocol: reply(protocol.wrap('{"exact_why": ""}')), "empty answer"),
    "500": (lambda _: reply(b"{}", 500), "answered 500"),
    "401": (lambda _: reply(b"{}", 401), "check the API key"),
    "404": (lambda _: reply(b"{}", 404), "the model's name"),
    "closed at once": (lambda _: closed_at_once, ""),
    "closed mid-body": (lambda _: closed_mid_body, "broke off"),
    "10 MB": (lambda protocol: reply(protocol.wrap("x" * 10_000_000)), "more than can be an analysis"),
    "busy": (lambda _: reply(b"{}", 429), "answered 429"),
    "busy for long": (lambda _: reply(b"{}", 429, Retry_After="100"), "answered 429"),
    "busy, and so again": (lambda _: reply(b"{}", 429, Retry_After="0"), "answered 429"),
    "busy until nonsense": (lambda _: reply(b"{}", 429, Retry_After="nan"), "answered 429"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_is_no_answer_is_said_once(case: str, protocol: Protocol, ask: Ask, said: Said) -> None:
    """One line that names the endpoint and what to do, at once."""
    behave, words = UNUSABLE[case]
    begun = time.monotonic()
    with serving(behave(protocol)) as server:
        analyzer = protocol.make(server.url, PLENTY)
        assert ask(analyzer, question()) is None
        assert ask(analyzer, question()) is None
    assert time.monotonic() - begun < PLENTY / 2
    (line,) = said()
    assert line.startswith(f"narrative_auto: no analysis of the failure: {server.url}")
    assert words in line
    assert "; " in line
    assert KEY not in line


def test_a_refused_connection(protocol: Protocol, ask: Ask, said: Said) -> None:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert ask(protocol.make(f"http://127.0.0.1:{port}", PLENTY), question()) is None
    (line,) = said()
    assert "refused the connection" in line or "cannot be reached" in line


@pytest.mark.parametrize("behave", [silent, trickling_headers, trickling_body])
def test_the_deadline_holds_for_all_of_it(behave: Any, protocol: Protocol, ask: Ask, said: Said) -> None:
    """However little comes at a time."""
    with serving(behave) as server:
        analyzer = protocol.make(server.url, 0.7)
        begun = time.monotonic()
        assert ask(analyzer, question()) is None
        assert 0.5 < time.monotonic() - begun < 3.0
    what = "gave no answer within 0.7 s; allow more with timeout_seconds"
    assert said() == [f"narrative_auto: no analysis of the failure: {shown(protocol, server.url)} {what}"]


def shown(protocol: Protocol, url: str) -> str:
    """Return an address as it is shown: what the package adds to it is its own business."""
    return url if protocol is PROTOCOLS["anthropic"] else url + protocol.path


@pytest.mark.parametrize("wait", ["0", "1", "date"])
def test_being_told_to_wait_is_heeded_once(wait: str, protocol: Protocol, ask: Ask, said: Said) -> None:
    """Where it fits into the time."""
    header = formatdate(time.time() + 1, usegmt=True) if wait == "date" else wait
    with serving(reply(b"{}", 429, Retry_After=header), reply(protocol.wrap("why"))) as server:
        begun = time.monotonic()
        assert ask(protocol.make(server.url, PLENTY), question()) == "why"
    assert time.monotonic() - begun >= (1.0 if wait == "1" else 0.0)
    assert len(server.asked) == 2
    assert said() == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_not_followed(status: int, protocol: Protocol, ask: Ask, said: Said) -> None:
    """It would take the key elsewhere."""
    with serving(reply(protocol.wrap("stolen"))) as thief:
        with serving(reply(b"", status, Location=thief.url.replace("127.0.0.1", "localhost") + "/x")) as server:
            assert ask(protocol.make(server.url, PLENTY), question()) is None
        assert thief.asked == []
    (line,) = said()
    assert f"answered {status}, a redirection" in line


def test_the_proxy_of_the_environment_is_used(
    protocol: Protocol, ask: Ask, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As urllib does; one that asks for a password says so."""
    monkeypatch.delenv("no_proxy")
    with serving(reply(protocol.wrap("why")), reply(b"", 407)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        analyzer = protocol.make("http://models.invalid", PLENTY)
        assert ask(analyzer, question()) == "why"
        assert ask(analyzer, question()) is None
    assert proxy.asked[0].path == f"http://models.invalid{protocol.path}"
    assert "check the proxy" in said()[0]


def test_ctrl_c_cuts_it_short(protocol: Protocol) -> None:
    """And reaches the program."""
    with serving(silent) as server:
        analyzer = protocol.make(server.url, PLENTY)
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            plainly(analyzer, question())
        assert time.monotonic() - begun < 5.0
        timer.join()


def test_a_cancelled_question_keeps_no_loop_waiting(protocol: Protocol) -> None:
    """Nor does what is left of it."""

    async def main(analyzer: Any) -> None:
        async with asyncio.timeout(0.5):
            await analyzer.analyze_failure_async(**question())

    with serving(silent) as server:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(main(protocol.make(server.url, PLENTY)))
        assert time.monotonic() - begun < 5.0


def test_a_loop_goes_on_meanwhile(protocol: Protocol) -> None:
    """Asking holds nobody up."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main(analyzer: Any) -> str | None:
        ticking = asyncio.create_task(tick())
        try:
            said: str | None = await analyzer.analyze_failure_async(**question())
            return said
        finally:
            ticking.cancel()

    def slowly(server: Any, request: Any) -> None:
        server.closing.wait(0.5)
        reply(protocol.wrap("why"))(server, request)

    with serving(slowly) as server:
        assert asyncio.run(main(protocol.make(server.url, PLENTY))) == "why"
    assert ticks >= 5


def test_asking_plainly_within_a_loop(protocol: Protocol) -> None:
    """As a `with story()` in a coroutine does; the loop that runs there is left alone."""

    async def main(analyzer: Any) -> str | None:
        loop = asyncio.get_running_loop()
        said: str | None = analyzer.analyze_failure(**question())
        assert asyncio.get_running_loop() is loop
        return said

    with serving(reply(protocol.wrap("why"))) as server:
        assert asyncio.run(main(protocol.make(server.url, PLENTY))) == "why"


@pytest.mark.parametrize("key", ["wrong\nkey-1234", "wrong-key-€", " "])
def test_a_key_that_cannot_be_sent_is_not_told(key: str, said: Said) -> None:
    """HTTP libraries put it into their messages."""
    with serving(reply(PROTOCOLS["openai"].wrap("why"))) as server:
        analyzer = LLMFailureAnalyzer("m", f"{server.url}/v1/chat/completions", key)
        assert plainly(analyzer, question()) == (None if key.strip() else "why")
    assert "wrong" not in repr(analyzer) + "".join(said())
    assert len(said()) == (1 if key.strip() else 0)


def test_a_key_that_cannot_be_sent_to_anthropic(said: Said) -> None:
    """Its package puts it into messages too."""
    pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    from narrative_auto import AnthropicFailureAnalyzer

    with serving(reply(PROTOCOLS["anthropic"].wrap("why"))) as server:
        analyzer = AnthropicFailureAnalyzer("m", "wrong\nkey-1234", base_url=server.url)
        assert plainly(analyzer, question()) is None
    assert "wrong" not in repr(analyzer) + "".join(said())
    assert len(said()) == 1


def test_without_a_key_anthropic_is_not_asked(said: Said) -> None:
    """It says what to set."""
    pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    from narrative_auto import AnthropicFailureAnalyzer

    with serving(reply(b"{}")) as server:
        assert plainly(AnthropicFailureAnalyzer(base_url=server.url), question()) is None
    assert server.asked == []
    assert "set ANTHROPIC_API_KEY" in said()[0]


def test_what_anthropic_takes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, key and address; what the program says wins."""
    pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    from narrative_auto import AnthropicFailureAnalyzer

    assert AnthropicFailureAnalyzer().model == "claude-haiku-4-5-20251001"
    with serving(reply(PROTOCOLS["anthropic"].wrap("why"))) as server:
        monkeypatch.setenv("RUNTIME_NARRATIVE_MODEL", "old")
        monkeypatch.setenv("NARRATIVE_MODEL", "new")
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        assert plainly(AnthropicFailureAnalyzer(), question()) == "why"
        assert plainly(AnthropicFailureAnalyzer("own", "own-key"), question()) == "why"
    seen = [(asked.content["model"], key_of(asked)) for asked in server.asked]
    assert seen == [("new", KEY), ("own", "own-key")]


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the analyzer is made, not when something has failed."""
    import sys

    from narrative_auto import AnthropicFailureAnalyzer
    from narrative_auto.analyzers import anthropic

    monkeypatch.delitem(sys.modules, "anthropic", raising=False)
    monkeypatch.setattr(anthropic, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        AnthropicFailureAnalyzer()
    assert 'pip install "narrative-auto[anthropic]"' in str(caught.value)
