"""`narrative install`: NARRATIVE_AUTO=1 alone records, and nothing happens without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.conftest import Done, run

Write = Callable[[str, str], Path]

APP = "import sys\ndef main(n):\n    return 1 // n\nif __name__ == '__main__':\n    print(main(int(sys.argv[1])))\n"


def narrative(python: Path, *arguments: str, cwd: Path) -> Done:
    """Run the command `narrative` in an environment."""
    return run(python, "-m", "narrative_auto", *arguments, cwd=cwd)


def test_install_run_uninstall(environment: Path, write: Write, tmp_path: Path) -> None:
    """Plain before, recorded after `narrative install`, plain again after `narrative uninstall`."""
    write("app.py", APP)
    failing = (environment, "app.py", "0")
    plain = run(*failing, cwd=tmp_path)
    assert (run(*failing, cwd=tmp_path, NARRATIVE_AUTO="1").err, plain.status) == (plain.err, 1)

    installed = narrative(environment, "install", cwd=tmp_path)
    assert installed.status == 0
    assert installed.out.startswith(b"installed ")
    recorded = run(*failing, cwd=tmp_path, NARRATIVE_AUTO="1", PYTHONIOENCODING="utf-8")
    assert recorded.status == 1
    assert recorded.err.startswith(plain.err)
    assert "failed in main" in recorded.err.removeprefix(plain.err)
    assert run(*failing, cwd=tmp_path).err == plain.err
    assert run(*failing, cwd=tmp_path, NARRATIVE_AUTO="0").err == plain.err

    fine = run(environment, "app.py", "1", cwd=tmp_path, NARRATIVE_AUTO="1")
    assert (fine.status, fine.out, fine.err) == (0, b"1\n", "")
    told = run(environment, "app.py", "1", cwd=tmp_path, NARRATIVE_AUTO="1", NARRATIVE_TELL="tree")
    assert "  main " in told.err
    listed = narrative(environment, "stories", cwd=tmp_path).out.decode()
    assert [line.split()[-1] for line in listed.splitlines()] == ["app.py"] * 3

    removed = narrative(environment, "uninstall", cwd=tmp_path)
    assert removed.out.startswith(b"removed ")
    assert run(*failing, cwd=tmp_path, NARRATIVE_AUTO="1").err == plain.err
    again = narrative(environment, "uninstall", cwd=tmp_path)
    assert (again.status, again.out.startswith(b"nothing to remove")) == (0, True)


def test_the_hook_is_one_inert_line(environment: Path, tmp_path: Path) -> None:
    """Without NARRATIVE_AUTO the hook imports nothing of this package."""
    narrative(environment, "install", cwd=tmp_path)
    program = "import sys; print([name for name in sys.modules if name.startswith('narrative')])"
    assert run(environment, "-c", program, cwd=tmp_path).out == b"[]\n"
    assert b"narrative_auto" in run(environment, "-c", program, cwd=tmp_path, NARRATIVE_AUTO="1").out
    narrative(environment, "uninstall", cwd=tmp_path)


def test_launcher_and_hook_together_start_once(environment: Path, write: Write, tmp_path: Path) -> None:
    """Under narrative-run in an environment with the hook there is one story, not two."""
    write("app.py", APP)
    narrative(environment, "install", cwd=tmp_path)
    launch = (environment, "-c", "from narrative_auto.cli.run import main; main()")
    done = run(*launch, "--tell", "tree", environment, "app.py", "1", cwd=tmp_path, PYTHONIOENCODING="utf-8")
    narrative(environment, "uninstall", cwd=tmp_path)
    assert done.out == b"1\n"
    assert done.err.count("narrative --") == 1
    assert "1 site, 1 call" in done.err


def test_an_environment_that_cannot_be_written_is_one_line(environment: Path, write: Write, tmp_path: Path) -> None:
    """Without permission: which file, why, and what else works."""
    program = (
        "import narrative_auto.launch.site_hook as hook; hook.hook_path = lambda: '/proc/none/hook.pth'; "
        "from narrative_auto.cli.main import main; main()"
    )
    done = run(environment, "-c", program, "install", cwd=tmp_path)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "/proc/none/hook.pth cannot be written" in done.err
    assert "narrative-run" in done.err
