"""The same question is asked once, by whoever it is asked and at whatever time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from narrative_auto import DeduplicatingAnalyzer, FailureAnalyzer
from narrative_auto.analyzers.base import fingerprint
from tests.unit.analyzers.service import question


class Inner:
    """Counts, and says what it is told to."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []

    def analyze_failure(self, *, failure: Any, **_: Any) -> str | None:
        self.asked.append(failure.lineno)
        answer = self.answers.pop(0) if self.answers else f"line {failure.lineno}"
        if isinstance(answer, BaseException):
            raise answer
        return answer


def test_what_makes_failures_the_same() -> None:
    """Type, file, line and chain; nothing else."""
    one = fingerprint(question()["failure"])
    assert len(one) == 64
    for name in ("error_message", "function", "source_line", "exact_cause", "traceback_text"):
        assert fingerprint(question(**{name: "other"})["failure"]) == one
    others = [
        question(error_type="KeyError"),
        question(filename="other.py"),
        question(lineno=48),
        question(exception_chain=[]),
        question(exception_chain=["a", "b"]),
        question(exception_chain=["a, b"]),
        question(filename="a\udcff.py"),
    ]
    assert len({one, *(fingerprint(other["failure"]) for other in others)}) == len(others) + 1


def test_an_answer_is_kept() -> None:
    """For the same failure only."""
    inner = Inner()
    analyzer = DeduplicatingAnalyzer(inner)
    assert isinstance(analyzer, FailureAnalyzer)
    assert [analyzer.analyze_failure(**question(lineno=line)) for line in (1, 1, 2, 1)] == [
        "line 1",
        "line 1",
        "line 2",
        "line 1",
    ]
    assert inner.asked == [1, 2]


def test_none_is_not_kept() -> None:
    """Nor is an exception."""
    inner = Inner(None, ValueError("no"), "yes")
    analyzer = DeduplicatingAnalyzer(inner)
    assert analyzer.analyze_failure(**question()) is None
    with pytest.raises(ValueError, match="no"):
        analyzer.analyze_failure(**question())
    assert [analyzer.analyze_failure(**question()) for _ in range(2)] == ["yes", "yes"]
    assert len(inner.asked) == 3


def test_the_least_recently_used_goes_first() -> None:
    """Two have room."""
    inner = Inner()
    analyzer = DeduplicatingAnalyzer(inner, max_cache_size=2)
    for line in (1, 2, 1, 3, 1, 2):
        analyzer.analyze_failure(**question(lineno=line))
    assert inner.asked == [1, 2, 3, 2]


def test_no_room_at_all() -> None:
    """Then each one is asked."""
    inner = Inner()
    analyzer = DeduplicatingAnalyzer(inner, max_cache_size=0)
    assert [analyzer.analyze_failure(**question()) for _ in range(2)] == ["line 47", "line 47"]
    assert len(inner.asked) == 2


class Gated(Inner):
    """Answers when the gate is open."""

    def __init__(self, *answers: Any) -> None:
        super().__init__(*answers)
        self.begun = threading.Event()
        self.gate = threading.Event()

    def analyze_failure(self, **asked: Any) -> str | None:
        self.begun.set()
        assert self.gate.wait(20)
        return super().analyze_failure(**asked)


def test_threads_at_the_same_time_ask_once() -> None:
    """One asks, the others wait for it."""
    inner = Gated()
    analyzer = DeduplicatingAnalyzer(inner)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(analyzer.analyze_failure, **question()) for _ in range(8)]
        assert inner.begun.wait(20)
        inner.gate.set()
        assert {one.result(20) for one in waiting} == {"line 47"}
    assert inner.asked == [47]


def test_others_are_not_held_up() -> None:
    """Another failure is another question."""
    inner = Gated()
    analyzer = DeduplicatingAnalyzer(inner)
    quick = Inner()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(analyzer.analyze_failure, **question())
        assert inner.begun.wait(20)
        analyzer._inner = quick
        assert analyzer.analyze_failure(**question(lineno=1)) == "line 1"
        inner.gate.set()
        assert waiting.result(20) == "line 47"


def test_when_the_one_that_asks_fails_another_one_asks() -> None:
    """Nobody waits for what does not come."""
    inner = Gated(RuntimeError("cut off"))
    analyzer = DeduplicatingAnalyzer(inner)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(analyzer.analyze_failure, **question())
        assert inner.begun.wait(20)
        second = pool.submit(analyzer.analyze_failure, **question())
        inner.gate.set()
        with pytest.raises(RuntimeError, match="cut off"):
            first.result(20)
        assert second.result(20) == "line 47"


