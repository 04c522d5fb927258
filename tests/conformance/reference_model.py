"""What an engine has to report of a program, found without looking at bytecode.

The program's source is run with a decorator on each function: a plain function gets a wrapper around its call, anything
else an object around what it returns, which reports each step that is made through it.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from narrative_auto.instrument.engines.base import SEES_CLOSE, SEES_THROW


def _closing_reaches_what_it_awaits() -> bool:
    """Return whether `close()` of what `asend` gives ends what it waits for (3.13); before, it leaves it suspended."""

    async def numbers() -> Any:
        await Waits()
        yield 1

    class Waits:
        def __await__(self) -> Generator[None, None, None]:
            yield

    running = numbers()
    step = running.asend(None)
    step.send(None)
    step.close()
    return running.ag_frame is None


CLOSING_REACHES = _closing_reaches_what_it_awaits()


@dataclass
class Expected:
    """What an engine has to report: groups of reports, each with the capability without which it may be missing."""

    groups: list[tuple[list[str], str]] = field(default_factory=list)
    unknown: bool = False
    """Something happened that only the interpreter can see."""

    def allows(self, reports: list[str], capabilities: frozenset[str]) -> bool:
        """Return whether the reports are these; without a capability, groups that need it may be there or not."""
        reached = {0}
        for group, needs in self.groups:
            behind = {at + len(group) for at in reached if reports[at : at + len(group)] == group}
            reached = behind | (reached if needs and needs not in capabilities else set())
        return len(reports) in reached

    def __str__(self) -> str:
        return "\n".join(f"{' '.join(group)} {f'({needs})' if needs else ''}" for group, needs in self.groups)


class Activation:
    """One life of a generator, coroutine or asynchronous generator, stepped by the one who owns it."""

    def __init__(self, model: Model, name: str, inner: Any) -> None:
        self.model = model
        self.name = name
        self.inner = inner
        self.state = "created"
        self.delegates = False
        self.waiting = False

    def report(self, transition: str, needs: str = "") -> None:
        self.model.expected.groups.append(([f"{self.name}.{transition}"], needs))

    def step(
        self, act: Callable[[], Any], *, throws: bool = False, end: type[BaseException] = StopIteration, needs: str = ""
    ) -> Any:
        """Make a step and report it.

        What is thrown in goes to what the function delegates to, if it does; the function itself is resumed only
        when that has ended, see `delegate_ended`.
        """
        if self.state not in {"created", "suspended"}:
            return act()
        if self.state == "created" and throws:
            self.state = "ended"
            return act()
        if self.state == "created":
            self.report("START")
        elif throws and self.delegates:
            self.waiting = True
        else:
            self.report("RESUME", needs)
        self.state = "running"
        self.model.running.append(self)
        frame = _frame_of(self.inner)  # while somebody has it, the names in it live on: they end behind the report
        try:
            value = act()
        except BaseException as error:
            if end is StopAsyncIteration and isinstance(error, StopIteration):
                self._suspend()
            else:
                self._end("RETURN" if isinstance(error, end) else "UNWIND", needs)
            raise
        finally:
            self.model.running.pop()
            del frame
        self._suspend()
        return value

    def _suspend(self) -> None:
        self.state = "suspended"
        if not self.waiting:
            self.report("YIELD")
        self.waiting = False

    def _end(self, transition: str, needs: str) -> None:
        self.state = "ended"
        groups = self.model.expected.groups
        if needs and transition == "UNWIND" and groups[-1] == ([f"{self.name}.RESUME"], needs):
            groups[-1] = ([f"{self.name}.RESUME", f"{self.name}.UNWIND"], needs)  # both or none
        else:
            if needs and groups[-1][1] == needs:
                groups[-1] = (groups[-1][0], "")
            self.report(transition)

    def delegate_ended(self, needs: str = "") -> None:
        """What this one delegates to has ended; if an exception was thrown in there, this one goes on now."""
        self.delegates = False
        if self.waiting:
            self.waiting = False
            self.report("RESUME", needs)

    def send(self, value: object) -> Any:
        if self.state == "created" and value is not None:
            return self.inner.send(value)  # a TypeError; it can begin still
        return self.step(lambda: self.inner.send(value))

    def close(self) -> Any:
        """As `close()` does it: throw GeneratorExit in and see what comes of it."""
        if self.state != "suspended":
            self.state = "ended" if self.state == "created" else self.state
            return self.inner.close()
        try:
            self.step(lambda: self.inner.throw(GeneratorExit()), throws=True, needs=SEES_CLOSE)
        except StopIteration as end:
            return end.value if sys.version_info >= (3, 13) else None
        except GeneratorExit:
            return None
        raise RuntimeError(f"{'coroutine' if inspect.iscoroutine(self.inner) else 'generator'} ignored GeneratorExit")

    def drop(self) -> None:
        """As the garbage collector does it."""
        if self.state != "suspended":
            return
        try:
            if inspect.isasyncgen(self.inner):
                self.step(
                    lambda: self.inner.athrow(GeneratorExit()).send(None),
                    throws=True,
                    end=StopAsyncIteration,
                    needs=SEES_CLOSE,
                )
            else:
                self.close()
        except (StopAsyncIteration, GeneratorExit):
            return
        finally:
            if self.state == "suspended":
                self.model.expected.unknown = True  # the collector would drop what is within it, and run it no more


def _frame_of(inner: Any) -> Any:
    return next(getattr(inner, name) for name in ("gi_frame", "cr_frame", "ag_frame") if hasattr(inner, name))


class Stepped:
    """Stands for a generator or a coroutine."""

    def __init__(self, model: Model, name: str, inner: Any) -> None:
        self._life = Activation(model, name, inner)

    def __iter__(self) -> Stepped:
        return self

    __await__ = __iter__

    def __next__(self) -> Any:
        return self._life.send(None)

    def send(self, value: object) -> Any:
        return self._life.send(value)

    def throw(self, *error: Any) -> Any:
        life, thrown = self._life, [_thrown(*error)]
        del self, error
        return life.step(lambda: life.inner.throw(thrown.pop()), throws=True)

    def close(self) -> Any:
        life = self._life
        del self  # an exception's traceback would keep it from being dropped
        return life.close()

    def __del__(self) -> None:
        self._life.drop()


class AsyncStepped:
    """Stands for an asynchronous generator."""

    def __init__(self, model: Model, name: str, inner: Any) -> None:
        self.life = Activation(model, name, inner)

    def __aiter__(self) -> AsyncStepped:
        return self

    def __anext__(self) -> AsyncStep:
        return AsyncStep(self, "asend", None)

    def asend(self, value: object) -> AsyncStep:
        return AsyncStep(self, "asend", value)

    def athrow(self, *error: Any) -> AsyncStep:
        return AsyncStep(self, "athrow", _thrown(*error))

    def aclose(self) -> AsyncStep:
        return AsyncStep(self, "aclose", GeneratorExit())

    def __del__(self) -> None:
        self.life.drop()


def _thrown(kind: Any, value: Any = None, _: object = None) -> BaseException:
    """Return what is thrown in. No frame of ours may hold it for long: its traceback holds our frames."""
    error: BaseException = value if value is not None else kind if isinstance(kind, BaseException) else kind()
    return error


class Delegating:
    """Stands between a function and what it delegates to, and tells the function's life when that ends."""

    def __init__(self, model: Model, to: Any) -> None:
        self._owner = model.running[-1] if model.running else None
        self._to = to

    def __iter__(self) -> Delegating:
        self._to = iter(self._to)
        return self

    def __await__(self) -> Delegating:
        self._to = self._to.__await__()
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: object) -> Any:
        return self._step(lambda: next(self._to) if value is None else self._to.send(value))

    def throw(self, *error: Any) -> Any:
        thrown = [_thrown(*error)]
        del error
        if not hasattr(self._to, "throw"):
            self._ended()
            raise thrown.pop()
        return self._step(lambda: self._to.throw(thrown.pop()), SEES_THROW)

    def close(self) -> None:
        try:
            if hasattr(self._to, "close"):
                self._to.close()
        finally:
            self._ended(SEES_CLOSE)

    def _step(self, act: Callable[[], Any], needs: str = "") -> Any:
        try:
            value = act()
        except BaseException:
            self._ended(needs)
            raise
        if self._owner is not None:
            self._owner.delegates = True
        return value

    def _ended(self, needs: str = "") -> None:
        if self._owner is not None:
            self._owner.delegate_ended(needs)


