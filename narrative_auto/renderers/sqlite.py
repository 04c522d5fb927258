"""Keeps stories in an SQLite database."""

from __future__ import annotations

import json
import os
import sqlite3
import time

from narrative_auto.errors import StoreError
from narrative_auto.failures.values import clean
from narrative_auto.stories.events import (
    FailureOccurred,
    LLMAnalysisReady,
    StageCompleted,
    StageFailed,
    StageStarted,
    StoryCompleted,
    StoryStarted,
    StoryTotals,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Any

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS stories (
    story_id TEXT PRIMARY KEY, name TEXT NOT NULL, success INTEGER, duration_seconds REAL,
    started_at TEXT NOT NULL, completed_at TEXT, parent_story_id TEXT, root_story_id TEXT,
    outcome TEXT, exit_status INTEGER, own_cost REAL, records INTEGER, folded INTEGER, disordered INTEGER,
    pid INTEGER, command TEXT, folder TEXT, python TEXT, app_roots TEXT
);
CREATE TABLE IF NOT EXISTS stages (
    story_id TEXT NOT NULL, stage_id TEXT, stage_name TEXT NOT NULL, stage_index INTEGER, parent_stage_id TEXT,
    parent_stage_name TEXT, lane INTEGER, started_at TEXT, ended_at TEXT, duration_seconds REAL, running_seconds REAL,
    completed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, error_type TEXT
);
CREATE INDEX IF NOT EXISTS stages_of_story ON stages (story_id, stage_id);
CREATE TABLE IF NOT EXISTS failures (
    story_id TEXT NOT NULL, stage_name TEXT, error_type TEXT, error_message TEXT, filename TEXT, lineno INTEGER,
    function TEXT, exception_chain TEXT, source_snippet TEXT, traceback_text TEXT, stage_timeline TEXT,
    llm_analysis TEXT, timestamp TEXT
);
CREATE TABLE IF NOT EXISTS totals (
    story_id TEXT NOT NULL, position INTEGER NOT NULL, site INTEGER NOT NULL, caller INTEGER NOT NULL,
    name TEXT NOT NULL, module TEXT, filename TEXT, line INTEGER, private INTEGER,
    calls INTEGER, total_seconds REAL, self_seconds REAL, longest_seconds REAL, raised INTEGER, errors TEXT,
    exact INTEGER, records INTEGER, PRIMARY KEY (story_id, position)
);
CREATE TABLE IF NOT EXISTS left_plain (story_id TEXT NOT NULL, module TEXT, function TEXT, reason TEXT);
"""

MOST_STAGES = 20_000
"""Stages kept one by one of one story; of what comes later the totals tell."""

KEPT_STORIES = 100
"""Root stories kept, with what belongs to them; older ones are forgotten when a new one begins."""

_PATIENCE_SECONDS = 1.0
"""How long a writer waits for the others."""

_ATTEMPTS = 200
"""In that time, where SQLite itself does not wait."""


class SqliteStoryRenderer:
    """Writes the events of stories into a database, one transaction for all that came since the last flush.

    Args:
        db_path: the database file; made, readable by its owner only, if it is not there.
        run: what is known of the process: `pid`, `command`, `folder`, `python`. The command is written
            again at the end, when more may be known to be secret.
    """

    def __init__(
        self, db_path: str | os.PathLike[str] = "runtime_narrative.db", run: Mapping[str, Any] | None = None
    ) -> None:
        self._path = os.fspath(db_path)
        self._run = run if run is not None else {}
        self._connection: sqlite3.Connection | None = None
        self._stages = 0
        self._open()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if not os.path.exists(self._path):
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))
            # Renderers are called by the narrator's thread and, at the end, by the main one; never by two at once.
            connection = sqlite3.connect(
                self._path, timeout=_PATIENCE_SECONDS, check_same_thread=False, isolation_level=None
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(f"{self._path} was written by a later version: name another with --store")
        if version < SCHEMA_VERSION:  # all of it or nothing: others may be about to do the same
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")

    def handle(self, event: Any) -> None:
        """Write one event; it is committed by the next `flush`."""
        connection = self._open()
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
        if isinstance(event, StageStarted):
            self._stages += 1
            if self._stages <= MOST_STAGES:
                self._stage_started(connection, event)
        elif isinstance(event, StageCompleted | StageFailed):
            self._stage_ended(connection, event)
        elif isinstance(event, StoryStarted):
            self._story_started(connection, event)
        elif isinstance(event, StoryTotals):
            self._totals(connection, event)
        elif isinstance(event, FailureOccurred):
            self._failure(connection, event)
        elif isinstance(event, LLMAnalysisReady):
            _execute(
                connection,
                "UPDATE failures SET llm_analysis=? WHERE story_id=? AND stage_name=?",
                (event.llm_analysis, event.story_id, event.stage_name),
            )
        elif isinstance(event, StoryCompleted):
            connection.execute(
                # How a console script ended is not known: neither well nor badly.
                "UPDATE stories SET success=CASE outcome WHEN 'ended' THEN NULL ELSE ? END, duration_seconds=?,"
                " completed_at=? WHERE story_id=?",
                (event.success, event.duration_seconds, event.timestamp.isoformat(), event.story_id),
            )

    def flush(self) -> None:
        """Commit."""
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def detach(self) -> None:
        """Commit and let go of the file, before a fork; the next event opens it again."""
        self.flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Commit and close the database."""
        self.detach()

    def end_story(
        self, started: StoryStarted, outcome: str, ended: datetime, records: int, open_stages: Iterable[StageStarted]
    ) -> None:
        """Write the end of a story whose process could not; what it wrote itself stays.

        Args:
            started: how it began, where even that is not there.
            outcome: how it ended.
            ended: when it was seen last.
            records: how many it wrote.
            open_stages: what it was inside; only those are added that are not there.
        """
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        known = connection.execute("SELECT completed_at FROM stories WHERE story_id=?", (started.story_id,)).fetchone()
        if known is None:
            self._story_started(connection, started)
        elif known[0] is not None:
            self.flush()
            return
        for stage in open_stages:
            found = connection.execute(
                "SELECT 1 FROM stages WHERE story_id=? AND stage_id=? AND stage_name=?",
                _encodable(stage.story_id, stage.stage_id, stage.stage_name),
            )
            if found.fetchone() is None:
                self._stage_started(connection, stage)
        _execute(
            connection,
            "UPDATE stories SET outcome=?, completed_at=?, records=?, duration_seconds="
            "(julianday(?) - julianday(started_at)) * 86400.0 WHERE story_id=?",
            (outcome, ended.isoformat(), records, ended.isoformat(), started.story_id),
        )
        self.flush()

    def _story_started(self, connection: sqlite3.Connection, event: StoryStarted) -> None:
        _execute(
            connection,
            "INSERT OR REPLACE INTO stories (story_id, name, started_at, parent_story_id, root_story_id, pid, command,"
            " folder, python) VALUES (?,?,?,?,?,?,?,?,?)",
            (
                event.story_id,
                event.story_name,
                event.timestamp.isoformat(),
                event.parent_story_id,
                event.root_story_id or event.story_id,
                self._run.get("pid"),
                self._run.get("command"),
                self._run.get("folder"),
                self._run.get("python"),
            ),
        )
        _forget_old(connection)

    @staticmethod
    def _stage_started(connection: sqlite3.Connection, event: StageStarted) -> None:
        _execute(
            connection,
            "INSERT INTO stages (story_id, stage_id, stage_name, stage_index, parent_stage_id, parent_stage_name, lane,"
            " started_at) VALUES (?,?,?,?,?,?,?,?)",
            (
                event.story_id,
                event.stage_id,
                event.stage_name,
                event.stage_index,
                event.parent_stage_id,
                event.parent_stage_name,
                event.lane,
                event.timestamp.isoformat(),
            ),
        )

    @staticmethod
    def _stage_ended(connection: sqlite3.Connection, event: StageCompleted | StageFailed) -> None:
        failed = isinstance(event, StageFailed)
        _execute(
            connection,
            "UPDATE stages SET ended_at=?, duration_seconds=?, running_seconds=?, completed=?, failed=?, error_type=?"
            " WHERE story_id=? AND stage_id=? AND ended_at IS NULL",
            (
                event.timestamp.isoformat(),
                event.duration_seconds,
                event.running_seconds,
                not failed,
                failed,
                event.error_type if isinstance(event, StageFailed) else None,
                event.story_id,
                event.stage_id,
            ),
        )

    def _totals(self, connection: sqlite3.Connection, event: StoryTotals) -> None:
        _execute(
            connection,
            "UPDATE stories SET outcome=?, exit_status=?, own_cost=?, records=?, folded=?, disordered=?, app_roots=?,"
            " command=coalesce(?, command) WHERE story_id=?",
            (
                event.outcome,
                event.exit_status,
                event.own_cost,
                event.records,
                event.folded,
                event.disordered,
                os.pathsep.join(event.app_roots),
                self._run.get("command"),
                event.story_id,
            ),
        )
        connection.executemany(
            "INSERT OR REPLACE INTO totals (story_id, position, site, caller, name, module, filename, line, private,"
            " calls, total_seconds, self_seconds, longest_seconds, raised, errors, exact, records)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                _encodable(
                    event.story_id,
                    position,
                    total.site,
                    total.caller,
                    total.name,
                    total.module,
                    total.filename,
                    total.line,
                    total.private,
                    total.calls,
                    total.total_seconds,
                    total.self_seconds,
                    total.longest_seconds,
                    total.raised,
                    json.dumps(total.errors),
                    total.exact,
                    total.records,
                )
                for position, total in enumerate(event.totals)
            ],
        )
        connection.executemany(
            "INSERT INTO left_plain (story_id, module, function, reason) VALUES (?,?,?,?)",
            [_encodable(event.story_id, *reason) for reason in event.left_plain],
        )

    @staticmethod
    def _failure(connection: sqlite3.Connection, event: FailureOccurred) -> None:
        _execute(
            connection,
            "INSERT INTO failures (story_id, stage_name, error_type, error_message, filename, lineno, function,"
            " exception_chain, source_snippet, traceback_text, stage_timeline, llm_analysis, timestamp)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                event.story_id,
                event.stage_name,
                event.error_type,
                event.error_message,
                event.filename,
                event.lineno,
                event.function,
                json.dumps(event.exception_chain),
                event.source_snippet,
                event.traceback_text,
                event.stage_timeline,
                event.llm_analysis,
                event.timestamp.isoformat(),
            ),
        )


