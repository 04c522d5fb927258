"""Each example of the description that this package is to live up to runs here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import narrative_auto
from tests.conftest import ROOT, run
from tests.seed.examples import examples, imported

EXAMPLES = examples()


@pytest.mark.parametrize("number", range(len(EXAMPLES)), ids=[heading for heading, _ in EXAMPLES])
def test_an_example_runs(number: int, tmp_path: Path) -> None:
    """With the package's name changed, and nothing else."""
    missing = imported(EXAMPLES[number][1]) - set(narrative_auto.__all__)
    if missing:
        pytest.skip(f"not there yet: {', '.join(sorted(missing))}")
    if "AnthropicFailureAnalyzer" in EXAMPLES[number][1]:
        pytest.importorskip("anthropic", reason="the extra anthropic is not installed")
    (tmp_path / "customers.csv").write_text("ada\ngrace\n", "utf-8")
    command = [sys.executable, "-m", "tests.seed.examples", str(number)]
    done = run(*command, cwd=tmp_path, PYTHONPATH=os.fspath(ROOT), PYTHONIOENCODING="utf-8")
    assert (done.status, done.err) == (0, "")
