"""The family of exceptions, and the one place that swallows our own faults."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    Params = ParamSpec("Params")
    Result = TypeVar("Result")


class NarrativeError(Exception):
    """What this package raises when it was asked for something that it cannot do; the message says what to do."""


class SettingError(NarrativeError):
    """A setting has a value that it does not take."""


class DeclinedError(NarrativeError):
    """A function or module is left as it was; the message is the reason."""


class CommandError(NarrativeError):
    """A command cannot be started.

    Attributes:
        status: the exit status that a shell would give.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StoreError(NarrativeError):
    """A store of past stories is missing, or cannot be read or written."""


_strict: list[bool] = []
_told: set[str] = set()


def set_strict(*, strict: bool) -> None:
    """Let `guarded` raise our own faults instead of swallowing them, as tests want."""
    _strict[:] = [True] if strict else []


def tell_fault(what: str, fault: BaseException) -> None:
    """Say on stderr, once for each kind of work, that a part of this package failed."""
    if what in _told:
        return
    _told.add(what)
    text = attempted(str, fault) or ""
    say(f"{what} failed ({type(fault).__name__}: {text}), the program goes on without it")


def guarded(
    what: str, function: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
) -> Result | None:
    """Call `function` and return its result; a fault of ours is told once on stderr and None is returned.

    Args:
        what: the work in a few words, for the message: "telling the story".
        function: what to call with the remaining arguments.

    Returns:
        The function's result, or None after a fault.

    Raises:
        Exception: the fault itself, where `set_strict` has been asked for.
    """
    try:
        return function(*args, **kwargs)
    except Exception as fault:
        if _strict:
            raise
        tell_fault(what, fault)
        return None


def guarded_within(
    what: str, function: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
) -> Result | None:
    """Do as `guarded` does where the program's own code may be called on the way, and let its exceptions out.

    A signal handler of the program's may run, and raise, while we work in the program's place: during an import, say.
    """
    try:
        return function(*args, **kwargs)
    except Exception as fault:
        if _strict or is_of_program(fault):
            raise
        tell_fault(what, fault)
        return None


def attempted_within(
    function: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
) -> Result | None:
    """Do as `attempted` does, and let an exception out that the program's own code raised on the way."""
    try:
        return function(*args, **kwargs)
    except Exception as fault:
        if is_of_program(fault):
            raise
        return None


def is_of_program(fault: BaseException) -> bool:
    """Return whether code that is neither ours nor what we use raised an exception, or was on the way."""
    import os  # off the warm path

    package, library = os.path.dirname(__file__), os.path.dirname(os.__file__)
    traceback = fault.__traceback__
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        own = filename.startswith((package, "<frozen ")) or f"{os.sep}bytecode{os.sep}" in filename
        if not own and (not filename.startswith(library) or f"{os.sep}site-packages{os.sep}" in filename):
            return True
        traceback = traceback.tb_next
    return False


def say(line: str) -> None:
    """Write a line of ours to stderr, wherever that leads; nothing comes of it if it cannot be written."""
    import sys  # off the warm path

    stream = sys.__stderr__
    if stream is not None and line not in _told:
        _told.add(line)
        attempted(stream.write, f"narrative_auto: {line}\n")


def shielded(
    what: str, function: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
) -> Result | None:
    """Do as `guarded` does, and let nothing else out either: for what stands between an exception and its traceback.

    Not even Ctrl-C in our part, or a `__str__` that raises it, may lose the program's own traceback.
    """
    try:
        return guarded(what, function, *args, **kwargs)
    except BaseException as fault:
        if _strict and isinstance(fault, Exception):
            raise
        return None


def attempted(function: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs) -> Result | None:
    """Call `function` and return its result, or None if it raises: for what the program itself meets again.

    A module with a syntax error is read by us first and by the import system after us; the second one tells.
    """
    try:
        return function(*args, **kwargs)
    except Exception:  # noqa: BLE001 - see above
        return None
