"""The finder: asks the others, touches application code only, and leaves nothing on what it found."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from narrative_auto.instrument.engines.rewrite import Prepared
from narrative_auto.instrument.finder import NarrativeFinder
from narrative_auto.instrument.isolation import Isolation
from narrative_auto.instrument.scope import Scope
from narrative_auto.recorder.sites import Site

if TYPE_CHECKING:
    from narrative_auto.recorder.base import Recorder

Write = Callable[[str, str], Path]


class MarkingEngine:
    """An engine whose instrumented modules can be told from others: they know a name more."""

    name = "marking"
    capabilities = frozenset[str]()

    def __init__(self) -> None:
        self.modules: list[str] = []

    def start(self, recorder: Recorder) -> None: ...

    def stop(self) -> None: ...

    def site(self, function: types.FunctionType) -> Site | None: ...

    def release(self, site: Site) -> None: ...

    def restore(self, sites: Sequence[Site]) -> None: ...

    def instrument(self, code: types.CodeType, module: str) -> types.CodeType:
        return self.bind(self.prepare(code), module)

    def prepare(self, code: types.CodeType) -> Prepared:
        constants = tuple(["instrumented" if one == "plain" else one for one in code.co_consts])
        return Prepared(code.replace(co_consts=constants), None, [])

    def bind(self, prepared: Prepared, module: str) -> types.CodeType:
        self.modules.append(module)
        return prepared.code


class World:
    """A finder in front of the others, for the modules below a folder."""

    def __init__(self, folder: Path) -> None:
        self.engine = MarkingEngine()
        self.left_plain: list[tuple[str, str, str]] = []
        self.finder = NarrativeFinder(
            self.engine, Scope([str(folder)]), lambda *reason: self.left_plain.append(reason), Isolation([], [])
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    finders = list(sys.meta_path)
    world.finder.install()
    yield world
    sys.meta_path[:] = finders
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_application_code_is_instrumented_and_keeps_its_loader(world: World, write: Write) -> None:
    """The module has the spec and loader that it would have had, and the loader gives its own code again."""
    path = write("shop_a.py", "kind = 'plain'\n")
    module = importlib.import_module("shop_a")
    assert module.kind == "instrumented"
    loader = module.__spec__.loader if module.__spec__ else None
    assert type(loader) is importlib.machinery.SourceFileLoader
    assert vars(loader) == {"name": "shop_a", "path": str(path)}
    code = loader.get_code("shop_a")
    assert code is not None
    assert "plain" in code.co_consts
    assert world.finder.instrumented == ["shop_a"]
    assert world.finder.seconds > 0


def test_other_modules_are_found_as_ever(world: World) -> None:
    """Frozen, built-in and library modules come from whom they came from before."""
    for name in ("importlib.util", "zlib", "json", "_thread"):
        mine = importlib.util.find_spec(name)
        sys.meta_path.remove(world.finder)
        plain = importlib.util.find_spec(name)
        world.finder.install()
        assert mine is not None
        assert plain is not None
        assert (mine.origin, type(mine.loader)) == (plain.origin, type(plain.loader))
    assert world.engine.modules == []


def test_a_module_whose_code_cannot_be_had_fails_as_without_us(world: World, write: Write) -> None:
    """A syntax error comes from the plain loader, with none of our frames."""
    write("shop_b.py", "def f(:\n")
    with pytest.raises(SyntaxError) as caught:
        importlib.import_module("shop_b")
    assert not [frame for frame in caught.traceback if "narrative_auto" in str(frame.path)]
    assert "shop_b" not in sys.modules
    write("shop_b.py", "kind = 'plain'\n")
    importlib.invalidate_caches()
    assert importlib.import_module("shop_b").kind == "instrumented"


class Recording(importlib.abc.MetaPathFinder):
    """A finder of the program's own, which counts how often it is asked."""

    def __init__(self, answer: Any) -> None:
        self.asked: list[str] = []
        self._answer = answer

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> Any:
        self.asked.append(fullname)
        return self._answer(fullname)


def test_a_finder_of_the_program_s_own_is_asked_once(world: World) -> None:
    """What it finds is taken as it is, and it is not asked twice for it."""

    class Loader(importlib.abc.Loader):
        def exec_module(self, module: types.ModuleType) -> None:
            module.__dict__["made"] = 1

    own = Recording(lambda name: importlib.machinery.ModuleSpec(name, Loader()) if name == "made_up" else None)
    sys.meta_path.insert(0, own)
    assert importlib.import_module("made_up").made == 1
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("nowhere_at_all")
    assert own.asked == ["made_up", "nowhere_at_all"]


