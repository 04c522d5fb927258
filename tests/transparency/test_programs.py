"""Programs that must not notice: the same bytes on both streams and the same exit status, plain and recorded."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import RECORDER, Done, narrative_run, run

Write = Callable[[str, str], Path]

LIB = '''
"""An application module."""
import contextlib
import functools

class Base:
    def __init__(self, n): self.n = n
    def go(self): return self.n

class Shop(Base):
    def __init__(self, n):
        super().__init__(n)
    @property
    def price(self): return self.n * 2
    @functools.cached_property
    def slow(self): return [self.n]
    @staticmethod
    def fixed(a, /, b, *rest, c=1, **more): return (a, b, rest, c, more)
    @classmethod
    def make(cls): return cls(7)
    def __eq__(self, other): return isinstance(other, Shop) and self.n == other.n
    def __hash__(self): return self.n
    def __reduce__(self): return (Shop, (self.n,))

def fails(depth):
    """Fails at some depth."""
    if depth:
        return fails(depth - 1)
    try:
        return {}["missing"]
    except KeyError as error:
        error.add_note("a note")
        raise ValueError(
            "nothing under that name"
        ) from error

def numbers(n):
    for i in range(n):
        got = yield i
        if got: yield got

@contextlib.contextmanager
def opened():
    try:
        yield "thing"
    finally:
        print("closed")

async def double(n):
    import asyncio
    await asyncio.sleep(0)
    return n * 2
'''

PROGRAMS = {
    "what a script sees of itself": """
        import sys
        g = dict(globals())
        print({k: v for k, v in g.items() if k not in ('__builtins__', '__loader__', '__spec__', 'sys', 'g')})
        print(__spec__ and (__spec__.name, __spec__.origin, __spec__.cached, __spec__.parent))
        print(list(g), type(__loader__), __loader__.__dict__, type(__builtins__))
        print(sys.argv, sys.path, sys.flags, sys.orig_argv, __name__)
        print(sys.modules['__main__'].__dict__ is globals())
        """,
    "an exception with a cause, deep": "import lib\ndef main():\n    lib.fails(3)\nmain()\n",
    "an exception at the top": "x = 1\ny = (x +\n     None)\n",
    "an exception group": """
        def main():
            try:
                raise ValueError(1)
            except ValueError as one:
                raise ExceptionGroup('both', [one, TypeError(2)]) from None
        main()
        """,
    "an exception in a generator": "def g():\n    yield 1\n    raise OSError(5)\ndef main():\n    list(g())\nmain()\n",
    "StopIteration becomes RuntimeError": "def g():\n    yield 1\n    raise StopIteration\ndef main():\n    list(g())\nmain()\n",
    "an exception in a coroutine": """
        import asyncio
        async def inner():
            await asyncio.sleep(0)
            raise LookupError('inner')
        async def main():
            await asyncio.gather(inner())
        asyncio.run(main())
        """,
    "an exception that prints itself badly": """
        class Odd(Exception):
            def __str__(self): raise RuntimeError('no')
        def main(): raise Odd
        main()
        """,
    "an exception in a thread": """
        import threading
        def work(): raise OSError('in a thread')
        def main():
            thread = threading.Thread(target=work, name='worker'); thread.start(); thread.join()
        main()
        """,
    "exit with a status": "import sys\ndef main(): return 3\nsys.exit(main())\n",
    "exit with a message": "import sys\ndef main(): return 'went wrong'\nsys.exit(main())\n",
    "exit without goodbye": "import os\ndef main():\n    print('out', flush=True)\n    os._exit(4)\nmain()\n",
    "interrupted": "import signal\ndef main():\n    signal.raise_signal(signal.SIGINT)\n    print('not reached')\nmain()\n",
    "killed": "import os, signal\ndef main():\n    os.kill(os.getpid(), signal.SIGTERM)\n    while True: pass\nmain()\n",
    "exit handlers run in order": """
        import atexit
        def bye(n): print('bye', n)
        atexit.register(bye, 1); atexit.register(bye, 2)
        def main(): print('main')
        main()
        """,
    "introspection": """
        import inspect, lib, types
        for f in (lib.fails, lib.Shop.fixed, lib.Shop.__init__, lib.numbers, lib.double, lib.Shop.price.fget):
            code = f.__code__
            print(f.__name__, f.__qualname__, f.__module__, f.__doc__, inspect.signature(f), f.__defaults__, f.__kwdefaults__)
            print(code.co_firstlineno, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags, code.co_name)
            print(sorted({line for _, _, line in code.co_lines() if line is not None}), code.co_filename, code.co_argcount)
            print(inspect.getsource(f))
        print(inspect.iscoroutinefunction(lib.double), inspect.isgeneratorfunction(lib.numbers), lib.opened.__wrapped__)
        print(type(lib.__loader__), lib.__loader__.__dict__, lib.__spec__.origin, lib.__cached__, lib.__file__)
        print(lib.__loader__.get_source('lib') == open(lib.__file__).read())
        """.replace("lib.opened.__wrapped__", "lib.opened.__wrapped__.__name__"),
    "results and pickles": """
        import asyncio, copy, pickle, lib
        def main():
            shop = lib.Shop.make()
            print(shop.price, shop.slow, shop.go(), shop.fixed(1, 2, 3, c=4, d=5))
            print(pickle.dumps(shop), pickle.loads(pickle.dumps(shop)) == shop, copy.deepcopy(shop) == shop)
            print(pickle.dumps(main), pickle.dumps(lib.Shop.fixed))
            g = lib.numbers(3)
            print(next(g), g.send('x'), list(g))
            with lib.opened() as thing: print(thing)
            print(asyncio.run(lib.double(4)))
            print(sorted(locals()))
        main()
        """,
    "surroundings": """
        import sys, threading, signal, logging, warnings
        def main():
            print([thread.name for thread in threading.enumerate()], threading.active_count())
            print([signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM)])
            print(logging.getLogger().handlers, warnings.filters[:3], sys.gettrace(), sys.getprofile())
            print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.stdout.encoding, sys.stderr.line_buffering)
        main()
        """,
    "caught tracebacks": """
        import traceback, lib
        def main():
            try:
                lib.fails(2)
            except ValueError:
                print(traceback.format_exc())
        main()
        try:
            main.x
        except AttributeError:
            print(traceback.format_exc())
        """,
    "an application module with a syntax error": "try:\n    import broken\nexcept SyntaxError as e:\n    print(e)\nimport broken\n",
    "an application module that raises at import": """
        try:
            import raising
        except OSError as error:
            import traceback; traceback.print_exc()
        import sys
        print('raising' in sys.modules)
        import raising
        """,
    "an application module without source": "import compiled\nprint(compiled.f(2), compiled.__file__)\ncompiled.g()\n",
    "a module that is not there": "try:\n    import nowhere\nexcept ImportError as e:\n    print(e)\nimport nowhere.deeper\n",
    "circular imports and reload": """
        import importlib.util, first, sys
        print(first.f(), first.second.g())
        again = importlib.reload(first)
        print(again is first, first.f(), type(first.__loader__), vars(first.__loader__))
        spec = importlib.util.find_spec('first')
        print(spec.name, spec.origin, type(spec.loader), spec.cached)
        """,
    "a relative import in a package": "import pkg.inner\nprint(pkg.inner.value(), pkg.inner.__package__, pkg.__path__)\n",
    "resources of a package": """
        import importlib.resources, pkgutil, pkg
        print(importlib.resources.files('pkg').joinpath('data.txt').read_text(), pkgutil.get_data('pkg', 'data.txt'))
        """,
    "a program that forks": """
        import os, sys, warnings
        warnings.simplefilter('error')
        def work(): return 7
        def main():
            work()
            pid = os.fork()
            if pid == 0:
                work()
                print('child', flush=True)
                sys.exit(5)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        main()
        """,
    "children by multiprocessing": """
        import multiprocessing, sys
        def work(n):
            return (n * 2, __name__, __spec__, __loader__, __package__, __file__, sys.argv, sys.path, list(globals()))
        if __name__ == '__main__':
            for method in ('spawn', 'forkserver'):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(method, pool.map(work, [1]))
        """,
    "a deep recursion that is caught": """
        def down(n): return down(n + 1)
        def main():
            try:
                down(0)
            except RecursionError as error:
                print(error)
        main()
        """,
    "closures, nonlocal, super, class cells": """
        def counter():
            n = 0
            def add(by=1):
                nonlocal n
                n += by
                return n
            return add
        class A:
            def who(self): return __class__.__name__
        class B(A):
            def who(self): return super().who() + 'B'
        add = counter()
        print(add(), add(5), B().who(), add.__closure__[0].cell_contents, counter.__code__.co_cellvars)
        """,
    "a hook of the program's own": """
        import sys
        def hook(kind, value, traceback): print('mine', kind, value)
        sys.excepthook = hook
        def main(): raise ValueError('own')
        main()
        """,
    "stderr closed": "import sys\ndef main(): sys.stderr.close()\nmain()\n",
    "stdout closed early": "import sys, os\ndef main():\n    print('x'); sys.stdout.flush(); os.close(2)\nmain()\n",
}


def prepare(write: Write, source: str) -> Path:
    """Write the program and the modules that the programs import; return the folder."""
    import compileall
    import textwrap

    write("lib.py", LIB)
    write("broken.py", "def f(:\n    pass\n")
    write("raising.py", "def open_it():\n    raise OSError(2, 'not there')\nopen_it()\n")
    write("first.py", "import second\ndef f(): return second.g() + 1\n")
    write("second.py", "import first\ndef g(): return 1\n")
    write("pkg/__init__.py", "")
    write("pkg/inner.py", "from . import other\ndef value(): return other.one()\n")
    write("pkg/other.py", "def one(): return 1\n")
    write("pkg/data.txt", "data")
    compiled = write("compiled.py", "def f(n): return n + 1\ndef g(): raise KeyError('compiled')\n")
    assert compileall.compile_file(str(compiled), legacy=True, quiet=2)
    compiled.unlink()
    return write("app.py", textwrap.dedent(source)).parent


ENGINES = ["rewrite", *(["monitoring"] if sys.version_info >= (3, 12) else []), "settrace"]

EXCUSED = {
    ("settrace", "surroundings"): "the engine is a trace function: sys.gettrace() is occupied",
}
"""(engine, program): why it can tell."""

TYPED = (sys.executable, "app.py", "one", "--two")


@functools.cache
def lived(make_folder: Callable[[str], Path], name: str, engine: str) -> tuple[Path, Done]:
    """Run a program, plain where the engine is "", in a folder that it shares with its other runs."""
    if engine:
        folder = lived(make_folder, name, "")[0]
        options = ("--engine", engine, "--tell", "nothing")
        return folder, narrative_run(*options, *TYPED, cwd=folder, PYTHONHASHSEED="0")
    folder = make_folder(name)
    environ = {"PYTHONIOENCODING": "utf-8", "PYTHONHASHSEED": "0"}
    # The first plain run fills __pycache__, so that all others find the same.
    run(*TYPED, cwd=folder, **environ)
    return folder, run(*TYPED, cwd=folder, **environ)


@pytest.fixture(scope="module")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("program")

        def write(path: str, text: str) -> Path:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
            return folder / path

        return prepare(write, PROGRAMS[name])

    return make


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the programs are POSIX programs")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_cannot_tell(
    request: pytest.FixtureRequest, make_folder: Callable[[str], Path], name: str, engine: str
) -> None:
    """Recorded by narrative-run, a program prints and ends as it does without."""
    if (engine, name) in EXCUSED:
        request.applymarker(pytest.mark.xfail(strict=True, reason=EXCUSED[engine, name]))
    plain, recorded = lived(make_folder, name, "")[1], lived(make_folder, name, engine)[1]
    assert (recorded.status, recorded.out.decode(), recorded.err) == (plain.status, plain.out.decode(), plain.err)


@pytest.mark.parametrize(
    "name", ["what a script sees of itself", "an exception with a cause, deep", "exit with a status"]
)
@pytest.mark.parametrize("command", [["-m", "app"], ["./app.py"], ["../app/app.py"]], ids=["-m", "./", "../"])
def test_however_it_is_started(write: Write, tmp_path: Path, name: str, command: list[str]) -> None:
    """The same for `python -m`, and for relative paths to the script."""

    def below(path: str, text: str) -> Path:
        return write(f"app/{path}", text)

    folder = prepare(below, PROGRAMS[name])
    run(sys.executable, *command, "one", cwd=folder, PYTHONIOENCODING="utf-8")
    plain = run(sys.executable, *command, "one", cwd=folder, PYTHONIOENCODING="utf-8")
    recorded = narrative_run("--tell", "nothing", sys.executable, *command, "one", cwd=folder)
    assert (recorded.status, recorded.out.decode(), recorded.err) == (plain.status, plain.out.decode(), plain.err)


@pytest.mark.parametrize("command", ["folder", "app.zip", "link.py", "-P app.py", "-"], ids=str)
def test_other_things_that_python_runs(write: Write, tmp_path: Path, command: str) -> None:
    """A folder, a zip file, a link, safe path, standard input: as without us."""
    import shutil

    source = "import sys\ndef main():\n    print(sys.argv, sys.path[:2], __file__, __spec__ is None, __name__)\n    1/0\nmain()\n"
    write("folder/__main__.py", source)
    shutil.make_archive(str(tmp_path / "app"), "zip", tmp_path / "folder")
    write("real/app.py", source)
    (tmp_path / "link.py").symlink_to(tmp_path / "real" / "app.py")
    write("app.py", source)
    plain = run(sys.executable, *command.split(), cwd=tmp_path, PYTHONIOENCODING="utf-8")
    recorded = narrative_run("--tell", "nothing", sys.executable, *command.split(), cwd=tmp_path)
    assert (recorded.status, recorded.out.decode(), recorded.err) == (plain.status, plain.out.decode(), plain.err)


DEPTH = """
import sys
frames, frame = 0, sys._getframe()
while frame is not None:
    frames, frame = frames + 1, frame.f_back
