"""Finds black boxes: those of processes that run, and those that dead ones have left behind."""

from __future__ import annotations

import os

from narrative_auto import settings, store_folder
from narrative_auto.errors import attempted
from narrative_auto.recorder.black_box import BlackBox, BoxError, read, read_head
from narrative_auto.recorder.box_folder import SUFFIX, boxes_in, default_folder, forget_old, is_alive
from narrative_auto.recorder.layout import OPEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHOWN_OF_ID = 6
"""Characters of a story's id that are shown everywhere: a number with fewer is a process's."""


def folders(environ: Mapping[str, str], here: str, store: str | None) -> list[str]:
    """Return the folders in which black boxes may lie that concern a person in a folder.

    Args:
        environ: the environment variables.
        here: the current folder.
        store: the folder of the store, None where there is none.
    """
    chosen = settings.load_or_default(environ, here).black_box
    found = [chosen] if chosen not in {"", "off"} else []
    found.append(default_folder(environ.get("XDG_RUNTIME_DIR", "")))
    if store is not None:
        kept = os.path.join(store, store_folder.BOXES)
        found.append(kept)
        found += (attempted(_lines, os.path.join(kept, store_folder.FOLDERS)) or "").splitlines()
    return list(dict.fromkeys(found))


def _lines(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def note_folder(store: str, folder: str) -> None:
    """Let the store know of one more folder in which black boxes may lie."""
    kept = os.path.join(store, store_folder.BOXES)
    path = os.path.join(kept, store_folder.FOLDERS)
    known = (attempted(_lines, path) or "").splitlines()
    if folder in known or "\n" in folder:
        return
    os.makedirs(kept, mode=0o700, exist_ok=True)
    with open(store_folder.create_private(path), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("".join(f"{one}\n" for one in [*known[-9:], folder]))


def _heads(where: Iterable[str]) -> Iterable[BlackBox]:
    for folder in where:
        for path in boxes_in(folder):
            head = attempted(read_head, path)
            if head is not None:
                yield head


def is_running(head: BlackBox) -> bool:
    """Return whether the process of a black box lives and writes to it."""
    return head.state == OPEN and is_alive(head)


def find(target: str, where: list[str], store: str | None) -> BlackBox:
    """Return the black box that a person means, whole.

    Args:
        target: a file, a process's number, how a story's id begins; "" for the last one that was left behind, of the
            project if there is one of it.
        where: the folders to look in.
        store: the project's store, None where there is none.

    Raises:
        BoxError: there is no such black box, or nothing of it can be read.
    """
    if target and (os.path.isfile(target) or os.sep in target or target.endswith(SUFFIX)):
        return read(target)
    heads = list(_heads(where))
    if not target:
        left = [head for head in heads if not is_running(head)]
        own = [head for head in left if store is not None and _is_of(head, store)]
        found = own or left
        if not found:
            raise BoxError("no process has left a black box behind: all have ended well, or nothing was recorded")
        return read(max(found, key=lambda head: head.wall(max(head.seen_ns, head.clock_ns))).path)
    found = [head for head in heads if target in {str(head.pid), head.story_id}]
    if not found and not (target.isdigit() and len(target) < _SHOWN_OF_ID):  # else it is a process's number
        found = [head for head in heads if head.story_id.startswith(target)]
    if not found:
        raise BoxError(
            f"there is no black box of {target!r} in {', '.join(where)}: narrative doctor says whether there can be one"
        )
    if len({head.story_id for head in found}) > 1 and not target.isdigit():
        raise BoxError(f"more than one black box begins with {target!r}: give more of its id")
    return read(max(found, key=lambda head: head.wall(head.clock_ns)).path)


def find_running(pid: int, where: list[str]) -> BlackBox:
    """Return the black box of a process that runs, as it is at this moment.

    Raises:
        BoxError: there is none.
    """
    heads = [head for head in _heads(where) if head.pid == pid]
    running = [head for head in heads if is_running(head)]
    if running:
        return read(running[0].path)
    if heads:
        raise BoxError(f"process {pid} does not run any more: narrative recover {pid} shows what it left behind")
    raise BoxError(
        f"process {pid} has no black box in {', '.join(where)}: it is not recorded, has called no function of its"
        " application yet, or is another user's"
    )


def _is_of(head: BlackBox, store: str) -> bool:
    kept = head.fact("store").replace("\0", "")
    return (bool(kept) and os.path.realpath(kept) == os.path.realpath(store)) or head.path.startswith(store + os.sep)


def take_in(where: Iterable[str], store: str) -> list[BlackBox]:
    """Take what dead processes have left behind into the store that it belongs to; return it."""
    kept = os.path.join(store, store_folder.BOXES)
    os.makedirs(kept, mode=0o700, exist_ok=True)
    taken = []
    for folder in where:
        if folder == kept:
            continue
        for head in _heads([folder]):
            if _is_of(head, store) and head.state == OPEN and head.story_id and not is_running(head):
                box = attempted(_take_in, head, store)
                taken += [box] if box is not None else []
    forget_old(kept)
    return taken


def _take_in(head: BlackBox, store: str) -> BlackBox:
    """Take one in; another process may be about to do the same."""
    import shutil

    from narrative_auto.renderers.left_behind import keep_end

    mine = f"{head.path}.{os.getpid()}"
    os.rename(head.path, mine)
    try:
        box = read(mine)
        keep_end(os.path.join(store, store_folder.DATABASE), box)
    finally:  # what cannot be told is kept all the same
        shutil.move(mine, os.path.join(store, store_folder.BOXES, os.path.basename(head.path)))
    return box
