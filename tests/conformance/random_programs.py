"""Draws modules whose functions call, suspend and fail in every way that the grammar has; names what they use.

The functions are `f0`, `f1`, …; each calls only those before it, so that programs end. What is not the application's
own comes from the module `surroundings`: see `Surroundings`.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

PLAIN, GENERATOR, COROUTINE, ASYNC_GENERATOR = "plain", "generator", "coroutine", "async generator"
KINDS = (PLAIN, GENERATOR, COROUTINE, ASYNC_GENERATOR)
ACTS = ("send", "send", "send", "value", "key", "error", "exit", "close", "drop")

MAX_LOG = 300
"""Entries after which the log fails at each further one, so that a program in which loops call loops ends."""

INLINES_COMPREHENSIONS = sys.version_info >= (3, 12)
"""Before, a comprehension that awaits is a coroutine of its own: an exception thrown in at its `await` resumes that one
and not always the function around it, which the model does not know."""

PROLOGUE = """
from surroundings import *

@contextmanager
@traced
def managed(swallows):
    try:
        log((yield "managed"))
    except ValueError:
        log("manager")
        if not swallows:
            raise

@async_managed
@traced
async def managed_async(swallows):
    try:
        await via(tick("enter"))
        yield "managed"
        await via(tick("leave"))
    except ValueError:
        log("async manager")
        if not swallows:
            raise
    finally:
        log("async end")

"""


@dataclass(frozen=True)
class Place:
    """Where a statement stands.

    Attributes:
        kind: of the function around it.
        known: the functions that it may call: (name, kind).
        in_loop: whether `break` and `continue` are allowed.
        in_group: whether it is in an `except*` block, which may not be left by a jump.
        nested: how many functions are around the one around it.
    """

    kind: str
    known: tuple[tuple[str, str], ...]
    in_loop: bool = False
    in_group: bool = False
    nested: int = 0

    def has(self, kind: str) -> list[str]:
        return [name for name, each in self.known if each == kind]


def _simple(place: Place) -> list[str]:
    """Return the statements of one or a few lines that are allowed at a place; {kind} stands for a known function."""
    call = "{plain}()" if place.has(PLAIN) else "pick()"
    found = [
        "log('here')",
        f"log({call})",
        f"log({call}, {call})",
        f"log([{call} for each in range(2)])",
        f"log({{each: {call} for each in 'ab' if pick()}})",
        f"log(list({call} for each in range(2) if pick()))",
        f"log((lambda: {call})())",
        f"log(f'{{{call}!r:>9}}')",
        f"if (name := {call}): log(name)",
        f"log({call} if pick() else pick() and {call})",
        f"log(*[{call}], **{{'key': {call}}})",
        f"count += 1; log({call}, count)",
        f"""class Local:
    there = {call}
    @traced
    def method(self):
        here()
        return {call}, __class__.__name__
