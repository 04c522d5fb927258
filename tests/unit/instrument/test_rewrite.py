"""The rewrite engine: whole modules, through the real recorder."""

from __future__ import annotations

import asyncio
import functools
import gc
import textwrap
import threading
import types
from typing import Any

import pytest

from narrative_auto.instrument.engines.rewrite import RewriteEngine
from narrative_auto.instrument.marks import narrative_stage, no_stage
from narrative_auto.instrument.scope import Scope
from narrative_auto.recorder.pure import PureRecorder


class Module:
    """A module that was loaded with probes."""

    def __init__(self, source: str, *, private: bool = True, **names: object) -> None:
        self.recorder = PureRecorder(min_duration=1 << 60)
        self.left_plain: list[tuple[str, str, str]] = []
        scope = Scope(["/app"], private=private)
        engine = RewriteEngine(scope, lambda *reason: self.left_plain.append(reason))
        engine.start(self.recorder)
        code = compile(textwrap.dedent(source), "/app/shop.py", "exec")
        self.names: dict[str, Any] = {"__name__": "shop", **names}
        exec(engine.instrument(code, "shop"), self.names)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """{(caller, callee): calls}."""
        sites = self.recorder.sites
        return {(sites[edge.caller].name, sites[edge.site].name): edge.calls for edge in self.recorder.edges()}

    @property
    def depth(self) -> int:
        """How many calls the shadow stack of this thread holds."""
        lane = self.recorder.current_lane()
        return self.recorder.depth(lane) if lane is not None else 0


def test_every_kind_of_function_is_a_stage() -> None:
    """Plain, static, class, nested, decorated, property, recursive: each is a stage under its qualified name."""
    module = Module(
        """
        import functools
        class Shop:
            def __init__(self): self.n = 1
            def __call__(self): return self.n
            def __len__(self): return 3
            @property
            def size(self): return 2
            @staticmethod
            def fixed(): return 3
            @classmethod
            def made(cls): return cls()
            class Inner:
                def deep(self): return 4
        @functools.lru_cache
        def cached(n): return n
        def outer():
            def inner(): return 5
            return inner() + sum(x for x in [1]) + (lambda: 1)()
        def fact(n): return 1 if n < 2 else n * fact(n - 1)
        def main():
            shop = Shop.made()
            return [shop(), len(shop), shop.size, shop.fixed(), Shop.Inner().deep(), cached(1), cached(1), outer(), fact(4)]
        """
    )
    assert module["main"]() == [1, 3, 2, 3, 4, 1, 1, 7, 24]
    assert module.counts == {
        ("", "main"): 1,
        ("main", "Shop.made"): 1,
        ("Shop.made", "Shop.__init__"): 1,
        ("main", "Shop.__call__"): 1,
        ("main", "Shop.size"): 1,
        ("main", "Shop.fixed"): 1,
        ("main", "Shop.Inner.deep"): 1,
        ("main", "cached"): 1,
        ("main", "outer"): 1,
        ("outer", "outer.<locals>.inner"): 1,
        ("main", "fact"): 1,
        ("fact", "fact"): 3,
    }
    assert module.left_plain == []
    assert module.depth == 0


def test_private_functions_can_be_left_out() -> None:
    """`--no-private` leaves out names with an underscore, not constructors."""
    source = """
        class A:
            def __init__(self): self._x()
            def _x(self): pass
        def _hidden(): A()
        """
    shown, hidden = Module(source), Module(source, private=False)
    shown["_hidden"]()
    hidden["_hidden"]()
    assert set(shown.counts) == {("", "_hidden"), ("_hidden", "A.__init__"), ("A.__init__", "A._x")}
    assert set(hidden.counts) == {("", "A.__init__")}


def test_a_suspended_generator_is_nobody_s_caller() -> None:
    """What runs between two values belongs to the consumer; what a generator calls belongs to the generator."""
    module = Module(
        """
        def numbers():
            for n in range(3):
                yield twice(n)
        def twice(n): return 2 * n
        def use(n): return n
        def main(): return [use(n) for n in numbers()]
        """
    )
    assert module["main"]() == [0, 2, 4]
    assert module.counts == {
        ("", "main"): 1,
        ("main", "numbers"): 1,
        ("numbers", "twice"): 3,
        ("main", "use"): 3,
    }
    assert module.depth == 0
    assert module.recorder.open_calls() == []


def test_generators_that_are_closed_dropped_or_thrown_into_end() -> None:
    """close(), throw(), a dropped generator and one that fails leave nothing behind."""
    module = Module(
        """
        def numbers():
            try:
                yield 1
                yield 2
            except ZeroDivisionError:
                yield 3
        def plain():
            yield 1
            yield 2
        """
    )
    closed, dropped, thrown = module["numbers"](), module["plain"](), module["numbers"]()
    next(closed)
    closed.close()
    next(dropped)
    del dropped
    gc.collect()
    next(thrown)
    assert thrown.throw(ZeroDivisionError) == 3
    with pytest.raises(OSError, match="unhandled"):
        thrown.throw(OSError("unhandled"))
    assert module.counts == {("", "numbers"): 2, ("", "plain"): 1}
    assert module.depth == 0
    assert module.recorder.open_calls() == []
    errors = {module.recorder.sites[edge.site].name: edge.errors for edge in module.recorder.edges()}
    assert errors == {"numbers": {"OSError": 1}, "plain": {}}


