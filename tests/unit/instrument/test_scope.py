"""Scope: what is application code, and why."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import narrative_auto
from narrative_auto.instrument.scope import Scope, is_under, matches


@pytest.mark.parametrize(
    ("pattern", "module", "expected"),
    [
        ("shop.*", "shop", True),
        ("shop.*", "shop.orders", True),
        ("shop.*", "shop.orders.deep", True),
        ("shop.*", "shopping", False),
        ("shop", "shop", True),
        ("shop", "shop.orders", False),
        ("*.tests", "shop.tests", True),
        ("s?op", "shop", True),
        ("s*p*.x", "shop.parts.x", True),
        ("*", "anything.at.all", True),
        ("*x", "ay", False),
    ],
)
def test_patterns_take_modules(pattern: str, module: str, expected: bool) -> None:
    """`shop.*` takes `shop` too, and never `shopping`."""
    assert matches(pattern, module) is expected


def test_roots_are_compared_by_components() -> None:
    """`/app` is not a prefix of `/app2`."""
    scope = Scope(["/app"])
    assert scope.module("shop", "/app/shop.py").instrument
    assert not scope.module("shop", "/app2/shop.py").instrument
    assert is_under("/app/x.py", "/")
    assert Scope(["/"]).module("shop", "/srv/shop.py").instrument
    assert Scope(["/"]).module("shop", "/shop.py").instrument


def test_libraries_are_not_the_application(tmp_path: Path) -> None:
    """site-packages, a virtual environment, the standard library and this package are left alone."""
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    scope = Scope([str(tmp_path), os.path.dirname(os.__file__), str(Path(narrative_auto.__file__).parent)])
    for path, word in (
        (tmp_path / "lib" / "site-packages" / "six.py", "installed package"),
        (tmp_path / "venv" / "tool.py", "virtual environment"),
        (Path(os.__file__), "standard library"),
        (Path(narrative_auto.__file__), "narrative_auto itself"),
    ):
        verdict = scope.module("x", str(path))
        assert (verdict.instrument, word in verdict.reason) == (False, True), verdict
    assert scope.module("x", str(tmp_path / "app.py")).instrument


def test_include_adds_and_exclude_wins(tmp_path: Path) -> None:
    """An include reaches into site-packages; an exclude beats both root and include; reasons name the pattern."""
    library = tmp_path / "site-packages"
    scope = Scope([str(tmp_path)], include=["six.*"], exclude=["six.moves", "app.slow"])
    assert scope.module("six", str(library / "six.py")).reason == "--include six.*"
    assert not scope.module("six.moves", str(library / "six.py")).instrument
    assert scope.module("app.slow", str(tmp_path / "slow.py")).reason == "--exclude app.slow"
    assert not scope.module("seven", str(library / "seven.py")).instrument


@pytest.mark.parametrize(
    ("origin", "expected"),
    [({"url": "file:///src/shop", "dir_info": {}}, True), ({"url": "https://host/x.git", "vcs_info": {}}, False)],
)
def test_what_was_installed_from_a_folder_is_the_application(tmp_path: Path, origin: object, expected: bool) -> None:
    """A distribution with a direct_url.json that names a local folder is application code; an indexed one is not."""
    library = tmp_path / "site-packages"
    info = library / "shop-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "direct_url.json").write_text(json.dumps(origin))
    (info / "RECORD").write_text("shop/__init__.py,sha256=x,1\nsingle.py,,\nshop-1.0.dist-info/RECORD,,\n")
    scope = Scope(["/elsewhere"])
    assert scope.module("shop.orders", str(library / "shop" / "orders.py")).instrument is expected
    assert scope.module("single", str(library / "single.py")).instrument is expected
    assert not scope.module("six", str(library / "six.py")).instrument


def test_symbolic_links_are_resolved(tmp_path: Path) -> None:
    """A root that is a link and a file that is reached through one mean the same folder."""
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    assert Scope([str(link)]).module("a", str(real / "a.py")).instrument
    assert Scope([str(real)]).module("a", str(link / "a.py")).instrument


@pytest.mark.parametrize(
    ("qualname", "expected"),
    [
        ("f", True),
        ("A.__init__", True),
        ("A.__call__", True),
        ("A.__len__", False),
        ("f.<locals>.<lambda>", False),
        ("f.<locals>.<listcomp>", False),
        ("A._private", True),
    ],
)
def test_functions_of_the_scope(qualname: str, expected: bool) -> None:
    """Lambdas, comprehensions and dunder methods other than __init__ and __call__ are no stages."""
    verdict = Scope([]).function(qualname)
    assert verdict.instrument is expected
    assert verdict.reason