def test_a_finder_that_raises_raises_as_without_us(world: World) -> None:
    """Its exception reaches the program, without a frame of ours."""

    def refuse(name: str) -> None:
        if name == "refused":
            raise LookupError(name)

    sys.meta_path.insert(0, Recording(refuse))
    with pytest.raises(LookupError) as caught:
        importlib.import_module("refused")
    assert not [frame for frame in caught.traceback if "narrative_auto" in str(frame.path)]


def test_bytecode_and_zip_files_are_instrumented(world: World, tmp_path: Path, write: Write) -> None:
    """A module without its source, and those of a zip file, whose loader serves several of them."""
    import py_compile
    import zipfile

    source = write("shop_c.py", "kind = 'plain'\n")
    py_compile.compile(str(source), cfile=str(tmp_path / "shop_c.pyc"))
    source.unlink()
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("shop_d.py", "import shop_i\nkind = 'plain', shop_i.kind\n")
        archive.writestr("shop_i.py", "kind = 'plain'\n")
    sys.path.insert(0, str(tmp_path / "packed.zip"))
    try:
        assert importlib.import_module("shop_c").kind == "instrumented"
        packed = importlib.import_module("shop_d")
        assert packed.kind == ("instrumented", "instrumented")
        assert "get_code" not in vars(packed.__loader__)
    finally:
        sys.path.remove(str(tmp_path / "packed.zip"))
    assert world.left_plain == []


def test_a_loader_of_the_program_s_own_is_left_alone_with_a_reason(world: World, tmp_path: Path, write: Write) -> None:
    """It is asked as often as without us, when it is asked without us."""
    asked: list[str] = []

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname: str) -> types.CodeType | None:
            asked.append(fullname)
            return super().get_code(fullname)

    hook = importlib.machinery.FileFinder.path_hook((Loader, [".own"]))
    folder = write("own/shop_j.own", "kind = 'plain'\n").parent
    sys.path_hooks.insert(0, hook)
    sys.path.insert(0, str(folder))
    try:
        assert importlib.import_module("shop_j").kind == "plain"
    finally:
        sys.path_hooks.remove(hook)
        sys.path.remove(str(folder))
    assert asked == ["shop_j"]
    assert [(module, reason.rpartition(".")[2]) for module, _, reason in world.left_plain] == [("shop_j", "Loader")]


def test_looking_for_a_module_compiles_nothing(world: World, write: Write) -> None:
    """`importlib.util.find_spec` gives a spec as ever: no warning of the compiler, no .pyc, a loader that pickles."""
    import pickle

    path = write("shop_e.py", "kind = 'plain' is 'plain'\n")  # a SyntaxWarning, which is an error here
    spec = importlib.util.find_spec("shop_e")
    assert spec is not None
    assert vars(spec.loader) == {"name": "shop_e", "path": str(path)}
    assert pickle.loads(pickle.dumps(spec.loader)).path == str(path)
    assert not (path.parent / "__pycache__").exists()
    assert world.engine.modules == []


def test_reload_instruments_again(world: World, write: Write) -> None:
    """A reloaded module is the same object with the new, instrumented code."""
    write("shop_f.py", "kind = 'plain'\n")
    module = importlib.import_module("shop_f")
    write("shop_f.py", "kind = 'plain'\nmore = 1\n")
    assert importlib.reload(module) is module
    assert (module.kind, module.more) == ("instrumented", 1)


def test_two_threads_import_at_once(world: World, write: Write) -> None:
    """Each module is instrumented once, whoever comes first."""
    names = [f"shop_thread_{number}" for number in range(20)]
    for name in names:
        write(f"{name}.py", "kind = 'plain'\n")
    kinds: list[str] = []

    def work() -> None:
        kinds.extend(importlib.import_module(name).kind for name in names)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds == ["instrumented"] * 80
    assert sorted(world.engine.modules) == sorted(names)


def test_removing_the_finder_stops_it(world: World, write: Write) -> None:
    """`sys.meta_path.remove(finder)` is all that it takes."""
    write("shop_g.py", "kind = 'plain'\n")
    sys.meta_path.remove(world.finder)
    assert importlib.import_module("shop_g").kind == "plain"


def test_a_fault_of_the_engine_costs_stages_not_the_import(
    world: World, lenient: None, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine that fails is said once, and the module runs plain."""

    monkeypatch.setattr(world.engine, "prepare", json.loads)  # its fault is a library's, not the program's
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    write("shop_h.py", "kind = 'plain'\n")
    assert importlib.import_module("shop_h").kind == "plain"
    assert "instrumenting shop_h failed (" in capsys.readouterr().err


def test_namespace_packages(world: World, write: Write) -> None:
    """A package without __init__.py is found as ever, and its modules are instrumented."""
    write("space/inner.py", "kind = 'plain'\n")
    module = importlib.import_module("space.inner")
    assert module.kind == "instrumented"
    assert sys.modules["space"].__spec__ is not None
