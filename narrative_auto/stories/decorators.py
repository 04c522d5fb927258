"""Functions that are stories or stages: by decorators, for whole classes and for modules that exist.

What is wrapped here is wrapped by `wrapt`, so that signatures, `self` and `inspect` hold. Functions of an instrumented
run need none of this: nothing is wrapped there.
"""

from __future__ import annotations

import inspect
import types
from functools import partial
from typing import TYPE_CHECKING, Any, cast, overload
from weakref import WeakSet

import wrapt

from narrative_auto.instrument.marks import NO_STAGE, STAGE_NAME, replace
from narrative_auto.stories.opening import story
from narrative_auto.stories.recorded import carried
from narrative_auto.stories.stages import stage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import TypeVar

    Target = TypeVar("Target")
    Kind = TypeVar("Kind", bound=type)
    Span = story | stage
    BoundFunctionWrapper = wrapt.BoundFunctionWrapper[Any, Any]
    FunctionWrapper = wrapt.FunctionWrapper[Any, Any]
else:
    from wrapt import BoundFunctionWrapper, FunctionWrapper

_done: WeakSet[type] = WeakSet()
"""Classes whose methods are stages."""


def runtime_narrative_story(name: str | None = None, **keywords: Any) -> Callable[[Target], Target]:
    """Let each call of a function be a story.

    Args:
        name: the story's name; without one the function's in title case.
        keywords: as for `story()`.

    Returns:
        A decorator, for functions, coroutine functions and generators of both kinds.
    """
    return lambda function: _wrapped(function, lambda: story(name or title_of(function), **keywords))


def runtime_narrative_stage(name: str | None = None) -> Callable[[Target], Target]:
    """Let each call of a function be a stage of the story in which it is called.

    Args:
        name: the stage's name; without one the function's in title case (`validate_order`: "Validate Order").

    Returns:
        A decorator, for functions, coroutine functions and generators of both kinds.
    """
    return lambda function: _staged(function, lambda: stage(name or title_of(function)))


def title_of(function: Any) -> str:
    """Return what a function is called: by `narrative_stage`, else its name in title case."""
    marked = getattr(function, "__dict__", {}).get(STAGE_NAME)
    if marked:
        return str(marked)
    name = getattr(function, "__name__", None) or type(function).__name__
    return str(name).replace("_", " ").strip().title()


@overload
def narrative_class(cls: Kind) -> Kind: ...
@overload
def narrative_class(
    cls: None = None, *, instrument_classmethods: bool = False, instrument_staticmethods: bool = False
) -> Callable[[Kind], Kind]: ...


def narrative_class(
    cls: Any = None, *, instrument_classmethods: bool = False, instrument_staticmethods: bool = False
) -> Any:
    """Let a class's own public methods be stages, named `Class.method`.

    Left as they are: names that begin with `_`, what `@no_stage` marks, properties, what is inherited, and unless they
    are asked for class methods and static methods. A class is done once.

    Args:
        cls: the class; None where this is called with options.
        instrument_classmethods, instrument_staticmethods: these as well.

    Returns:
        The class, or a decorator.
    """

    def instrument(target: Kind) -> Kind:
        if target in _done:
            return target
        wanted = {
            types.FunctionType: True,
            classmethod: instrument_classmethods,
            staticmethod: instrument_staticmethods,
        }
        for attribute, value in list(vars(target).items()):
            if attribute.startswith("_") or not wanted.get(type(value), False):
                continue
            function = _function_of(value)
            if function is not None:
                setattr(target, attribute, _staged_in_stories(value, function, f"{target.__name__}.{attribute}"))
        _done.add(target)
        return target

    return instrument if cls is None else instrument(cls)


