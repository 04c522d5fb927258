"""A zero-code flight recorder and storyteller for Python programs.

Public names are imported when they are first used (PEP 562), so that `import narrative_auto` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from narrative_auto.errors import DeclinedError, NarrativeError, SettingError, StoreError
    from narrative_auto.instrument.marks import narrative_stage, no_stage
    from narrative_auto.launch.bootstrap import auto_instrument

__version__ = "0.1.0"

__all__ = [
    "DeclinedError",
    "NarrativeError",
    "SettingError",
    "StoreError",
    "__version__",
    "auto_instrument",
    "narrative_stage",
    "no_stage",
]

_HOMES = {
    "DeclinedError": "errors",
    "NarrativeError": "errors",
    "SettingError": "errors",
    "StoreError": "errors",
    "auto_instrument": "launch.bootstrap",
    "narrative_stage": "instrument.marks",
    "no_stage": "instrument.marks",
}


def __getattr__(name: str) -> object:
    """Import a public name from its room."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # the point of this function

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted(set(globals()) | set(__all__))
