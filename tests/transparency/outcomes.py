"""A pytest plugin that writes down what became of each test, and what was imported and instrumented meanwhile.

It is copied into the environment of a package under test: `pytest -p outcomes --outcomes FILE`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

_CHANGING = (
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{8,16}\b"), "ADDRESS"),
    (re.compile(r"\b(fd|pid|Task)([=-]| )\d+\b"), r"\1 N"),
    (re.compile(r"\b\d+\.\d+ ?s\b|\b\d+\.\d+ seconds\b"), "N seconds"),
    (re.compile(r"={3,}"), "==="),  # pytest fills a line with them
)
"""What is another in every run, and the word that stands for it."""


class Outcomes:
    """Collects texts under keys that name a test, a phase, and what of it the text says."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._told: dict[str, str] = {}

    def _tell(self, key: str, text: object) -> None:
        told = str(text)
        for pattern, word in _CHANGING:
            told = pattern.sub(word, told)
        self._told[key] = f"{self._told[key]}\n{told}" if key in self._told else told

    def pytest_collectreport(self, report: Any) -> None:
        """Note what cannot be collected."""
        if not report.passed:
            self._tell(f"{report.nodeid} collect", f"{report.outcome} {report.longrepr}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the outcome of setup, call and teardown, the message of one that did not pass, and the output."""
        key = f"{report.nodeid} {report.when}"
        self._tell(key, f"{report.outcome}{' xfail' if hasattr(report, 'wasxfail') else ''}")
        if report.longrepr:
            self._tell(f"{key} message", report.longrepr)
        for name, text in report.sections:
            if name.endswith(report.when):
                self._tell(f"{key} {name}:", text)

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        """Note a warning and the place that it names."""
        text = f"{warning_message.category.__name__}: {warning_message.message} {location}"
        self._tell(f"{nodeid} {when} warning {warning_message.filename}:{warning_message.lineno}", text)

    def pytest_sessionfinish(self, session: Any, exitstatus: int) -> None:
        """Write everything down."""
        found = {
            "status": int(exitstatus),
            "collected": session.testscollected,
            "outcomes": self._told,
            "modules": modules(str(session.config.rootpath)),
            "sites": sites(),
        }
        with open(self._path, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(found, file)


def modules(folder: str) -> dict[str, str]:
    """Return the source files of all modules that lie below the folder or in site-packages, by name."""
    found = {}
    for name, module in list(sys.modules.items()):
        spec: Any = getattr(module, "__spec__", None)
        origin = getattr(spec, "origin", None)
        if not isinstance(origin, str) or not origin.endswith(".py") or spec.name != name:
            continue
        if "site-packages" in origin or origin.startswith(folder + os.sep):
            found[name] = origin
    return found


def sites() -> list[tuple[str, str, int]]:
    """Return module, file and line of all that was instrumented in this process; nothing where nobody records."""
    bootstrap: Any = sys.modules.get("narrative_auto.launch.bootstrap")
    runs = bootstrap._current if bootstrap is not None else []
    return [(site.module, site.filename, site.line) for run in runs for site in run.recorder.sites if site.number]


def pytest_addoption(parser: Any) -> None:
    """Add the option that names the file."""
    parser.addoption("--outcomes", metavar="FILE", help="write what became of each test to FILE")


def pytest_configure(config: Any) -> None:
    """Collect, where a file is named."""
    path = config.getoption("--outcomes")
    if path:
        config.pluginmanager.register(Outcomes(path))
