"""What tests of analyzers share: no key, model or proxy of a person's own, and what is said on stderr."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from narrative_auto import errors


@pytest.fixture(autouse=True)
def nothing_of_a_persons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests say themselves what the environment has."""
    for name in (
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        *("OLLAMA_HOST", "NARRATIVE_MODEL", "RUNTIME_NARRATIVE_MODEL", "ANTHROPIC_CUSTOM_HEADERS"),
        *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Give a function that returns the lines that were said on stderr."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.__stderr__", stream)
    monkeypatch.setattr(errors, "_told", set())
    return lambda: stream.getvalue().splitlines()
