"""Stories with each analyzer: the failure's event has the analysis, and the console shows it."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from narrative_auto import (
    ConsoleRenderer,
    DeduplicatingAnalyzer,
    FailureOccurred,
    LLMAnalysisReady,
    OllamaFailureAnalyzer,
    StoryCompleted,
    stage,
    story,
)
from narrative_auto.analyzers.rate_limited import RateLimited
from tests.conftest import run
from tests.unit.analyzers.service import PROTOCOLS, REASON, SECTIONS, Protocol, reply, serving, silent


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    """Each of them."""
    if request.param == "anthropic":
        pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    return PROTOCOLS[request.param]


PASSWORD = "".join(("hunt", "er2"))
"""A traceback has the program's own lines, so it stands in none."""


class Keep:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.is_ready = threading.Event()

    def handle(self, event: Any) -> None:
        self.events.append(event)
        if isinstance(event, LLMAnalysisReady):
            self.is_ready.set()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def fail_plainly(**keywords: Any) -> None:
    """Fail in a `with` story."""
    with story("Import", **keywords), stage("Insert"):
        insert_row(PASSWORD)


def fail_in_coroutine(**keywords: Any) -> None:
    """Fail in an `async with` story."""

    async def main() -> None:
        async with story("Import", **keywords), stage("Insert"):
            insert_row(PASSWORD)

    asyncio.run(main())


def fail_plainly_in_coroutine(**keywords: Any) -> None:
    """Fail in a `with` story while a loop runs."""

    async def main() -> None:
        fail_plainly(**keywords)

    asyncio.run(main())


def insert_row(password: str) -> None:
    """Fail."""
    raise ValueError(f"duplicate customer id, password={password}")


WAYS = [fail_plainly, fail_in_coroutine, fail_plainly_in_coroutine]


@pytest.mark.parametrize("fail", WAYS)
def test_the_failure_has_the_analysis(fail: Callable[..., None], protocol: Protocol) -> None:
    """And the program its exception."""
    keep, shown = Keep(), io.StringIO()
    with serving(reply(protocol.wrap(json.dumps(REASON)))) as server:
        analyzer = protocol.make(server.url, 20.0)
        with pytest.raises(ValueError, match="duplicate customer id, password=hunter2"):
            fail(failure_analyzer=analyzer, renderers=[keep, ConsoleRenderer(shown)])
    (failure,) = keep.of(FailureOccurred)
    assert failure.llm_analysis == SECTIONS
    assert [type(event) for event in keep.events[-2:]] == [FailureOccurred, StoryCompleted]
    lines = [line.strip() for line in shown.getvalue().splitlines()]
    assert lines[lines.index("## Exact Why") + 1] == "the id is there twice"
    (asked,) = server.asked
    prompt = protocol.prompt(asked.content)
    assert "Stage: Insert" in prompt
    assert "in insert_row" in prompt
    assert 'raise ValueError(f"duplicate customer id' in prompt
    assert "hunter2" not in prompt


@pytest.mark.parametrize("fail", WAYS)
def test_an_analysis_in_the_background_follows(fail: Callable[..., None], protocol: Protocol) -> None:
    """After the failure was told, the loop being closed by then or not."""
    keep, shown = Keep(), io.StringIO()
    gate = threading.Event()

    def late(server: Any, request: Any) -> None:
        gate.wait(20)
        reply(protocol.wrap(json.dumps(REASON)))(server, request)

    with serving(late) as server:
        with pytest.raises(ValueError, match="duplicate"):
            fail(
                failure_analyzer=protocol.make(server.url, 20.0),
                background_analysis=True,
                renderers=[keep, ConsoleRenderer(shown)],
            )
        (failure,) = keep.of(FailureOccurred)
        assert failure.llm_analysis is None
        assert keep.of(LLMAnalysisReady) == []
        gate.set()
        assert keep.is_ready.wait(20)
        for thread in threading.enumerate():
            if thread.name == "narrative-analysis":
                thread.join(20)
    (ready,) = keep.of(LLMAnalysisReady)
    assert (ready.story_id, ready.stage_name, ready.llm_analysis) == (failure.story_id, "Insert", SECTIONS)
    assert "## Exact Why" in shown.getvalue()


@pytest.mark.parametrize("fail", WAYS)
def test_a_service_that_is_silent_takes_nothing_away(
    fail: Callable[..., None], protocol: Protocol, said: Callable[[], list[str]]
) -> None:
    """The failure is told without an analysis, when the time is over."""
    keep = Keep()
    with serving(silent) as server, pytest.raises(ValueError, match="duplicate"):
        fail(failure_analyzer=protocol.make(server.url, 0.3), renderers=[keep])
    (failure,) = keep.of(FailureOccurred)
    assert failure.llm_analysis is None
    assert len(said()) == 1


@pytest.mark.parametrize("fail", WAYS)
def test_a_failure_that_comes_again_is_asked_about_once(fail: Callable[..., None], tmp_path: Path) -> None:
    """By either of those that stand in between."""
    protocol = PROTOCOLS["ollama"]
    for wrap in (DeduplicatingAnalyzer, lambda inner: RateLimited(inner, str(tmp_path), timeout_seconds=20.0)):
        keep = Keep()
        with serving(reply(protocol.wrap("the id"))) as server:
            analyzer = wrap(protocol.make(server.url, 20.0))
            for _ in range(3):
                with pytest.raises(ValueError, match="duplicate"):
                    fail(failure_analyzer=analyzer, renderers=[keep])
        assert len(server.asked) == 1
        analyses = [failure.llm_analysis for failure in keep.of(FailureOccurred)]
        assert analyses[0] == "the id"
        assert all(one.endswith("the id") for one in analyses)


def test_a_story_at_the_interpreters_end(tmp_path: Path) -> None:
    """When no thread can be started any more, the analysis is there all the same, or a line that says why not."""
    program = """
import atexit
from narrative_auto import OllamaFailureAnalyzer, story

def end():
    try:
        with story("Last", failure_analyzer=OllamaFailureAnalyzer("m", {url!r}, 20.0)):
            raise ValueError("at the end")
    except ValueError:
        print("raised")

atexit.register(end)
"""
    with serving(reply(PROTOCOLS["ollama"].wrap("the last word"))) as server:
        (tmp_path / "app.py").write_text(program.replace("{url!r}", repr(f"{server.url}/api/generate")))
        done = run(sys.executable, "app.py", cwd=tmp_path, PYTHONIOENCODING="utf-8", no_proxy="127.0.0.1")
    assert (done.status, done.err) == (0, "")
    assert "the last word" in done.out.decode()
    assert done.out.decode().rstrip().endswith("raised")


def test_the_key_is_in_no_event(said: Callable[[], list[str]]) -> None:
    """Nor in what is printed, when the story's own frames hold the analyzer."""
    keep, shown = Keep(), io.StringIO()
    with serving(reply(b"", 500)) as server:
        analyzer = OllamaFailureAnalyzer("m", server.url.replace("//", "//ada:sesame-open@") + "/api/generate")
        with pytest.raises(ValueError, match="duplicate"):
            fail_plainly(
                failure_analyzer=analyzer,
                failure_diagnostics="rich",
                renderers=[keep, ConsoleRenderer(shown)],
            )
    assert "sesame" not in shown.getvalue() + str(keep.events) + "".join(said())