class AsyncStep(Delegating):
    """Stands for what `asend`, `athrow` and `aclose` give."""

    def __init__(self, of: AsyncStepped, what: str, value: Any) -> None:
        super().__init__(of.life.model, None)
        self._of, self._what, self._value = of, what, value
        self._begun = False

    def __iter__(self) -> AsyncStep:
        return self

    __await__ = __iter__

    def send(self, value: object) -> Any:
        life = self._of.life
        throws = self._what != "asend" and not self._begun
        if life.state == "created" and self._what == "asend" and self._value is not None and not self._begun:
            self._begun = True
            self._to = life.inner.asend(self._value)
            return self._to.send(value)
        if not self._begun:
            self._begun = True
            self._emulates = self._what == "aclose" and life.state == "suspended"
            if self._what == "asend":
                self._to = life.inner.asend(self._value)
            elif self._what == "athrow" or self._emulates:
                self._to = life.inner.athrow(self._value)
                self._value = None
            else:
                self._to = life.inner.aclose()
        return self._step(lambda: self._run(lambda: self._to.send(value), throws))

    def throw(self, *error: Any) -> Any:
        thrown = [_thrown(*error)]
        del error
        return self._step(lambda: self._run(lambda: self._to.throw(thrown.pop()), throws=True), SEES_THROW)

    def close(self) -> None:
        if not self._begun or self._of.life.state != "suspended":
            return
        if not CLOSING_REACHES:
            self._of.life.model.expected.unknown = True
            return
        try:
            self._run(lambda: self._to.throw(GeneratorExit()), throws=True)
        except (StopIteration, StopAsyncIteration, GeneratorExit):
            return
        finally:
            self._ended(SEES_CLOSE)
        raise RuntimeError("coroutine ignored GeneratorExit")

    def _run(self, act: Callable[[], Any], throws: bool) -> Any:
        life = self._of.life
        emulates = getattr(self, "_emulates", False)
        try:
            return life.step(act, throws=throws, end=StopAsyncIteration)
        except StopIteration:
            if not emulates:
                raise
            life.model.expected.unknown = True  # it ignores `aclose`, and is marked as closed all the same
            raise RuntimeError("async generator ignored GeneratorExit") from None
        except (StopAsyncIteration, GeneratorExit):
            if not emulates:
                raise
            raise StopIteration from None


