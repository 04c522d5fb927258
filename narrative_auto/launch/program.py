"""What the interpreter was asked to run, and which folders hold its application code."""

from __future__ import annotations

import os
import sys

from narrative_auto.settings import project_root

_FROM_MULTIPROCESSING = ("from multiprocessing.spawn import ", "from multiprocessing.forkserver import ")
"""How the commands begin by which `multiprocessing` starts interpreters."""

SCRIPT, MODULE, CONSOLE_SCRIPT, COMMAND, SPAWNED, OTHER = "script", "module", "console script", "-c", "spawned", "other"

_OPTIONS_WITH_VALUE = frozenset("WX")


class Program:
    """What a Python process runs.

    Attributes:
        kind: one of the constants of this module.
        name: how a story calls it: `app.py`, `python -m shop`, `pytest`.
        path: the script's path with symbolic links resolved; "" where there is none.
        modules: names under which `runpy` may load the main module of `python -m`.
        folder: the application's folder: the script's, the package's, else the current one.
        started_in: the current folder when the process began.
    """

    __slots__ = ("folder", "kind", "modules", "name", "path", "started_in")

    def __init__(
        self, kind: str, name: str, folder: str, path: str = "", modules: frozenset[str] = frozenset()
    ) -> None:
        self.kind = kind
        self.name = name
        self.path = path
        self.modules = modules
        self.folder = folder
        self.started_in = current_folder()

    def app_roots(self) -> list[str]:
        """Return the default app roots: the folder and the nearest one above it with a pyproject.toml or .git."""
        roots = [self.folder]
        root = project_root(self.folder)
        return roots if root is None else [*roots, root]

    @property
    def interactive(self) -> bool:
        """Whether a person types into the interpreter, who sees each error as it comes."""
        if sys.flags.interactive or sys.flags.inspect:
            return True
        return self.kind == OTHER and not self.path and sys.stdin is not None and sys.stdin.isatty()

    @property
    def project(self) -> str:
        """The project's root, where `.narrative/` lies: of the application, else the current folder's."""
        return project_root(self.folder) or project_root(self.started_in) or self.started_in


def identify(arguments: list[str], script: str) -> Program:
    """Return what a Python process runs.

    Args:
        arguments: the interpreter's command line, `sys.orig_argv`.
        script: `sys.argv[0]` before the program runs.
    """
    option, value = _mode(arguments)
    here = current_folder()
    if option == "-m":
        return Program(
            MODULE, f"python -m {value}", _package_folder(value), modules=frozenset({value, f"{value}.__main__"})
        )
    if option == "-c":
        if "--multiprocessing-fork" in arguments or value.startswith(_FROM_MULTIPROCESSING):
            return Program(SPAWNED, "multiprocessing child", here)
        return Program(COMMAND, "python -c", here)
    if option == "-x":
        return Program(OTHER, os.path.basename(script), here)  # its first line is not for us to read
    if not script or script == "-" or not os.path.exists(script):
        return Program(OTHER, "python", here)
    path = os.path.realpath(script)
    name = os.path.basename(script)
    if _is_console_script(script):
        return Program(CONSOLE_SCRIPT, name, here)
    if os.path.isdir(path):
        return Program(OTHER, name, path, modules=frozenset({"__main__"}))
    return Program(SCRIPT, name, os.path.dirname(path), path)


def _mode(arguments: list[str]) -> tuple[str, str]:
    """Return ("-m", module), ("-c", command), ("-x", "") or ("", "") by the rules of CPython's own option parser."""
    index = 1
    skips_a_line = False
    while index < len(arguments):
        argument = arguments[index]
        index += 1
        if argument == "--check-hash-based-pycs":
            index += 1
            continue
        if not argument.startswith("-") or argument in {"-", "--"}:
            break
        if argument.startswith("--"):
            continue
        for position, letter in enumerate(argument[1:], 2):
            rest = argument[position:]
            if letter in {"m", "c"}:
                following = arguments[index] if index < len(arguments) else ""
                return f"-{letter}", rest or following
            if letter == "x":
                skips_a_line = True
            if letter in _OPTIONS_WITH_VALUE:
                index += 0 if rest else 1
                break
    return ("-x" if skips_a_line else ""), ""


def _package_folder(module: str) -> str:
    """Return the folder that holds the package of `python -m`, the current one for an installed package."""
    from importlib.machinery import PathFinder

    from narrative_auto.instrument.scope import Scope

    here = current_folder()
    top = module.partition(".")[0]
    spec = PathFinder.find_spec(top, [here, *sys.path])
    places: list[str] = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
    for place in places:
        if not place:
            continue
        path = os.path.realpath(place)
        # A package's __init__.py and its folder both lie in the folder that is asked for.
        folder = os.path.dirname(path)
        if os.path.basename(folder) == top and path.endswith(".py") and len(places) > 1:
            folder = os.path.dirname(folder)
        if Scope([folder]).file(os.path.join(folder, top, "x.py"), top).instrument:
            return folder
    return os.path.realpath(here)


def _is_console_script(script: str) -> bool:
    """Return whether a script was put into the environment's own folder of commands by an installer."""
    if script.endswith((".py", ".pyw")):
        return False
    folder = os.path.dirname(os.path.abspath(script))
    commands = {os.path.dirname(os.path.abspath(sys.executable or "")), os.path.join(sys.prefix, "bin")}
    commands |= {os.path.join(sys.base_prefix, "bin"), os.path.expanduser("~/.local/bin")}
    return os.path.basename(folder) in {"bin", "Scripts"} and (
        folder in commands or os.path.realpath(folder) in {os.path.realpath(one) for one in commands}
    )


def current_folder() -> str:
    """Return the current folder, the root folder if it has been removed."""
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return os.sep


def is_main_interpreter() -> bool:
    """Return whether this is the process's main interpreter: `site` also runs in sub-interpreters."""
    import _thread

    is_main = getattr(_thread, "_is_main_interpreter", None)
    if is_main is not None:
        return bool(is_main())
    import _xxsubinterpreters  # type: ignore[import-not-found] # CPython 3.11; later ones have the function above

    return bool(_xxsubinterpreters.get_current() == _xxsubinterpreters.get_main())