def _execute(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> None:
    connection.execute(statement, _encodable(*values))


def _encodable(*values: Any) -> tuple[Any, ...]:
    """Return values with texts that can be encoded: a path may hold bytes that are no characters."""
    return tuple(clean(value) if isinstance(value, str) else value for value in values)


def _forget_old(connection: sqlite3.Connection) -> None:
    """Delete all but the newest root stories that have ended, and what belongs to no story any more."""
    connection.execute(
        "DELETE FROM stories WHERE completed_at IS NOT NULL AND root_story_id NOT IN (SELECT root_story_id FROM stories"
        " GROUP BY root_story_id ORDER BY max(started_at) DESC LIMIT ?)",
        (KEPT_STORIES,),
    )
    for table in ("stages", "failures", "totals", "left_plain"):
        connection.execute(f"DELETE FROM {table} WHERE story_id NOT IN (SELECT story_id FROM stories)")  # noqa: S608


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work at the same time. A file that is new is changed for that, by one at a time.

    Whoever reads the file's header already is refused at once, without the connection's patience, when another is
    the first to change it: both would wait for each other. It has let go of the file then, and may ask again.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or attempt == _ATTEMPTS:
                raise
            time.sleep(_PATIENCE_SECONDS / _ATTEMPTS)
        else:
            return
