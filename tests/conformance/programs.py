"""Programs for the scenarios and for `test_assembly`: each function drives the functions nested in it, which alone count.

A docstring is the exact list of transitions that the nested functions report (those whose names begin with `_` are
not assembled); UNWIND names the exception's type.
"""

# The code is odd on purpose, so that every shape of code comes by: no tool is to straighten it.
# fmt: off
# mypy: ignore-errors
# ruff: noqa: B904, C400, E704, F821, PERF401, PLC3002, PLE0643, PLW0603, PT018, RUF015, SIM117, UP028

import asyncio
import contextlib


def plain():
    """f.START f.RETURN"""

    def f(a, b):
        total = a + b
        return total * 2

    return f(1, 2)


def falls_off_the_end():
    """f.START f.RETURN"""

    def f():
        [].append(1)

    return f()


def on_one_line():
    """g.START f.START f.RETURN g.UNWIND(ZeroDivisionError)"""

    def f(a):
        return a + 1

    def g(a):
        return f(a) / 0

    return g(1)


def early_returns():
    """f.START f.RETURN f.START f.RETURN f.START f.RETURN"""

    def f(n):
        if n == 0:
            return "none"
        for each in range(10):
            if each == n:
                return each
        return "many"

    return f(0), f(3), f(30)


def loop_at_the_beginning():
    """f.START f.RETURN"""

    def f(items):
        while items:
            items.pop()
        return len(items)

    return f([1, 2, 3])


def raises():
    """f.START f.UNWIND(KeyError)"""

    def f(mapping):
        """A docstring: the body begins below it."""
        return mapping["here"] + mapping["missing"]

    return f({"here": 1})


def always_raises():
    """f.START f.UNWIND(ValueError)"""

    def f():
        raise ValueError("always") from KeyError("cause")

    return f()


def raises_through_callers():
    """f.START g.START h.START h.UNWIND(IndexError) g.UNWIND(IndexError) f.UNWIND(IndexError)"""

    def f():
        return 1 + g()

    def g():
        return [h() for _ in range(1)][0]

    def h():
        return [][1]

    return f()


def try_except_else_finally():
    """f.START f.RETURN f.START f.RETURN f.START f.UNWIND(TypeError)"""
    log = []

    def f(thing):
        try:
            value = int(thing)
        except ValueError as error:
            log.append(str(error))
            value = -1
        else:
            log.append("else")
        finally:
            log.append("finally")
        return value

    log.append(f("1"))
    log.append(f("x"))
    try:
        f(None)
    except TypeError as error:
        log.append((error.__traceback__.tb_next.tb_lineno, str(error.__context__)))
    return log


def returns_within_try():
    """f.START f.RETURN f.START f.RETURN f.START f.RETURN"""

    def f(n):
        try:
            if n == 0:
                return "try"
            return 1 / (n - 1)
        except ZeroDivisionError:
            return "except"

    return f(0), f(1), f(3)


def raises_through_finally():
    """f.START f.UNWIND(ValueError)"""

    def f(log):
        try:
            raise ValueError("first")
        finally:
            log.append("finally")

    return f([])


def raises_in_handler():
    """f.START f.UNWIND(RuntimeError)"""

    def f():
        try:
            {}["missing"]
        except KeyError:
            raise RuntimeError("second")

    return f()


def returns_out_of_finally():
    """f.START f.RETURN"""

    def f():
        while True:
            try:
                raise ValueError("lost")
            except ValueError:
                break
            finally:
                [].append(1)
        return "kept"

    return f()


def try_except_star():
    """f.START f.RETURN f.START f.UNWIND(ExceptionGroup)"""

    def f(group):
        caught = []
        try:
            raise group
        except* ValueError as values:
            caught.append(len(values.exceptions))
        except* TypeError:
            caught.append("types")
        return caught

    first = f(ExceptionGroup("some", [ValueError(1), TypeError(2), ValueError(3)]))
    return first, f(ExceptionGroup("more", [ValueError(1), KeyError(2)]))


