"""The question: what is in it, how long it is, and what must not be in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrative_auto.analyzers.prompt import LEFT_OUT, OMITTED, build_prompt, last_lines
from tests.unit.analyzers.service import question

FRAMES = "".join(f'  File "app/frame{number}.py", line {number}, in f{number}\n' for number in range(1_000))
LONG = f"Traceback (most recent call last):\n{FRAMES}ValueError: duplicate customer id\n"


def test_what_is_asked() -> None:
    """All that is known, under headings, and the form of the answer."""
    prompt = build_prompt(8_000, **question())
    for name in ("exact_why", "evidence", "targeted_fix", "code_changes"):
        assert f'"{name}"' in prompt
    assert prompt.partition("that stands in it.\n\n")[2] == (
        "Story: Import Customers\n"
        "Stage: Insert Records\n"
        "Error: ValueError: duplicate customer id\n"
        "Location: app/db.py:47 in insert_row\n"
        'Source line: raise ValueError("duplicate customer id")\n'
        "Exact cause: sqlite3.IntegrityError: UNIQUE constraint failed\n"
        "Exception chain, nearest first:\n"
        "- from sqlite3.IntegrityError: UNIQUE constraint failed\n"
        "Progress: 66 %\n"
        "Stages until then:\n"
        "Load CSV  0.012 s\nInsert Records  failed\n"
        "Traceback:\n"
        'Traceback (most recent call last):\n  File "app/db.py", line 47, in insert_row\nValueError: x'
    )


def test_what_is_not_there_has_no_heading() -> None:
    """No chain, no stages, no crumbs."""
    asked = question(exception_chain=[], traceback_text="")
    prompt = build_prompt(8_000, **{**asked, "stage_name": "", "stage_timeline": ""})
    assert "Stage: (none)" in prompt
    assert "chain" not in prompt
    assert "Stages until then" not in prompt
    assert "noted" not in prompt
    assert prompt.endswith(OMITTED)


def with_fields(**more: Any) -> Any:
    """Return a question whose failure has further fields."""
    asked = question()
    failure = asked["failure"]
    fields = {name: getattr(failure, name) for name in failure.__slots__}
    return {**asked, "failure": SimpleNamespace(**{**fields, **more})}


def test_crumbs_are_in_it() -> None:
    """The newest, a line each, without secrets."""
    crumbs = tuple(f"order {number} password=hunter2\nx" for number in range(100))
    prompt = build_prompt(20_000, **with_fields(crumbs=crumbs))
    assert "What the program noted, the newest last:\n- order 50 password=[redacted]" in prompt
    assert "- order 99" in prompt
    assert "hunter2" not in prompt


def test_a_traceback_loses_its_upper_lines() -> None:
    """And says so; the prompt is no longer than is allowed, and uses what is allowed."""
    prompt = build_prompt(4_000, **question(traceback_text=LONG))
    assert 3_900 < len(prompt) <= 4_000
    assert prompt.endswith("in f999\nValueError: duplicate customer id")
    assert f"Traceback:\n{LEFT_OUT}\n  File" in prompt
    assert "frame0.py" not in prompt


@pytest.mark.parametrize("most", [-1, 0, 100, 1_000])
def test_a_traceback_that_does_not_fit_is_left_out(most: int) -> None:
    """The place of the failure is not."""
    prompt = build_prompt(most, **question(traceback_text=LONG))
    assert prompt.endswith(f"Traceback:\n{OMITTED}")
    assert "app/db.py:47" in prompt
    assert len(prompt) < 2_000


def test_no_part_takes_all_the_room() -> None:
    """Whatever the program puts into names, messages, chains and stages."""
    asked = question(
        error_type="E" * 50_000,
        error_message="m " * 50_000,
        filename="f" * 50_000,
        function="g" * 50_000,
        source_line="s " * 50_000,
        exact_cause="c " * 50_000,
        exception_chain=["link " * 50_000] * 1_000,
    )
    asked["stage_timeline"] = "stage\n" * 50_000
    asked["story_name"] = asked["stage_name"] = "n" * 50_000
    prompt = build_prompt(8_000, **asked)
    assert len(prompt) < 14_000
    assert prompt.endswith(OMITTED)
    assert "stage\n" in prompt


def test_redacted_texts_stay_what_they_are() -> None:
    """What a story has redacted comes in a second time."""
    message = "login failed: password=[redacted], user=ada, url=postgres://ada:[redacted]@db/x"
    assert message in build_prompt(8_000, **question(error_message=message))


def test_the_half_of_a_secret_is_not_left() -> None:
    """Secrets are taken out before anything is cut."""
    secret = "xyzzy" * 200
    traceback = f"Traceback:\n  password = '{secret}'\nValueError: x"
    for most in range(1_350, 1_650, 7):
        assert "xyzzy" not in build_prompt(most, **question(traceback_text=traceback))


def test_texts_that_cannot_be_encoded() -> None:
    """A file name may hold bytes that are no characters."""
    assert b"a\\udcff.py" in build_prompt(8_000, **question(filename="a\udcff.py", error_message="\ud800")).encode()


@given(st.text(alphabet="ab\n", max_size=200), st.integers(-5, 250))
@settings(max_examples=300, deadline=None)
def test_last_lines(text: str, most: int) -> None:
    """Whole lines from the end, as many as fit."""
    kept = last_lines(text, most)
    if len(text) <= most:
        assert kept == text
        return
    lines = text.splitlines()
    fitting = [count for count in range(1, len(lines) + 1) if len("\n".join([LEFT_OUT, *lines[-count:]])) <= most]
    assert kept == ("\n".join([LEFT_OUT, *lines[-max(fitting) :]]) if fitting else "")
