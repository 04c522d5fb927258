"""The tree renderer, on canonical stories."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from narrative_auto.page import Page
from narrative_auto.renderers.tree import TreeRenderer
from narrative_auto.stories.events import FailureOccurred, StageTotal, StoryCompleted, StoryTotals

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def total(site: int, caller: int, name: str, calls: int, seconds: float, longest: float, raised: int = 0) -> StageTotal:
    """Return a stage's totals."""
    errors = {"BusyError": raised} if raised else {}
    return StageTotal(
        site, caller, name, "shop", "shop.py", 1, name.startswith("_"), calls, seconds, 0.0, longest, raised, errors
    )


TOTALS = (
    total(1, 0, "main", 1, 2.38, 2.38),
    total(2, 1, "load_orders", 1, 0.31, 0.31),
    total(3, 1, "Importer.validate", 3000, 0.62, 0.0041),
    total(4, 3, "check_vat", 3000, 0.40, 0.001),
    total(5, 4, "_round", 3000, 0.01, 0.0001),
    total(6, 1, "Store.insert", 3000, 1.02, 0.038, raised=12),
    total(7, 1, "write_report", 1, 0.15, 0.15),
)


def told(totals: tuple[StageTotal, ...], *, whole: bool = True, outcome: str = "ok", status: int | None = 0) -> str:
    """Return what the renderer prints of a story."""
    stream = io.StringIO()
    renderer = TreeRenderer(Page(stream), whole=whole, more=lambda story_id: f"narrative story {story_id[:6]}")
    renderer.handle(StoryTotals("7f3a2c0000000000", totals, 0.012, (), ("/srv/app/bin",), outcome, status))
    renderer.handle(StoryCompleted("7f3a2c0000000000", "app.py", True, 100, 1, 1, NOW, 2.41))
    return stream.getvalue()


class Utf8(io.StringIO):
    """A text stream that says that it is UTF-8."""

    encoding = "utf-8"


@pytest.fixture(autouse=True)
def utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "StringIO", Utf8)


def test_a_story_that_went_well() -> None:
    """Heading, folded tree without idle private helpers, summary, where to see more."""
    assert told(TOTALS) == (
        "-- narrative -- app.py ----------------------------------------- ok -- 2.41 s --\n"
        "  main                           2.38 s\n"
        "  ├─ load_orders                 0.31 s\n"
        "  ├─ Importer.validate   ×3000   0.62 s   longest 4.1 ms\n"
        "  │  └─ check_vat        ×3000   0.40 s   longest 1.0 ms\n"
        "  ├─ Store.insert        ×3000   1.02 s   longest 38 ms\n"
        "  │  └─ 12 raised BusyError, handled\n"
        "  └─ write_report                0.15 s\n"
        "7 sites, 12 003 calls, own cost 1.2 %\n"
        "more: narrative story 7f3a2c\n"
    )


def test_not_on_a_terminal_the_first_and_the_last_line() -> None:
    """A log file gets two lines."""
    assert told(TOTALS, whole=False) == (
        "-- narrative -- app.py ----------------------------------------- ok -- 2.41 s --\nmore: narrative story 7f3a2c\n"
    )


def test_a_story_without_stages_says_where_it_looked() -> None:
    """Nothing was instrumented: the roots, and what to type."""
    assert told(()) == (
        "-- narrative -- app.py ----------------------------------------- ok -- 2.41 s --\n"
        "no stages: no application code was imported under /srv/app/bin\n"
        "application code elsewhere? narrative-run --app-root ../src …\n"
        "                            (or --include 'shop.*')\n"
    )


def test_an_exit_status_is_in_the_heading() -> None:
    """A program that asked for a status is not called ok."""
    assert told(TOTALS, outcome="exited", status=3).splitlines()[0].endswith("-- exit status 3 -- 2.41 s --")


def test_at_most_24_lines_of_80_columns() -> None:
    """A large story is folded; what is left out is counted."""
    many = tuple(
        total(n, 0, f"function_number_{n}_with_a_long_name_" + "x" * n, 5, float(n), 1.0, n % 7) for n in range(1, 80)
    )
    lines = told(many).splitlines()
    assert len(lines) in {23, 24}
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  and ") and line.endswith(" more") for line in lines)


def test_a_failure_is_left_to_the_crash_report() -> None:
    """A story that failed has been told already."""
    stream = io.StringIO()
    renderer = TreeRenderer(Page(stream))
    renderer.handle(
        FailureOccurred("7", "app.py", "f", "E", "m", "f.py", 1, "f", "", [], "", None, "", 0, 0, 0, NOW, "")
    )
    renderer.handle(StoryTotals("7", TOTALS, 0.0, (), (), "failed", 1))
    renderer.handle(StoryCompleted("7", "app.py", False, 0, 0, 0, NOW, 1.0))
    assert stream.getvalue() == ""