print(frames)
"""

RECURSION = """
def down(n):
    global deepest
    deepest = n
    down(n + 1)
try:
    down(1)
except RecursionError:
    pass
print(deepest)
"""


@pytest.mark.xfail(strict=True, reason="runpy runs __main__ for us: two frames more")
def test_the_number_of_frames_below_main(write: Write) -> None:
    """A script's module has no frame below its own."""
    folder = write("app.py", "def f(): pass\n" + DEPTH).parent
    plain = run(sys.executable, "app.py", cwd=folder)
    assert narrative_run("--quiet", sys.executable, "app.py", cwd=folder).out == plain.out


@pytest.mark.xfail(strict=True, reason="two frames of runpy")
def test_the_depth_of_recursion(write: Write) -> None:
    """A function calls itself as often as without us."""
    folder = write("app.py", RECURSION).parent
    plain = run(sys.executable, "app.py", cwd=folder)
    assert narrative_run("--quiet", sys.executable, "app.py", cwd=folder).out == plain.out


def test_the_frames_that_remain_are_runpy_s_two(write: Write) -> None:
    """What is off is known exactly: two frames, both of runpy."""
    folder = write("app.py", "def f(): pass\n" + DEPTH).parent
    plain = run(sys.executable, "app.py", cwd=folder)
    recorded = narrative_run("--quiet", sys.executable, "app.py", cwd=folder)
    assert int(recorded.out) == int(plain.out) + 2


