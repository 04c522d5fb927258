"""Waits for work no longer than is allowed, whatever the work does."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Return what `work` returns.

    It runs in a thread of its own, which is left alone when the time is over: nothing else cuts short a search for a
    host's address. Ctrl-C ends the waiting too.

    Raises:
        TimeoutError: it took longer than `seconds`.
    """
    begun = _begin(work)
    return work() if begun is None else begun.result(seconds)


async def within_async(seconds: float, work: Callable[[], Result]) -> Result:
    """Do so without holding up the event loop; being cancelled ends the waiting."""
    begun = _begin(work)
    if begun is None:
        return work()
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(begun)


def _begin(work: Callable[[], Result]) -> Future[Result] | None:
    """Start the work in a thread; return None where the interpreter is ending and starts no more of them."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()  # nobody can cancel it any more, so the thread can always hand in its result

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as fault:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(fault)

    try:
        threading.Thread(target=run, name="narrative-analysis", daemon=True).start()
    except RuntimeError:
        return None
    return future
