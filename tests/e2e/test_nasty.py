"""Failures that are hard to report: Python's own words come first, unchanged; the status is as ever; nobody waits."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import RECORDER, narrative_run, run
from tests.e2e.nasty import PROGRAMS

AT_THE_VERY_END = {"in a __del__ at the end"}
"""What happens when the story has been told already."""

IN_BETWEEN = {"recursion while it is told"}
"""Where the program's own hook calls ours, and says more after it."""

AT_THE_END_OF_THE_STACK = {"the end of the stack", "little stack left"}

PATIENCE = 5.0
"""Seconds that a report may take beyond what the program takes without it, on a busy machine."""


def comparable(text: str) -> str:
    """Return a text without what differs: addresses; and the two frames of runpy below `__main__`, a known difference."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"repeated [0-9]+ more times", "repeated", text)
    text = re.sub(r"object refcount : [0-9]+", "", text)
    return "".join(line for line in text.splitlines(keepends=True) if "<frozen runpy>" not in line)


@pytest.mark.parametrize("name", PROGRAMS)
def test_nasty(name: str, tmp_path: Path) -> None:
    """Plain and recorded, with all that a report can have."""
    if name in AT_THE_END_OF_THE_STACK and RECORDER == "pure":
        pytest.skip("a probe of the recorder in Python takes a level of recursion at the very end of the stack")
    source = PROGRAMS[name].encode("latin-1" if "coding: latin-1" in PROGRAMS[name] else "utf-8")
    found = []
    for runner in (run, narrative_run):
        folder = tmp_path / runner.__name__ / "app"
        folder.mkdir(parents=True)
        (folder / "app.py").write_bytes(source)
        began = time.monotonic()
        encoding = {"PYTHONIOENCODING": "utf-8"} if runner is run else {}
        done = runner(sys.executable, "app.py", cwd=folder, NARRATIVE_FAILURE_DIAGNOSTICS="rich", **encoding)
        found.append((done, time.monotonic() - began))
    (plain, plain_seconds), (done, seconds) = found
    assert (done.status, done.out) == (plain.status, plain.out)
    expected = comparable(plain.err).replace(str(tmp_path / "run"), str(tmp_path / "narrative_run"))
    got = comparable(done.err)
    if name in IN_BETWEEN:
        rest = iter(got.splitlines())
        assert all(line in rest for line in expected.splitlines())
        return
    before, found_it, report = got.partition(expected) if expected else ("", "", got)
    assert found_it == expected
    assert before == "" or (name in AT_THE_VERY_END and before.startswith("-- narrative -- app.py "))
    assert seconds < plain_seconds + PATIENCE
    assert "Traceback" not in report
    assert "the program goes on without it" not in report
    assert "hunter2" not in report
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", report)
    for dump in (tmp_path / "narrative_run" / "app" / ".narrative" / "crashes").glob("*.json"):
        json.loads(dump.read_text("utf-8"))
        assert dump.stat().st_size < 1_000_000
