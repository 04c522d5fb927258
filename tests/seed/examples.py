"""The examples of runtime-narrative's own description, run as they stand, with only the package's name changed.

    python -m tests.seed.examples NUMBER

What an example leaves to the reader's imagination, such as `load_csv` or `db`, is there, and does nothing.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import importlib
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parent / "runtime_narrative.md").read_text("utf-8")


def examples() -> list[tuple[str, str]]:
    """Return the heading and the source of each example."""
    found = []
    heading = ""
    for match in re.finditer(r"^#+ ([^\n]+)$|^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1].strip("`")
        else:
            found.append((heading, match[2].replace("runtime_narrative", "narrative_auto")))
    return [(heading, restored(source)) for heading, source in found if "MIDDLEWARE" not in source]  # Django's settings


def restored(source: str) -> str:
    """Return a source in which names that only begin like the package's are their own again."""
    return re.sub(r"narrative_auto_(story|stage)", r"runtime_narrative_\1", source)


def imported(source: str) -> set[str]:
    """Return the names that an example wants from the package."""
    return {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == "narrative_auto"
        for alias in node.names
    }


class Anything:
    """What an example takes for granted: it can be called, awaited, looped over, and has every attribute."""

    def __call__(self, *_: object, **__: object) -> Anything:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __await__(self) -> Any:
        return self
        yield

    def __iter__(self) -> Any:
        return iter((self,))

    def __len__(self) -> int:
        return 1

    def __fspath__(self) -> str:
        return "anything"


def assumed(source: str) -> dict[str, Any]:
    """Return the names that an example uses and does not define."""
    loaded: set[str] = set()
    stored: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            stored.add(node.name)
        elif isinstance(node, ast.alias):
            stored.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            stored.add(node.name)
    return {
        name: type(name, (Exception,), {}) if name.endswith("Error") else known(name)
        for name in loaded - stored - set(vars(builtins))
    }


def known(name: str) -> Any:
    """Return what goes by a name: the package's own, where an example has left out its import."""
    import narrative_auto
    from narrative_auto import testing

    if name in {"analyzer", "my_analyzer"}:
        return narrative_auto.OllamaFailureAnalyzer("llama3")
    if name == "run_pipeline":
        return run_pipeline
    if name in sys.stdlib_module_names:
        return importlib.import_module(name)
    return getattr(narrative_auto, name, None) or getattr(testing, name, None) or Anything()


def run_pipeline() -> None:
    """Do what one example says of it."""
    from narrative_auto import stage

    for name in ("Load", "Validate", "Insert"):
        with stage(name):
            raise OSError("a side effect")


async def run(source: str) -> None:
    """Run an example, and the tests that it defines."""
    for name in ("myapp", "myapp.services"):
        module = sys.modules[name] = types.ModuleType(name)
        module.__getattr__ = lambda _: Anything()  # type: ignore[method-assign]
    sys.modules["myapp"].services = sys.modules["myapp.services"]  # type: ignore[attr-defined]
    namespace: dict[str, Any] = {"__name__": "example", **assumed(source)}
    code = compile(source, "example.py", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if "asyncio.run(" in source:
        await asyncio.to_thread(exec, code, namespace)
    else:
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            await result
    for name, value in list(namespace.items()):
        if name.startswith("test_"):
            value()


if __name__ == "__main__":
    asyncio.run(run(examples()[int(sys.argv[1])][1]))
