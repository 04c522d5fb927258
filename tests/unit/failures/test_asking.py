"""The program's own texts come in time, or not at all."""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from narrative_auto import crumb
from narrative_auto.failures.asking import OwnText

where: contextvars.ContextVar[str] = contextvars.ContextVar("where")


def asked(text: Any) -> Any:
    """Return an object whose `repr` is made by a function."""

    class Asked:
        def __repr__(self) -> str:
            return text()  # type: ignore[no-any-return]

    return Asked()


def threads_here() -> set[int]:
    """Return the threads that run Python code."""
    return set(sys._current_frames())


over = threading.Event()


@pytest.fixture(autouse=True)
def _nobody_left_behind() -> Iterator[None]:
    """Let those end that wait."""
    before = threads_here()
    over.clear()
    yield
    over.set()
    until_gone(before)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds, for ten seconds at most."""
    patience = time.monotonic() + 10
    while not condition() and time.monotonic() < patience:
        time.sleep(0.01)
    assert condition()


def until_gone(before: set[int]) -> None:
    """Wait until no other threads run Python code."""
    until(lambda: threads_here() <= before)


def sleeps() -> str:
    """Wait until the test is over."""
    over.wait(60)
    return "late"


def test_what_comes_in_time() -> None:
    """It is the text, as it is made in the caller's context."""
    where.set("here")
    assert OwnText(repr, 5).of(asked(lambda: f"<{where.get()}>")) == "<here>"
    assert OwnText(str, 5).of(asked(lambda: "<x>")) == "<x>"


def raises() -> str:
    """Raise what no `except Exception` meets."""
    raise SystemExit(3)


@pytest.mark.parametrize("text", [raises, lambda: 3, lambda: 1 / 0])
def test_what_fails(text: Any) -> None:
    """It is told apart from what does not come."""
    assert OwnText(repr, 5, failed="failed").of(asked(text)) == "failed"
    assert OwnText(repr, 5).of(asked(text)) is None


def test_a_text_of_a_class_of_its_own() -> None:
    """It is a `str` like any other afterwards: what its class does runs nowhere."""

    def fails(*_: object) -> Any:
        raise AssertionError

    named = ("__len__", "__getitem__", "__iter__", "__hash__", "__eq__", "encode")
    own: Any = type("Own", (str,), dict.fromkeys(named, fails))
    text = OwnText(repr, 5).of(asked(lambda: own("x" * 5000)))
    assert type(text) is str
    assert text == "x" * 5000
    crumb("own", value=asked(lambda: own("x" * 5000)), more=[asked(lambda: own("y"))])


def test_what_waits() -> None:
    """It is left behind; a type that was late twice is not asked again, others are."""
    calls = []

    def waits() -> str:
        calls.append(1)
        return sleeps()

    late = asked(waits)
    texts = OwnText(repr, 0.05, failed="failed")
    began = time.perf_counter()
    assert [texts.of(late) for _ in range(4)] == [None] * 4
    assert time.perf_counter() - began < 5
    assert len(calls) == 2
    assert texts.of(asked(lambda: "<x>")) == "<x>"


def test_what_computes_for_ever() -> None:
    """It is ended."""

    def endless() -> str:
        while True:
            pass

    before = threads_here()
    assert OwnText(repr, 0.2).of(asked(endless)) is None
    until(lambda: threads_here() <= before)


def test_what_computes_with_a_lock() -> None:
    """It is left behind: whoever is interrupted between two instructions may keep the lock."""
    lock, stop = threading.Condition(), threading.Event()

    def locked() -> str:
        while not stop.is_set():
            with lock:
                pass
        return "stopped"

    def taken() -> str:
        while not stop.is_set():
            lock.acquire()
            try:
                pass
            finally:
                lock.release()
        return "stopped"

    for _ in range(5):
        for text in (locked, taken):
            before = threads_here()
            stop.clear()
            assert OwnText(repr, 0.05).of(asked(text)) is None
            time.sleep(0.05)
            assert threads_here() - before
            stop.set()
            until_gone(before)
            assert lock.acquire(timeout=1)
            lock.release()