def test_an_ordinary_run_leaves_no_trace_in_the_user_s_bytecode(write: Write, tmp_path: Path) -> None:
    """The .pyc files that a recorded run writes are those that a plain run writes."""
    folder = prepare(write, "import lib\nlib.numbers(1)\n")
    cache = folder / "__pycache__"
    narrative_run("--quiet", sys.executable, "app.py", cwd=folder)
    recorded = {path.name: path.read_bytes() for path in cache.glob("*.pyc")}
    assert recorded
    for path in cache.iterdir():
        path.unlink()
    run(sys.executable, "app.py", cwd=folder)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == recorded


@pytest.mark.xfail(RECORDER == "pure", strict=True, reason="a probe of the pure recorder is a Python call")
@pytest.mark.parametrize("setter", ["settrace", "setprofile"])
def test_tracers_see_nothing_of_ours(write: Write, setter: str) -> None:
    """A tracer or profiler of the program's own sees the calls that it sees without us."""
    source = (
        "import sys\nseen = []\ndef tracer(frame, event, arg):\n    seen.append(frame.f_code.co_name)\n    return tracer\n"
        f"def f(): pass\ndef main():\n    sys.{setter}(tracer)\n    f()\n    sys.{setter}(None)\n    print(seen)\nmain()\n"
    )
    folder = write("app.py", source).parent
    plain = run(sys.executable, "app.py", cwd=folder)
    assert narrative_run("--quiet", sys.executable, "app.py", cwd=folder).out == plain.out


