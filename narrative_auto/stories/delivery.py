"""Brings events to renderers, in order: at once, or on an event loop where a renderer wants one."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from narrative_auto.errors import say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

MOST_SECONDS = 10.0
"""How long synchronous code waits, once, for a renderer whose `handle` is a coroutine function."""

MOST_WAITING = 10_000
"""Events that wait for a renderer; of one that hangs the oldest are lost."""

is_rendering: ContextVar[bool] = ContextVar("narrative_rendering", default=False)
"""Whether this is the context in which a renderer's coroutines run."""


class Outlet:
    """One renderer, and what it has not got yet.

    A synchronous renderer gets each event at once. The events of one whose `handle` is a coroutine function are put
    into a queue, which one task empties: on the running loop, or where there is none on a loop of ours. Where that loop
    ends or stops before the queue is empty, our loop takes over, and the event that was being handled is handled again.
    """

    def __init__(self, renderer: Any) -> None:
        self.renderer = renderer
        self._is_async = self._is_hung = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = _process[0]
        self._lock = threading.RLock()  # a signal handler may come here, too
        self._waiting: deque[tuple[Any, Awaitable[Any] | None]] = deque(maxlen=MOST_WAITING)
        self._in_hand: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None  # on which the queue is being emptied
        self._task: asyncio.Task[None] | None = None
        self._turn = 0

    def deliver(self, event: Any) -> None:
        """Hand an event over from synchronous code."""
        result = None
        if not self._is_async:
            try:
                result = self.renderer.handle(event)
            except Exception as fault:  # noqa: BLE001 - whatever the renderer does
                self._tell(fault)
                return
            if result is None or not inspect.isawaitable(result):
                return
        self._put(event, result)

    async def deliver_async(self, event: Any) -> None:
        """Hand an event over from a coroutine, and wait until the renderer has it and all that came before."""
        self.deliver(event)
        await self.settled()

    async def settled(self) -> None:
        """Wait for what the running loop has still to bring to the renderer."""
        task = self._task
        if task is None or task.done() or task is asyncio.current_task():
            return
        if task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([task])

    def _put(self, event: Any, result: Awaitable[Any] | None) -> None:
        if self._process != _process[0]:  # the threads and loops of the parent are not here
            self._begin_anew()
        self._is_async = True
        if len(self._waiting) == MOST_WAITING:
            say(f"{type(self.renderer).__name__} hangs: the oldest of the events that wait for it are lost")
        self._waiting.append((event, result))
        try:
            self._start(_running_loop())
        except Exception as fault:  # noqa: BLE001 - no thread to be had, say
            self._tell(fault)

    def _start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Let the queue be emptied, if nobody does it: on a loop that is running in this thread, or on ours."""
        with self._lock:
            if self._loop is not None and self._loop.is_running():
                return
            if self._in_hand is not None:  # on a loop that has stopped
                self._waiting.appendleft((self._in_hand, None))
                self._in_hand = None
            if not self._waiting:
                return
            self._turn += 1
            turn = self._turn
            self._loop = loop or our_loop.start()
        if loop is not None:
            self._task = loop.create_task(self._empty(turn))
            self._task.add_done_callback(lambda task: self._go_on(task, turn))
        elif self._loop is None:  # the interpreter is about to end and starts no thread any more
            asyncio.run(self._empty(turn))
        elif not our_loop.run(self._loop, self._empty(turn), 0.0 if self._is_hung else MOST_SECONDS):
            if not self._is_hung:
                name = type(self.renderer).__name__
                say(f"{name} took longer than {MOST_SECONDS:.0f} s: nothing waits for it any more")
            self._is_hung = True

    async def _empty(self, turn: int) -> None:
        is_rendering.set(True)  # in the context of this task
        while True:
            with self._lock:
                if turn != self._turn:
                    return
                self._in_hand = None
                if not self._waiting:
                    self._loop = None
                    return
                self._in_hand, result = self._waiting.popleft()
            await self._handle(self._in_hand, result)

    async def _handle(self, event: Any, result: Awaitable[Any] | None) -> None:
        try:
            result = self.renderer.handle(event) if result is None else result
            if result is not None and inspect.isawaitable(result):
                await result
        except asyncio.CancelledError as fault:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._tell(fault)
        except Exception as fault:  # noqa: BLE001 - whatever the renderer does
            self._tell(fault)

    def _go_on(self, task: asyncio.Task[None], turn: int) -> None:
        """Where a loop is about to close, and has cancelled its tasks, no event is lost."""
        if task.cancelled() and turn == self._turn:
            self._loop = None
            try:
                self._start(None)
            except Exception as fault:  # noqa: BLE001 - no thread to be had, say
                self._tell(fault)

    def _tell(self, fault: BaseException) -> None:
        """Say once that the renderer failed; what it raises may hold anything."""
        say(f"{type(self.renderer).__name__} failed, the story goes on ({type(fault).__name__})")


def outlets_for(renderers: Iterable[Any]) -> tuple[Outlet, ...]:
    """Return an outlet for each renderer."""
    return tuple(map(Outlet, renderers))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _OurLoop:
    """An event loop in a thread of its own, for coroutines of synchronous programs; it begins when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop, running; None where no thread can be started any more."""
        with self._lock:
            if self._loop is None:
                loop, runs = asyncio.new_event_loop(), threading.Event()
                loop.call_soon(runs.set)
                try:
                    threading.Thread(target=loop.run_forever, name="narrative-renderers", daemon=True).start()
                except RuntimeError:
                    loop.close()
                    return None
                runs.wait()
                self._loop = loop
            return self._loop

    @staticmethod
    def run(loop: asyncio.AbstractEventLoop, work: Any, seconds: float) -> bool:
        """Run something; return whether it came to its end within so many seconds."""
        future = asyncio.run_coroutine_threadsafe(work, loop)
        _unfinished.add(future)
        future.add_done_callback(_unfinished.discard)
        try:
            future.result(seconds)
        except TimeoutError:
            return False
        return True

    def forget(self) -> None:
        """Begin anew in a child of fork, where the thread is not."""
        self.__init__()  # type: ignore[misc]


our_loop = _OurLoop()
_unfinished: set[Any] = set()  # what nobody waits for any more: a loop holds its tasks weakly
_process = [0]


def _after_fork() -> None:
    _process[0] += 1
    _unfinished.clear()
    our_loop.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
