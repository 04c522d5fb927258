"""What crumbs are made of, and what cannot go wrong with them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import os
import signal
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from narrative_auto import crumbs
from narrative_auto.crumbs.memory import MOST_CRUMBS, memory


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Begin without crumbs, and end with the defaults."""
    crumbs.clear()
    yield
    memory.keep(MOST_CRUMBS)
    memory.include_thread = memory.include_timestamp = True
    crumbs.clear()


def only() -> dict[str, Any]:
    """Return the one crumb that there is."""
    (one,) = crumbs.snapshot()
    return one


class Untrue:
    """Has no truth."""

    def __bool__(self) -> bool:
        raise ValueError


@pytest.mark.parametrize("event", ["", None, 3, b"x", object(), Untrue()])
def test_no_event(event: Any) -> None:
    """What is no event is none."""
    crumbs.crumb(event, x=1)
    assert crumbs.snapshot() == []


def test_event_by_name() -> None:
    """It may be given by name; beside another one it is a value."""
    crumbs.crumb(event="one")
    crumbs.crumb("two", event="other")
    assert [one["event"] for one in crumbs.snapshot()] == ["one", "two"]
    assert crumbs.snapshot()[1]["event_"] == "'other'"


def test_no_value_takes_the_place_of_a_field() -> None:
    """Time, thread and context are what they are."""
    with crumbs.context(a=1):
        crumbs.crumb("x", ts="1", thread="t", context="c")
    one = only()
    assert one["thread"] == threading.current_thread().name
    assert one["ts"].endswith("+00:00")
    assert one["context"] == {"a": 1}
    assert (one["ts_"], one["thread_"], one["context_"]) == ("'1'", "'t'", "'c'")


class Nasty:
    """Its `repr` fails in every way."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


class Endless:
    """Its `repr` ends with the stack."""

    def __repr__(self) -> str:
        return repr(self)


class Number:
    """Its `repr` is no text."""

    def __repr__(self) -> str:
        return 3  # type: ignore[return-value]


@pytest.mark.parametrize(
    "value",
    [
        Nasty(ValueError()),
        Nasty(RecursionError()),
        Nasty(SystemExit(7)),
        Nasty(asyncio.CancelledError()),
        Endless(),
        Number(),
    ],
)
def test_repr_that_fails(value: object) -> None:
    """It costs nothing but the value itself."""
    crumbs.crumb("x", bad=value, listed=[1, value, 2], good=1)
    one = only()
    assert one["bad"] == "<unserializable>"
    assert one["listed"] == "[1, <unserializable>, 2]"
    assert one["good"] == "1"


def test_a_repr_that_does_not_come_back() -> None:
    """It costs a quarter of a second, twice; then its type shows as its name. One that is slow is waited for."""

    class Slow:
        def __repr__(self) -> str:
            time.sleep(0.05)
            return "slow"

    class Waits:
        def __repr__(self) -> str:
            asked.append(1)
            over.wait(60)
            return "late"

    asked: list[int] = []
    over = threading.Event()
    began = time.perf_counter()
    for _ in range(4):
        crumbs.crumb("x", slow=Slow(), waits=Waits())
    over.set()
    assert time.perf_counter() - began < 3
    assert len(asked) == 2
    name = f"<{__name__}.test_a_repr_that_does_not_come_back.<locals>.Waits>"
    assert [(one["slow"], one["waits"]) for one in crumbs.snapshot()] == [("slow", name)] * 4


def test_a_huge_value() -> None:
    """A value's text is bounded, and so is the time that it takes."""
    nested: list[Any] = []
    nested.append(nested)
    began = time.thread_time()
    crumbs.crumb(
        "x",
        text="y" * 10_000_000,
        rows=list(range(10**6)),
        mapping=dict.fromkeys(range(10**5)),
        number=10**100_000,
        nested=nested,
        data=b"z" * 10**7,
    )
    assert time.thread_time() - began < 0.5
    one = only()
    assert all(len(str(text)) <= 200 for text in one.values())
    assert one["rows"].endswith("… 999990 more]")
    assert one["nested"] == "[...]"


