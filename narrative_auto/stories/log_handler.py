"""Records of `logging` as events of the story in which they are made."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, cast

from narrative_auto.errors import attempted
from narrative_auto.failures.values import clean
from narrative_auto.stories.delivery import is_rendering
from narrative_auto.stories.events import LogRecorded
from narrative_auto.stories.runtime import active_stage, active_story

_is_telling: ContextVar[bool] = ContextVar("narrative_log", default=False)


class _NoLock:
    """What stands in a lock's place; `logging` uses it either way."""

    def acquire(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class NarrativeLogHandler(logging.Handler):
    """Hands records to the renderers of the story that is open, redacted.

    Args:
        level: the lowest level that counts.
        fallback: gets the records that are made outside a story; None for nobody.
    """

    def __init__(self, level: int = logging.WARNING, fallback: logging.Handler | None = None) -> None:
        super().__init__(level)
        self._fallback = fallback

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Have none: a renderer may wait for another thread that logs."""
        self.lock = cast("Any", _NoLock())

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; what a renderer logs while it takes one goes to `fallback`."""
        runtime = None if _is_telling.get() or is_rendering.get() else active_story()
        if runtime is None:
            if self._fallback is not None and record.levelno >= self._fallback.level:
                self._fallback.handle(record)
            return
        token = _is_telling.set(True)
        try:
            stage = active_stage()
            message = attempted(record.getMessage)

            def shown(text: str) -> str:
                return clean(runtime.redactor.text(text))

            exc_text = record.exc_text
            if record.exc_info and not exc_text:
                exc_text = attempted((self.formatter or logging.Formatter()).formatException, record.exc_info)
            runtime.emit(
                LogRecorded(
                    runtime.story_id,
                    runtime.name,
                    runtime.root_story_id,
                    stage.name if stage is not None else None,
                    record.levelname,
                    record.name,
                    shown("<unprintable message>" if message is None else message),
                    datetime.fromtimestamp(record.created, UTC),
                    shown(exc_text) if exc_text else None,
                )
            )
        finally:
            _is_telling.reset(token)
