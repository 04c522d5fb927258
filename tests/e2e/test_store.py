"""What is kept of a story, and how it is shown again."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, LAUNCHER, narrative_run, run

Write = Callable[[str, str], Path]

NARRATIVE = COMMANDS / "narrative"
APP = "def inner(n):\n    return n\ndef main():\n    return [inner(n) for n in range(5)]\nmain()\n"


def test_a_story_is_kept_and_shown(write: Write, tmp_path: Path) -> None:
    """`narrative stories` lists it, `narrative story ID` shows its tree, from any folder below the project."""
    write("app.py", APP)
    narrative_run("--quiet", sys.executable, "app.py", "--token", "hunter2secret", cwd=tmp_path)
    (tmp_path / "below").mkdir()
    listed = run(NARRATIVE, "stories", cwd=tmp_path / "below").out.decode()
    story_id, _, _, outcome, *_, name = listed.split()
    assert (outcome, name, len(story_id)) == ("ok", "app.py", 6)
    shown = run(NARRATIVE, "story", story_id, cwd=tmp_path, PYTHONIOENCODING="utf-8").out.decode()
    assert "  main " in shown
    assert "  └─ inner" in shown
    assert "×5" in shown
    assert "hunter2secret" not in shown
    assert max(map(len, shown.splitlines()[:1])) <= 80


def test_what_each_function_s_calls_wrote_is_kept(write: Write, tmp_path: Path) -> None:
    """Two records a call, two more for each time that a generator went on: together, all that were written."""
    write("app.py", "def numbers():\n    yield 1\n    yield 2\ndef main():\n    return list(numbers())\nmain()\n")
    narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    with closing(sqlite3.connect(tmp_path / ".narrative" / "stories.db")) as connection:
        of_functions = dict(connection.execute("SELECT name, records FROM totals"))
        written = connection.execute("SELECT records FROM stories").fetchone()[0]
    assert of_functions == {"main": 2, "numbers": 6}
    assert written == 8


def test_the_folder_is_private(write: Write, tmp_path: Path) -> None:
    """Only the owner can read it, and version control ignores it; the umask does not matter."""
    write("app.py", APP)
    narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    folder = tmp_path / ".narrative"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "stories.db").stat().st_mode) == 0o600
    assert (folder / ".gitignore").read_text() == "*\n"


def test_it_lies_at_the_project_s_root(write: Write, tmp_path: Path) -> None:
    """The nearest folder above the script with a pyproject.toml, wherever the command was typed."""
    write("project/pyproject.toml", "")
    write("project/src/app.py", APP)
    narrative_run("--quiet", sys.executable, "project/src/app.py", cwd=tmp_path)
    assert (tmp_path / "project" / ".narrative" / "stories.db").exists()
    assert not (tmp_path / ".narrative").exists()


def test_another_folder_can_be_named(write: Write, tmp_path: Path) -> None:
    """`--store DIR` takes the place of .narrative/; --db reads it, as a folder or as a file."""
    write("app.py", APP)
    narrative_run("--quiet", "--store", "kept", sys.executable, "app.py", cwd=tmp_path)
    assert not (tmp_path / ".narrative").exists()
    for path in ("kept", "kept/stories.db"):
        assert b"app.py" in run(NARRATIVE, "stories", "--db", path, cwd=tmp_path).out


def test_a_program_without_stages_leaves_no_folder(write: Write, tmp_path: Path) -> None:
    """Nothing is made before the first stage."""
    write("app.py", "print(1)\n")
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert not (tmp_path / ".narrative").exists()
    lines = done.err.splitlines()
    assert lines[1] == f"no stages: no application code was imported under {tmp_path}"
    assert "--app-root" in lines[2]


def test_a_store_that_is_a_file_is_said_once(write: Write, tmp_path: Path) -> None:
    """A .narrative that is no folder: the story is kept elsewhere, one line says where, the program runs."""
    write("app.py", APP)
    write(".narrative", "not a folder")
    state = tmp_path / "state"
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path, XDG_STATE_HOME=str(state))
    assert done.status == 0
    assert done.err.count("cannot be written") == 1
    assert list(state.rglob("stories.db"))


@pytest.mark.parametrize("closed", ["crashes", "stories.db", "."])
def test_a_store_that_must_not_be_written_any_more(closed: str, write: Write, tmp_path: Path) -> None:
    """The story and the dump are kept elsewhere, and the report names where they are."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv, without which root may write everywhere, is not installed")
    write("app.py", "def main(): raise ValueError('v')\nmain()\n")
    narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    path = tmp_path / ".narrative" / closed
    path.chmod(0o555)
    state = tmp_path / "state"
    done = run(
        setpriv, "--bounding-set=-all", "--inh-caps=-all", LAUNCHER, sys.executable, "app.py",
        cwd=tmp_path, XDG_STATE_HOME=str(state), PYTHONIOENCODING="utf-8",
    )  # fmt: skip
    assert " failed in main -- " in done.err
    more = next(line for line in done.err.splitlines() if line.startswith("more ")).split()
    if closed == ".":  # its owner's, who made it so that only the owner writes there
        assert more[4] == "dump"
        return
    assert f"{tmp_path / '.narrative'} cannot be written (no permission), the story is kept in {state}" in done.err
    told = run(NARRATIVE, *more[2:6], cwd=tmp_path)
    assert (told.status, b"ValueError: v" in told.out) == (0, True)
    assert len(list(state.rglob("crashes/*.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stories"], "no stories at"),
        (["story", "abc"], "no stories at"),
        (["stories", "--db", "nowhere.db"], "no stories at"),
        (["stories", "--last", "0"], "--last"),
        (["story"], "ID"),
        (["bogus"], "bogus"),
    ],
)
def test_what_is_missing_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    """A missing store or a mistyped command is one line on stderr and a status other than 0."""
    done = run(NARRATIVE, *arguments, cwd=tmp_path)
    assert done.status in {1, 2}
    assert words in done.err
    assert done.err.count("\n") == 1