def test_values_are_not_kept() -> None:
    """A crumb does not keep the program's objects alive."""

    class Owned:
        pass

    owned = Owned()
    gone = weakref.ref(owned)
    crumbs.crumb("x", owned=owned)
    del owned
    gc.collect()
    assert gone() is None


def test_secrets() -> None:
    """By name and by shape, in values, containers, contexts and events."""
    key = "AKIA" + "Q3EGRIRTV7TUWXYZ"
    with crumbs.context(session_token="s3cr3tvalue", header=f"Authorization: Bearer {'aB3' * 10}"):
        crumbs.crumb(
            f"login with {key}", password="hunter22", row={"api_key": "k-123456", "id": 7}, url="redis://:pw12345@h"
        )
    shown = json.dumps(crumbs.snapshot())
    for secret in (key, "s3cr3tvalue", "aB3aB3", "hunter22", "k-123456", "pw12345"):
        assert secret not in shown
    assert '\\"id\\"' not in shown
    assert "'id': 7" in shown


def test_snapshots_are_the_callers() -> None:
    """What is done to one changes nothing."""
    with crumbs.context(a="b"):
        crumbs.crumb("x")
    first = crumbs.snapshot()
    first[0]["context"]["a"] = "changed"
    first[0]["event"] = "changed"
    first.clear()
    assert only()["context"] == {"a": "b"}
    assert only()["event"] == "x"


def test_the_oldest_are_lost() -> None:
    """Fifty are kept, or as many as one asks for."""
    for number in range(120):
        crumbs.crumb("x", n=number)
    assert [one["n"] for one in crumbs.snapshot()] == [str(number) for number in range(70, 120)]
    memory.keep(5)
    crumbs.crumb("x", n=1000)
    assert [one["n"] for one in crumbs.snapshot()] == ["116", "117", "118", "119", "1000"]


def test_without_time_and_thread() -> None:
    """Both can be left out."""
    memory.include_timestamp = memory.include_thread = False
    crumbs.crumb("x", a=1)
    assert only() == {"event": "x", "a": "1"}


@pytest.mark.parametrize("arguments", [{"on_crash": "syslog"}, {"max_crumbs": 0}])
def test_what_cannot_be_meant(arguments: dict[str, Any]) -> None:
    """One clear line."""
    with pytest.raises(ValueError, match=r"^(on_crash|max_crumbs) is "):
        crumbs.enable(**arguments)


def test_contexts_of_tasks_and_threads() -> None:
    """A task has what held where it began; a thread has it if it is given the context."""
    found: dict[str, Any] = {}

    async def task(name: str) -> None:
        with crumbs.context(step=name):
            await asyncio.sleep(0)
            found[name] = crumbs.get_context()

    async def main() -> None:
        with crumbs.context(request=1):
            tasks = [asyncio.create_task(task(name)) for name in ("a", "b")]
        await asyncio.gather(*tasks)
        found["after"] = crumbs.get_context()

    asyncio.run(main())
    with crumbs.context(request=2):
        run = contextvars.copy_context().run
        thread = threading.Thread(target=run, args=(lambda: found.update(thread=crumbs.get_context()),))
        thread.start()
        thread.join()
    assert found == {
        "a": {"request": 1, "step": "a"},
        "b": {"request": 1, "step": "b"},
        "after": {},
        "thread": {"request": 2},
    }


def test_a_context_that_ends_elsewhere() -> None:
    """A generator's block may be left in another context than it was entered in."""

    def steps() -> Generator[int]:
        with crumbs.context(a=1):
            yield 1

    def begin_and_end() -> None:
        generator = steps()
        next(generator)
        contextvars.Context().run(generator.close)

    contextvars.copy_context().run(begin_and_end)
    assert crumbs.get_context() == {}


def test_a_context_value_that_fails_loses_nothing() -> None:
    """Neither the crumb nor the other values."""
    with crumbs.context(bad=Nasty(ValueError()), good="g", listed=[1]):
        crumbs.crumb("x")
    assert only()["context"] == {"bad": "<unserializable>", "good": "g", "listed": "[1]"}


