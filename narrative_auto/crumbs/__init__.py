"""Crumbs: small facts that a program leaves on its way, kept in memory for the moment at which it fails.

`crumb("order loaded", order=1812)` costs about as much as a line of a log that nobody writes. The last fifty are in the
report of a crash, in its dump and in the black box; `snapshot()` returns them at any time.

The names are imported when they are first used (PEP 562): a recorded run keeps what it meets without all of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from narrative_auto.crumbs.formats import dump, export_json, format_json, format_text
    from narrative_auto.crumbs.interface import clear, crumb, snapshot
    from narrative_auto.crumbs.on_crash import enable
    from narrative_auto.crumbs.scopes import context, get_context

__all__ = [
    "clear",
    "context",
    "crumb",
    "dump",
    "enable",
    "export_json",
    "format_json",
    "format_text",
    "get_context",
    "snapshot",
]

_HOMES = {
    "clear": "interface",
    "context": "scopes",
    "crumb": "interface",
    "dump": "formats",
    "enable": "on_crash",
    "export_json": "formats",
    "format_json": "formats",
    "format_text": "formats",
    "get_context": "scopes",
    "snapshot": "interface",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
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
