"""Settings: where they come from, who wins, and what bad ones say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from narrative_auto import settings
from narrative_auto.errors import SettingError
from narrative_auto.settings import Settings, load, to_environment


def test_sources_win_in_order(tmp_path: Path) -> None:
    """Defaults < pyproject.toml < environment < command line."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.narrative]\nmin-duration = "5ms"\ntell = "tree"\ninclude = ["a.*", "b"]\nprivate = false\n'
        'app-roots = ["src"]\n'
    )
    environ = {"NARRATIVE_TELL": "line", "NARRATIVE_MIN_DURATION": "3ms"}
    chosen = load(environ, str(tmp_path), {"min_duration": ("--min-duration", "2ms")})
    assert chosen.min_duration == pytest.approx(0.002)
    assert chosen.tell == "line"
    assert chosen.include == ("a.*", "b")
    assert chosen.private is False
    assert chosen.app_roots == (str(tmp_path / "src"),)
    assert chosen.engine == "auto"


def test_settings_survive_the_way_through_the_environment() -> None:
    """What the launcher chose is what the launched process reads."""
    chosen = Settings(
        app_roots=("/a", "/b"),
        include=("x.*",),
        exclude=("y",),
        private=False,
        min_duration=0.25,
        tell="tree",
        store="off",
    )
    again = load(to_environment(chosen), "/")
    assert repr(again) == repr(chosen)


def test_settings_are_frozen() -> None:
    """Nobody changes a setting on the way."""
    with pytest.raises(AttributeError, match="frozen"):
        Settings().tell = "tree"
    with pytest.raises(TypeError, match="no such setting: colour"):
        Settings(colour=1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tell", "loud", "--tell takes one of tree, line, failure, nothing, not 'loud'"),
        ("engine", "magic", "--engine takes one of auto, rewrite, monitoring, settrace, not 'magic'"),
        ("min_duration", "soon", "--min-duration takes a duration such as 500us, 1ms or 0.2s, not 'soon'"),
        ("min_duration", "-1ms", "--min-duration takes a duration such as 500us, 1ms or 0.2s, not '-1ms'"),
        ("min_duration", "nans", "--min-duration takes a duration such as 500us, 1ms or 0.2s, not 'nans'"),
        ("include", "a b", "--include takes module patterns such as shop.*, not 'a b'"),
        ("private", "maybe", "--private takes 1 or 0, not 'maybe'"),
    ],
)
def test_bad_values_name_the_option_and_what_it_takes(name: str, text: str, message: str) -> None:
    """One line: the option, what it takes, what was given."""
    with pytest.raises(SettingError) as caught:
        load({}, "/", {name: ("--" + name.replace("_", "-"), text)})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1ms", 0.001), ("500us", 0.0005), ("500µs", 0.0005), ("0.2s", 0.2), ("0s", 0.0), ("7ns", 7e-9)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration is a number with a unit."""
    assert settings.parse_duration("x", text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "content", ["[tool.narrative]\ncolour = 1\n", "[tool.narrative\n", '[tool.narrative]\ntell = "x"\n']
)
def test_bad_pyproject_is_one_line(tmp_path: Path, content: str) -> None:
    """A table that cannot be used says which file."""
    (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(SettingError) as caught:
        load({}, str(tmp_path))
    assert str(tmp_path / "pyproject.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_tables_are_none_of_our_business(tmp_path: Path) -> None:
    """A pyproject.toml that is about something else, broken or not, changes nothing."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'narrative'\n[broken")
    assert repr(load({}, str(tmp_path))) == repr(Settings())


def test_a_starting_program_uses_what_it_can(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a program that is starting a bad value is told and left out; the good ones hold."""
    monkeypatch.setattr("sys.__stderr__", __import__("sys").stderr)
    chosen = settings.load_or_default({"NARRATIVE_TELL": "loud", "NARRATIVE_PRIVATE": "0"}, "/")
    assert (chosen.tell, chosen.private) == ("", False)
    assert "NARRATIVE_TELL takes one of" in capsys.readouterr().err


def test_parent_story() -> None:
    """A child knows its parent's story and process; nonsense is no parent."""
    assert settings.parent_story({"NARRATIVE_STORY": "abc:12:root"}) == ("abc", 12, "root")
    assert settings.parent_story({"NARRATIVE_STORY": "abc"}) == ("", 0, "")
    assert settings.parent_story({}) == ("", 0, "")


@pytest.mark.parametrize(("text", "on"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_switch(text: str, on: bool) -> None:
    """Anything but nothing and 0 switches it on."""
    assert settings.is_on({"NARRATIVE_AUTO": text}) is on


def test_project_root_is_the_nearest_above(tmp_path: Path) -> None:
    """The nearest folder with a pyproject.toml or a .git."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    assert settings.project_root(str(inner)) == str(tmp_path)
    (tmp_path / "a" / "pyproject.toml").write_text("")
    assert settings.project_root(str(inner)) == str(tmp_path / "a")
    assert os.path.isabs(str(inner))
