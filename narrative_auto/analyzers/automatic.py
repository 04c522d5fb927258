"""The analyzer that a person names, with what the environment says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrative_auto.errors import SettingError
from narrative_auto.settings import ANALYZERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from narrative_auto.analyzers.base import FailureAnalyzer

_OPENAI = "https://api.openai.com/v1"
_OLLAMA_PORT = 11434


def make_analyzer(name: str, environ: Mapping[str, str], timeout_seconds: float = 30.0) -> FailureAnalyzer:
    """Return the analyzer of a name: "anthropic", "openai" or "ollama".

    Args:
        name: which one.
        environ: has `NARRATIVE_MODEL` or `RUNTIME_NARRATIVE_MODEL`, and what the one that is named goes by:
            `ANTHROPIC_API_KEY` and `ANTHROPIC_BASE_URL`, `OPENAI_API_KEY` and `OPENAI_BASE_URL`, or `OLLAMA_HOST`.
        timeout_seconds: how long a question may take in all.

    Raises:
        SettingError: something is missing or wrong; the message is one line that says what to set.
    """
    model = environ.get("NARRATIVE_MODEL") or environ.get("RUNTIME_NARRATIVE_MODEL", "")
    if name == "anthropic":
        return _anthropic(model, environ, timeout_seconds)
    if name == "openai":
        return _openai(model, environ, timeout_seconds)
    if name == "ollama":
        return _ollama(model, environ, timeout_seconds)
    usable = ", ".join(one for one in ANALYZERS if one != "off")
    raise SettingError(f"there is no analyzer {name!r}: it takes one of {usable}")


def _anthropic(model: str, environ: Mapping[str, str], timeout_seconds: float) -> FailureAnalyzer:
    from narrative_auto.analyzers.anthropic import BASE_URL, MODEL, AnthropicFailureAnalyzer

    key = environ.get("ANTHROPIC_API_KEY", "").strip()
    if not key:
        raise SettingError("the analyzer anthropic needs a key: set ANTHROPIC_API_KEY")
    try:
        return AnthropicFailureAnalyzer(
            model or MODEL,
            key,
            timeout_seconds=timeout_seconds,
            base_url=environ.get("ANTHROPIC_BASE_URL") or BASE_URL,
        )
    except ModuleNotFoundError as error:
        raise SettingError(str(error)) from None


def _openai(model: str, environ: Mapping[str, str], timeout_seconds: float) -> FailureAnalyzer:
    from narrative_auto.analyzers.openai_compatible import LLMFailureAnalyzer

    key, base = environ.get("OPENAI_API_KEY", "").strip(), environ.get("OPENAI_BASE_URL", "").strip()
    if not key and not base:
        raise SettingError("the analyzer openai needs a key: set OPENAI_API_KEY, or OPENAI_BASE_URL to one without")
    if not model:
        raise SettingError("the analyzer openai needs a model: set NARRATIVE_MODEL, to gpt-4o-mini for example")
    endpoint = (base or _OPENAI).rstrip("/") + "/chat/completions"
    return LLMFailureAnalyzer(model, endpoint, key or None, timeout_seconds)


def _ollama(model: str, environ: Mapping[str, str], timeout_seconds: float) -> FailureAnalyzer:
    from narrative_auto.analyzers.ollama import OllamaFailureAnalyzer

    if not model:
        raise SettingError("the analyzer ollama needs a model: set NARRATIVE_MODEL, to llama3 for example")
    return OllamaFailureAnalyzer(model, ollama_endpoint(environ.get("OLLAMA_HOST", "")), timeout_seconds)


def ollama_endpoint(host: str) -> str:
    """Return the address of Ollama that `OLLAMA_HOST` means, which is written with or without scheme, port and host.

    As Ollama's own client reads it: the port is 11434, or the scheme's own where one is written; 0.0.0.0, where a
    server listens, is this machine.
    """
    host = host.strip().strip("\"'")
    scheme, separator, rest = host.rpartition("://")
    place, slash, path = rest.partition("/")
    user, at, place = place.rpartition("@")
    if place.count(":") > 1 and not place.startswith("["):
        place = f"[{place}]"
    name, _, port = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", "")
    if not port and not separator:
        port = str(_OLLAMA_PORT)
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(name, name)  # noqa: S104 - none to listen on
    return f"{scheme or 'http'}://{user}{at}{name}{':' if port else ''}{port}{slash}{path.rstrip('/')}".rstrip("/") + (
        "/api/generate"
    )
