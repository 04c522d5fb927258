"""The folder `.narrative/`, where past stories and crash dumps are kept, private to its owner."""

from __future__ import annotations

import os

NAME = ".narrative"
DATABASE = "stories.db"
CRASHES = "crashes"
BOXES = "boxes"
"""Black boxes of processes that died, and `FOLDERS`: where else some may lie, a line each."""

FOLDERS = "folders"


def prepare(wanted: str, project: str, environ_state_home: str = "") -> tuple[str, str]:
    """Make the folder and return it, with a line to say if it is not where it should be.

    Args:
        wanted: the folder that the person asked for; "" for `.narrative/` at the project's root.
        project: the project's root.
        environ_state_home: `$XDG_STATE_HOME`, "" if it is not set.

    Returns:
        (folder, ""), or (another folder, one line that says why), or ("", one line) where nothing can be written.
    """
    first = place(wanted, project)
    fault = _make(first)
    if not fault:
        return first, ""
    state = environ_state_home or os.path.expanduser("~/.local/state")
    second = os.path.join(state, "narrative", os.path.basename(project) or "root")
    if os.path.isabs(state) and not _make(second):
        return second, f"narrative: {first} cannot be written ({fault}), the story is kept in {second}"
    third = os.path.join("/tmp", f"narrative-{os.urandom(6).hex()}")  # noqa: S108 - a new folder, the owner's alone
    try:
        os.mkdir(third, 0o700)
        os.mkdir(os.path.join(third, CRASHES), 0o700)
    except OSError:
        return "", f"narrative: {first} cannot be written ({fault}), the story is not kept; --store DIR names another"
    return third, f"narrative: {first} cannot be written ({fault}), the story is kept in {third}"


def place(wanted: str, project: str) -> str:
    """Return where the folder is to be; see `prepare`."""
    return wanted or os.path.join(project, NAME)


def _make(folder: str) -> str:
    """Make a folder that only its owner can read, and that version control ignores; return what went wrong or ""."""
    try:
        is_ours = os.path.basename(folder) == NAME or not os.path.exists(folder)
        os.makedirs(os.path.join(folder, CRASHES), mode=0o700, exist_ok=True)
        ignore = os.path.join(folder, ".gitignore")
        if is_ours:
            os.chmod(folder, 0o700)  # the owner alone, whatever the umask
        if is_ours and not os.path.exists(ignore):
            with open(ignore, "w", encoding="utf-8") as file:
                file.write("*\n")
        database = os.path.join(folder, DATABASE)
        folders = (folder, os.path.join(folder, CRASHES))
        if not all(os.access(one, os.W_OK | os.X_OK) for one in folders) or (
            os.path.exists(database) and not os.access(database, os.R_OK | os.W_OK)
        ):
            return "no permission"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def create_private(path: str, *, is_new: bool = False) -> int:
    """Open a file for writing that only its owner can read, emptied if it exists; return its descriptor.

    Raises:
        FileExistsError: it exists, and is to be new.
    """
    how = os.O_EXCL if is_new else os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)


def find_upwards(start: str) -> str | None:
    """Return the nearest `.narrative/` with stories in it, from a folder upwards, as git finds its own."""
    folder = os.path.abspath(start)
    while True:
        candidate = os.path.join(folder, NAME)
        if os.path.isfile(os.path.join(candidate, DATABASE)):
            return candidate
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
