"""A zero-code flight recorder and storyteller for Python programs.

Public names are imported when they are first used (PEP 562), so that `import narrative_auto` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from narrative_auto.analyzers.anthropic import AnthropicFailureAnalyzer
    from narrative_auto.analyzers.base import FailureAnalyzer
    from narrative_auto.analyzers.deduplicating import DeduplicatingAnalyzer
    from narrative_auto.analyzers.ollama import OllamaFailureAnalyzer
    from narrative_auto.analyzers.openai_compatible import LLMFailureAnalyzer
    from narrative_auto.crumbs.interface import crumb
    from narrative_auto.crumbs.scopes import context
    from narrative_auto.errors import DeclinedError, NarrativeError, SettingError, StoreError
    from narrative_auto.failures.config import FailureDiagnosticsConfig, effective_diagnostics_mode
    from narrative_auto.failures.summary import FailureSummary
    from narrative_auto.instrument.marks import narrative_stage, no_stage
    from narrative_auto.launch.bootstrap import auto_instrument
    from narrative_auto.renderers.console import ConsoleRenderer
    from narrative_auto.stories.decorators import (
        instrument_module,
        narrative_class,
        runtime_narrative_stage,
        runtime_narrative_story,
    )
    from narrative_auto.stories.events import (
        FailureOccurred,
        LLMAnalysisReady,
        LogRecorded,
        StageCompleted,
        StageFailed,
        StageStarted,
        StoryCompleted,
        StoryStarted,
    )
    from narrative_auto.stories.failed import build_enriched_failure
    from narrative_auto.stories.log_handler import NarrativeLogHandler
    from narrative_auto.stories.opening import story
    from narrative_auto.stories.runtime import StoryRuntime, has_active_story
    from narrative_auto.stories.stages import StageRecord, stage
    from narrative_auto.stories.task_group import NarrativeTaskGroup, NarrativeTaskGroupError

__version__ = "0.1.0"

__all__ = [
    "AnthropicFailureAnalyzer",
    "ConsoleRenderer",
    "DeclinedError",
    "DeduplicatingAnalyzer",
    "FailureAnalyzer",
    "FailureDiagnosticsConfig",
    "FailureOccurred",
    "FailureSummary",
    "LLMAnalysisReady",
    "LLMFailureAnalyzer",
    "LogRecorded",
    "NarrativeError",
    "NarrativeLogHandler",
    "NarrativeTaskGroup",
    "NarrativeTaskGroupError",
    "OllamaFailureAnalyzer",
    "SettingError",
    "StageCompleted",
    "StageFailed",
    "StageRecord",
    "StageStarted",
    "StoreError",
    "StoryCompleted",
    "StoryRuntime",
    "StoryStarted",
    "__version__",
    "auto_instrument",
    "build_enriched_failure",
    "context",
    "crumb",
    "effective_diagnostics_mode",
    "has_active_story",
    "instrument_module",
    "narrative_class",
    "narrative_stage",
    "no_stage",
    "runtime_narrative_stage",
    "runtime_narrative_story",
    "stage",
    "story",
]

_HOMES = {
    "AnthropicFailureAnalyzer": "analyzers.anthropic",
    "ConsoleRenderer": "renderers.console",
    "DeclinedError": "errors",
    "DeduplicatingAnalyzer": "analyzers.deduplicating",
    "FailureAnalyzer": "analyzers.base",
    "FailureDiagnosticsConfig": "failures.config",
    "FailureOccurred": "stories.events",
    "FailureSummary": "failures.summary",
    "LLMAnalysisReady": "stories.events",
    "LLMFailureAnalyzer": "analyzers.openai_compatible",
    "LogRecorded": "stories.events",
    "NarrativeError": "errors",
    "NarrativeLogHandler": "stories.log_handler",
    "NarrativeTaskGroup": "stories.task_group",
    "NarrativeTaskGroupError": "stories.task_group",
    "OllamaFailureAnalyzer": "analyzers.ollama",
    "SettingError": "errors",
    "StageCompleted": "stories.events",
    "StageFailed": "stories.events",
    "StageRecord": "stories.stages",
    "StageStarted": "stories.events",
    "StoreError": "errors",
    "StoryCompleted": "stories.events",
    "StoryRuntime": "stories.runtime",
    "StoryStarted": "stories.events",
    "auto_instrument": "launch.bootstrap",
    "build_enriched_failure": "stories.failed",
    "context": "crumbs.scopes",
    "crumb": "crumbs.interface",
    "effective_diagnostics_mode": "failures.config",
    "has_active_story": "stories.runtime",
    "instrument_module": "stories.decorators",
    "narrative_class": "stories.decorators",
    "narrative_stage": "instrument.marks",
    "no_stage": "instrument.marks",
    "runtime_narrative_stage": "stories.decorators",
    "runtime_narrative_story": "stories.decorators",
    "stage": "stories.stages",
    "story": "stories.opening",
}


def _console() -> list[Any]:
    """Return what a story has that names no renderers and has no story around it."""
    from narrative_auto.renderers.console import ConsoleRenderer

    return [ConsoleRenderer()]


def __getattr__(name: str) -> object:
    """Import a public name from its room."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # the point of this function

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    if home.startswith("stories."):
        from narrative_auto.stories.runtime import provide_renderers

        provide_renderers(_console)
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted(set(globals()) | set(__all__))
