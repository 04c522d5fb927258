"""The main job: a real application of several modules, in each way that a person starts it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMANDS, LAUNCHER, ROOT, Done, run

ORDERS = ROOT / "fixtures" / "orders"
EXPECTED = json.loads((ORDERS / "expected.json").read_text("utf-8"))

ROW = re.compile(r"^  (?P<lead>[│├└─ ]*)(?P<name>\S+?)(?: +×(?P<calls>\d+))? +[\d.]+ (?:µs|ms|s)(?: .*)?$")

Tree = list[dict[str, Any]]


def parsed(lines: list[str]) -> Tree:
    """Return the tree that lines on a terminal show, as `expected.json` writes it."""
    root: Tree = []
    levels = [root]
    for line in lines:
        row = ROW.match(line)
        assert row, f"no line of a tree: {line!r}"
        node: dict[str, Any] = {"name": row["name"], "calls": int(row["calls"] or 1), "children": []}
        del levels[len(row["lead"]) // 3 + 1 :]
        levels[-1].append(node)
        levels.append(node["children"])
    return root


def public(tree: Tree) -> Tree:
    """Return the tree without private helpers, which the terminal shows only where they are slow; theirs move up."""
    kept: Tree = []
    for node in tree:
        children = public(node["children"])
        if node["name"].rpartition(".")[2].startswith("_") and not node["name"].endswith("__"):
            kept += children
        else:
            kept.append({"name": node["name"], "calls": node["calls"], "children": children})
    return kept


def everything(tree: Tree) -> Tree:
    """Return the tree with name, calls and children only."""
    return [{"name": n["name"], "calls": n["calls"], "children": everything(n["children"])} for n in tree]


@pytest.fixture(params=["script", "module", "hook"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give a function that runs the application on an input, plain or recorded, in one of the ways to start it."""
    store = tmp_path / "store"

    def with_launcher(name: str, *, recorded: bool, tell: str = "tree") -> Done:
        command = [sys.executable, *(["-m", "shop"] if request.param == "module" else ["app.py"]), name]
        if recorded:
            command = [LAUNCHER, "--store", str(store), "--tell", tell, *command]
        return run(*command, cwd=ORDERS, PYTHONIOENCODING="utf-8")

    if request.param != "hook":
        yield with_launcher
        return
    python = request.getfixturevalue("environment")
    assert run(python, "-m", "narrative_auto", "install", cwd=tmp_path).status == 0

    def with_hook(name: str, *, recorded: bool, tell: str = "tree") -> Done:
        more = {"NARRATIVE_AUTO": "1", "NARRATIVE_TELL": tell, "NARRATIVE_STORE": str(store)} if recorded else {}
        return run(python, "app.py", name, cwd=ORDERS, PYTHONIOENCODING="utf-8", **more)

    yield with_hook
    assert run(python, "-m", "narrative_auto", "uninstall", cwd=tmp_path).status == 0
    after = run(python, "app.py", "orders.csv", cwd=ORDERS, NARRATIVE_AUTO="1", NARRATIVE_TELL="tree")
    assert after.err == "", "plain again after narrative uninstall"


def test_success_tells_the_tree(start: Any, tmp_path: Path) -> None:
    """Its own stdout byte for byte, and on stderr the tree of expected.json; the store has the whole tree."""
    plain = start("orders.csv", recorded=False)
    recorded = start("orders.csv", recorded=True)
    assert (recorded.status, recorded.out) == (plain.status, plain.out) == (0, plain.out)
    assert plain.err == ""
    heading, *tree, summary, more = recorded.err.splitlines()
    expected = EXPECTED["orders.csv"]
    assert re.fullmatch(r"-- narrative -- \S.* -+ ok -- [\d.]+ m?s --", heading)
    assert public(parsed(tree)) == public(expected["tree"])
    assert re.fullmatch(r"16 sites, 21 013 calls, own cost [\d.]+ %", summary)
    # The command is one that works as it stands.
    narrative, *rest = more.removeprefix("more: ").split()
    shown = run(COMMANDS / narrative, *rest, cwd=ORDERS, PYTHONIOENCODING="utf-8")
    rows = [line for line in shown.out.decode().splitlines() if line.startswith("  ")]
    assert parsed(rows) == everything(expected["tree"])