class Native:
    """Answers in a coroutine."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate: asyncio.Event | None = None

    def analyze_failure(self, **_: Any) -> str | None:
        self.asked += 1
        return "plainly"

    async def analyze_failure_async(self, **_: Any) -> str | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        return "natively"


def test_the_inner_ones_own_coroutine_is_used() -> None:
    """And tasks at the same time ask once."""
    inner = Native()
    analyzer = DeduplicatingAnalyzer(inner)

    async def main() -> list[str | None]:
        return await asyncio.gather(*(analyzer.analyze_failure_async(**question()) for _ in range(5)))

    assert asyncio.run(main()) == ["natively"] * 5
    assert inner.asked == 1
    assert analyzer.analyze_failure(**question()) == "natively"


def test_without_one_it_is_asked_in_a_thread() -> None:
    """So that the loop goes on."""
    threads: list[int] = []

    class Plain:
        def analyze_failure(self, **_: Any) -> str | None:
            threads.append(threading.get_ident())
            return "x"

    assert asyncio.run(DeduplicatingAnalyzer(Plain()).analyze_failure_async(**question())) == "x"
    assert threads != [threading.get_ident()]


def test_a_task_that_is_cancelled_takes_nothing_from_the_others() -> None:
    """Be it the one that asks or one that waits."""

    async def main(cancelled: int) -> tuple[Any, int]:
        inner = Native()
        inner.gate = asyncio.Event()
        analyzer = DeduplicatingAnalyzer(inner)
        tasks = [asyncio.create_task(analyzer.analyze_failure_async(**question())) for _ in range(3)]
        await asyncio.sleep(0.01)
        tasks[cancelled].cancel()
        await asyncio.sleep(0.01)
        inner.gate.set()
        async with asyncio.timeout(20):
            said = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(said.pop(cancelled), asyncio.CancelledError)
        return said, inner.asked

    assert asyncio.run(main(0)) == (["natively", "natively"], 2)
    assert asyncio.run(main(1)) == (["natively", "natively"], 1)


def test_plain_code_on_a_loop_does_not_wait_for_a_task_of_it() -> None:
    """The task could not go on."""
    inner = Native()
    analyzer = DeduplicatingAnalyzer(inner)

    async def main() -> tuple[str | None, str | None]:
        inner.gate = asyncio.Event()
        task = asyncio.create_task(analyzer.analyze_failure_async(**question()))
        await asyncio.sleep(0.01)
        plainly = analyzer.analyze_failure(**question())
        inner.gate.set()
        return plainly, await task

    assert asyncio.run(main()) == ("plainly", "natively")


def test_an_analyzer_whose_own_question_fails_the_same_way() -> None:
    """It does not wait for itself, plainly or in a coroutine."""

    class Nested:
        def __init__(self) -> None:
            self.depth = 0
            self.analyzer = DeduplicatingAnalyzer(self)

        def analyze_failure(self, **asked: Any) -> str | None:
            self.depth += 1
            return "inner" if self.depth > 1 else f"outer of {self.analyzer.analyze_failure(**asked)}"

        async def analyze_failure_async(self, **asked: Any) -> str | None:
            self.depth += 1
            if self.depth > 1:
                return "inner"
            task = asyncio.create_task(self.analyzer.analyze_failure_async(**asked))
            return f"outer of {await task}"

    assert Nested().analyzer.analyze_failure(**question()) == "outer of inner"

    async def main() -> str | None:
        async with asyncio.timeout(20):
            return await Nested().analyzer.analyze_failure_async(**question())

    assert asyncio.run(main()) == "outer of inner"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has threads is the point
def test_a_forked_child_waits_for_nobody() -> None:
    """Whoever was asking is not there."""
    inner = Gated()
    analyzer = DeduplicatingAnalyzer(inner)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(analyzer.analyze_failure, **question())
        assert inner.begun.wait(20)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            analyzer._inner = Inner("in the child")
            os._exit(0 if analyzer.analyze_failure(**question()) == "in the child" else 1)
        inner.gate.set()
        assert waiting.result(20) == "line 47"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_it_says_of_itself() -> None:
    """It shows what is inside."""
    assert repr(DeduplicatingAnalyzer(Inner(), max_cache_size=7)).endswith(", max_cache_size=7)")
