"""Each example of docs/api.md runs, in a process of its own, and every public name is in it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import narrative_auto
from tests.conftest import ROOT, run

PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)

PRINTED = {
    "Import Customers": "True 100\n['Load', 'CSV']",
    "send_email": "False\nTrue",
    "Payment Saga": "Reserve Inventory",
    "redact_patterns": "production ('internal_id',)",
    "Notes": "Insert ValueError look at insert",
    "runtime_narrative_stage": "['row']",
    "Reports": "['Reports.archive', 'Generate PDF']",
    "Fetch Stock": "{'Fetch Stock': TimeoutError('no answer')}",
    "Checkout": "WARNING shop: retry 1 of 3",
    "Nightly": "Stage completed: Load",
    "dry_run=True": "",
    "DeclinedError": "True",
}
"""What an example prints, by words that only it has."""


@pytest.mark.parametrize(("words", "printed"), PRINTED.items(), ids=PRINTED)
def test_an_example_runs(words: str, printed: str, tmp_path: Path) -> None:
    """As it stands on the page."""
    (source,) = [example for example in EXAMPLES if words in example]
    (tmp_path / "example.py").write_text(source, "utf-8")
    done = run(sys.executable, "-W", "error", "example.py", cwd=tmp_path, PYTHONIOENCODING="utf-8")
    assert (done.status, done.err) == (0, "")
    assert printed in done.out.decode()


def test_none_is_left_out() -> None:
    """Neither an example of the page nor a public name."""
    assert all(sum(words in example for words in PRINTED) == 1 for example in EXAMPLES)
    assert len(EXAMPLES) == len(PRINTED)
    missing = [name for name in narrative_auto.__all__ if not name.startswith("__") and f"`{name}" not in PAGE]
    assert missing == []


def test_all_public_names_are_there() -> None:
    """`from narrative_auto import *` gives each of them."""
    names: dict[str, object] = {}
    exec("from narrative_auto import *", names)
    assert set(narrative_auto.__all__) <= set(names)
