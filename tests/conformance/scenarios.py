"""What programs do, and every transition that an engine has to report of it, in order.

A report is written `function.TRANSITION`, in another lane than the first one `2:function.TRANSITION`. The programs of
`programs.py` come with theirs as docstrings; those below need a module of their own, other threads or a newer grammar.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from narrative_auto.instrument.engines.base import SEES_CLOSE, SEES_EXEC, SEES_THROW, SURVIVES_OVERFLOW

PROGRAMS = Path(__file__).with_name("programs.py")


@dataclass(frozen=True)
class Scenario:
    """A program, started by calling its `main`.

    Attributes:
        name: what it is about.
        source: the module.
        reports: every transition, as the module docstring says.
        needs: the capabilities without which an engine reports something else.
        since: the oldest interpreter with its grammar.
        start: the function that is called.
        nested_only: only functions within functions count, and none whose name begins with an underscore.
        by_lane: threads run at the same time, so only the order within a lane is known.
    """

    name: str
    source: str
    reports: list[str]
    needs: frozenset[str] = field(default_factory=frozenset)
    since: tuple[int, int] = (3, 11)
    start: str = "main"
    nested_only: bool = False
    by_lane: bool = False


_NEEDS = {
    "generator_closed": {SEES_CLOSE},
    "generator_dropped": {SEES_CLOSE},
    "yields_from_closed": {SEES_CLOSE},
    "yields_from_finished_by_throw": {SEES_THROW},
}


def _of_programs() -> list[Scenario]:
    source = PROGRAMS.read_text("utf-8")
    found = re.findall(r'^def (\w+)\(\):\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)
    return [
        Scenario(
            name,
            source,
            re.sub(r"\(\w+\)", "", told).split(),
            frozenset(_NEEDS.get(name, ())),
            start=name,
            nested_only=True,
        )
        for name, told in found
    ]


def _scenario(
    name: str,
    source: str,
    reports: str,
    *needs: str,
    since: tuple[int, int] = (3, 11),
    by_lane: bool = False,
) -> Scenario:
    return Scenario(name, source, reports.split(), frozenset(needs), since, by_lane=by_lane)


_OWN = [
    _scenario(
        "a class of every kind of method",
        """
import functools
class Base:
    def __init__(self, n): self.n = n
class Shop(Base):
    factor = (lambda: 2)()
    def __init__(self, n): super().__init__(n)
    def __call__(self): return self.size
    def __len__(self): return 3
    @property
    def size(self): return self.n
    @size.setter
    def size(self, n): self.n = n
    @staticmethod
    def still(): return 1
    @classmethod
    def make(cls): return cls(2)
    @functools.lru_cache
    def kept(self): return 4
def main():
    shop = Shop.make()
    shop.size = shop.still() + len(shop)
    return shop(), shop.kept(), shop.kept()
""",
        """
main.START Shop.make.START Shop.__init__.START Base.__init__.START Base.__init__.RETURN Shop.__init__.RETURN
Shop.make.RETURN Shop.still.START Shop.still.RETURN Shop.size.START Shop.size.RETURN Shop.__call__.START
Shop.size.START Shop.size.RETURN Shop.__call__.RETURN Shop.kept.START Shop.kept.RETURN main.RETURN
""",
    ),
    _scenario(
        "decorators that take the function before anyone could wrap it",
        """
import functools
TABLE = {}
def register(function):
    TABLE[function.__name__] = function
    return function
def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args)
    return wrapper
@register
def handler(): return 1
@register
@wrapped
def other(): return 2
del handler, other
def main(): return [TABLE["handler"](), TABLE["other"]()]
""",
        """
register.START register.RETURN wrapped.START wrapped.RETURN register.START register.RETURN
main.START handler.START handler.RETURN wrapped.<locals>.wrapper.START other.START other.RETURN
wrapped.<locals>.wrapper.RETURN main.RETURN
""",
    ),
    _scenario(
        "an exception through three calls and two handlers",
        """
def inner(): raise KeyError("x")
def middle():
    try: inner()
    finally: cleanup()
