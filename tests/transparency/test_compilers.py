"""Those who read code instead of running it get what the compiler made: the same results, warnings and pickles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import narrative_run, run

Write = Callable[[str, str], Path]

ENGINES = ["rewrite"] if sys.version_info < (3, 12) else ["rewrite", "monitoring"]

PROGRAMS = {
    "numba": """
        import numba, numpy
        @numba.njit
        def total(n):
            s = 0
            for i in range(n):
                s += add(s, i)
            return s
        @numba.njit
        def add(a, b): return a + b - a
        @numba.vectorize
        def twice(a): return a * 2
        def caller(n): return total(n)
        def later(x): return x * 3
        def main():
            print(total(10), caller(5), twice(numpy.arange(3)), numba.njit(later)(4), later(2))
        main()
    """,
    "polars": """
        import polars, warnings
        def udf(x): return x + 1
        def main():
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                column = polars.col("a").map_elements(udf, return_dtype=polars.Int64)
                print(polars.DataFrame({"a": [1, 2]}).select(column)["a"].to_list())
            print([str(one.message) for one in told])
        main()
    """,
    "cloudpickle": """
        import cloudpickle, sys
        def outer(k):
            def f(n):
                if n > 3: raise ValueError(n)
                return n + k
            return f
        def main():
            dumped = cloudpickle.dumps(outer(2))
            print(cloudpickle.loads(dumped)(1), cloudpickle.loads(dumped).__code__.co_consts)
            print(cloudpickle.loads(cloudpickle.dumps(main)).__code__.co_code == main.__code__.co_code)
            print(b"narrative" in dumped)
        main()
    """,
    "dill": """
        import dill, lib
        def outer(k):
            def f(n): return n + k
            return f
        def main():
            print(dill.loads(dill.dumps(outer(2)))(1), dill.loads(dill.dumps(outer(2))).__code__.co_consts)
            print(dill.loads(dill.dumps(lib.named)) is lib.named)
        main()
    """,
    "inspect": """
        import inspect, lib
        def main():
            print(inspect.getsource(lib.named), inspect.getsource(main), inspect.signature(lib.named))
        main()
    """,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("package", PROGRAMS)
def test_readers_of_code(write: Write, package: str, engine: str) -> None:
    """A program prints what it prints without us, and its other functions are recorded."""
    pytest.importorskip(package, reason=f"{package} is not to be had for this interpreter")
    if package == "dill" and sys.version_info >= (3, 15):
        pytest.skip("dill 0.4 cannot make a function of CPython 3.15 again, plain either")
    lines = PROGRAMS[package].splitlines()
    write("lib.py", "def named(a, b=1):\n    return a\n")
    folder = write("app.py", "\n".join(line.removeprefix("        ") for line in lines)).parent
    plain = run(sys.executable, "app.py", cwd=folder)
    assert (plain.status, plain.err) == (0, "")
    recorded = narrative_run(
        "--engine", engine, "--tell", "tree", "--store", "off", sys.executable, "app.py", cwd=folder
    )  # fmt: skip
    assert recorded.out == plain.out
    assert "  main " in recorded.err
    assert "the program goes on without it" not in recorded.err
