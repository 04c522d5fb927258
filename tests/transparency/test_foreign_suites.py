"""The comparison of test suites itself, with a small suite: it finds what a program can tell, and what was not seen."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.transparency import foreign_suites, outcomes
from tests.transparency.foreign_suites import Package, Reach, Suite, differences, measure, without_chance

PACKAGE = '''
def double(n):
    """Doubled."""
    return n * 2

class Shop:
    def __init__(self): self.sold = []
    def sell(self, what):
        if not what:
            raise ValueError("nothing to sell")
        self.sold.append(what)
    def never_called(self): pass

def numbers(n):
    yield from range(n)
'''

TESTS = """
import sys, warnings
import pytest
from tiny_shop import Shop, double, numbers

@pytest.fixture
def shop():
    yield Shop()

def test_double(): assert double(2) == 4
def test_sell(shop):
    shop.sell("a book")
    print("sold", shop.sold)
def test_numbers(): assert list(numbers(3)) == [0, 1, 2]
def test_warns(): warnings.warn("old", DeprecationWarning, stacklevel=1)
def test_fails(shop): shop.sell("")
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert double(2) == 5
"""

TELLS = """
import sys
def test_can_tell(): assert "narrative_auto" not in sys.modules
def test_prints(): print("narrative_auto" in sys.modules)
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "plugin").mkdir()
    shutil.copy(outcomes.__file__, tmp_path / "plugin")
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "pyproject.toml").write_text("[project]\nname = 'tiny'\n")
    (sources / "tiny_shop.py").write_text(PACKAGE)
    (sources / "test_tiny.py").write_text(TESTS)
    return Suite("tiny", Package("1.0", "tiny_shop"), tmp_path, sources, Path(sys.executable))


def test_a_suite_that_cannot_tell(suite: Suite) -> None:
    """Every outcome and message is the same, all functions were instrumented, and their calls were recorded."""
    plain, recorded = suite.test("plain"), suite.test("rewrite", "rewrite")
    assert plain.summary() == "1 failed, 4 passed, 1 skipped, 1 skipped xfail"
    assert plain.outcomes["test_tiny.py::test_fails call"] == "failed"
    assert "nothing to sell" in plain.outcomes["test_tiny.py::test_fails call message"]
    assert plain.outcomes["test_tiny.py::test_sell call Captured stdout call:"] == "sold ['a book']\n"
    assert any(key.startswith("test_tiny.py::test_warns runtest warning") for key in plain.outcomes)
    assert differences(plain.outcomes, recorded.outcomes) == {}
    reach = measure(recorded, "tiny_shop")
    assert (reach.functions, reach.instrumented, reach.called) == (5, 5, 4)
    assert reach.others == TESTS.count("def ")
    assert reach.calls >= 6
    assert reach.is_enough()
    assert reach.is_enough(reach)


def test_a_suite_that_can_tell(suite: Suite) -> None:
    """What comes out differently is found: outcomes, messages and output."""
    (suite.sources / "test_tells.py").write_text(TELLS)
    found = differences(suite.test("plain").outcomes, suite.test("rewrite", "rewrite").outcomes)
    assert found["test_tells.py::test_can_tell call"] == ("passed", "failed")
    assert found["test_tells.py::test_prints call Captured stdout call:"] == ("False\n", "True\n")


def test_a_run_that_does_not_end_well_is_a_difference(suite: Suite) -> None:
    """A process that is gone before pytest has finished is told, not passed over."""
    (suite.sources / "conftest.py").write_text(
        "import os, sys\n\ndef pytest_sessionstart():\n    if 'narrative_auto' in sys.modules:\n        os._exit(3)\n"
    )
    found = differences(suite.test("plain").outcomes, suite.test("rewrite", "rewrite").outcomes)
    assert found["the suite as a whole"][1].startswith("status 3")


def test_lines_that_come_by_chance_are_no_difference() -> None:
    """They are taken out, and what else was told stays."""
    told = {"one": "by chance 12", "two": "by chance 13\nnot by chance", "three": ""}
    assert dict(without_chance(told, re.compile("by chance"))) == {"two": "not by chance", "three": ""}


def test_a_package_that_was_not_recorded_is_not_enough(suite: Suite) -> None:
    """Equal outcomes mean nothing where the package had no probes, or where another engine saw more of it called."""
    assert not Reach(1, 1, {("a.py", 1)}, calls=1).is_enough(Reach(2, 2, {("a.py", 1), ("a.py", 2)}, calls=2))
    (suite.sources / "pyproject.toml").write_text("[tool.narrative]\n")
    plain = suite.test("plain")
    plain.modules["tiny_shop"] = str(suite.sources / "tiny_shop.py")
    assert not measure(plain, "tiny_shop").is_enough()


@pytest.mark.parametrize("options", [["no-such-package"], ["--engine", "steam"], ["toolz", "--quick"]])
def test_bad_input_is_one_line(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It says what was wrong."""
    assert foreign_suites.main(options) == 2
    assert capsys.readouterr().err.count("\n") == 1
