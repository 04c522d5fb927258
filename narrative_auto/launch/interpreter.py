"""Which interpreter a command runs in, and what that says of itself when it is really started."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from narrative_auto.errors import CommandError, attempted
from narrative_auto.launch import runner, start_up
from narrative_auto.records import field, record

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT_OPTIONS = frozenset("BEIOPRSWXbsu")
"""Options that change what an interpreter is like, or where its modules come from; others ask for something else."""

_OPTIONS_WITH_VALUE = frozenset("WX")

_SHELL_LINE = re.compile(r"""'''exec' +(?P<python>"[^"]+"|\S+) +(?P<options>.*?)"\$0" """)
"""The second line of a console script where the interpreter's path is too long for the first, as pip writes it."""


@record(frozen=True, slots=True)
class Interpreter:
    """An interpreter, and what it is to run.

    Attributes:
        path: its executable.
        name: how the command calls it; a virtual environment is found by it.
        options: its own options, without those that say what to run.
        arguments: the whole command line, as its `sys.orig_argv` would be.
        script: as its `sys.argv[0]` would be.
        remark: why it may not be the one that the command starts; "" where it is.
    """

    path: str
    name: str
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    script: str = ""
    remark: str = ""


@record(frozen=True, slots=True)
class Answer:
    """What an interpreter said.

    Attributes:
        facts: as `start_up` gives them; empty where it said nothing that can be understood.
        said: what this package, and `site`, wrote to stderr meanwhile: the lines.
        fault: why there are no facts; "" where there are.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    fault: str = ""


def of_command(command: list[str]) -> Interpreter:
    """Return the interpreter that a command starts; without a command, this one.

    Raises:
        CommandError: there is no such command, or it cannot be executed.
    """
    if not command:
        return Interpreter(sys.executable, sys.executable, arguments=(sys.executable,))
    if os.path.basename(command[0]) in {"narrative-run", "narrative"}:
        raise CommandError(f"give the command itself: narrative doctor {shlex.join(command[1:]) or 'python app.py'}", 2)
    path, line = runner.resolve(command)
    if line is not command:  # a Python file
        return Interpreter(path, path, (), tuple(line), command[0])
    if _is_python(path) or _is_python(command[0]):
        options, rest = _options(command[1:])
        return Interpreter(path, command[0], options, tuple(command), rest[0] if rest else "")
    named = _named_in(path)
    if named:
        found = shutil.which(named[0])
        if found is None:
            raise CommandError(f"{path} asks for {named[0]}, which is not there", runner.NOT_FOUND)
        options, _ = _options(named[1:])
        return Interpreter(found, named[0], options, (*named, path, *command[1:]), path)
    other = shutil.which("python") or shutil.which("python3") or sys.executable
    remark = f"{command[0]} is no Python command; the Python on the PATH is looked at, which it may start"
    return Interpreter(other, other, (), (other,), "", remark)


def _is_python(path: str) -> bool:
    return os.path.basename(path).lower().startswith(("python", "pypy"))


def _options(arguments: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Part an interpreter's arguments into the options to keep, and the script with its own arguments."""
    kept: list[str] = []
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if not argument.startswith("-") or argument in {"-", "--"}:
            return tuple(kept), arguments[index + (argument == "--") :]
        index += 1
        if argument == "--check-hash-based-pycs":
            kept += arguments[index - 1 : index + 1]
            index += 1
        if argument.startswith("--"):
            continue
        for position, letter in enumerate(argument[1:], 2):
            if letter in "cm":
                return tuple(kept), [argument]
            if letter in _OPTIONS_WITH_VALUE:
                value = argument[position:]
                if not value:
                    value = arguments[index] if index < len(arguments) else ""
                    index += 1
                kept.append(f"-{letter}{value}")
                break
            if letter in _KEPT_OPTIONS:
                kept.append(f"-{letter}")
    return tuple(kept), []


def _named_in(path: str) -> list[str]:
    """Return the Python interpreter that a script names in its first line, with its options; empty for others."""
    try:
        with open(path, "rb") as file:
            first, second = (os.fsdecode(file.readline(4096)) for _ in range(2))
    except OSError:
        return []
    words = first[2:].split() if first.startswith("#!") else []
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if word != "-S" and "=" not in word]
    if words and os.path.basename(words[0]) in {"sh", "bash"}:
        found = _SHELL_LINE.match(second)
        words = [found["python"].strip('"'), *found["options"].split()] if found else []
    return words if words and _is_python(words[0]) else []


def ask(interpreter: Interpreter, environment: Mapping[str, str], seconds: float) -> Answer:
    """Start an interpreter, and return what it says of itself; the program is not run.

    Args:
        interpreter: which one.
        environment: its environment variables.
        seconds: how long it may take.
    """
    try:
        with open(start_up.__file__, encoding="utf-8") as file:
            program = file.read() + "\nmain()\n"
        # Not pipes: a process that start-up code leaves behind would keep them open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            told = json.dumps([interpreter.arguments, interpreter.script])
            process = subprocess.Popen(  # noqa: S603 - the person's own command
                [interpreter.name, *interpreter.options, "-c", program, told],
                executable=interpreter.path,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                status = process.wait(seconds)
            except BaseException as reason:
                _end(process)
                if not isinstance(reason, subprocess.TimeoutExpired):
                    raise
                return Answer(fault=f"it did not get through its start-up in {seconds:g} s")
            out.seek(0)
            err.seek(0)
            return _understood(out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace"), status)
    except OSError as error:
        return Answer(fault=f"it cannot be started ({error.strerror or error})")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and those that it has started."""
    if hasattr(os, "killpg"):
        attempted(os.killpg, process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _understood(out: str, err: str, status: int) -> Answer:
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    own = ("narrative_auto: ", "narrative-run: ", "Error in sitecustomize", "Error processing line")
    said = tuple(line for line in lines if line.startswith(own))
    told = [line for line in out.splitlines() if line.startswith(start_up.MARK)]
    facts = attempted(json.loads, told[-1].removeprefix(start_up.MARK)) if told else None
    if isinstance(facts, dict):
        return Answer(facts, said)
    last = f": {lines[-1]}" if lines else ""
    return Answer({}, said, f"it did not say what was asked of it (exit status {status}{last})")