def cleanup(): return None
def main():
    try: middle()
    except KeyError: return cleanup()
""",
        """
main.START middle.START inner.START inner.UNWIND cleanup.START cleanup.RETURN middle.UNWIND
cleanup.START cleanup.RETURN main.RETURN
""",
    ),
    _scenario(
        "SystemExit, KeyboardInterrupt and StopIteration leave functions too",
        """
def leave(kind): raise kind
def main():
    for kind in (SystemExit, KeyboardInterrupt, StopIteration):
        try: leave(kind)
        except BaseException: pass
""",
        "main.START " + "leave.START leave.UNWIND " * 3 + "main.RETURN",
    ),
    _scenario(
        "a generator between two threads",
        """
import threading
def numbers():
    yield 1
    yield 2
def main():
    generator = numbers()
    next(generator)
    thread = threading.Thread(target=lambda: next(generator))
    thread.start()
    thread.join()
    next(generator, None)
""",
        """
main.START numbers.START numbers.YIELD 2:numbers.RESUME 2:numbers.YIELD numbers.RESUME numbers.RETURN main.RETURN
""",
    ),
    _scenario(
        "threads have lanes of their own",
        """
import threading
def work(n):
    both.wait()
    return step(n)
def step(n): return n
both = threading.Barrier(2)
def main():
    first = threading.Thread(target=work, args=[1])
    second = threading.Thread(target=work, args=[2])
    first.start()
    second.start()
    first.join()
    second.join()
""",
        """
main.START main.RETURN 2:work.START 2:step.START 2:step.RETURN 2:work.RETURN
3:work.START 3:step.START 3:step.RETURN 3:work.RETURN
""",
        by_lane=True,
    ),
    _scenario(
        "two tasks take turns",
        """
import asyncio
async def work(n):
    await asyncio.sleep(0)
    return n
async def both(): return await asyncio.gather(work(1), work(2))
def main(): return asyncio.run(both())
""",
        """
main.START both.START both.YIELD work.START work.YIELD work.START work.YIELD work.RESUME work.RETURN
work.RESUME work.RETURN both.RESUME both.RETURN main.RETURN
""",
    ),
    _scenario(
        "a task group whose sister fails",
        """
import asyncio
async def waits():
    try: await asyncio.sleep(60)
    finally: tidy()
def tidy(): pass
async def fails():
    await asyncio.sleep(0)
    raise ValueError("x")
async def group():
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(waits())
            tasks.create_task(fails())
    except* ValueError:
        pass
def main(): return asyncio.run(group())
""",
        """
main.START group.START group.YIELD waits.START waits.YIELD fails.START fails.YIELD fails.RESUME fails.UNWIND
waits.RESUME tidy.START tidy.RETURN waits.UNWIND group.RESUME group.RETURN main.RETURN
""",
    ),
    _scenario(
        "a context variable's token is held across a yield",
        """
import contextvars
variable = contextvars.ContextVar("variable", default=0)
def holds():
    token = variable.set(1)
    try: yield variable.get()
    finally: variable.reset(token)
def main():
    generator = holds()
    seen = [next(generator)]
    seen.append(variable.get())
    generator.close()
    return seen + [variable.get()]
""",
        "main.START holds.START holds.YIELD holds.RESUME holds.UNWIND main.RETURN",
    ),
    _scenario(
        "a generator thrown into again and again at the same bare yield",
        """
def stubborn():
    while True:
        try: yield
        except KeyError: pass
def main():
    generator = stubborn()
    next(generator)
    generator.throw(KeyError())
    generator.throw(KeyError())
    try: generator.throw(ValueError())
    except ValueError: pass
""",
        """
main.START stubborn.START stubborn.YIELD stubborn.RESUME stubborn.YIELD stubborn.RESUME stubborn.YIELD
stubborn.RESUME stubborn.UNWIND main.RETURN
""",
    ),
    _scenario(
        "a generator left through a with statement at its yield",
        """
import contextlib
def held():
    with contextlib.nullcontext():
        yield
def main():
    generator = held()
    next(generator)
    try: generator.throw(ValueError())
    except ValueError: pass
