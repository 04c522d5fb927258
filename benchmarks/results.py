"""Figures: what was measured, what is to be reached, and whether it was; as lines, as JSON, as tables of a page."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import workloads

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- begin: python -m benchmarks -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        what: what was measured: "budget: richards", "an empty call".
        way: how it was run: "rewrite, 3%".
        value: a ratio to plain, or in `unit`.
        least, most: the spread: of the rounds, in each of which all ways ran one after the other; of a figure that is
            the median of them, the middle half.
        unit: "" for a ratio.
        limit: the figure to reach; None where there is none for this way.
    """

    what: str
    way: str
    value: float
    least: float
    most: float
    unit: str = ""
    limit: float | None = None

    @property
    def is_missed(self) -> bool:
        """Whether there is a figure to reach, and it is not."""
        return self.limit is not None and not self.value <= self.limit

    def line(self) -> str:
        """Return it as a line."""
        unit = f" {self.unit}" if self.unit else ""
        text = f"  {self.what:34} {self.way:20} {self.value:>8.2f}{unit:4} ({self.least:.2f} to {self.most:.2f})"
        if self.limit is None:
            return text
        return f"{text}  {'MISSED' if self.is_missed else 'reached'}: {self.limit:g}"


@dataclass(slots=True)
class Results:
    """All figures of one run on one interpreter."""

    quick: bool
    figures: list[Figure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, figure: Figure) -> None:
        """Take in a figure and print it."""
        self.figures.append(figure)
        print(figure.line(), flush=True)

    def ratio(self, what: str, way: str, values: list[float], plain: list[float], limit: float | None = None) -> float:
        """Take in a ratio: minimum to minimum; the spread is that of the rounds. Return it."""
        rounds = [one / other for one, other in zip(values, plain, strict=True)]
        value = min(values) / min(plain)
        self.add(Figure(what, way, value, min(rounds), max(rounds), "", limit))
        return value

    def ratio_of_turns(self, what: str, way: str, ratios: list[float]) -> float:
        """Take in the ratios of all turns: their median; the spread is that of the middle half. Return it."""
        quarters = statistics.quantiles(ratios, n=4)
        value = statistics.median(ratios)
        self.add(Figure(what, way, value, quarters[0], quarters[2]))
        return value

    def fault(self, text: str) -> None:
        """Take in something that is not as it must be."""
        self.faults.append(text)
        print(f"  FAULT: {text}", flush=True)

    @property
    def missed(self) -> list[Figure]:
        """The figures that were not reached."""
        return [figure for figure in self.figures if figure.is_missed]

    def write(self, *, is_whole: bool) -> Path:
        """Write the figures as JSON; return the path.

        Args:
            is_whole: all parts ran; else the figures of the others stay.
        """
        RESULTS.mkdir(exist_ok=True)
        version = ".".join(map(str, sys.version_info[:2]))
        path = RESULTS / f"{version}{'-quick' if self.quick else ''}.json"
        figures, faults = {(figure.what, figure.way): asdict(figure) for figure in self.figures}, self.faults
        if not is_whole and path.exists():
            before = json.loads(path.read_text("utf-8"))
            if not any(figure.what in workloads.NAMES for figure in self.figures):
                faults = before["faults"]  # of whole programs
            figures = {(figure["what"], figure["way"]): figure for figure in before["figures"]} | figures
        content = {
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "quick": self.quick,
            "figures": list(figures.values()),
            "faults": faults,
        }
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        return path


IMPORT = "import, all caches there"
TIE = 1.02


def best_engine(figures: list[Figure], suffix: str) -> str:
    """Return the engine under which programs cost less, an import being one of them; rewrite where they are alike.

    Programs whose rounds take seconds have so few turns that their figures say nothing here.

    Args:
        figures: of one interpreter.
        suffix: of the ways that count: ", 3%" within that budget, "" where every call is recorded.
    """
    costs: dict[str, float] = {}
    for engine in ("rewrite", "monitoring"):
        of_programs = {
            figure.what: figure.value
            for figure in figures
            if figure.way == engine + suffix and figure.what in workloads.NAMES and figure.what not in workloads.LONG
        }
        imports = [figure.value for figure in figures if (figure.what, figure.way) == (IMPORT, engine)]
        if of_programs:
            costs[engine] = geometric_mean([*of_programs.values(), *imports])
    return "rewrite" if costs["rewrite"] <= TIE * min(costs.values()) else min(costs, key=lambda engine: costs[engine])


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean of ratios."""
    return math.exp(statistics.fmean(map(math.log, values)))


def write_page() -> None:
    """Put a table of all results that there are into the page about them."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("3.*[0-9].json"))]
    versions = [one["python"] for one in found]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for one in found:
        for figure in (Figure(**values) for values in one["figures"]):
            text = f"{figure.value:.2f}{' ' + figure.unit if figure.unit else ''}"
            if figure.limit is not None:
                text = f"**{text}** (missed)" if figure.is_missed else f"{text} (reached)"
            cells.setdefault((figure.what, figure.way), {})[one["python"]] = text
    limits = {
        (values["what"], values["way"]): values["limit"]
        for one in found
        for values in one["figures"]
        if values["limit"] is not None
    }
    lines = [
        f"| what | how | to reach | {' | '.join(versions)} |",
        f"| --- | --- | --- | {' | '.join('---' for _ in versions)} |",
    ]
    for (what, way), of_version in cells.items():
        limit = limits.get((what, way))
        row = [what, way, f"{limit:g}" if limit is not None else ""]
        lines.append(f"| {' | '.join([*row, *(of_version.get(version, '–') for version in versions)])} |")
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{after}", "utf-8")
