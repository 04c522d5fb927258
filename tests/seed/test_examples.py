"""Each example of the description that this package is to live up to runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import narrative_auto
from tests.conftest import ROOT, clean_environment
from tests.seed.examples import examples, imported

EXAMPLES = examples()


@pytest.mark.parametrize("number", range(len(EXAMPLES)), ids=[heading for heading, _ in EXAMPLES])
def test_an_example_runs(number: int, tmp_path: Path) -> None:
    """With the package's name changed, and nothing else."""
    missing = imported(EXAMPLES[number][1]) - set(narrative_auto.__all__)
    if missing:
        pytest.skip(f"not there yet: {', '.join(sorted(missing))}")
    (tmp_path / "customers.csv").write_text("ada\ngrace\n", "utf-8")
    environment = clean_environment(PYTHONPATH=os.fspath(ROOT), PYTHONIOENCODING="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.seed.examples", str(number)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
