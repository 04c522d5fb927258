"""Starts a command with the start-up hook in its environment."""

from __future__ import annotations

import os
import shutil
import sys

from narrative_auto import settings
from narrative_auto.errors import CommandError, attempted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import NoReturn

    from narrative_auto.settings import Settings

NOT_FOUND = 127
NOT_EXECUTABLE = 126

_PYTHON_OPTIONS_WITHOUT_SITE = "IES"
"""Options of the interpreter with which it does not look at `PYTHONPATH`, or imports no `sitecustomize`."""


def hook_folder() -> str:
    """Return the folder that holds the start-up hook, `sitecustomize.py`; it lies beside this package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.path.join(os.path.dirname(package), "sitecustomize_template")


def resolve(command: list[str]) -> tuple[str, list[str]]:
    """Return the path of what is to be executed, and the command line that it gets: as typed.

    A Python file is run by this interpreter, unless it was named by a path and can be executed itself.

    Raises:
        CommandError: there is no such command, or it cannot be executed; the message is one line.
    """
    name = command[0]
    named_by_path = os.path.dirname(name) != ""
    if name.endswith((".py", ".pyw")) and os.path.isfile(name) and not (named_by_path and os.access(name, os.X_OK)):
        return sys.executable, [sys.executable, *command]
    path = shutil.which(name)
    if path is not None:
        return path, command
    if os.path.isdir(name):
        raise CommandError(f"{name} is a folder: to run the package in it, narrative-run python {name}", NOT_EXECUTABLE)
    if os.path.exists(name):
        raise CommandError(f"{name} cannot be executed: narrative-run python {name}, if it is a script", NOT_EXECUTABLE)
    if name.endswith((".py", ".pyw")):
        raise CommandError(f"{name}: there is no such file", NOT_FOUND)
    raise CommandError(f"{name}: there is no such command on the PATH", NOT_FOUND)


def child_environment(
    current: Mapping[str, str], chosen: Settings, typed: Iterable[str], *, on_terminal: bool
) -> dict[str, str]:
    """Return the environment in which the command's interpreters start the recorder.

    Args:
        current: the environment of this process.
        chosen: the settings.
        typed: those that were given on the command line; the others are found by the interpreters themselves.
        on_terminal: whether a person looks at stderr: then the tree is told, else its first and last line.
    """
    environment = dict(current)
    environment.pop(settings.STORY, None)
    environment.update(settings.to_environment(chosen, typed))
    environment[settings.LAUNCHED] = "tree" if on_terminal else "line"
    environment[settings.SWITCH] = "1"
    before = current.get("PYTHONPATH", "").removeprefix(hook_folder() + os.pathsep)
    environment["PYTHONPATH"] = hook_folder() + (os.pathsep + before if before and before != hook_folder() else "")
    return environment


def blind_option(command: list[str]) -> str | None:
    """Return the option that keeps a Python command from seeing the hook (`-I`, `-E`, `-S`), if it has one."""
    if not os.path.basename(command[0]).startswith(("python", "pypy")):
        return None
    for argument in command[1:]:
        if not argument.startswith("-") or argument.startswith("--") or argument == "-":
            return None
        for letter in argument[1:]:
            if letter in _PYTHON_OPTIONS_WITHOUT_SITE:
                return f"-{letter}"
            if letter in "cmWX":
                break
        if argument[1:2] in {"c", "m"}:
            return None
    return None


def run(path: str, command: list[str], environment: dict[str, str]) -> NoReturn:
    """Become the command; where the system cannot do that (Windows), run it as a child and exit as it does.

    Raises:
        CommandError: it cannot be executed.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by whoever started us
            attempted(stream.flush)
    if os.name == "nt":
        import subprocess

        raise SystemExit(subprocess.call(command, executable=path, env=environment))  # noqa: S603 - the person's own command
    try:
        os.execve(path, command, environment)  # noqa: S606 - the same
    except OSError as error:
        raise CommandError(f"{path} cannot be executed: {error.strerror}", NOT_EXECUTABLE) from None
