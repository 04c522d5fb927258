"""The answer: objects in all the forms in which models write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrative_auto.analyzers.answer import MOST_CHARACTERS, read_answer

FULL = {"exact_why": "a", "evidence": "b", "targeted_fix": "c", "code_changes": "d"}
SHOWN = "## Exact Why\na\n\n## Evidence\nb\n\n## Targeted Fix\nc\n\n## Code Changes\nd"
TEXT = json.dumps(FULL)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        json.dumps(FULL, indent=2),
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}\n```",
        f"Here it is:\n\n```json\n{TEXT}\n```\nI hope that {{it}} helps.",
        f"The set {{1, 2}} is it. {TEXT} Bye }}",
        f'{{"analysis": {TEXT}}}',
        f'<think>{{"exact_why": "perhaps x"}}</think>\n{TEXT}',
        json.dumps(dict(reversed(FULL.items()))),
    ],
)
def test_an_object_becomes_sections(text: str) -> None:
    """Whatever is around it, in whatever order."""
    assert read_answer(text) == SHOWN


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (["x", "y"], "- x\n- y"),
        (["x", None, "", [], "y\nz"], "- x\n- y\n  z"),
        ([["x", "y"], "z"], "- - x\n  - y\n- z"),
        ({"file": "a.py", "change": "b\nc"}, "file: a.py\nchange:\n  b\n  c"),
        ([{"file": "a.py", "line": 7}], "- file: a.py\n  line: 7"),
        (7, "7"),
        (False, "false"),
        ("  x\n  y \n", "x\n  y"),
        ("\ud800", "\\ud800"),
    ],
)
def test_values_are_written_down(value: object, shown: str) -> None:
    """Lists and objects too, at any depth."""
    assert read_answer(json.dumps({"exact_why": value})) == f"## Exact Why\n{shown}"


def test_line_breaks_within_texts() -> None:
    """Which JSON does not allow, and models write."""
    assert read_answer('{"exact_why": "a\nb"}') == "## Exact Why\na\nb"


@pytest.mark.parametrize("text", ["It was the id.", '{"why": "x"}', '{"exact_why": "x', "[1, 2]", "}{", "{" * 1_000])
def test_anything_else_stays_as_it_is(text: str) -> None:
    """Raw text is an analysis too."""
    assert read_answer(f"  {text}\n") == text


@pytest.mark.parametrize("text", ["", " \n\t", '{"exact_why": "", "evidence": []}', "<think>hm</think>\n"])
def test_nothing_is_none(text: str) -> None:
    """So that nobody shows an empty analysis."""
    assert read_answer(text) is None


def test_a_huge_answer_is_bounded() -> None:
    """As sections and as text."""
    for text in (json.dumps({"exact_why": "x" * 900_000}), "x" * 900_000, '{"exact_why": "x' + "{" * 900_000):
        said = read_answer(text)
        assert said is not None
        assert len(said) == MOST_CHARACTERS
        assert said.endswith("…")


def test_depth_is_bounded() -> None:
    """An object that is nested deeper than calls can be stays text."""
    deep = '{"exact_why": ' + "[" * 50_000 + "1" + "]" * 50_000 + "}"
    said = read_answer(deep)
    assert said is not None
    assert said.startswith('{"exact_why": [[[')


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*FULL, "x"]), inner),
    )
)
@settings(max_examples=200, deadline=None)
def test_no_answer_raises(value: object) -> None:
    """And all can be encoded."""
    for text in (json.dumps(value), str(value)):
        said = read_answer(text)
        assert said is None or said.encode()
