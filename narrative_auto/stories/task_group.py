"""Tasks of asyncio that belong together: each is a stage of the story in which the group was entered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from narrative_auto.errors import NarrativeError
from narrative_auto.stories.recorded import carried
from narrative_auto.stories.stages import stage

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from types import TracebackType


class NarrativeTaskGroupError(NarrativeError):
    """Tasks of a group failed.

    Attributes:
        failed_tasks: the exceptions by the tasks' names, those of cancelled ones among them.
    """

    def __init__(self, failed_tasks: Mapping[str, BaseException]) -> None:
        self.failed_tasks = dict(failed_tasks)
        names = ", ".join(f"{name} ({type(error).__name__})" for name, error in self.failed_tasks.items())
        super().__init__(f"{len(self.failed_tasks)} of the group's tasks failed: {names}")


class NarrativeTaskGroup:
    """Runs coroutines at the same time, and waits for all of them where its `async with` block ends.

    One that fails does not stop the others; what failed is raised at the end. An exception of the block itself, its
    cancellation among them, cancels the tasks and goes on.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._names: dict[str, int] = {}
        self._is_open = False

    async def __aenter__(self) -> NarrativeTaskGroup:
        """Open the group."""
        self._is_open = True
        return self

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        """Start a coroutine as a stage.

        Args:
            coro: the coroutine.
            name: of the task and of its stage; without one the coroutine function's.

        Returns:
            The task.

        Raises:
            RuntimeError: outside the group's block.
        """
        if not self._is_open:
            coro.close()
            raise RuntimeError("create_task() is for the inside of `async with NarrativeTaskGroup() as group:`")
        wanted = name or str(getattr(coro, "__name__", "task"))
        number = self._names[wanted] = self._names.get(wanted, 0) + 1
        free = wanted if number == 1 else f"{wanted} ({number})"
        task = asyncio.create_task(self._run(coro, wanted), name=free)
        task.add_done_callback(lambda _: coro.close())  # one that was cancelled before it began
        self._tasks[free] = task
        return task

    @staticmethod
    async def _run(coro: Coroutine[Any, Any, Any], name: str) -> Any:
        async with stage(name, optional=True) as opened:
            return await carried(opened, coro)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Wait for all tasks.

        Raises:
            NarrativeTaskGroupError: tasks failed, or were cancelled.
        """
        try:
            if kind is not None:
                self._cancel()
            await self._wait()
        finally:
            self._is_open = False
        failed = {name: fault for name, task in self._tasks.items() if (fault := _fault(task)) is not None}
        if kind is None and failed:
            raise NarrativeTaskGroupError(failed) from next(iter(failed.values()))

    def _cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _wait(self) -> None:
        """Wait until none runs any more; tasks may start others meanwhile."""
        while waiting := [task for task in self._tasks.values() if not task.done()]:
            try:
                await asyncio.wait(waiting)
            except asyncio.CancelledError:
                self._cancel()
                await asyncio.wait(waiting)
                raise


def _fault(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