def test_failure_gives_the_report(start: Any, tmp_path: Path) -> None:
    """Python's own traceback byte for byte, then the report with the innermost stage, then exit status 1."""
    plain = start("orders_duplicate.csv", recorded=False)
    recorded = start("orders_duplicate.csv", recorded=True)
    assert (recorded.status, recorded.out) == (plain.status, plain.out) == (1, plain.out)
    assert recorded.err.startswith(plain.err)
    lines = recorded.err.removeprefix(plain.err).splitlines()
    expected = EXPECTED["orders_duplicate.csv"]
    assert max(len(line) for line in lines if not line.startswith(("dump ", "more "))) <= 80
    assert f" failed in {expected['failed_in']} -- " in lines[0]
    assert lines[1:3] == [
        "ImportFailed: order 1812 rejected",
        "  from IntegrityError: UNIQUE constraint failed: orders.id",
    ]
    source = (ORDERS / "shop" / "store.py").read_text("utf-8").splitlines()
    number = next(at for at, line in enumerate(source, 1) if "execute(INSERT" in line)
    assert lines[4] == f"  shop/store.py:{number} in Store.insert"
    marked = next(at for at, line in enumerate(lines) if line.startswith("  > "))
    assert lines[marked].split(None, 2)[1:] == [str(number), "self.db.execute(INSERT, row)"]
    assert lines[marked + 1].strip() == "^" * len("self.db.execute(INSERT, row)")
    path = next(line for line in lines if line.startswith("path "))
    assert re.fullmatch(r"path    main [\d.]+ m?s > import_orders [\d.]+ m?s > Store.insert, call 1812", path)
    before = lines.index(path) + 1
    assert re.fullmatch(r"before +-[\d.]+ [µm]s  Order.from_row +ok, [\d.]+ [µm]s", lines[before])
    assert re.fullmatch(r" +-[\d.]+ [µm]s  price_order +ok, [\d.]+ [µm]s", lines[before + 4])
    assert lines[-2].startswith("more    narrative story ")
    dump = Path(lines[-1].removeprefix("dump    "))
    assert (ORDERS / dump).resolve() == tmp_path / "store" / "crashes" / f"{lines[-2].split()[3]}.json"


def test_failure_leaves_a_dump(start: Any, tmp_path: Path) -> None:
    """The dump that the report names holds error, chain, path and records, and only its owner can read it."""
    recorded = start("orders_duplicate.csv", recorded=True, tell="failure")
    story_id = recorded.err.splitlines()[-2].split()[3]
    path = tmp_path / "store" / "crashes" / f"{story_id}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    dump = json.loads(path.read_bytes())
    expected = EXPECTED["orders_duplicate.csv"]
    assert dump["format"] == "narrative-crash/1"
    assert dump["failed_in"] == expected["failed_in"]
    assert dump["failure"]["error_type"] == f"shop.store.{expected['error']}"
    assert dump["failure"]["chain"][0]["error_type"] == "sqlite3.IntegrityError"
    assert [stage["name"] for stage in dump["path"]] == expected["path"]
    left = [name for _, name, transition in dump["records"] if transition == "UNWIND"]
    # The generator is dropped, and so closed, when the function that iterates it is left.
    assert left == ["Store.insert", "read_orders", "import_orders", "main"]
    shown = run(COMMANDS / "narrative", "story", story_id, "--db", tmp_path / "store", cwd=tmp_path).out.decode()
    assert "failed" in shown.splitlines()[0]
    assert "path    main > import_orders > Store.insert" in shown


def test_quiet_is_plain_and_the_story_is_kept(start: Any, tmp_path: Path) -> None:
    """`--tell nothing`: the same bytes on both streams, also in failure."""
    for name in ("orders.csv", "orders_duplicate.csv"):
        assert start(name, recorded=True, tell="nothing") == start(name, recorded=False)
    listed = run(COMMANDS / "narrative", "stories", "--db", tmp_path / "store", cwd=tmp_path).out.decode()
    assert [line.split()[3] for line in listed.splitlines()] == ["failed", "ok"]


def test_line_is_the_first_and_the_last(start: Any) -> None:
    """`--tell line`: two lines for a log file."""
    lines = start("orders.csv", recorded=True, tell="line").err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("-- narrative -- ")
    assert lines[1].startswith("more: narrative story ")
