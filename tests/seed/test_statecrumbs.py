"""The examples of statecrumbs' own description, with only the package's name changed; and the shapes that it shows."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import narrative_run, run

PAGE = (Path(__file__).parent / "statecrumbs.md").read_text("utf-8")
EXAMPLES = [
    re.sub(r"statecrumbs(\.\w+)? import", "narrative_auto.crumbs import", source)
    for source in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
]
SHAPE, RECORD = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)]


def crumbs_in(text: str) -> list[dict[str, object]]:
    """Return the JSON list that stands in a text."""
    found: list[dict[str, object]] = json.loads(text[text.index("\n[") : text.index("\n]") + 2])
    return found


def test_there_are_two() -> None:
    """So that none is lost unnoticed."""
    assert len(EXAMPLES) == 2


def test_quick_start(tmp_path: Path) -> None:
    """The crumbs come on stderr as in the description, then Python's own traceback; the exit status is as ever."""
    (tmp_path / "app.py").write_text(EXAMPLES[0], "utf-8")
    done = run(sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 1
    assert done.err.rstrip().endswith("ZeroDivisionError: division by zero")
    assert done.err.index("\n]") < done.err.index("Traceback")
    assert done.err.count('"start"') == 1
    found = crumbs_in(done.err)
    assert [one["event"] for one in found] == ["start", "before_error"]
    assert found[0]["user"] == "'alice'"
    assert found[1]["x"] == SHAPE[1]["x"] == "10"
    for one, shown in zip(found, SHAPE, strict=True):
        assert set(one) - {"user"} == set(shown)
        assert datetime.fromisoformat(str(one["ts"])).utcoffset() == datetime.fromisoformat(shown["ts"]).utcoffset()
        assert len(str(one["ts"])) == len(shown["ts"])
        assert one["thread"] == shown["thread"]


def test_quick_start_in_an_automatic_run(tmp_path: Path) -> None:
    """The report has the crumbs; stderr does not get them twice."""
    (tmp_path / "app.py").write_text(EXAMPLES[0], "utf-8")
    done = narrative_run(sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 1
    assert done.err.count("before_error") - done.err.count('"before_error", x=10)') == 1
    assert "crumb before_error x=10" in done.err


def test_contexts(tmp_path: Path) -> None:
    """Contexts are merged while they hold."""
    (tmp_path / "app.py").write_text(EXAMPLES[1] + "\nimport json, sys; json.dump(snapshot(), sys.stderr)\n", "utf-8")
    done = run(sys.executable, "app.py", cwd=tmp_path)
    assert done.status == 0
    assert len(done.out.splitlines()) == 4
    outer = {"request_id": "req-999", "user": "bob"}
    inner = {**outer, "step": "db_query"}
    assert [one["context"] for one in json.loads(done.err)] == [outer, inner, inner, outer]


def test_a_record(tmp_path: Path) -> None:
    """The data model of the description, field for field."""
    source = (
        "import json\n"
        "from narrative_auto.crumbs import context, crumb, snapshot\n"
        "with context(pipeline_id='ingest-42', stage='transform'):\n"
        "    crumb('transform_completed', records=4)\n"
        "print(json.dumps(snapshot()[0]))\n"
    )
    done = run(sys.executable, "-c", source, cwd=tmp_path)
    found = json.loads(done.out)
    assert {**found, "ts": ""} == {**RECORD, "ts": ""}
    assert list(found) == list(RECORD)


@pytest.mark.parametrize("name", ["enable", "crumb", "snapshot", "clear", "dump", "context", "get_context"])
def test_names(name: str) -> None:
    """What the description names is there."""
    from narrative_auto import crumbs

    assert callable(getattr(crumbs, name))