def instrument_module(module: types.ModuleType) -> types.ModuleType:
    """Let the public functions of a module be stages, and its public classes as by `narrative_class`.

    What it imported from elsewhere is left as it is; a second time changes nothing.

    Args:
        module: a module that exists; it is changed in place.

    Returns:
        The module.
    """
    for name, value in list(vars(module).items()):
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, type):
            narrative_class(value)
        elif type(value) is types.FunctionType:
            function = _function_of(value)
            if function is not None:
                setattr(module, name, _staged_in_stories(value, function, value.__qualname__))
    return module


def _function_of(value: Any) -> types.FunctionType | None:
    """Return the function of a method, None where it is not to be a stage."""
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    if type(function) is not types.FunctionType or NO_STAGE in vars(function):
        return None
    return function


def _staged_in_stories(value: Any, function: types.FunctionType, name: str) -> Any:
    """Return a function or method that is a stage of the story that it is called in, if there is one."""
    return _staged(value, lambda: stage(vars(function).get(STAGE_NAME) or name, optional=True))


def _staged(function: Target, span: Callable[[], Span]) -> Target:
    """Return a function whose calls are explicit stages, and no automatic ones."""
    inner = getattr(function, "__func__", function)
    if type(inner) is types.FunctionType and "<locals>" not in inner.__code__.co_qualname:
        replace(inner)  # not what a decorator makes: all that it makes have one code
    return _wrapped(function, span)


class _Bound(BoundFunctionWrapper):
    """A method with something around each call; pickled by its name and whose it is, as methods are."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, _: Any) -> Any:
        return self

    def __reduce_ex__(self, _: Any) -> Any:
        owner = self._self_instance
        return str(self.__qualname__) if owner is None else (getattr, (owner, self.__name__))


class _Wrapped(FunctionWrapper):
    """A function with something around each call; pickled by its name, as functions are."""

    __bound_function_wrapper__ = _Bound

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, _: Any) -> Any:
        return self

    def __reduce_ex__(self, _: Any) -> str:
        return str(self.__qualname__)


def _wrapped(function: Target, span: Callable[[], Span]) -> Target:
    """Return a function whose calls are inside a span of their own."""
    inner: Any = getattr(function, "__func__", function)
    if inspect.isasyncgenfunction(inner):
        around: Any = _around_async_generator
    elif inspect.isgeneratorfunction(inner):
        around = _around_generator
    elif inspect.iscoroutinefunction(inner):
        around = _around_coroutine
    else:
        around = _around_call

    def call(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        if NO_STAGE in getattr(inner, "__dict__", ()):  # by a decorator further out
            return wrapped(*args, **kwargs)
        return around(span(), wrapped, args, kwargs)

    return cast("Target", _Wrapped(cast("Any", function), call))


def _around_call(span: Span, function: Any, args: Any, kwargs: Any) -> Any:
    with span:
        return function(*args, **kwargs)


async def _around_coroutine(span: Span, function: Any, args: Any, kwargs: Any) -> Any:
    async with span as opened:
        return await carried(opened, function(*args, **kwargs))


def _around_generator(span: Span, function: Any, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
    """Go on as the generator does; between two values the caller is not inside the span."""
    with span:
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = partial(next, generator)
        while True:
            try:
                value = step()
            except StopIteration as end:
                return end.value
            span.suspend()
            try:
                sent = yield value
            except GeneratorExit:
                span.resume()
                generator.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 - whatever is thrown in goes on inwards
                span.resume()
                step = partial(generator.throw, thrown)
            else:
                span.resume()
                step = partial(generator.send, sent)


async def _around_async_generator(span: Span, function: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, Any]:
    """Do the same for an asynchronous one."""
    async with span as opened:
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = generator.__anext__
        while True:
            try:
                value = await carried(opened, step())
            except StopAsyncIteration:
                return
            span.suspend()
            try:
                sent = yield value
            except GeneratorExit:
                span.resume()
                await generator.aclose()
                raise
            except BaseException as thrown:  # noqa: BLE001 - whatever is thrown in goes on inwards
                span.resume()
                step = partial(generator.athrow, thrown)
            else:
                span.resume()
                step = partial(generator.asend, sent)
