"""Functions, classes and modules that are stories and stages by decoration."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import sys
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from narrative_auto import (
    has_active_story,
    instrument_module,
    narrative_class,
    narrative_stage,
    no_stage,
    runtime_narrative_stage,
    runtime_narrative_story,
    stage,
)
from narrative_auto.stories.events import StageCompleted, StageStarted
from narrative_auto.testing import StoryRecorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def staged(recorder: StoryRecorder) -> list[str]:
    """Return the names of the stages that began."""
    return [event.stage_name for event in recorder.events if isinstance(event, StageStarted)]


@runtime_narrative_stage()
def load_csv(path: str, *, limit: int = 3) -> list[str]:
    """Load rows."""
    return [path] * limit


@runtime_narrative_stage("Fetch")
async def fetch(number: int) -> int:
    """Fetch."""
    await asyncio.sleep(0)
    return number


@runtime_narrative_stage("Rows")
def rows(count: int) -> Iterator[int]:
    """Give rows; what is sent in comes back."""
    with stage("Inside"):
        for number in range(count):
            got = yield number
            if got is not None:
                yield got


@runtime_narrative_stage("Pages")
async def pages() -> AsyncIterator[int]:
    """Give pages."""
    yield 1
    await asyncio.sleep(0)
    yield 2


def test_a_function_is_what_it_was() -> None:
    """Its signature, name, text, source and kind; pickled by its name."""
    assert str(inspect.signature(load_csv)) == "(path: 'str', *, limit: 'int' = 3) -> 'list[str]'"
    assert (load_csv.__name__, load_csv.__doc__) == ("load_csv", "Load rows.")
    assert "return [path] * limit" in inspect.getsource(load_csv)
    assert inspect.iscoroutinefunction(fetch)
    assert inspect.isgeneratorfunction(rows)
    assert inspect.isasyncgenfunction(pages)
    assert pickle.loads(pickle.dumps(load_csv)) is load_csv


def test_calls_are_stages() -> None:
    """Of every kind of function, named as was said or after the function."""

    async def main() -> None:
        assert await fetch(7) == 7
        assert [page async for page in pages()] == [1, 2]

    with StoryRecorder() as recorder:
        assert load_csv("a", limit=2) == ["a", "a"]
        assert list(rows(2)) == [0, 1]
        asyncio.run(main())
    assert staged(recorder) == ["Load Csv", "Rows", "Inside", "Fetch", "Pages"]
    recorder.assert_stages_completed(["Load Csv", "Rows", "Fetch", "Pages"])
    with pytest.raises(RuntimeError, match="must run inside"):
        load_csv("a")


def test_a_generator_is_a_stage_while_it_runs() -> None:
    """Not before it is iterated, and between two values the caller is not inside it."""
    with StoryRecorder() as recorder:
        generator: Any = rows(3)
        assert staged(recorder) == []
        assert next(generator) == 0
        with stage("Between") as between:
            pass
        assert between.parent_stage_name is None
        assert generator.send("back") == "back"
        generator.close()
        assert not any(isinstance(event, StageCompleted) and event.stage_name == "Later" for event in recorder.events)
    recorder.assert_stages_completed(["Rows", "Between"])
    recorder.assert_no_failure()


def test_what_is_thrown_into_a_generator() -> None:
    """It arrives, and may be handled there."""

    @runtime_narrative_stage("Catching")
    def catching() -> Iterator[str]:
        try:
            yield "first"
        except KeyError:
            yield "caught"

    with StoryRecorder() as recorder:
        generator: Any = catching()
        next(generator)
        assert generator.throw(KeyError("x")) == "caught"
        assert list(generator) == []
    recorder.assert_stages_completed(["Catching"])


def test_functions_are_stories() -> None:
    """With the keywords of `story()`; generators too."""
    recorder = StoryRecorder()

    @runtime_narrative_story("Import", renderers=[recorder], total_stages=1)
    def run() -> bool:
        load_csv("a")
        return has_active_story()

    @runtime_narrative_story(renderers=[recorder])
    def each_row() -> Iterator[bool]:
        yield has_active_story()
        yield has_active_story()

    assert run()
    assert not has_active_story()
    assert [(inside, has_active_story()) for inside in each_row()] == [(True, False)] * 2
    assert [event.story_name for event in recorder.events if type(event).__name__ == "StoryStarted"] == [
        "Import",
        "Each Row",
    ]


def decorated(function: Any) -> Any:
    """Wrap a function as many do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@narrative_class
