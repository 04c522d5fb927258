"""The engine that `auto` takes is the one that the measurements speak for."""

from __future__ import annotations

import json

import pytest

from benchmarks.results import RESULTS, Figure, best_engine
from narrative_auto.instrument.engines import choice


def measured(version: tuple[int, int]) -> list[Figure]:
    """Return the figures of an interpreter."""
    path = RESULTS / f"{version[0]}.{version[1]}.json"
    return [Figure(**values) for values in json.loads(path.read_text("utf-8"))["figures"]]


@pytest.mark.parametrize("version", choice.BEST, ids=str)
@pytest.mark.parametrize(("suffix", "has_budget"), [(", 3%", True), ("", False)])
def test_the_table_is_read_from_the_results(version: tuple[int, int], suffix: str, has_budget: bool) -> None:
    """Of each interpreter that stands in it there are results, and they say so."""
    assert choice.best_engine(version, has_budget=has_budget) == best_engine(measured(version), suffix)


def test_where_nobody_has_measured() -> None:
    """The engine of the version before, as long as the suites run; then monitoring, which changes no code."""
    assert choice.best_engine((3, 15), has_budget=True) == choice.best_engine((3, 14), has_budget=True)
    assert choice.best_engine((3, 99), has_budget=True) == "monitoring"


@pytest.mark.parametrize(("cost", "expected"), [(1.1, "monitoring"), (1.03, "rewrite")])
def test_ties_go_to_rewrite(cost: float, expected: str) -> None:
    """What is less than 2 % dearer."""
    figures = [
        Figure(what, way, value, value, value)
        for way, value in (("rewrite", cost), ("monitoring", 1.02))
        for what in ("richards", "go", "import, all caches there")
    ]
    assert best_engine(figures, "") == expected