def test_an_unknown_or_ambiguous_story_is_one_line(write: Write, tmp_path: Path) -> None:
    """A story that is not there, or a beginning that two share."""
    write("app.py", APP)
    for _ in range(2):
        narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    with sqlite3.connect(tmp_path / ".narrative" / "stories.db") as connection:
        for table in ("stories", "totals", "stages"):
            connection.execute(f"UPDATE {table} SET story_id = 'ab' || substr(story_id, 3)")
    connection.close()
    for prefix, words in (
        ("ffffff", "no story 'ffffff'"),
        ("ab", "more than one story"),
        ("%", "no story"),
        ("", "no story"),
    ):
        done = run(NARRATIVE, "story", prefix, cwd=tmp_path)
        assert (done.status, done.err.count("\n")) == (1, 1)
        assert words in done.err


def test_a_corrupt_store_neither_stops_the_program_nor_shows_a_traceback(write: Write, tmp_path: Path) -> None:
    """A file that is no database: the program runs, one line says what failed; the commands say the same."""
    write("app.py", APP)
    write(".narrative/stories.db", "this is no database" * 100)
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path, NARRATIVE_STRICT="0")
    assert done.status == 0
    assert "  main " in done.err
    assert done.err.count("narrative_auto: ") == 1
    assert "more:" not in done.err
    shown = run(NARRATIVE, "stories", cwd=tmp_path)
    assert (shown.status, shown.err.count("\n")) == (1, 1)
    assert "cannot be read" in shown.err


def test_a_store_that_many_are_the_first_to_write(tmp_path: Path) -> None:
    """None finds it locked, and none finds it without its tables."""
    script = tmp_path / "crowd.py"
    script.write_text(
        "import multiprocessing, sqlite3\n"
        "from narrative_auto.renderers.sqlite import SqliteStoryRenderer\n"
        "def write(n):\n"
        "    start.wait()\n"
        "    SqliteStoryRenderer(f'{n}.db').close()\n"
        "    return sqlite3.connect(f'{n}.db').execute('SELECT count(*) FROM stories').fetchone()[0]\n"
        "if __name__ == '__main__':\n"
        "    fork = multiprocessing.get_context('fork')\n"
        "    start = fork.Barrier(12)\n"
        "    with fork.Pool(12) as crowd:\n"
        "        print([sum(crowd.map(write, [n] * 12, chunksize=1)) for n in range(40)])\n"
    )
    done = run(sys.executable, script, cwd=tmp_path)
    assert (done.out, done.err) == (f"{[0] * 40}\n".encode(), "")


def test_a_reader_that_goes_away(write: Write, tmp_path: Path) -> None:
    """`narrative stories | head -0` ends without a traceback."""
    write("app.py", APP)
    narrative_run("--quiet", sys.executable, "app.py", cwd=tmp_path)
    done = run("sh", "-c", f"{NARRATIVE} stories | true", cwd=tmp_path)
    assert done.err == ""


def test_at_most_a_hundred_stories_are_kept(write: Write, tmp_path: Path) -> None:
    """The oldest go, with all that belongs to them."""
    from datetime import UTC, datetime

    from narrative_auto.renderers.sqlite import SqliteStoryRenderer
    from narrative_auto.stories.events import StageCompleted, StageStarted, StoryCompleted, StoryStarted

    renderer = SqliteStoryRenderer(tmp_path / "stories.db")
    for number in range(130):
        now = datetime.fromtimestamp(1_700_000_000 + number, UTC)
        story_id = f"{number:016x}"
        renderer.handle(StoryStarted(story_id, "s", now, None, story_id))
        renderer.handle(StageStarted(story_id, "a", now, stage_id="1-1"))
        renderer.handle(StageCompleted(story_id, "a", now, 0.5, stage_id="1-1"))
        renderer.handle(StoryCompleted(story_id, "s", True, 100, 1, 1, now, 1.0, None, story_id))
        renderer.flush()
    renderer.close()
    with sqlite3.connect(tmp_path / "stories.db") as connection:
        assert connection.execute("SELECT count(*), min(story_id) FROM stories").fetchone() == (100, f"{30:016x}")
        assert connection.execute("SELECT count(*), sum(completed) FROM stages").fetchone() == (100, 100)
    connection.close()