class Service:
    """A class with methods of every kind."""

    def __init__(self) -> None:
        self.calls = 0

    def charge(self, amount: int) -> int:
        """Charge."""
        self.calls += 1
        return self._round(amount)

    async def ship(self) -> str:
        """Ship."""
        await asyncio.sleep(0)
        return "shipped"

    def lines(self) -> Iterator[int]:
        """Give lines."""
        yield from (1, 2)

    @narrative_stage("Send Bill")
    def bill(self) -> None:
        """Bill."""

    @decorated
    @narrative_stage("Wrapped")
    def wrapped(self) -> None:
        """Be wrapped."""

    @no_stage
    def cached(self) -> None:
        """Be left alone."""

    @decorated
    @no_stage
    def cached_too(self) -> None:
        """Be left alone, in either order."""

    def _round(self, amount: int) -> int:
        return amount

    @property
    def total(self) -> int:
        """A property."""
        return 1

    @classmethod
    def make(cls) -> Service:
        """Make one."""
        return cls()

    @staticmethod
    def check() -> bool:
        """Check."""
        return True


class Heir(Service):
    """A class that inherits stages."""

    def charge(self, amount: int) -> int:
        """Charge more."""
        return super().charge(amount) + 1


def test_methods_of_a_class() -> None:
    """Public instance methods, named after the class; the rest is as it was, and nothing happens outside a story."""
    service = Service.make()
    assert service.charge(2) == 2
    with StoryRecorder() as recorder:
        assert service.charge(3) == 3
        assert asyncio.run(service.ship()) == "shipped"
        assert list(service.lines()) == [1, 2]
        service.bill()
        service.wrapped()
        service.cached()
        service.cached_too()
        assert (service.total, Service.check(), Heir().charge(1)) == (1, True, 2)
    assert staged(recorder) == [
        "Service.charge",
        "Service.ship",
        "Service.lines",
        "Send Bill",
        "Wrapped",
        "Service.charge",
    ]
    assert service.calls == 2
    assert str(inspect.signature(Service.charge)) == "(self, amount: 'int') -> 'int'"
    assert pickle.loads(pickle.dumps(service.charge))(4) == 4


def test_a_class_is_done_once() -> None:
    """However often it is asked for; and class methods and static methods where they are."""

    @narrative_class(instrument_classmethods=True, instrument_staticmethods=True)
    class Factory:
        @classmethod
        def create(cls) -> type:
            return cls

        @staticmethod
        def validate(number: int) -> int:
            return number

        @classmethod
        @narrative_stage("Build Widget")
        def build(cls) -> None: ...

        @narrative_stage("Build Again")
        @classmethod
        def again(cls) -> None: ...

    assert narrative_class(narrative_class(Factory)) is Factory
    with StoryRecorder() as recorder:
        assert Factory.create() is Factory
        assert Factory().validate(3) == 3
        Factory.build()
        Factory.again()
    assert staged(recorder) == ["Factory.create", "Factory.validate", "Build Widget", "Build Again"]


def test_a_module() -> None:
    """Its own public functions and classes, in place, once; what it imported stays."""
    module = types.ModuleType("services_of_a_test")
    sys.modules[module.__name__] = module
    try:
        source = """
from json import dumps
class Repository:
    def find(self): return 1
def validate(order): return order
def _private(): pass
table = {"validate": validate}
"""
        exec(source, vars(module))
        assert instrument_module(module) is module
        wrapped = module.validate
        instrument_module(module)
        assert module.validate is wrapped
        with StoryRecorder() as recorder:
            assert module.validate(3) == 3
            assert module.Repository().find() == 1
            module._private()
            module.dumps({})
        assert staged(recorder) == ["validate", "Repository.find"]
        assert pickle.loads(pickle.dumps(module.validate)) is module.validate
    finally:
        del sys.modules[module.__name__]


def test_what_looks_like_a_generator_and_is_none() -> None:
    """A context manager made of one stays one; what a wrapper returns is not touched."""

    @narrative_class
    class Database:
        @contextmanager
        def session(self) -> Iterator[str]:
            yield "open"

    with StoryRecorder() as recorder, Database().session() as state:
        assert state == "open"
    assert staged(recorder) == ["Database.session"]


def test_marks_in_either_order() -> None:
    """Above or below what makes the stages."""

    @no_stage
    @narrative_class
    class Left:
        def alone(self) -> None: ...

    @narrative_stage("Named")
    @runtime_narrative_stage()
    def function() -> None: ...

    with StoryRecorder() as recorder:
        Left().alone()
        function()
    assert staged(recorder) == ["Named"]


def test_copies() -> None:
    """A function is its own copy."""
    assert copy.deepcopy({"load": load_csv})["load"] is load_csv
    assert copy.copy(load_csv) is load_csv


def test_a_generator_keeps_what_is_open_inside() -> None:
    """What it opened before a value is around what it opens after it."""

    @runtime_narrative_stage("Outer")
    def outer() -> Iterator[str | None]:
        with stage("Inner"):
            yield None
            with stage("Deep") as deep:
                yield deep.parent_stage_name

    with StoryRecorder():
        assert list(outer()) == [None, "Inner"]