""",
        "main.START held.START held.YIELD held.RESUME held.UNWIND main.RETURN",
    ),
    _scenario(
        "an async generator left through an async with statement, which awaits, at its yield",
        """
import contextlib, types
@types.coroutine
def tick(): return (yield)
class Closing:
    __aenter__ = __aexit__ = lambda self, *_: tick()
async def held():
    async with Closing():
        yield
def main():
    generator = held()
    for step in (generator.asend(None), generator.athrow(ValueError())):
        with contextlib.suppress(StopIteration, ValueError):
            step.send(None)
            step.send(None)
""",
        """
main.START
held.START tick.START tick.YIELD held.YIELD held.RESUME tick.RESUME tick.RETURN held.YIELD
held.RESUME tick.START tick.YIELD held.YIELD held.RESUME tick.RESUME tick.RETURN held.UNWIND
main.RETURN
""",
    ),
    _scenario(
        "a generator that is thrown into before it began",
        """
def never(): yield
def main():
    generator = never()
    try: generator.throw(ValueError())
    except ValueError: pass
    never().close()
""",
        "main.START main.RETURN",
    ),
    _scenario(
        "a recursion to the very end of the stack",
        """
def down(): return down()
def main():
    try: down()
    except RecursionError: return after()
def after(): return 1
""",
        "main.START after.START after.RETURN main.RETURN",
        SURVIVES_OVERFLOW,
    ),
    _scenario(
        "code that is run by exec",
        """
def main():
    names = {"__name__": __name__, "__file__": __file__}
    exec("def made(n):\\n    return n\\nmade(1)", names)
    return names["made"](2)
""",
        "main.START made.START made.RETURN made.START made.RETURN main.RETURN",
        SEES_EXEC,
    ),
    _scenario(
        "the same source twice is two functions",
        """
def twice(): return [made() for made in (one(), one())]
def one():
    def inner(): return 1
    return inner
def main(): return twice()
""",
        """
main.START twice.START one.START one.RETURN one.START one.RETURN one.<locals>.inner.START
one.<locals>.inner.RETURN one.<locals>.inner.START one.<locals>.inner.RETURN twice.RETURN main.RETURN
""",
    ),
    _scenario(
        "more than 256 constants and a jump over them all",
        "def main():\n    total = 0\n    for each in range(2):\n        if each:\n"
        + "".join(f"            total += {n} * 1000003\n" for n in range(400))
        + "            f()\n    return total\ndef f(): pass\n",
        "main.START f.START f.RETURN main.RETURN",
    ),
    _scenario(
        "more than 65 535 instructions",
        "def main():\n    x = [0]\n    for each in x:\n"
        + "        x[0] = x[0] + each + 1; x[0] -= 1\n" * 6_000
        + "        f()\ndef f(): pass\n",
        "main.START f.START f.RETURN main.RETURN",
    ),
    _scenario(
        "generic functions and classes",
        """
def first[T: int](items: list[T]) -> T: return items[0]
class Box[T]:
    def __init__(self, item: T): self.item = item
    def get[U](self, other: U) -> T | U: return self.item or other
def main(): return first([1]), Box(2).get("x")
""",
        """
main.START first.START first.RETURN Box.__init__.START Box.__init__.RETURN Box.get.START Box.get.RETURN main.RETURN
""",
        since=(3, 12),
    ),
    _scenario(
        "t-strings and lazy annotations",
        """
def shown(name: NotThere): return t"hello {name!r:>10}"
def main(): return [part for part in shown("x")][0]
""",
        "main.START shown.START shown.RETURN main.RETURN",
        since=(3, 14),
    ),
    _scenario(
        "comprehensions, lambdas and generator expressions are no stages",
        """
def even(n): return n % 2 == 0
def main():
    some = [n for n in range(3) if even(n)]
    more = sorted(n for n in {k: v for k, v in enumerate(some)})
    return list(map(lambda n: even(n), more))
""",
        "main.START " + "even.START even.RETURN " * 5 + "main.RETURN",
    ),
]

SCENARIOS = [each for each in [*_of_programs(), *_OWN] if sys.version_info >= each.since]