def test_what_leaves_one_of_itself() -> None:
    """What is asked for in a thread of ours has that thread's time, and no thread of its own."""
    texts = OwnText(repr, 5, failed="failed")
    before = threads_here()
    most = []

    class Nested:
        def __repr__(self) -> str:
            most.append(len(threads_here()))
            return "".join(["<", str(texts.of(self)), ">"])

    assert str(texts.of(Nested())).strip("<>") == "failed"
    assert max(most) <= len(before) + 1


def test_no_more_than_ten_are_left_behind() -> None:
    """After that nothing is asked, until they have ended."""
    texts = OwnText(repr, 0.02)
    before = threads_here()
    for _ in range(15):
        assert texts.of(asked(sleeps)) is None
    assert len(threads_here() - before) == 10
    assert texts.of(asked(lambda: "<x>")) is None
    over.set()
    until_gone(before)
    until(lambda: texts.of(asked(lambda: "<x>")) == "<x>")


def test_who_is_asked_for_its_name() -> None:
    """`threading` forgets the thread that it has met."""
    before = threading.enumerate()
    assert OwnText(repr, 5).of(asked(lambda: threading.current_thread().name)) != "MainThread"
    until(lambda: threading.enumerate() == before)


def test_a_lock_of_the_callers() -> None:
    """Nobody waits for ever, and whoever waited gives the lock back."""
    lock = threading.RLock()

    def locked() -> str:
        lock.acquire()
        try:
            return "locked"
        finally:
            lock.release()

    texts = OwnText(repr, 0.1, times=3)
    with lock:
        assert texts.of(asked(locked)) is None
    until(lambda: lock.acquire(timeout=0.1))
    lock.release()
    lock.release()
    assert texts.of(asked(locked)) == "locked"


def test_ctrl_c() -> None:
    """It interrupts whoever waits."""

    def interrupted() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return sleeps()

    with pytest.raises(KeyboardInterrupt):
        OwnText(repr, 5).of(asked(interrupted))


def test_many_at_once() -> None:
    """Threads do not disturb each other."""
    texts = OwnText(repr, 10)
    found: list[object] = []

    def work(number: int) -> None:
        found.extend(texts.of(asked(lambda: f"<{number}>")) == f"<{number}>" for _ in range(50))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [True] * 400


def test_what_the_interpreter_calls_meanwhile() -> None:
    """Functions that are called when memory is freed are not cut off: nobody expects that of them, and it is told."""
    done = run("""
        import gc, weakref
        ended = []
        def spin():
            until = time.monotonic() + 1
            while time.monotonic() < until: pass
            ended.append(1)
        class Callbacks:
            def note(self, phase, info): phase == "start" and spin()
        def collects():
            gc.callbacks.append(note)
            gc.collect()
            gc.callbacks.remove(note)
        def drops():
            weakref.finalize(Own(), spin)
        note = Callbacks().note
        for asked in (collects, drops):
            class Late:
                def __repr__(self): return str(asked())
            print(OwnText(repr, 0.05).of(Late()), len(ended))
            time.sleep(1.1)
        print(len(ended))
    """)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "None 0\nNone 1\n2\n")


def test_what_computes_while_the_interpreter_collects() -> None:
    """It is ended, and no callback with it."""
    done = run("""
        import gc, threading
        class Endless:
            def __repr__(self):
                while True: [[] for _ in range(500)]
        def note(phase, info):
            for _ in range(60): pass
        gc.callbacks.append(note)
        gc.set_threshold(1000)
        for _ in range(20):
            OwnText(repr, 0.1).of(Endless())
        for _ in range(100):
            if len(sys._current_frames()) == 1: break
            time.sleep(0.02)
        print(len(sys._current_frames()))
    """)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1\n")


