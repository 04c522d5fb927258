"""`narrative explain`: the verdict, the reason and the engine, and nothing of the program is run."""

from __future__ import annotations

import marshal
import py_compile
import shutil
import sys
import zipfile
from collections.abc import Callable
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from tests.conftest import COMMANDS, ROOT, Done, narrative_run, run

Write = Callable[[str, str], Path]

BOMB = "__import__('os')._exit(99)\n"

SHOP = BOMB + (
    "import functools\n"
    "from narrative_auto import no_stage as quiet\n"
    "def price(n):\n    return [n for n in range(n)], lambda: n\n"
    "class Store:\n"
    "    def __init__(self): pass\n"
    "    def __repr__(self): return ''\n"
    "    @functools.lru_cache\n"
    "    def rows(self):\n        def inner():\n            yield 1\n        return inner\n"
    "    async def _fetch(self): pass\n"
    "@quiet\n"
    "def hush(): pass\n"
)


def explain(*arguments: str | Path, cwd: Path, **environ: str) -> Done:
    """Run `narrative explain`."""
    return run(COMMANDS / "narrative", "explain", *arguments, cwd=cwd, PYTHONIOENCODING="utf-8", **environ)


def facts(done: Done) -> dict[str, str]:
    """Return the facts about a module, in front of those about its functions."""
    assert done.status == 0, done.err
    head = done.out.decode().split("\n\n")[0]
    return {line[:11].strip(): line[11:] for line in head.splitlines()}


def functions(done: Done) -> dict[str, tuple[str, str]]:
    """Return (verdict, reason) by the functions' names."""
    assert done.status == 0, done.err
    found = {}
    for line in done.out.decode().split("\n\n", 1)[1].splitlines():
        name, _, rest = line[11:].partition(" ")
        found[name] = (line[:11].strip(), rest.strip())
    return found


