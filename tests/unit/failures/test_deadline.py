"""Code that does not come back is interrupted, and nothing else ever is."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from typing import Any

import pytest

from narrative_auto.failures import deadline
from narrative_auto.failures.deadline import TooLongError, in_time


def for_ever() -> None:
    """Loop."""
    while True:
        pass


def looping(seconds: float) -> str:
    """Loop for a time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return "done"


def stubborn() -> str:
    """Take the first interruption for something else."""
    try:
        for_ever()
    except BaseException:  # noqa: BLE001 - it is what such code does
        return looping(3)
    return "never"


def test_what_comes_back_is_returned_and_what_is_raised_is_raised() -> None:
    """As if it had been called."""
    assert in_time(1, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        in_time(1, divmod, 7, 0)
    with pytest.raises(KeyboardInterrupt):
        in_time(1, exec, "raise KeyboardInterrupt")


@pytest.mark.parametrize("function", [for_ever, stubborn])
def test_what_does_not_come_back_is_interrupted(function: Any) -> None:
    """Soon after the deadline, and again where it goes on."""
    began = time.monotonic()
    with pytest.raises(TooLongError):
        in_time(0.1, function)
    assert time.monotonic() - began < 2


def test_the_outermost_deadline_holds() -> None:
    """A call within a call has none of its own."""
    assert in_time(10, lambda: in_time(0.05, looping, 0.3)) == "done"
    with pytest.raises(TooLongError):
        in_time(0.1, lambda: in_time(10, for_ever))


def test_threads_have_deadlines_of_their_own() -> None:
    """One is interrupted, the other is not."""
    ended: dict[str, str] = {}

    def work(name: str, seconds: float) -> None:
        try:
            ended[name] = in_time(0.2, looping, seconds)
        except TooLongError:
            ended[name] = "interrupted"

    threads = [threading.Thread(target=work, args=(f"{one}", one)) for one in (0.01, 5.0, 0.02, 6.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == {"0.01": "done", "5.0": "interrupted", "0.02": "done", "6.0": "interrupted"}


def test_nothing_is_interrupted_once_it_has_returned(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Calls that end just when their time is over: an interruption comes out of the call, or not at all."""
    looker = deadline._looker
    looker.stop()
    monkeypatch.setattr(looker, "_interval", 0.0005)
    interval = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    sys.setswitchinterval(1e-5)
    outcomes = {"done": 0, "interrupted": 0}
    for each in range(500):
        if not each % 10:
            time.sleep(0.0005 * random.randrange(8))  # whoever looks is about to go, or has just gone
        try:
            in_time(0.002, looping, random.uniform(0.0015, 0.004))
            outcomes["done"] += 1
        except TooLongError:
            outcomes["interrupted"] += 1
        looping(0.0005)
    assert min(outcomes.values()) > 10, outcomes


def test_a_child_of_fork_has_it_too() -> None:
    """The thread that looks is not there any more."""
    with pytest.raises(TooLongError):
        in_time(0.1, for_ever)
    child = os.fork()
    if child == 0:
        try:
            in_time(0.1, for_ever)
        except TooLongError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_nobody_looks_when_there_is_nothing_to_look_after() -> None:
    """The thread goes, comes back, and is gone in a fork: CPython warns of forks in processes with threads."""

    def threads() -> set[str]:
        return set(os.listdir("/proc/self/task"))

    if not os.path.isdir("/proc/self/task"):
        pytest.skip("the system does not show its threads")
    deadline._looker.stop()  # noqa: SLF001
    before = threads()
    for _ in range(2):
        (looker,) = in_time(1, threads) - before
        until = time.monotonic() + 5
        while looker in threads() and time.monotonic() < until:
            time.sleep(0.01)
        assert looker not in threads()
    (looker,) = in_time(1, threads) - before
    child = os.fork()
    if child == 0:
        os._exit(len(threads()) + 10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 11
    assert looker not in threads()
