"""Single values change in a JSON text, and everything else stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrative_auto.cli.json_text import rewritten

TEXTS = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@st.composite
def changed(draw: st.DrawFn, before: Any) -> Any:
    """Give what some of a value's parts are replaced in."""
    if draw(st.integers(0, 5)) == 0:
        return "[redacted]"
    if isinstance(before, dict):
        keys = [f"{key} {number}" if draw(st.booleans()) else key for number, key in enumerate(before)]
        if len(set(keys)) == len(before):
            return {key: draw(changed(value)) for key, value in zip(keys, before.values(), strict=True)}
    if isinstance(before, list):
        return [draw(changed(one)) for one in before]
    return before


@given(st.data(), VALUES, st.booleans(), st.sampled_from([None, 2, "\t"]))
def test_a_changed_text_is_what_it_was_changed_to(
    data: st.DataObject, before: Any, ascii_only: bool, indent: Any
) -> None:
    """Whatever the form that it has."""
    text = f" {json.dumps(before, ensure_ascii=ascii_only, indent=indent)}\n"
    after = data.draw(changed(before))
    assert json.loads(rewritten(text, before, after)) == after
    assert rewritten(text, before, json.loads(text)) == text


def test_other_members_are_an_error() -> None:
    """What has not the same members cannot be found in the text."""
    with pytest.raises(ValueError, match="zip"):
        rewritten("[1, 2]", [1, 2], [1])


def test_a_text_that_cannot_be_encoded() -> None:
    """It is an error, and no file that nobody can read."""
    with pytest.raises(UnicodeEncodeError):
        rewritten('["\\ud800", "é"]', ["\ud800", "é"], ["\ud800 ", "é"])
