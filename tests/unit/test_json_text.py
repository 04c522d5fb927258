"""Single values change in a JSON text, and everything else stays."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrative_auto.cli.json_text import parsed, rewritten

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
    assert parsed(rewritten(text, before, after)) == after
    assert rewritten(text, before, parsed(text)) == text


def test_other_members_are_an_error() -> None:
    """What has not the same members cannot be found in the text."""
    with pytest.raises(ValueError, match="zip"):
        rewritten("[1, 2]", [1, 2], [1])


@pytest.mark.parametrize(
    ("text", "after", "told"),
    [
        (r'["\ud800 x", "é"]', ["\ud800", "é"], r'["\ud800", "é"]'),
        (r'{"café": "\udc80 x"}', {"café": "\udc80"}, r'{"café": "\udc80"}'),
        ('["é\udc80 x"]', ["é\udc80"], '["é\udc80"]'),
        (r'{"a": 1, "a": "x", "a": 2}', {"a": 1, "b\0": "y", "a\0\0": 2}, r'{"a": 1, "b": "y", "a": 2}'),
        (r'["x\u0000"]', ["y\0"], r'["y\u0000"]'),
    ],
)
def test_what_is_hard_to_write(text: str, after: Any, told: str) -> None:
    """Half a surrogate pair that was escaped, bytes that are no UTF-8, a key that stands there again."""
    assert rewritten(text, parsed(text), after) == told


def test_a_long_text() -> None:
    """It takes neither much time nor much memory."""
    text = f'["{"x" * 10_000_000}", "a"]'
    tracemalloc.start()
    told = rewritten(text, [text[2:-7], "a"], [text[2:-7], "b"])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told.endswith('"b"]')
    assert most < 6 * len(text)