def test_a_module_and_each_of_its_functions(write: Write, tmp_path: Path) -> None:
    """What is recorded, by whom, and what is left out and why; the module is not run."""
    write("pkg/shop.py", SHOP)
    write("pkg/__init__.py", BOMB)
    done = explain("pkg.shop", cwd=tmp_path)
    head = facts(done)
    assert head["module"] == "pkg.shop"
    assert head["found"] == "pkg/shop.py"
    assert head["verdict"] == f"recorded: under the app root {tmp_path}"
    assert head["engine"].startswith("rewrite (auto: ")
    assert ("monitoring" in head["engine"]) is (sys.version_info >= (3, 12))
    found = functions(done)
    assert found["price"] == ("recorded", "line 4    function, by rewrite")
    assert found["Store.__repr__"] == ("left out", "line 8    a dunder method")
    assert found["Store.rows.<locals>.inner"] == ("recorded", "line 11   generator, by rewrite")
    assert found["Store._fetch"] == ("recorded", "line 14   coroutine, by rewrite")
    assert found["hush"] == ("left out", "line 15   @no_stage")
    assert "lambdas, comprehensions and the like" in done.out.decode()
    assert not (tmp_path / "pkg" / "__pycache__").exists()


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("shop:price", {"price"}),
        ("shop:Store", {"Store.__init__", "Store.__repr__", "Store.rows", "Store.rows.<locals>.inner", "Store._fetch"}),
        ("shop:Store.rows", {"Store.rows"}),
        ("shop:Store.rows.inner", {"Store.rows.<locals>.inner"}),
        ("shop.py:price", {"price"}),
    ],
)
def test_one_function_or_class(write: Write, tmp_path: Path, target: str, names: set[str]) -> None:
    """What is asked for and no more."""
    write("shop.py", SHOP)
    assert set(functions(explain(target, cwd=tmp_path))) == names


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("shop:prize", "there is no function prize in shop: did you mean shop:price?"),
        ("shop:rows", "there is no function rows in shop: did you mean shop:Store.rows?"),
        ("shop:nonsense_of_all_kinds", "narrative explain shop lists what there is"),
        ("shpo", "there is no module shpo: did you mean shop?"),
        ("shop.price", "narrative explain shop:price"),
        ("json.decodr", "did you mean json.decoder"),
        ("no_such_thing_at_all", "there is no module no_such_thing_at_all in "),
        ("shpo.py", "there is no file shpo.py: did you mean shop.py?"),
        ("./", "./ is a folder"),
        ("a b", "names no module"),
        ("", "names no module"),
        ("broken", "broken.py:2: "),
        ("broken.py:main", "broken.py:2: "),
        ("nul", "nul.py"),
        ("damaged", "cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_one_line(write: Write, tmp_path: Path, target: str, words: str) -> None:
    """What is wrong, with near matches; never a traceback."""
    write("shop.py", SHOP)
    write("broken.py", "x = 1\ndef main(:\n")
    write("nul.py", "x = '\0'\n")
    write("damaged.pyc", "nothing like it")
    done = explain(target, cwd=tmp_path)
    assert done.status != 0
    assert (done.out, done.err.count("\n")) == (b"", 1)
    assert words in done.err


def test_modules_in_all_the_places_where_an_import_finds_them(write: Write, tmp_path: Path) -> None:
    """Nested namespace packages, zip files, bytecode without source, extension modules, built-in and frozen ones."""
    write("outer/inner/leaf.py", SHOP)
    assert facts(explain("outer.inner.leaf", cwd=tmp_path))["found"] == "outer/inner/leaf.py"
    assert facts(explain("outer.inner", cwd=tmp_path))["verdict"].startswith("left out: a namespace package")

    source = write("packed/zipped.py", SHOP)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(source, "box/__init__.py")
        archive.write(source, "box/zipped.py")
    zipped = explain("box.zipped", cwd=tmp_path, PYTHONPATH=str(tmp_path / "all.zip"))
    assert facts(zipped)["found"] == "all.zip/box/zipped.py (zip file)"
    assert functions(zipped)["price"][0] == "recorded"

    py_compile.compile(str(source), str(tmp_path / "sourceless.pyc"), dfile=str(source))
    sourceless = explain("sourceless", cwd=tmp_path)
    assert facts(sourceless)["found"] == "sourceless.pyc (bytecode without source)"
    assert functions(sourceless)["price"][0] == "recorded"

    assert "built into the interpreter" in facts(explain("sys", cwd=tmp_path))["verdict"]
    assert "part of the standard library" in facts(explain("os", cwd=tmp_path))["verdict"]
    assert "an installed package under" in facts(explain("pytest", cwd=tmp_path))["verdict"]
    assert "an extension module" in facts(explain("wrapt._wrappers", cwd=tmp_path))["verdict"]


def test_our_own_package_is_not_for_recording(tmp_path: Path) -> None:
    """Installed as editable or not."""
    done = explain("narrative_auto.page", cwd=tmp_path)
    assert facts(done)["verdict"] == "left out: it belongs to narrative_auto itself"


def test_a_frozen_module_is_where_the_finder_does_not_reach(tmp_path: Path) -> None:
    """`os` is never seen by a finder; only an engine that meets code as it starts can take it."""
    done = explain("--include", "os", "os:walk", cwd=tmp_path)
    if sys.version_info >= (3, 12):
        assert functions(done)["walk"][1].endswith("generator, by monitoring")
    else:
        assert functions(done)["walk"][0] == "left out"
        assert "frozen into the interpreter, where rewrite does not reach" in functions(done)["walk"][1]


def test_the_options_of_a_run_hold(write: Write, tmp_path: Path) -> None:
    """Command line over environment over `[tool.narrative]`."""
    write("shop.py", SHOP)
    left_out = explain("--exclude", "shop", "shop:price", cwd=tmp_path)
    assert facts(left_out)["verdict"] == "left out: --exclude shop"
    assert functions(left_out)["price"][0] == "left out"
    assert functions(explain("--no-private", "shop", cwd=tmp_path))["Store._fetch"][1].endswith("--no-private")
    taken = explain("--include", "json.*", "json:loads", cwd=tmp_path)
    assert facts(taken)["verdict"] == "recorded: --include json.*"
    assert functions(explain("--engine", "settrace", "shop:price", cwd=tmp_path))["price"][1].endswith("by settrace")
    assert "not needed" in facts(explain("shop", cwd=tmp_path, NARRATIVE_ENGINE="settrace"))["cache"]
    write("pyproject.toml", '[tool.narrative]\nexclude = ["shop"]\n')
    assert facts(explain("shop", cwd=tmp_path))["verdict"] == "left out: --exclude shop"
    assert facts(explain("shop.py", cwd=tmp_path))["verdict"].startswith("recorded")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    rooted = explain("--app-root", tmp_path, "shop", cwd=elsewhere)
    assert facts(rooted)["found"] == str(tmp_path / "shop.py") or "../shop.py" in facts(rooted)["found"]
    bad = explain("--engine", "steam", "shop", cwd=tmp_path)
    assert (bad.status != 0, bad.err.count("\n")) == (True, 1)
    assert "--engine takes one of" in bad.err
    assert "--app-root takes a folder" in explain("--app-root", "none", "shop", cwd=tmp_path).err


def test_the_cache_is_looked_into(write: Write, tmp_path: Path) -> None:
    """Empty, then filled by a run, then out of date."""
    path = write("shop.py", "def price(): pass\n")
    write("app.py", "import shop\nshop.price()\n")
    options = ("--engine", "rewrite", "--store", "off", "--quiet")
    assert facts(explain("--engine", "rewrite", "shop", cwd=tmp_path))["cache"].startswith("empty, __pycache__/shop.")
    assert narrative_run(*options, sys.executable, "app.py", cwd=tmp_path).status == 0
    assert facts(explain("--engine", "rewrite", "shop", cwd=tmp_path))["cache"].startswith("up to date, ")
    path.write_text("def price(): return 'another'\n")
    assert facts(explain("--engine", "rewrite", "shop", cwd=tmp_path))["cache"].startswith("out of date, ")
    off = explain("--engine", "rewrite", "shop", cwd=tmp_path, NARRATIVE_CACHE_DIR="off")
    assert facts(off)["cache"].startswith("off")


def test_what_the_rewriter_declines_is_named(write: Write, tmp_path: Path) -> None:
    """A function that is really declined: by whom, why, and who takes it instead."""
    write("shop.py", "def odd():\n    try:\n        f()\n    finally:\n        g()\n")
    code = compile((tmp_path / "shop.py").read_text(), str(tmp_path / "shop.py"), "exec")
    (function,) = (one for one in code.co_consts if isinstance(one, type(code)))
    twice = function.replace(co_exceptiontable=function.co_exceptiontable * 2)
    constants = tuple(twice if one is function else one for one in code.co_consts)
    (tmp_path / "shop.py").unlink()
    content = MAGIC_NUMBER + bytes(12) + marshal.dumps(code.replace(co_consts=constants))
    (tmp_path / "shop.pyc").write_bytes(content)
    verdict, reason = functions(explain("--engine", "rewrite", "shop:odd", cwd=tmp_path))["odd"]
    assert "rewrite declines it (" in reason
    if sys.version_info >= (3, 12):
        assert verdict == "recorded"
        assert "by monitoring" in reason
    else:
        assert verdict == "left out"


def test_the_answer_is_what_a_run_does(tmp_path: Path) -> None:
    """Over a real application: what is said to be recorded is what was recorded, and nothing else."""
    folder = tmp_path / "orders"
    shutil.copytree(ROOT / "fixtures" / "orders", folder)
    store = tmp_path / "store"
    done = narrative_run("--store", store, sys.executable, "app.py", "orders.csv", cwd=folder)
    assert done.status == 0, done.err
    story = run(COMMANDS / "narrative", "stories", "--db", store, cwd=folder).out.decode().split()[0]
    shown = run(COMMANDS / "narrative", "story", story, "--db", store, cwd=folder, PYTHONIOENCODING="utf-8")
    said: dict[str, tuple[str, str]] = {}
    for target in ("app.py", "shop.importing", "shop.pricing", "shop.reader", "shop.report", "shop.store"):
        said |= functions(explain(target, cwd=folder))
    recorded = {name for name, (verdict, _) in said.items() if verdict == "recorded"}
    assert {"main", "price_order", "Store.insert"} <= recorded
    for name in recorded:
        assert f"{name} " in shown.out.decode(), name


def test_piped_lines_are_plain(write: Write, tmp_path: Path) -> None:
    """One fact a line, whatever its length, and no escape in a pipe."""
    write("shop.py", SHOP)
    piped = explain("shop", cwd=tmp_path)
    assert b"\x1b" not in piped.out
    assert facts(piped)["cache"].count("shop.") == 1
    assert all(len(line[:11].strip()) > 3 for line in piped.out.decode().splitlines() if line)
