"""Each entry point of the compiled recorder, up to a million times: neither references nor memory may pile up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from narrative_auto.recorder import _native
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD
from narrative_auto.recorder.native import NativeRecorder
from narrative_auto.recorder.sites import BLOCK, COROUTINE
from tests.conftest import THOROUGH

TIMES = 1_000_000 if THOROUGH else 100_000

INNERMOST: ContextVar[object] = ContextVar("innermost", default=None)
ERROR = ValueError("kept alive: it is always the same one")
SOME = (lambda: None).__code__


def resident() -> int:
    """Return the bytes of this process's resident memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4_096


class Entries:
    """What is called so often, by its name."""

    def __init__(self) -> None:
        self.recorder = recorder = NativeRecorder(1 << 62)
        self.site = recorder.sites.add("shop", "Store.insert", "store.py", 41, COROUTINE)
        self.start, self.leave, self.unwind, self.wait, self.go_on = recorder.probes(
            self.site, (START, RETURN, UNWIND, YIELD, RESUME)
        )
        self.thrown = NativeRecorder(0)  # where each failure is notable
        site = self.thrown.sites.add("shop", "fails", "store.py", 50, "function")
        self.failing = self.thrown.probes(site, (START, UNWIND))
        self.block = self.thrown.sites.add("shop", "Load", "store.py", 70, BLOCK).number
        self.thrown.follow(INNERMOST)
        self.call()

    def call(self) -> None:
        not self.start  # noqa: B018 - what an instrumented function does
        not self.wait  # noqa: B018 - the same
        not self.go_on  # noqa: B018 - the same
        not self.leave  # noqa: B018 - the same

    def failure(self) -> None:
        not self.failing[0]
        not self.failing[1]
        self.failing[1] == ERROR  # noqa: B015 - the same

    def left(self) -> None:
        not self.start  # noqa: B018 - the same
        self.unwind.left(id(ERROR), ValueError)

    def probe_itself(self) -> None:
        hash(self.start)
        _ = self.start != self.leave
        _ = self.start.site
        memoryview(self.start).release()
        self.start.__reduce_ex__(4)

    def probes(self) -> None:
        self.recorder.probes(self.site, (START, RETURN, UNWIND))

    def silence(self) -> None:
        self.recorder.silence(self.site)
        self.recorder.unsilence(self.site)

    def read(self) -> None:
        recorder = self.recorder
        recorder.rows()
        recorder.take()
        recorder.running()
        recorder.unwound(1)
        _ = recorder.lanes, recorder.records, recorder.is_empty, recorder.released, recorder.sampled, recorder.box
        recorder.depth(recorder.current_lane() or 1)
        recorder.last_records(1, 3)
        _ = recorder.clock, recorder.disordered

    def sleep(self) -> None:
        nap = _native.Nap()
        nap.acquire(timeout=0)
        nap.release()

    def blocks(self) -> None:
        recorder, outer, inner = self.thrown, object(), object()
        recorder.enter_block(self.block, outer, None)
        recorder.enter_block(self.block, inner, outer)
        recorder.suspend_block(inner)
        recorder.resume_block(inner)
        recorder.leave_block(inner, ERROR)
        recorder.leave_block(outer, None)
        not self.failing[0]
        self.failing[1] == ERROR  # noqa: B015 - what an instrumented function does
        recorder.take()

    def untraced(self) -> None:
        self.recorder.untraced(int)

    def fill(self) -> None:
        self.recorder.fill(SOME, ((), ()), "shop", [])


def monitored() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the callbacks for `sys.monitoring`, with what calls them."""
    if sys.version_info < (3, 12):
        return
    recorder = NativeRecorder(1 << 62)
    monitor: Any = recorder.monitor(lambda _code, _names: None, object(), set(), before=False)
    site = recorder.sites.add("shop", "watched", "store.py", 60, COROUTINE)
    code = compile("async def f(): pass", "store.py", "exec").co_consts[0]
    monitor.watch(code, site)

    def call() -> None:
        monitor.started(code, 2)
        monitor.yielded(code, 4, None)
        monitor.resumed(code, 6)
        monitor.returned(code, 8, None)

    def thrown() -> None:
        monitor.started(code, 2)
        monitor.yielded(code, 4, None)
        monitor.thrown(code, 6, ERROR)
        monitor.unwound(code, 8, ERROR)

    def watch() -> None:
        monitor.watch(code, site)
        monitor.forget(code)

    yield "monitor: call", call
    yield "monitor: thrown", thrown
    yield "monitor: watch", watch


def entries() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each entry point with what calls it."""
    for name, value in vars(Entries).items():
        if not name.startswith("_"):
            yield name, value.__get__(Entries())
    yield from monitored()


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@pytest.mark.parametrize(("name", "call"), [pytest.param(name, call, id=name) for name, call in entries()])
def test_very_often(name: str, call: Callable[[], object]) -> None:
    """Memory stays where it was after the first thousands; so do the references to what all have in common."""
    shared = (None, True, ERROR, ValueError, SOME)
    rounds = range(TIMES)
    for _ in range(20_000):
        call()
    blocks, counts, memory = sys.getallocatedblocks(), [sys.getrefcount(one) for one in shared], resident()
    for _ in rounds:
        call()
    assert resident() - memory < 2_000_000, name
    assert sys.getallocatedblocks() - blocks < 500, name
    for one, before in zip(shared, counts, strict=True):
        assert abs(sys.getrefcount(one) - before) < 500, (name, one)
