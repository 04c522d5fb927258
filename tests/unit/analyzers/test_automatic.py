"""The analyzer that a person names: what it needs, and the setting itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from narrative_auto import FailureAnalyzer
from narrative_auto.analyzers.automatic import make_analyzer, ollama_endpoint
from narrative_auto.analyzers.endpoint import read_endpoint
from narrative_auto.errors import SettingError
from narrative_auto.settings import Settings, load, to_environment
from tests.conftest import narrative_run, run
from tests.unit.analyzers.service import KEY, PROTOCOLS, REASON, SECTIONS, question, reply, serving


def environment(name: str, url: str) -> dict[str, str]:
    """Return what each of them needs."""
    return {
        "ollama": {"OLLAMA_HOST": url, "NARRATIVE_MODEL": "m"},
        "openai": {"OPENAI_BASE_URL": f"{url}/v1/", "OPENAI_API_KEY": KEY, "RUNTIME_NARRATIVE_MODEL": "m"},
        "anthropic": {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY, "NARRATIVE_MODEL": "m"},
    }[name]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_can_be_named(name: str) -> None:
    """And asks the model and the address that the environment names."""
    if name == "anthropic":
        pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    protocol = PROTOCOLS[name]
    with serving(reply(protocol.wrap(json.dumps(REASON)))) as server:
        analyzer = make_analyzer(name, environment(name, server.url), 20.0)
        assert isinstance(analyzer, FailureAnalyzer)
        assert analyzer.analyze_failure(**question()) == SECTIONS
    (asked,) = server.asked
    assert (asked.path, asked.content["model"]) == (protocol.path, "m")
    assert KEY not in repr(analyzer)


@pytest.mark.parametrize(
    ("name", "environ", "words"),
    [
        ("anthropic", {}, "set ANTHROPIC_API_KEY"),
        ("anthropic", {"ANTHROPIC_API_KEY": " "}, "set ANTHROPIC_API_KEY"),
        ("openai", {"NARRATIVE_MODEL": "m"}, "set OPENAI_API_KEY"),
        ("openai", {"OPENAI_API_KEY": KEY}, "set NARRATIVE_MODEL"),
        ("openai", {"OPENAI_BASE_URL": f"ftp://ada:{KEY}@x/v1", "NARRATIVE_MODEL": "m"}, "not 'x/v1/chat/completions'"),
        ("ollama", {}, "set NARRATIVE_MODEL"),
        ("ollama", {"OLLAMA_HOST": "a b", "NARRATIVE_MODEL": "m"}, "an endpoint is an address"),
        ("off", {}, "one of anthropic, openai, ollama"),
        ("gemini", {}, "one of anthropic, openai, ollama"),
    ],
)
def test_what_is_missing_is_named(name: str, environ: dict[str, str], words: str) -> None:
    """In one line, which does not tell a key."""
    with pytest.raises(SettingError) as caught:
        make_analyzer(name, environ)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert KEY not in message


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that has it."""
    from narrative_auto.analyzers import anthropic

    monkeypatch.delitem(sys.modules, "anthropic", raising=False)
    monkeypatch.setattr(anthropic, "find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"narrative-auto\[anthropic\]"):
        make_analyzer("anthropic", {"ANTHROPIC_API_KEY": KEY})


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        ("box:80", "http://box:80"),
        (":7000", "http://127.0.0.1:7000"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:7000", "http://127.0.0.1:7000"),
        ("http://box", "http://box"),
        ("https://box/", "https://box"),
        ("https://box:8443/ollama/", "https://box:8443/ollama"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:7000", "http://[::1]:7000"),
        ("[::]:7000", "http://[::1]:7000"),
        (' "box" ', "http://box:11434"),
        ("https://ada:x@box", "https://ada:x@box"),
    ],
)
def test_how_ollamas_host_is_written(host: str, address: str) -> None:
    """As Ollama's own client reads it."""
    endpoint = ollama_endpoint(host)
    assert endpoint == f"{address}/api/generate"
    read_endpoint(endpoint)


@pytest.mark.parametrize(
    "text", ["", "box", "box:80/x", "ftp://box/", "http://", "http://:80/", "http://box:x/", "http://b x/", "http://b\n/",
             "http://[::1/", "file:///etc/passwd", "http://bücher.example/", "http://box:99999/"],
)  # fmt: skip
def test_what_is_no_endpoint(text: str) -> None:
    """Is said when an analyzer is made."""
    with pytest.raises(SettingError, match="an endpoint is an address such as"):
        read_endpoint(text)


def test_an_endpoint_that_is_none_does_not_show_its_password() -> None:
    """It may have one all the same."""
    with pytest.raises(SettingError) as caught:
        read_endpoint("ada:hunter2@box/v1?key=hunter3")
    assert "hunter" not in str(caught.value)


def test_the_setting(tmp_path: Path) -> None:
    """From the file, the environment and the command line, and on to the launched process."""
    (tmp_path / "pyproject.toml").write_text('[tool.narrative]\nanalyzer = "ollama"\n')
    assert Settings().analyzer == ""
    assert load({}, str(tmp_path)).analyzer == "ollama"
    assert load({"NARRATIVE_ANALYZER": "openai"}, str(tmp_path)).analyzer == "openai"
    chosen = load({"NARRATIVE_ANALYZER": "openai"}, str(tmp_path), {"analyzer": ("--analyze", "off")})
    assert chosen.analyzer == "off"
    assert to_environment(chosen)["NARRATIVE_ANALYZER"] == "off"
    assert "NARRATIVE_ANALYZER" not in to_environment(Settings())


def test_the_option(tmp_path: Path, write: Callable[[str, str], Path]) -> None:
    """It reaches the program; what it does not take is one line."""
    write("app.py", "import os\nprint(os.environ['NARRATIVE_ANALYZER'])\n")
    done = narrative_run("--analyze", "off", "python", "app.py", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"off\n")
    bad = narrative_run("--analyze", "magic", "python", "app.py", cwd=tmp_path)
    assert (bad.status, bad.out) == (2, b"")
    assert bad.err == "narrative-run: --analyze takes one of anthropic, openai, ollama, off, not 'magic'\n"


def test_nothing_heavy_is_imported_before_something_fails(tmp_path: Path) -> None:
    """A program may want to replace `ssl` and `socket` first; and it takes time."""
    lines: list[Any] = [
        "import sys, narrative_auto.analyzers.automatic as automatic",
        "from narrative_auto import DeduplicatingAnalyzer, LLMFailureAnalyzer",
        "DeduplicatingAnalyzer(LLMFailureAnalyzer('m'))",
        "automatic.make_analyzer('ollama', {'NARRATIVE_MODEL': 'm'})",
        "automatic.make_analyzer('openai', {'NARRATIVE_MODEL': 'm', 'OPENAI_API_KEY': 'k'})",
        "print(*{'urllib.request', 'http.client', 'anthropic', 'httpx', 'httpx2', 'pydantic'} & set(sys.modules))",
    ]
    done = run(sys.executable, "-c", "\n".join(lines), cwd=tmp_path)
    assert (done.status, done.out, done.err) == (0, b"\n", "")
