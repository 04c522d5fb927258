"""A program that nobody here wrote: sqlparse, recorded in site-packages because an --include names it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conftest import COMMANDS, narrative_run, run

STATEMENTS = 2_000

SHAPES = (
    (
        "select a, b as c_{n}, count(*) from orders_{n} o join items i on o.id = i.order_id where o.total > {n} and "
        "(i.kind in ('x', 'y') or i.price between 1 and {n}) group by a, b having count(*) > 2 order by a desc limit {n};"
    ),
    "insert into customers (id, name, note) values ({n}, 'name -- {n}', 'it''s'), ({n} + 1, \"quoted\", null);",
    "update t_{n} set x = case when y = {n} then 'one' else (select max(z) from u where u.id = t_{n}.id) end where y <> 3;",
    "create table if not exists t_{n} (id integer primary key, price decimal(10, 2) default {n}.5, check (price > 0));",
    "delete from log where at < '2026-01-01' /* old {n} */; -- done {n}",
)


def test_sqlparse_formats_the_same_and_has_a_story(tmp_path: Path) -> None:
    """2,000 statements: the same bytes on stdout as plain, and a story with stages of sqlparse."""
    lines = [SHAPES[n % len(SHAPES)].format(n=n) for n in range(STATEMENTS)]
    (tmp_path / "FILE.sql").write_text("\n".join(lines) + "\n")
    command = (sys.executable, "-m", "sqlparse", "FILE.sql")
    plain = run(*command, cwd=tmp_path)
    recorded = narrative_run("--include", "sqlparse.*", "--tell", "tree", *command, cwd=tmp_path)
    assert plain.status == 0
    assert len(plain.out) > 100_000
    assert (recorded.status, recorded.out) == (plain.status, plain.out)
    # On a slow machine lines about what is open for long come first.
    heading, *tree = [line for line in recorded.err.splitlines() if " is open for " not in line]
    assert heading.startswith("-- narrative -- python -m sqlparse -")
    assert " ok -- " in heading
    assert "  main " in "\n".join(tree)
    assert len(tree) <= 23
    assert max(map(len, tree)) <= 80
    assert tree[-1].startswith("more: narrative story ")
    story_id = tree[-1].split()[3]
    shown = run(COMMANDS / "narrative", "story", story_id, cwd=tmp_path, PYTHONIOENCODING="utf-8").out.decode()
    for stage in (
        "format",
        "FilterStack.run",
        "Lexer.get_tokens",
        "StatementSplitter.process",
        "SerializerUnicode.process",
    ):
        assert f" {stage} " in shown, f"{stage} is no stage"
    assert "left plain" not in shown


def test_without_the_include_it_is_a_library(tmp_path: Path) -> None:
    """An installed package is not told about, and the person is told how to ask for it."""
    (tmp_path / "FILE.sql").write_text("select 1;\n")
    done = narrative_run("--tell", "tree", sys.executable, "-m", "sqlparse", "FILE.sql", cwd=tmp_path)
    assert done.err.splitlines()[1] == f"no stages: no application code was imported under {tmp_path}"
    assert "--include" in done.err