def test_in_a_signal_handler() -> None:
    """A handler that comes while a crumb is being left leaves its own."""
    came = threading.Event()

    class Interrupts:
        def __repr__(self) -> str:
            os.kill(os.getpid(), signal.SIGUSR1)
            return "interrupted" if came.wait(5) else "alone"

    def handler(*_: object) -> None:
        crumbs.crumb("in the handler")
        came.set()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        crumbs.crumb("outside", value=Interrupts())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [one["event"] for one in crumbs.snapshot()] == ["in the handler", "outside"]


def test_many_threads() -> None:
    """No crumb is lost or torn."""
    memory.keep(10_000)

    def work(name: int) -> None:
        for number in range(500):
            crumbs.crumb("x", name=name, number=number)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = crumbs.snapshot()
    assert len(found) == 4_000
    for name in range(8):
        assert [one["number"] for one in found if one["name"] == str(name)] == [str(number) for number in range(500)]


def test_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON that can be read back, text a line each, a file, stdout."""
    with crumbs.context(request="r"):
        crumbs.crumb("x", a=1)
    found = crumbs.snapshot()
    assert json.loads(crumbs.format_json(found)) == found
    assert crumbs.format_text(found) == f"{found[0]['ts']} [{found[0]['thread']}] x a=1 {{request=r}}"
    crumbs.export_json(tmp_path / "crumbs.json")
    assert json.loads((tmp_path / "crumbs.json").read_text("utf-8")) == found
    crumbs.dump()
    assert json.loads(capsys.readouterr().out) == found


def test_json_of_what_json_does_not_know() -> None:
    """A list that somebody else made is no reason to lose the rest."""
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    given: list[dict[Any, Any]] = [{"event": "x", "bad": object(), 3: float("inf"), "loop": loop, "text": "\ud800"}]
    found = json.loads(crumbs.format_json(given))
    assert found[0]["event"] == "x"
    assert found[0]["3"] == "inf"


def test_the_name_of_a_foreign_thread() -> None:
    """A thread that `threading` does not know stays unknown to it."""
    import _thread

    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        crumbs.crumb("x")
        done.release()

    before = set(threading.enumerate())
    _thread.start_new_thread(work, ())
    assert done.acquire(timeout=10)
    assert only()["thread"].startswith("thread ")
    assert set(threading.enumerate()) == before


def test_a_class_without_a_hash() -> None:
    """A metaclass may have an `==` and no hash."""

    class Odd(type):  # noqa: PLW1641 - the point of it
        def __eq__(cls, other: object) -> bool:
            raise ValueError

    class Value(metaclass=Odd):
        pass

    with crumbs.context(odd=Value(), good=1):
        crumbs.crumb("x", odd=Value(), listed=[1, Value()])
    one = only()
    assert one["context"]["good"] == 1
    assert one["listed"].startswith("[1, <")


def test_a_secret_at_a_cut() -> None:
    """What a bound would cut in half is gone as a whole."""
    secret = "postgres://u:hunter2secretpass@db/x"
    for length in range(150, 200, 3):
        lead = "x " * (length // 2)
        with crumbs.context(place=lead + secret):
            crumbs.crumb(lead + secret, value=lead + secret)
    assert "hunter2" not in json.dumps(crumbs.snapshot())


def test_a_context_that_changes() -> None:
    """A crumb has what a value is when it is left."""
    cart: list[int] = []
    with crumbs.context(cart=cart):
        crumbs.crumb("x")
        cart.append(1)
        crumbs.crumb("x")
    assert [one["context"]["cart"] for one in crumbs.snapshot()] == ["[]", "[1]"]


def test_a_long_text_without_a_blank() -> None:
    """It says how long it is, as its head cannot be told from half a secret."""
    crumbs.crumb("x", body="q" * 5_000)
    assert only()["body"] == "<str, 5000 characters>"