log(Local().method())""",
        "raise KeyError('key')",
        "raise ValueError('value')",
        "raise ValueError('value') from KeyError('cause')",
        "raise ExceptionGroup('group', [ValueError(1), KeyError(2)])",
        "raise",
        "assert pick(), 'asserted'",
        "log(absent)",
        "if pick(): del count",
    ]
    if place.has(GENERATOR):
        found += [
            "log(list({generator}()))",
            "for each in {generator}(): log(each)",
            "for each in {generator}():\n    log(each)\n    if pick(): break",
            "log([each for each in {generator}()])",
            "running = {generator}(); log(next(running, None)); log(running.throw(KeyError('thrown')))",
            "running = {generator}(); log(next(running, None)); log(running.close())",
            "running = {generator}(); log(next(running, None)); del running",
            "running = {generator}(); log(next(running, None)); log(next(running, None))",
            "first, *rest = {generator}(); log(first, rest)",
            "log(next({generator}()))",
        ]
    if place.has(COROUTINE):
        found += ["log(drive({coroutine}(), picked()))"]
    if place.kind in {GENERATOR, ASYNC_GENERATOR}:
        found += [
            "log((yield 'yielded'))",
            "yield",
            f"log('a', {call}, (yield 'b'))",
            "log(pick() or (yield 'c'))",
            "yield 'd'; yield 'e'",
        ]
    if place.kind == GENERATOR:
        found += ["log((yield from via([1, 2])))", "yield from via(range(2))"]
        if place.has(GENERATOR):
            found += ["log((yield from via({generator}())))"] * 3
            found += [f"log({call}, (yield from via({{generator}}())))"]
    if place.kind in {COROUTINE, ASYNC_GENERATOR}:
        found += ["log(await via(tick('tick')))", f"log({call}, await via(tick('tock')))"]
        if place.has(COROUTINE):
            found += ["log(await via({coroutine}()))"] * 3
            if INLINES_COMPREHENSIONS:
                found += ["log([await via({coroutine}()) for each in range(2)])"]
        if place.has(ASYNC_GENERATOR):
            found += [
                "async for each in {async generator}(): log(each)",
                "async for each in {async generator}():\n    log(each)\n    if pick(): break",
                "running = {async generator}(); log(await via(anext(running, None))); log(await via(running.aclose()))",
                "running = {async generator}(); log(await via(running.asend(None)), await via(running.asend(1)))",
                "running = {async generator}(); await via(anext(running)); log(await via(running.athrow(KeyError('thrown'))))",
            ]
            if INLINES_COMPREHENSIONS:
                found += ["log([each async for each in {async generator}()])"]
    if not place.in_group:
        found += ["return" if place.kind == ASYNC_GENERATOR else "return 'returned'"]
        found += ["if pick(): return" if place.kind == ASYNC_GENERATOR else f"if pick(): return {call}"]
    if place.in_loop and not place.in_group:
        found += ["if pick(): break", "if pick(): continue", "break", "continue"]
    return found


def _compound(place: Place) -> list[list[str]]:
    """Return the heads of the compound statements that are allowed at a place, each to be followed by a body."""
    call = "{plain}()" if place.has(PLAIN) else "pick()"
    found = [
        [f"if {call}:", "elif pick():", "else:"],
        ["for each in range(2):"],
        ["for each in 'ab':", "else:"],
        ["while pick():", "else:"],
        ["with Manager(pick()) as got:"],
        ["with managed(pick()) as got, Manager(pick()):"],
        ["match pick():\n    case True:", f"    case got if {call} or got:", "    case _:"],
        ["try:", "except KeyError as error:"],
        ["try:", "except (ValueError, GeneratorExit):", "else:"],
        ["try:", "except:"],
        ["try:", "finally:"],
        ["try:", "finally:"],
        ["try:", "except ValueError:", "else:", "finally:"],
        ["try:", "except* ValueError as group:"],
        ["try:", "except* KeyError:", "except* ValueError:", "finally:"],
    ]
    if place.kind == GENERATOR and place.has(GENERATOR):
        found += [["for each in {generator}():", "else:"]]
    if place.kind in {COROUTINE, ASYNC_GENERATOR}:
        found += [["async with managed_async(pick()) as got:"]] * 2
        if place.has(ASYNC_GENERATOR):
            found += [["async for each in {async generator}():", "else:"]] * 2
    return found


def _indented(lines: list[str], by: str = "    ") -> list[str]:
    return [by + line for line in lines]


@st.composite
def blocks(draw: st.DrawFn, place: Place, depth: int) -> list[str]:
    """Draw the lines of one to three statements, nested at most so deep."""

    def filled(template: str) -> list[str]:
        for kind in KINDS:
            hole = f"{{{kind}}}"
            while hole in template:
                template = template.replace(hole, draw(st.sampled_from(place.has(kind))), 1)
        return template.split("\n")

    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.integers(0, 7)) if depth else 0
        if shape <= 3:
            lines += filled(draw(st.sampled_from(_simple(place))))
        elif shape == 7 and place.nested < 2:
            kind = draw(st.sampled_from(KINDS))
            name = f"{kind.split()[0]}{len(lines)}"  # one name, one kind: it may be bound again further in
            known = tuple(one for one in place.known if one[0] != name)
            lines += draw(functions(name, Place(kind, known, nested=place.nested + 1), depth - 1))
            place = replace(place, known=(*known, (name, kind)))
        else:
            for head in draw(st.sampled_from(_compound(place))):
                inner = place
                if head.startswith(("for", "while", "async for")):
                    inner = replace(place, in_loop=True)
                elif head.startswith("except*"):
                    inner = replace(place, in_loop=False, in_group=True)
                head_lines = filled(head)
                indent = head_lines[-1][: len(head_lines[-1]) - len(head_lines[-1].lstrip())] + "    "
                lines += [*head_lines, *_indented(draw(blocks(inner, depth - 1)), indent)]
    return lines


@st.composite
def functions(draw: st.DrawFn, name: str, place: Place, depth: int) -> list[str]:
    """Draw a function's lines."""
    parameters, first = draw(st.sampled_from([("", ""), ("a=1", "log(a)"), ("*rest, key=2", "log(rest, key)")]))
    body = ["nonlocal count", "count += 1"] if place.nested else ["count = 0"]
    body += ["here()"] if place.kind == PLAIN else []
    body += [first] if first else []
    body += draw(blocks(place, depth))
    if place.kind in {GENERATOR, ASYNC_GENERATOR}:
        body += ["yield 'last'"]
    keyword = "async def" if place.kind in {COROUTINE, ASYNC_GENERATOR} else "def"
    return ["@traced", f"{keyword} {name}({parameters}):", *_indented(body)]


