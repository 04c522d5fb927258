"""How the commands end: one clear line for what a person got wrong, never a traceback of ours."""

from __future__ import annotations

import os
import sys

from narrative_auto.errors import NarrativeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2


class UsageError(NarrativeError):
    """The command line is none that there is."""


def fail(program: str, message: str, status: int) -> int:
    """Write one line to stderr and return the exit status."""
    if sys.stderr is not None:
        sys.stderr.write(f"{program}: {' '.join(message.split())}\n")
    return status


def call(program: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit status.

    Args:
        program: the command's name, in front of messages.
        command: does the work and returns a status.
    """
    try:
        try:
            status = command()
        except SystemExit as asked:  # --help and --version
            status = asked.code if isinstance(asked.code, int) else 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return fail(program, "interrupted", 130)
    except UsageError as error:
        return fail(program, f"{error} ({program} --help shows what there is)", USAGE)
    except NarrativeError as error:
        return fail(program, str(error), 1)
    except BrokenPipeError:
        _give_up_stdout()  # the reader of our output (head, less) has gone
        return 141
    except OSError as error:
        if error.filename is None:
            _give_up_stdout()
        return fail(program, f"{error.filename or 'stdout'} cannot be used: {error.strerror or error}", 1)
    return status


def _give_up_stdout() -> None:
    """See to it that what is buffered still is not written at exit, where it would fail."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
