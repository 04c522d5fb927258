"""A program may have modules that are called like the standard library's; ours must neither take nor block them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import narrative_run, run

Write = Callable[[str, str], Path]

NAMES = ["token", "random", "json", "copy", "dataclasses", "datetime", "sqlite3", "textwrap", "typing", "enum", "ast"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tell", ["nothing", "tree"])
def test_a_module_of_the_program_s_own(write: Write, tmp_path: Path, name: str, tell: str) -> None:
    """It is the program's module that the program gets, it is executed once, and the story is told all the same."""
    write(f"{name}.py", f"print('{name} of the program')\ndef mine(): return 42\n")
    write("app.py", f"def main():\n    import {name}\n    print({name}.mine())\n    raise KeyError('x')\nmain()\n")
    plain = run(sys.executable, "app.py", cwd=tmp_path, PYTHONIOENCODING="utf-8")
    if plain.out.count(b"\n") != 2:
        pytest.skip(f"plain Python itself cannot run a program with a {name}.py")
    recorded = narrative_run("--tell", tell, sys.executable, "app.py", cwd=tmp_path)
    assert (recorded.status, recorded.out) == (plain.status, plain.out)
    assert recorded.err.startswith(plain.err)
    if tell == "tree":
        assert " failed in main -- " in recorded.err


@pytest.mark.parametrize("name", ["random", "json", "token"])
def test_a_module_that_is_never_imported_is_never_run(write: Write, tmp_path: Path, name: str) -> None:
    """What lies beside the script is none of our business."""
    write(f"{name}.py", "print('should not run')\n")
    write("app.py", "def main(): print('main')\nmain()\n")
    done = narrative_run("--tell", "tree", sys.executable, "app.py", cwd=tmp_path)
    assert done.out == b"main\n"
    assert "  main " in done.err


@pytest.mark.parametrize("name", ["random", "json", "token", "typing"])
def test_a_script_that_is_called_like_a_module(write: Write, tmp_path: Path, name: str) -> None:
    """The script is run once."""
    write(f"{name}.py", "def main(): print('hello')\nif __name__ == '__main__':\n    main()\n")
    done = narrative_run("--tell", "tree", sys.executable, f"{name}.py", cwd=tmp_path)
    assert (done.status, done.out) == (0, b"hello\n")
    assert "  main " in done.err


WORKERS = """
import multiprocessing, sys, threading
from multiprocessing import shared_memory

def work(name):
    segment = shared_memory.SharedMemory(name)
    segment.close()
    return (
        multiprocessing.get_start_method(),
        multiprocessing.current_process().name != "MainProcess",
        threading.current_thread() is threading.main_thread(),
        sys.modules["multiprocessing.process"] is multiprocessing.process,
    )

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    segment = shared_memory.SharedMemory(create=True, size=100)
    with multiprocessing.Pool(2) as pool:
        print(set(pool.map(work, [segment.name] * 4)))
        pool.close()
        pool.join()
    shared_memory.SharedMemory(segment.name).close()
    segment.unlink()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_beside_a_module_that_is_called_like_one(write: Write, tmp_path: Path, method: str) -> None:
    """What `multiprocessing` has imported and noted before it runs the script stays what it is."""
    write("grp.py", "")
    write("app.py", WORKERS)
    plain = run(sys.executable, "app.py", method, cwd=tmp_path)
    recorded = narrative_run("--quiet", sys.executable, "app.py", method, cwd=tmp_path)
    assert (recorded.status, recorded.out, recorded.err) == (plain.status, plain.out, plain.err)
    assert plain.out == f"{{('{method}', True, True, True)}}\n".encode()