def with_statements():
    """f.START f.RETURN f.START f.RETURN f.START f.UNWIND(KeyError)"""

    from contextlib import nullcontext, suppress

    def f(item):
        with nullcontext(item) as outer, suppress(TypeError):
            with suppress(ValueError):
                return int(outer["key"])
        return "suppressed"

    return f({"key": "3"}), f({"key": []}), f({})


def matches():
    """f.START f.RETURN f.START f.RETURN f.START f.RETURN f.START f.UNWIND(LookupError)"""

    def f(thing):
        match thing:
            case {"kind": str(kind), **rest} if rest:
                return kind, rest
            case [first, *others]:
                return first, others
            case int() | float():
                return "number"
            case _:
                raise LookupError(thing)

    return f({"kind": "a", "b": 1}), f([1, 2, 3]), f(1.5), f("text")


def walrus():
    """f.START f.RETURN"""

    def f(items):
        return [half for each in items if (half := each // 2) > 1], half

    return f([1, 4, 9])


def closures():
    """f.START f.RETURN g.START g.RETURN g.START g.RETURN g.START g.UNWIND(TypeError)"""

    def f(start):
        count = start

        def g(step=1):
            nonlocal count
            count += step
            return count

        return g

    g = f(10)
    return g(), g(5), g("1")


def super_without_arguments():
    """g.START f.START f.RETURN g.RETURN"""

    class Base:
        def f(self, n):
            return n

    class Child(Base):
        def g(self, n):
            return super().f(n) + (__class__ is Child)

    return Child().g(1)


def every_kind_of_argument():
    """f.START f.RETURN"""

    def f(a, /, b, *args, c, d=4, **kwargs):
        def inner():
            return a, args, d

        return a, b, args, c, d, kwargs, sorted(locals()), inner.__name__

    return f(1, 2, 3, c=5, e=6)


def comprehensions():
    """f.START f.RETURN"""

    def f(n):
        squares = [x * x for x in range(n)]
        pairs = {x: y for x in range(n) for y in squares if y % 2}
        return squares, pairs, {x % 3 for x in squares}, sum(x for x in squares), sorted(squares, key=lambda x: -x)

    return f(5)


def recursion():
    """f.START f.START f.START f.RETURN f.RETURN f.RETURN"""

    def f(n):
        return 1 if n <= 1 else n * f(n - 1)

    return f(3)


def deletes_and_unbound():
    """f.START f.UNWIND(UnboundLocalError)"""

    def f(a):
        del a
        return a

    return f(1)


def asserts():
    """f.START f.UNWIND(AssertionError)"""

    def f(a):
        assert a and a > 3, f"{a!r} is {'small':>8}"

    return f(2)


def generator():
    """f.START f.YIELD f.RESUME f.YIELD f.RESUME f.RETURN"""

    def f(n):
        for each in range(n):
            yield each

    return list(f(2))


def generator_with_return_value():
    """f.START f.YIELD f.RESUME f.RETURN"""

    def f():
        try:
            got = yield 1
        finally:
            [].append(1)
        return got

    g = f()
    values = [next(g)]
    try:
        g.send("sent")
    except StopIteration as stop:
        values.append(stop.value)
    return values, g.gi_frame


def generator_that_fails():
    """f.START f.YIELD f.RESUME f.UNWIND(ZeroDivisionError)"""

    def f():
        x = 0
        yield x
        yield 1 / x

    return list(f())


def generator_never_started():
    """ """

    def f():
        yield 1

    f().close()
    g = f()
    return g.throw(KeyError("before it began"))


def generator_throw_caught():
    """f.START f.YIELD f.RESUME f.YIELD f.RESUME f.RETURN"""

    def f():
        try:
            yield 1
        except KeyError as error:
            yield repr(error)

    g = f()
    return next(g), g.throw(KeyError("thrown")), list(g)


def generator_throw_uncaught():
    """f.START f.YIELD f.RESUME f.UNWIND(KeyError)"""

    def f():
        yield (1)

    g = f()
    next(g)
    return g.throw(KeyError("thrown"))


def generator_throw_through_finally():
    """f.START f.YIELD f.RESUME f.YIELD f.RESUME f.UNWIND(KeyError)"""

    def f():
        try:
            yield 1
        finally:
            yield 2

    g = f()
    next(g)
    g.throw(KeyError("thrown"))
    return next(g)


def generator_throw_while_handling():
    """f.START f.YIELD f.RESUME f.YIELD f.RESUME f.UNWIND(LookupError)"""

    def f():
        try:
            {}["missing"]
        except KeyError:
            try:
                yield 1
            except TypeError:
                pass
            yield 2

    g = f()
    next(g)
    g.throw(TypeError)
    return g.throw(LookupError("with a context"))


def generator_closed():
    """f.START f.YIELD f.RESUME f.UNWIND(GeneratorExit)"""

    def f():
        yield 1

    g = f()
    next(g)
    return g.close(), g.gi_frame, list(g)


def generator_closed_with_finally():
    """f.START f.YIELD f.RESUME f.UNWIND(GeneratorExit)"""
    log = []

    def f():
        try:
            yield 1
        finally:
            log.append("finally")

    g = f()
    next(g)
    return g.close(), log


def generator_dropped():
    """f.START f.YIELD f.RESUME f.UNWIND(GeneratorExit)"""

    def f(a):
        yield a

    g = f(1)
    next(g)
    del g


def generator_ignores_close():
    """f.START f.YIELD f.RESUME f.YIELD f.RESUME f.RETURN"""

    def f():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    g = f()
    next(g)
    try:
        return g.close()
    except RuntimeError as error:
        return str(error), list(g)


def generator_raises_stop_iteration():
    """f.START f.YIELD f.RESUME f.UNWIND(RuntimeError)"""

    def f():
        yield 1
        next(iter(()))

    try:
        return list(f())
    except RuntimeError as error:
        return str(error), type(error.__cause__)


def yields_from():
    """f.START g.START g.YIELD f.YIELD f.RESUME g.RESUME g.RETURN f.RETURN"""

    def f():
        got = yield from g()
        return got + 1

    def g():
        got = yield 1
        return got

    running = f()
    first = next(running)
    try:
        running.send(5)
    except StopIteration as stop:
        return first, stop.value


def yields_from_and_throws():
    """f.START g.START g.YIELD f.YIELD g.RESUME g.YIELD f.RESUME g.RESUME g.RETURN f.RETURN"""

    def f():
        got = yield from g()
        return got, "after"

    def g():
        try:
            yield 1
        except KeyError:
            yield 2
        return "finished by throw"

    running = f()
    next(running)
    running.throw(KeyError)
    delegate = running.gi_yieldfrom.__name__
    try:
        running.send(None)
    except StopIteration as stop:
        return stop.value, delegate


def yields_from_finished_by_throw():
    """f.START g.START g.YIELD f.YIELD g.RESUME g.RETURN f.RESUME f.YIELD f.RESUME f.RETURN"""

    def f():
        got = yield from g()
        yield got, "after"

    def g():
        try:
            yield 1
        except KeyError:
            return "finished by throw"

    running = f()
    return next(running), running.throw(KeyError), list(running)


def yields_from_a_list_and_throws():
    """f.START f.YIELD f.RESUME f.UNWIND(KeyError)"""

    def f():
        yield from [1, 2]

    running = f()
    next(running)
    return running.throw(KeyError("into a list"))


def yields_from_closed():
    """f.START g.START g.YIELD f.YIELD g.RESUME g.UNWIND(GeneratorExit) f.RESUME f.UNWIND(GeneratorExit)"""

    def f():
        yield from g()

    def g():
        yield 1

    running = f()
    next(running)
    running.close()


def context_manager():
    """g.START f.START f.YIELD f.RESUME f.UNWIND(ValueError) g.UNWIND(ValueError)"""

    @contextlib.contextmanager
    def f():
        try:
            yield "managed"
        finally:
            [].append(1)

    def g():
        with f() as value:
            raise ValueError(value)

    return g()


def coroutine():
    """f.START g.START g.YIELD f.YIELD f.RESUME g.RESUME g.RETURN f.RETURN"""

    async def f():
        return await g() + 1

    async def g():
        await asyncio.sleep(0)
        return 1

    return asyncio.run(f())


def coroutine_that_fails():
    """f.START g.START g.YIELD f.YIELD f.RESUME g.RESUME g.UNWIND(ZeroDivisionError) f.UNWIND(ZeroDivisionError)"""

    async def f():
        return (await g()) + 1

    async def g():
        await asyncio.sleep(0)
        return 1 / 0

    return asyncio.run(f())


def async_for_and_with():
    """f.START g.START g.RETURN g.START g.RETURN h.START h.YIELD h.RESUME h.YIELD h.RESUME h.RETURN f.RETURN"""

    log = []

    async def g(*of):
        log.append(len(of))

    async def h():
        yield 1
        yield 2

    manager = type("Manager", (), {"__aenter__": g, "__aexit__": g})

    async def f():
        async with manager():
            pass
        async for each in h():
            log.append(each)
        return log

    return drive(f())


def drive(coroutine):
    """Run a coroutine that never waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the coroutine waits")


def async_comprehension():
    """f.START h.START h.YIELD h.RESUME h.YIELD h.RESUME h.RETURN f.RETURN"""

    async def h():
        yield 1
        yield 2

    async def f():
        return [each + 1 async for each in h() if each]

    return drive(f())


def async_generator_closed():
    """f.START h.START h.YIELD h.RESUME h.UNWIND(GeneratorExit) f.RETURN"""

    async def h():
        try:
            yield 1
        finally:
            [].append(1)

    async def f():
        running = h()
        first = await anext(running)
        await running.aclose()
        return first

    return drive(f())


def async_generator_thrown_into():
    """f.START h.START h.YIELD h.RESUME h.YIELD h.RESUME h.UNWIND(LookupError) f.UNWIND(LookupError)"""

    async def h():
        try:
            yield 1
        except KeyError:
            yield 2

    async def f():
        running = h()
        await anext(running)
        await running.athrow(KeyError)
        return await running.athrow(LookupError("out"))

    return drive(f())


def async_generator_awaits():
    """f.START h.START g.START g.YIELD h.YIELD f.YIELD f.RESUME h.RESUME g.RESUME g.RETURN h.YIELD h.RESUME h.RETURN f.RETURN"""

    async def g():
        await asyncio.sleep(0)
        return 1

    async def h():
        yield await g()

    async def f():
        return [each async for each in h()]

    return asyncio.run(f())


def cancelled_task():
    """f.START g.START g.YIELD f.YIELD g.RESUME g.UNWIND(CancelledError) f.RESUME f.RETURN"""

    async def g():
        try:
            await asyncio.Event().wait()
        finally:
            [].append(1)

    async def f():
        try:
            await g()
        except asyncio.CancelledError:
            return "cancelled"

    async def _driver():
        task = asyncio.ensure_future(f())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    return asyncio.run(_driver())


def timed_out_task():
    """g.START g.YIELD g.RESUME g.UNWIND(CancelledError)"""

    async def g():
        await asyncio.Event().wait()

    return asyncio.run(asyncio.wait_for(g(), 0.001))


def generator_expression_and_lambda():
    """f.START f.RETURN"""

    def f(n):
        return list(each + 1 for each in range(n)), (lambda: n)()

    return f(2)


def constants_that_are_equal():
    """f.START f.RETURN"""

    def f():
        same = [True, 1, 1.0, 0.0, -0.0, (1, 1.0), (True, 1), "a", b"a", ((0.0,), (-0.0,)), frozenset({1}), 1j, ...]
        tests = [x in {1, 2, "a"} for x in (1, True, 1.0)]
        return [repr(each) for each in same], tests, [(lambda: 1)(), (lambda: 1)(), (lambda: True)()]

    return f()


def names_a_global():
    """f.START f.UNWIND(NameError)"""

    def f():
        global no_such_name
        no_such_name += 1

    return f()