def test_interleaved_tasks_are_never_each_other_s_callers() -> None:
    """Two tasks that take turns keep their own callers; a coroutine's time includes its awaiting."""
    module = Module(
        """
        import asyncio
        async def leaf(n):
            await asyncio.sleep(0.01)
            return n
        async def branch(n):
            return await leaf(n) + await leaf(n)
        async def main():
            return await asyncio.gather(branch(1), branch(2))
        """
    )
    assert asyncio.run(module["main"]()) == [2, 4]
    assert module.counts == {("", "main"): 1, ("", "branch"): 2, ("branch", "leaf"): 4}
    (leaf,) = (edge for edge in module.recorder.edges() if module.recorder.sites[edge.site].name == "leaf")
    assert leaf.longest > 9_000_000
    assert leaf.own < leaf.total / 2
    assert module.depth == 0


def test_async_generators_and_cancellation() -> None:
    """An async generator is a stage once; a cancelled coroutine ends without being a failure."""
    module = Module(
        """
        import asyncio
        async def ticks():
            for n in range(3):
                await asyncio.sleep(0)
                yield n
        async def for_ever():
            await asyncio.sleep(1000)
        async def main():
            task = asyncio.create_task(for_ever())
            seen = [n async for n in ticks()]
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                seen.append('cancelled')
            return seen
        """
    )
    assert asyncio.run(module["main"]()) == [0, 1, 2, "cancelled"]
    assert module.counts == {("", "main"): 1, ("main", "ticks"): 1, ("", "for_ever"): 1}
    assert all(edge.raised == 0 for edge in module.recorder.edges())
    assert module.depth == 0


def test_a_generator_may_be_resumed_in_another_thread() -> None:
    """Its end is accounted for in the lane where it happens."""
    module = Module("def numbers():\n    yield 1\n    yield 2\n")
    generator = module["numbers"]()
    assert next(generator) == 1
    rest: list[int] = []
    thread = threading.Thread(target=lambda: rest.extend(generator))
    thread.start()
    thread.join()
    assert rest == [2]
    (edge,) = module.recorder.edges()
    assert (edge.calls, edge.total > 0) == (1, True)
    assert module.recorder.open_calls() == []


def test_no_stage_takes_functions_and_classes_out() -> None:
    """`@no_stage` works on functions, methods of every kind, properties, whole classes, in either decorator order."""
    module = Module(
        """
        import functools
        @quiet
        def alone(): return helper()
        def helper(): return 1
        @quiet
        class Whole:
            def __init__(self): pass
            @staticmethod
            def fixed(): return 2
        class Part:
            @quiet
            @staticmethod
            def one(): return 3
            @staticmethod
            @quiet
            def two(): return 4
            @property
            @quiet
            def three(self): return 5
            @quiet
            @property
            def four(self): return 6
            @classmethod
            def five(cls): return 7
        @quiet
        @functools.lru_cache
        def cached(): return 8
        def outer():
            @quiet
            def inner(): return 9
            return inner()
        def main():
            part = Part()
            return [alone(), Whole().fixed(), part.one(), part.two(), part.three, part.four, part.five(), cached(), outer()]
        """,
        quiet=no_stage,
    )
    assert module["main"]() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert set(module.counts) == {("", "main"), ("main", "helper"), ("main", "Part.five"), ("main", "outer")}


def test_narrative_stage_names_a_stage() -> None:
    """`@narrative_stage("Name")` gives the name; without one it is the function's in title case."""
    module = Module(
        """
        @named("Generate PDF Report")
        def generate(): return 1
        @named()
        def validate_order(): return 2
        """,
        named=narrative_stage,
    )
    assert (module["generate"](), module["validate_order"]()) == (1, 2)
    assert set(module.counts) == {("", "Generate PDF Report"), ("", "Validate Order")}


def test_narrative_stage_without_parentheses_says_what_to_do() -> None:
    """Forgetting the parentheses is a TypeError that names the remedy."""
    with pytest.raises(TypeError, match="parentheses"):
        narrative_stage(lambda: None)  # type: ignore[arg-type]


def test_marks_work_without_instrumentation() -> None:
    """In a plain run the decorators return the very same objects, which work as before."""

    @no_stage
    @functools.lru_cache
    def cached() -> int:
        return 1

    @narrative_stage("X")
    class Plain:
        def method(self) -> int:
            return 2

    assert (cached(), Plain().method()) == (1, 2)
    assert isinstance(Plain, type)


def test_a_function_that_cannot_be_assembled_stays_plain_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decline costs a stage, never a result."""
    from narrative_auto.errors import DeclinedError
    from narrative_auto.instrument.engines import assembly

    original = assembly.assemble

    def decline_one(code: types.CodeType, probe: Any) -> types.CodeType:
        if code.co_name == "odd":
            raise DeclinedError("not sure")
        return original(code, probe)

    monkeypatch.setattr(assembly, "assemble", decline_one)
    module = Module("def odd(): return even()\ndef even(): return 1\n")
    assert module["odd"]() == 1
    assert module.counts == {("", "even"): 1}
    assert module.left_plain == [("shop", "odd", "not sure")]


def test_code_without_functions_is_the_same_object() -> None:
    """A module with nothing to instrument is not copied."""
    scope = Scope(["/app"])
    engine = RewriteEngine(scope, lambda *_: None)
    engine.start(PureRecorder())
    code = compile("x = 1\nclass A:\n    y = 2\n", "/app/a.py", "exec")
    assert engine.instrument(code, "a") is code