def test_a_stack_of_the_programs_choice() -> None:
    """In a small one nothing is asked: a deep recursion would be a crash. The choice stays the program's."""
    done = run("""
        import threading
        class Endless:
            def __repr__(self): return "".join([repr(self)])
        for size in (128 << 10, 32 << 20, 0):
            threading.stack_size(size)
            print(texts.of(own), texts.of(Endless()), threading.stack_size() == size)
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["None None True", "1, 2 None True", "1, 2 None True"]


def test_a_handler_that_raises() -> None:
    """What a signal handler of the program's raises meanwhile is the program's, also out of `crumb()`."""
    done = run("""
        import signal
        from narrative_auto import crumb
        class Waits:
            def __repr__(self): time.sleep(20)
        class Elapsed(Exception): pass
        def handler(*_): raise Elapsed
        signal.signal(signal.SIGALRM, handler)
        for ask in (texts.of, lambda value: crumb("x", value=value), lambda value: crumb("x", value=[value])):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try:
                ask(Waits())
            except Elapsed:
                print("elapsed")
    """)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "elapsed\n" * 3)


def test_a_handler_that_raises_at_any_time() -> None:
    """What it raises arrives, wherever in our part it comes, and texts can be asked for afterwards."""
    done = run("""
        import random, signal, threading
        class Elapsed(Exception): pass
        def handler(*_): raise Elapsed
        signal.signal(signal.SIGALRM, handler)
        def ask():  # in a function: 3.12 and 3.13 do not count a loop's jump back as inside the `try` around it
            until = time.monotonic() + 2
            while time.monotonic() < until: texts.of(own)
        raised = 0
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 2e-4))
                ask()
            except Elapsed:
                raised += 1
        print(raised > 250, texts.of(own), threading.stack_size())
    """)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True 1, 2 0\n")


def test_a_debugger_sees_it() -> None:
    """What `threading.settrace` and `threading.setprofile` have asked for holds in that thread, too."""
    done = run("""
        import threading
        seen = set()
        threading.settrace(lambda frame, event, _: seen.add((event, frame.f_code.co_name)))
        threading.setprofile(lambda frame, event, _: seen.add((event, frame.f_code.co_name)))
        texts.of(own)
        print(("call", "__repr__") in seen, ("return", "__repr__") in seen, sys.gettrace(), sys.getprofile())
    """)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True True None None\n")


def run(source: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has an object of its own `repr`, `own`, and `texts`."""
    start = """
        import _thread, atexit, os, sys, time
        from narrative_auto.failures.asking import OwnText
        class Own:
            def __repr__(self): return ", ".join(map(str, [1, 2]))
        own, texts = Own(), OwnText(repr, 5)
    """
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(start) + textwrap.dedent(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_before_a_fork() -> None:
    """No thread of ours is left when the program forks: CPython would warn of it."""
    done = run("""
        for _ in range(200):
            assert texts.of(own) == "1, 2"
            child = os.fork()
            if not child:
                os._exit(0 if texts.of(own) == "1, 2" else 1)
            assert os.waitpid(child, 0)[1] == 0
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_while_the_interpreter_ends() -> None:
    """What can be had is, and nothing holds the end up."""
    done = run("""
        class Last:
            def __del__(self, texts=texts, own=own, write=os.write, clock=time.perf_counter):
                began = clock()
                text = texts.of(own)
                write(1, b"last " + repr(clock() - began < 2).encode() + b"\\n")
        def at_exit():
            try:
                _thread.start_new_thread(int, ())
            except RuntimeError:  # from 3.12.0 on, for a while
                print("atexit", texts.of(own) is None, flush=True)
            else:
                print("atexit", texts.of(own) == "1, 2", flush=True)
        atexit.register(at_exit)
        sys.modules["kept"] = Last()
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["atexit True", "last True"]


def test_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked, and the type is asked again later."""

    def refused(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    texts = OwnText(repr, 5, times=1)
    late = asked(lambda: "<x>")
    with monkeypatch.context() as changed:
        changed.setattr("narrative_auto.failures.in_thread.start_new_thread", refused)
        assert texts.of(late) is None
        assert OwnText(repr, 5, always=True).of(late) == "<x>"
    assert texts.of(late) == "<x>"
