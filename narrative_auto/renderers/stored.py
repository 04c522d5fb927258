"""Reads past stories back from the database that `sqlite` wrote."""

from __future__ import annotations

import glob
import json
import os
import sqlite3
from typing import Any

from narrative_auto.errors import StoreError
from narrative_auto.failures.values import clean
from narrative_auto.records import record
from narrative_auto.store_folder import CRASHES
from narrative_auto.stories.events import StageTotal


@record(frozen=True, slots=True)
class StoredStory:
    """One story as it was kept.

    Attributes:
        success: None where its end was not seen.
        started_at, completed_at: ISO 8601, UTC.
        duration_seconds: 0.0 where its end was not seen.
        outcome: as in `StoryTotals`; "" where its end was not seen.
    """

    story_id: str
    name: str
    success: bool | None
    outcome: str
    exit_status: int | None
    duration_seconds: float
    started_at: str
    completed_at: str
    parent_story_id: str
    root_story_id: str
    command: str
    folder: str
    python: str
    pid: int
    own_cost: float
    records: int
    folded: int
    disordered: int


@record(frozen=True, slots=True)
class StoredFailure:
    """The failure of a story as it was kept; texts are redacted already."""

    stage_name: str
    error_type: str
    error_message: str
    filename: str
    lineno: int
    function: str
    exception_chain: tuple[str, ...]
    source_snippet: str
    traceback_text: str
    stage_timeline: str
    llm_analysis: str


_COLUMNS = (
    "story_id, name, success, coalesce(outcome,''), exit_status, coalesce(duration_seconds,0.0), started_at,"
    " coalesce(completed_at,''), coalesce(parent_story_id,''), coalesce(root_story_id,''), coalesce(command,''),"
    " coalesce(folder,''), coalesce(python,''), coalesce(pid,0), coalesce(own_cost,0.0), coalesce(records,0),"
    " coalesce(folded,0), coalesce(disordered,0)"
)


class StoredStories:
    """A database of stories, opened for reading.

    Args:
        path: the database file.

    Raises:
        StoreError: there is no such file, or it is not such a database.
    """

    def __init__(self, path: str) -> None:
        if not os.path.isfile(path):
            raise StoreError(f"no stories at {path}: run a program with narrative-run first, or name a store with --db")
        self._path = path
        try:
            self._connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=2.0)
            self._query("SELECT 1 FROM stories LIMIT 1")
        except sqlite3.Error as error:
            raise StoreError(f"{path} cannot be read: {error}") from None

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _query(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, tuple(map(_encodable, values))).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be read: {error}") from None

    def _loads(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise StoreError(f"{self._path} is damaged: {error}") from None

    def newest(self, count: int) -> list[StoredStory]:
        """Return the newest stories, the last one first."""
        rows = self._query(f"SELECT {_COLUMNS} FROM stories ORDER BY started_at DESC, rowid DESC LIMIT ?", (count,))  # noqa: S608
        return [_story(row) for row in rows]

    def find(self, prefix: str) -> StoredStory:
        """Return the story whose id begins with `prefix`.

        Raises:
            StoreError: there is none, or more than one.
        """
        pattern = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self._query(
            f"SELECT {_COLUMNS} FROM stories WHERE story_id LIKE ? ESCAPE '\\' ORDER BY started_at DESC LIMIT 2",  # noqa: S608
            (pattern,),
        )
        if not rows or not prefix:
            raise StoreError(f"no story {prefix!r} in {self._path}: narrative stories lists them")
        if len(rows) > 1:
            raise StoreError(f"more than one story begins with {prefix!r}: give more of its id")
        return _story(rows[0])

    def children(self, story: StoredStory) -> list[StoredStory]:
        """Return the stories of processes that a story's process started."""
        rows = self._query(
            f"SELECT {_COLUMNS} FROM stories WHERE parent_story_id=? ORDER BY started_at, rowid",  # noqa: S608
            (story.story_id,),
        )
        return [_story(row) for row in rows]

    def totals(self, story: StoredStory) -> list[StageTotal]:
        """Return a story's totals, in the order of the first calls."""
        rows = self._query(
            "SELECT site, caller, name, module, filename, line, private, calls, total_seconds, self_seconds,"
            " longest_seconds, raised, errors, exact, records FROM totals WHERE story_id=? ORDER BY position",
            (story.story_id,),
        )
        totals = []
        for row in rows:
            values = list(row)
            values[6], values[12], values[13] = bool(row[6]), self._loads(row[12]), bool(row[13])
            totals.append(StageTotal(*values))
        return totals

    def failures(self, story: StoredStory) -> list[StoredFailure]:
        """Return a story's failures, in their order: those that it survived, and the one that ended it."""
        rows = self._query(
            "SELECT coalesce(stage_name,''), coalesce(error_type,''), coalesce(error_message,''),"
            " coalesce(filename,''), coalesce(lineno,0), coalesce(function,''), coalesce(exception_chain,'[]'),"
            " coalesce(source_snippet,''), coalesce(traceback_text,''), coalesce(stage_timeline,''),"
            " coalesce(llm_analysis,'') FROM failures WHERE story_id=? ORDER BY rowid",
            (story.story_id,),
        )
        failures = []
        for row in rows:
            values = list(row)
            values[6] = tuple(self._loads(values[6]))
            failures.append(StoredFailure(*values))
        return failures

    def dumps(self, story: StoredStory) -> list[str]:
        """Return the paths of a story's crash dumps that are still there, in their order."""
        pattern = os.path.join(glob.escape(os.path.dirname(self._path)), CRASHES, f"{story.story_id[:6]}*.json")
        return sorted(glob.glob(pattern), key=lambda path: (len(path), path))

    def left_plain(self, story: StoredStory) -> list[tuple[str, str, str]]:
        """Return what was not instrumented although it was wanted: (module, function or "", reason)."""
        return self._query("SELECT module, function, reason FROM left_plain WHERE story_id=?", (story.story_id,))


def _encodable(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def _story(row: tuple[Any, ...]) -> StoredStory:
    values = list(row)
    values[2] = None if values[2] is None else bool(values[2])
    return StoredStory(*values)


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(os.path.abspath(path)))
