"""How the commands end: one clear line for what a person got wrong, never a traceback of ours."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

from narrative_auto.errors import NarrativeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USAGE = 2

# Later typers carry their own click, earlier ones depend on it: these are the classes of whichever it is.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_ClickError: type[Exception] = _UsageError.__bases__[0]


def fail(program: str, message: str, status: int) -> int:
    """Write one line to stderr and return the exit status."""
    if sys.stderr is not None:
        sys.stderr.write(f"{program}: {' '.join(message.split())}\n")
    return status


def call(program: str, app: Callable[..., object], arguments: Sequence[str] | None = None) -> int:
    """Run a typer application and return its exit status.

    Args:
        program: the command's name, in front of messages.
        app: the application.
        arguments: the command line without the command; the process's own by default.
    """
    try:
        status = app(args=arguments, standalone_mode=False, prog_name=program)
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.Exit as asked:
        return int(asked.exit_code)
    except typer.Abort:
        return fail(program, "interrupted", 130)
    except _ClickError as error:
        described = getattr(error, "format_message", error.__str__)()
        return fail(program, f"{described} ({program} --help shows what there is)", USAGE)
    except NarrativeError as error:
        return fail(program, str(error), 1)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone. What is buffered still would be written at exit, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status if isinstance(status, int) else 0
