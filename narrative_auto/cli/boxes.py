"""Black boxes on the command line."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from narrative_auto import store_folder
from narrative_auto.crash.recovered import Recovered
from narrative_auto.errors import attempted
from narrative_auto.launch import boxes
from narrative_auto.launch.program import current_folder
from narrative_auto.page import Page
from narrative_auto.settings import current_environment

if TYPE_CHECKING:
    from narrative_auto.recorder.black_box import BlackBox


def found(target: str, here: str) -> BlackBox:
    """Return the black box that a person means.

    Raises:
        BoxError: there is none.
    """
    store = store_folder.find_upwards(here)
    return boxes.find(target, boxes.folders(current_environment(), here, store), store)


def found_running(pid: int, here: str) -> BlackBox:
    """Return the black box of a process that runs.

    Raises:
        BoxError: there is none.
    """
    store = store_folder.find_upwards(here)
    return boxes.find_running(pid, boxes.folders(current_environment(), here, store))


def show(box: BlackBox, *, everything: bool, as_json: bool) -> None:
    """Write what a black box says to stdout."""
    recovered = Recovered(box, is_running=boxes.is_running(box))
    if as_json:
        sys.stdout.write(recovered.json(everything=everything) + "\n")
        return
    page = Page(sys.stdout)
    page.show(recovered.lines(page.width, current_folder(), everything=everything))


def take_in(db: str, here: str) -> None:
    """Take what dead processes have left behind into the store that is about to be shown; a fault of that is none."""
    store: str | None = store_folder.find_upwards(here)
    if db:
        store = os.path.abspath(db) if os.path.isdir(db) else os.path.dirname(os.path.abspath(db))
    if store is not None and (not db or os.path.basename(store) == store_folder.NAME):
        attempted(boxes.take_in, boxes.folders(current_environment(), here, store), store)