def test_marshal_takes_a_function_s_code(write: Write) -> None:
    """`marshal.dumps` takes the code of a function that is a stage, and a plain interpreter runs what comes of it."""
    source = (
        "import marshal, types\n"
        "def f(n):\n    if n: raise KeyError(n)\n    return 'fine'\n"
        "def g(n):\n    yield f(n)\n"
        "print(marshal.dumps([f.__code__, g.__code__]).hex())\n"
    )
    folder = write("app.py", source).parent
    dumped = narrative_run("--quiet", sys.executable, "app.py", cwd=folder).out.decode().strip()
    reader = write(
        "reader.py",
        f"import marshal, types\nf, g = marshal.loads(bytes.fromhex({dumped!r}))\n"
        "f = types.FunctionType(f, globals())\ng = types.FunctionType(g, globals())\n"
        "print(list(g(0)))\ntry: list(g(1))\nexcept KeyError as error: print(repr(error))\n",
    )
    assert run(sys.executable, reader, cwd=folder).out == b"['fine']\nKeyError(1)\n"


def test_the_environment_and_arguments_are_as_typed(write: Write) -> None:
    """argv[0] is what was typed, and empty parts of PYTHONPATH, which mean the current folder, stay."""
    folder = write("app.py", "import sys\nprint(sys.orig_argv, sys.argv, sys.path)\n").parent
    environ = {"PYTHONPATH": ":/x", "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    plain = run("python", "app.py", cwd=folder, **environ)
    recorded = narrative_run("--quiet", "python", "app.py", cwd=folder, **environ)
    assert recorded.out == plain.out
