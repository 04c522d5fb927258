"""Brings events to renderers, in order: at once, or on an event loop where a renderer wants one."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from narrative_auto.errors import attempted, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Iterable

MOST_SECONDS_AT_THE_END = 10.0
"""How long the end of a story waits for renderers that work on our loop."""


class Outlet:
    """One renderer, and what it has not got yet.

    A renderer whose `handle` is a coroutine function gets its events on the running loop; where there is none, on a
    loop of ours. One that raises is named on stderr, once, and goes on getting events.
    """

    def __init__(self, renderer: Any) -> None:
        self.renderer = renderer
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Any, Awaitable[Any] | None]] = deque()  # events, and what handling them began
        self._is_emptied = False
        self._task: asyncio.Task[None] | None = None
        self._has_failed = False

    def deliver(self, event: Any) -> None:
        """Hand an event over from synchronous code."""
        result = None
        if not (self._waiting or self._is_emptied):
            try:
                result = self.renderer.handle(event)
            except Exception as fault:  # noqa: BLE001 - whatever the renderer does
                self._tell(fault)
                return
            if result is None or not inspect.isawaitable(result):
                return
        self._waiting.append((event, result))
        self._start()

    async def deliver_async(self, event: Any) -> None:
        """Hand an event over from a coroutine, after all that came before."""
        await self.settled()
        if self._waiting or self._is_emptied:  # in another thread
            self._waiting.append((event, None))
            self._start()
            return
        result = self._call(event)
        if result is not None:
            await self._finish(result)

    async def settled(self) -> None:
        """Wait for what the running loop has still to bring to the renderer."""
        task = self._task
        if not self._is_emptied or task is None or task is asyncio.current_task():
            return
        if task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([task])

    def _start(self) -> None:
        """Let somebody empty the queue, if nobody does."""
        with self._lock:
            if self._is_emptied or not self._waiting:
                return
            self._is_emptied = True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            our_loop.run(self._empty())
        else:
            self._task = loop.create_task(self._empty())
            self._task.add_done_callback(self._go_on)

    async def _empty(self) -> None:
        try:
            while True:
                with self._lock:
                    if not self._waiting:
                        return
                    event, result = self._waiting.popleft()
                result = result or self._call(event)
                try:
                    if result is not None:
                        await self._finish(result)
                except asyncio.CancelledError:
                    self._waiting.appendleft((event, None))
                    raise
        finally:
            with self._lock:
                self._is_emptied = False

    def _go_on(self, task: asyncio.Task[None]) -> None:
        """Where the loop is about to close, and has cancelled its tasks, no event is lost."""
        if task.cancelled():
            with self._lock:
                self._is_emptied = bool(self._waiting)
            if self._waiting:
                our_loop.run(self._empty())
        else:
            self._start()

    def _call(self, event: Any) -> Awaitable[Any] | None:
        """Call the renderer; return what is to be awaited, if anything."""
        try:
            result = self.renderer.handle(event)
        except Exception as fault:  # noqa: BLE001 - whatever the renderer does
            self._tell(fault)
            return None
        return result if inspect.isawaitable(result) else None

    async def _finish(self, result: Awaitable[Any]) -> None:
        try:
            await result
        except Exception as fault:  # noqa: BLE001 - whatever the renderer does
            self._tell(fault)

    def _tell(self, fault: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            text = attempted(str, fault) or ""
            say(f"{type(self.renderer).__name__} failed, the story goes on ({type(fault).__name__}: {text})")


def outlets_for(renderers: Iterable[Any]) -> tuple[Outlet, ...]:
    """Return an outlet for each renderer."""
    return tuple(map(Outlet, renderers))


class _OurLoop:
    """An event loop in a thread of its own, for coroutines of synchronous programs; it begins when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something to its end, or for so long that the program must not wait any more."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="narrative-renderers", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(MOST_SECONDS_AT_THE_END)
        except TimeoutError:
            say(f"a renderer took longer than {MOST_SECONDS_AT_THE_END:.0f} s; the story does not wait for it")

    def forget(self) -> None:
        """Begin anew in a child of fork, where the thread is not."""
        self._lock = threading.Lock()
        self._loop = None


our_loop = _OurLoop()