class Model:
    """Makes wrapped functions report to a list.

    Attributes:
        expected: what they reported.
        running: the lives that are being stepped, innermost last.
    """

    def __init__(self) -> None:
        self.expected = Expected()
        self.running: list[Activation] = []
        self._frames: list[Any] = []

    def here(self) -> None:
        """Keep the caller's frame until its end is reported: what its names hold is dropped behind that."""
        self._frames[-1] = sys._getframe(1)

    def via(self, to: Any) -> Delegating:
        return Delegating(self, to)

    def traced(self, function: Any) -> Any:
        name = function.__qualname__
        if inspect.isasyncgenfunction(function):
            stand_in: Any = AsyncStepped
        elif inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            stand_in = Stepped
        else:

            @functools.wraps(function)
            def called(*given: Any, **named: Any) -> Any:
                report = self.expected.groups.append
                report(([f"{name}.START"], ""))
                self._frames.append(None)
                try:
                    value = function(*given, **named)
                except BaseException:
                    report(([f"{name}.UNWIND"], ""))
                    raise
                else:
                    report(([f"{name}.RETURN"], ""))
                    return value
                finally:
                    self._frames.pop()

            return called

        @functools.wraps(function)
        def made(*given: Any, **named: Any) -> Any:
            return stand_in(self, name, function(*given, **named))

        return made