@dataclass(frozen=True)
class RandomProgram:
    """A module, the kind of its last function, which is called, and what befalls it.

    Attributes:
        source, entry, kind: the module, its last function and that one's kind.
        picks: what `pick` returns, one after the other.
        acts: what is done to what the function returns, unless it is plain; of ACTS.
        reactions: what the loop does where the program awaits; of ACTS.
    """

    source: str
    entry: str
    kind: str
    picks: list[bool]
    acts: list[str]
    reactions: list[str]


@st.composite
def programs(draw: st.DrawFn) -> RandomProgram:
    """Draw a module of two to five functions, and what is done with the last one."""
    known: tuple[tuple[str, str], ...] = ()
    source = PROLOGUE
    for number in range(draw(st.integers(2, 5))):
        name, kind = f"f{number}", draw(st.sampled_from(KINDS))
        source += "\n".join(draw(functions(name, Place(kind, known), 3))) + "\n\n"
        known += ((name, kind),)
    return RandomProgram(
        source,
        *known[-1],
        draw(st.lists(st.booleans(), max_size=20)),
        draw(st.lists(st.sampled_from(ACTS), max_size=8)),
        draw(st.lists(st.sampled_from(("send", "send", "send", "key", "error", "drop")), max_size=6)),
    )


class OutOfFuel(BaseException):
    """The program has logged enough."""


def _same(one: Any) -> Any:
    return one


class Surroundings:
    """What a program imports: a log, answers, managers, an awaitable, a loop.

    Args:
        picks: what `pick` returns, one after the other; then False.
        traced: the decorator of each function.
        via: is given whatever the program delegates to by `yield from` and `await`.
        here: is called at the start of each plain function.
    """

    def __init__(
        self,
        picks: list[bool],
        traced: Callable[[Any], Any] = _same,
        via: Callable[[Any], Any] = _same,
        here: Callable[[], object] = str,
    ) -> None:
        self.logged: list[str] = []
        answers = iter(picks)

        def log(*things: object, **named: object) -> object:
            if len(self.logged) >= MAX_LOG:
                raise OutOfFuel
            self.logged.append(", ".join(map(repr, [*things, *named.values()])))
            return things[-1] if things else None

        class Manager:
            def __init__(self, swallows: bool) -> None:
                self.swallows = swallows

            def __enter__(self) -> str:
                return "got"

            def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
                log("exit", kind)
                return self.swallows and kind is not None and issubclass(kind, ValueError)

        class Tick:
            def __init__(self, value: object) -> None:
                self.value = value

            def __await__(self) -> Iterator[object]:
                return (yield self.value)

        class AsyncManager:
            def __init__(self, made: Any) -> None:
                self.made = made

            def __aenter__(self) -> Any:
                return via(self.made.__aenter__())

            def __aexit__(self, *error: object) -> Any:
                return via(self.made.__aexit__(*error))

        def async_managed(function: Any) -> Any:
            make = contextlib.asynccontextmanager(function)
            return lambda *given: AsyncManager(make(*given))

        def pick() -> bool:
            return next(answers, False)

        self.module = types.ModuleType("surroundings")
        self.module.__dict__.update(
            traced=traced,
            via=via,
            here=here,
            log=log,
            pick=pick,
            picked=lambda: ["key" if pick() else "send"],
            drive=drive,
            tick=Tick,
            Manager=Manager,
            contextmanager=contextlib.contextmanager,
            async_managed=async_managed,
        )


def drive(awaitable: Any, reactions: list[str]) -> object:
    """Run an awaitable to its end, as a loop does; at its first suspensions, react as told."""
    running = awaitable.__await__()
    coming = iter(reactions)
    reaction = "send"
    while True:
        try:
            if reaction == "drop":
                return running.close()
            if reaction == "send":
                running.send(None)
            else:
                running.throw(KeyError("thrown") if reaction == "key" else ValueError("thrown"))
        except StopIteration as end:
            return end.value
        reaction = next(coming, "send")
