"""Tells what an interpreter is like once it has started, in one line of JSON: the doctor runs this file's text by `-c`.

So it is read by interpreters that lack this package, and older ones: the standard library only, Python 3.7 or later.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MARK = "narrative-doctor:"
"""Begins the line; a start-up file of the person's own may have printed before."""

_TOOLS = range(6)


def described(one: Any) -> str:
    """Return whose a trace function is: its module and name; "" where there is none."""
    if one is None:
        return ""
    owner = one if getattr(one, "__module__", None) and getattr(one, "__qualname__", None) else type(one)
    return f"{owner.__module__}.{owner.__qualname__}"


def interpreter() -> dict[str, Any]:
    """Return the facts that need nothing of this package."""
    import sysconfig

    config = sysconfig.get_config_var
    is_locked = getattr(sys, "_is_gil_enabled", None)
    jit = getattr(sys, "_jit", None)
    monitoring = getattr(sys, "monitoring", None)
    own = sys.modules.get("sitecustomize")
    return {
        "implementation": sys.implementation.name,
        "version": sys.version.split()[0],
        "executable": sys.executable,
        "prefix": sys.prefix,
        "free_threaded": bool(config("Py_GIL_DISABLED")),
        "gil": bool(is_locked()) if is_locked else True,
        "jit": _jit(jit),
        "flags": {name: int(getattr(sys.flags, name, 0)) for name in _FLAGS},
        "pycache_prefix": sys.pycache_prefix or "",
        "cache_tag": sys.implementation.cache_tag or "",
        "trace": described(sys.gettrace()),
        "profile": described(sys.getprofile()),
        "tools": {str(tool): str(monitoring.get_tool(tool)) for tool in _TOOLS if monitoring.get_tool(tool) is not None}
        if monitoring is not None
        else {},
        "sitecustomize": (getattr(own, "__file__", None) or "") if own is not None else "",
        "purelib": sysconfig.get_path("purelib"),
    }


def _jit(jit: Any) -> str:
    """Return what is known of the JIT; CPython says so from 3.14 on."""
    if jit is None:
        return ""
    if not jit.is_available():
        return "not built in"
    return "on" if jit.is_enabled() else "off"


_FLAGS = ("isolated", "ignore_environment", "no_site", "safe_path", "dont_write_bytecode", "interactive", "inspect")


def package(command: list[str], script: str) -> dict[str, Any]:
    """Return the facts about this package, and what it takes the command for.

    Args:
        command: the command line of the interpreter, as `sys.orig_argv` would be.
        script: as `sys.argv[0]` would be.
    """
    try:
        from narrative_auto import __version__, errors
    except ImportError as reason:
        return {"package": "", "reason": str(reason)}
    facts: dict[str, Any] = {
        "package": os.path.dirname(os.path.abspath(errors.__file__)),
        "package_version": __version__,
    }
    if sys.version_info < (3, 11):  # noqa: UP036 - the command may have any
        facts["reason"] = "it needs Python 3.11 or later"
        return facts
    if "narrative_auto.launch.bootstrap" in sys.modules:
        from narrative_auto.launch import bootstrap

        run = bootstrap.current()
        if run is not None:
            run.recorder.say_goodbye()  # what follows is no program's
            engines = run.engines
            facts["engines"] = {
                "first": engines.first.name,
                "companion": engines.companion.name if engines.companion is not None else "",
                "reason": engines.reason,
                "declined": engines.declined,
                "recorder": run.recorder.name,
                "clock": run.recorder.clock,
                "black_box": run.keeping.folder,
                "why_pure": run.why_pure,
            }
        return facts
    from narrative_auto import settings
    from narrative_auto.launch import program as programs

    what = programs.identify(command, script)
    chosen = settings.load_or_default(os.environ, what.folder)
    facts["program"] = {"kind": what.kind, "name": what.name, "folder": what.folder, "project": what.project}
    facts["app_roots"] = chosen.app_roots or list(dict.fromkeys(what.app_roots()))
    facts["settings"] = {name: getattr(chosen, name) for name in settings.DEFAULTS}
    return facts


def main() -> None:
    """Print the line, and leave at once: nothing that runs at exit is to write files for a program that did not run."""
    before = list(sys.path)
    # A module of the program's own may bear the name of one of the library.
    sys.path[:] = [os.path.dirname(os.__file__)]
    import json

    facts = interpreter()
    sys.path[:] = [folder for folder in before if folder]
    facts.update(package(*json.loads(sys.argv[1])))
    os.write(1, f"\n{MARK}{json.dumps(facts)}\n".encode())
    os._exit(0)
