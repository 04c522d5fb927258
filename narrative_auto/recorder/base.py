"""What every recorder offers: to engines, which report to it, and to its readers."""

from __future__ import annotations

import time

from narrative_auto.recorder.layout import RETURN, START
from narrative_auto.recorder.sites import FUNCTION, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import ContextVar
    from types import CodeType, FrameType
    from typing import Any, Protocol

    from narrative_auto.recorder.readings import Edge, NotableCall, OpenCall
    from narrative_auto.recorder.sites import Site, SiteTable

    Plan = tuple[tuple[int, ...], tuple[tuple[int, Any], ...]]
    """Where the probes of a code object go: the transitions of its own, last among its constants in this order, and
    (index among its constants, plan) of each nested code object that has a plan."""

    class Recorder(Protocol):
        """The event buffer of this process.

        Attributes:
            name: "native" or "pure".
        clock: what the time of records is read from: "counter" (the processor's) or "kernel".
            sites: the sites that report here.
        """

        name: str
        sites: SiteTable

        @property
        def clock(self) -> str:
            """See above."""
            ...

        # -- for engines

        def probes(self, site: Site, transitions: Iterable[int], depth: int = 1) -> list[Any]:
            """Return the probes that report some transitions at `site`, in their order.

            Args:
                site: whose transitions they are.
                transitions: some of START to RESUME; what the site's kind cannot do is left out.
                depth: who asks the probe: the function's own code (IN_CODE) or a function called for it (BY_CALLBACK).
            """
            ...

        def bind(self, code: CodeType, plan: Plan, module: str) -> CodeType:
            """Return code in which probes stand where a plan has places for them; its functions get sites.

            Args:
                code: nothing has run it yet; it may be changed in place.
                plan: where they go.
                module: the module's name, for the sites.
            """
            ...

        def monitor(
            self, meet: Callable[[CodeType, Any], object], disable: object, foreign: set[str], *, before: bool
        ) -> Monitor:
            """Return callbacks for `sys.monitoring`.

            Args:
                meet: called with a code object that starts unwatched, and its global names; it may watch it, and
                    returns what the interpreter is to get.
                disable: what tells the interpreter not to report this place again.
                foreign: names of files whose code objects are never to be met.
                before: whether an exception at the instruction that starts a function leaves a call that has begun.
            """
            ...

        def silence(self, site: Site) -> None:
            """Let the site's probes report nothing and cost next to nothing."""
            ...

        def unsilence(self, site: Site) -> None:
            """Let the site's probes report again."""
            ...

        def rehearse(self) -> None:
            """Run all code of the recorder's own that a probe may run, once, so that nothing of it is new later."""
            ...

        # -- for the program

        def mark(self, site: Site, name: str) -> None:
            """Give the site's stages a name; each of its calls becomes notable."""
            ...

        def follow(self, variable: ContextVar[Any]) -> None:
            """Know in which variable a context has its innermost block."""
            ...

        def enter_block(self, number: int, block: object, around: object) -> tuple[int, int] | None:
            """Begin a block, `with stage(...):`.

            What the context's variable names is around what begins in that context: a block that is given here, the
            first call of a thread or a task, a call right within another block.

            Args:
                number: of the site of all blocks of that name.
                block: what the variable will name; alive as long as the block is open.
                around: the block around it, None for none.

            Returns:
                Its lane and its start (ns); None where nothing is recorded.
            """
            ...

        def leave_block(self, block: object, error: BaseException | None) -> None:
            """End a block, if it is open; with an exception, if that has left it."""
            ...

        def suspend_block(self, block: object) -> None:
            """Let what follows be outside an open block, until `resume_block`."""
            ...

        def resume_block(self, block: object) -> None:
            """Let what follows be within a suspended block again."""
            ...

        def keep_crumb(self, text: str) -> None:
            """Put a crumb into the black box, where there is one; `layout.CRUMB_PART` says how it is written."""
            ...

        # -- for readers

        @property
        def is_empty(self) -> bool:
            """Whether no probe was ever reached."""
            ...

        @property
        def records(self) -> int:
            """The number of records written so far."""
            ...

        @property
        def disordered(self) -> int:
            """The number of calls whose caller was left before them: stacks were switched, as greenlets are."""
            ...

        @property
        def lanes(self) -> list[int]:
            """The numbers of the lanes whose rings can be read."""
            ...

        def current_lane(self) -> int | None:
            """Return the number of the calling thread's lane, None if it reached no probe."""
            ...

        def edges(self) -> list[Edge]:
            """Return the totals of every pair of caller and callee, in the order of their first calls."""
            ...

        def drain(self) -> tuple[list[NotableCall], int]:
            """Return the notable calls since the last drain, by their end, and how many were dropped."""
            ...

        @property
        def released(self) -> list[int]:
            """The numbers of the sites that the governor lets report nothing now, to keep the budget."""
            ...

        @property
        def sampled(self) -> list[int]:
            """The numbers of the sites that it has ever released: their totals are not exact."""
            ...

        def open_calls(self) -> list[OpenCall]:
            """Return the calls that run in any thread, outermost first within a lane, then the suspended ones."""
            ...

        def last_records(self, lane: int, count: int) -> list[tuple[int, int, int]]:
            """Return a lane's last records, oldest first, as (ns, site number, transition)."""
            ...

        def unwound(self, lane: int) -> list[tuple[int, int, int, int]]:
            """Return the calls that exceptions left last, by their end: (id of the exception, site, start, end)."""
            ...

        def depth(self, lane: int) -> int:
            """Return how many calls a lane's shadow stack holds."""
            ...

        # -- the black box

        def keep(self, folder: str, story_id: str, facts: Mapping[str, str | int]) -> None:
            """Let the memory be a file from the first record on, so that it outlives the process.

            Args:
                folder: where; made in the folder above if it is not there, and its owner's alone. "" for memory that
                    can be dumped and is no file.
                story_id: of the story; the file is called after it.
                facts: what is known of the run, for the file's reader; the last ones go where there is no room.
            """
            ...

        @property
        def box_fault(self) -> str:
            """Why the memory, or a part of it, is no file although it should be; "" for no reason."""
            ...

        def dump_on_signal(self, number: int, folder: str, story_id: str) -> str:
            """Write a copy of the memory into a folder on each signal of a number; the program's handler comes after.

            Returns:
                Why that cannot be; "" where it can.
            """
            ...

        def say_goodbye(self) -> None:
            """Take the file away: the process ends well, and nobody needs to read it."""
            ...

        # -- threads and forks

        def mute_thread(self) -> None:
            """Record nothing of the calling thread: it is one of ours."""
            ...

        def new_nap(self) -> Nap:
            """Return a lock, open, on which a thread of ours can sleep."""
            ...

        def before_fork(self) -> None:
            """Make ready for a fork; `after_fork` or `begin_child` follows."""
            ...

        def after_fork(self) -> None:
            """Go on in the parent process, where nobody listens until there is something to tell."""
            ...

        def begin_child(self) -> None:
            """Forget what the parent process recorded, in a child of fork; calls that are open stay open."""
            ...

        def untraced(self, function: Callable[[], object], /) -> object:
            """Call a function of ours out of sight of the program's debugger or profiler, where that can be had."""
            ...

        @property
        def watcher(self) -> type[Watcher]:
            """What watches a function of a library."""
            ...

        def lacks_files(self) -> bool:
            """Whether the program may hardly open any more files, as far as that can be known."""
            ...

        def more_files(self) -> bool:
            """Raise the limit of open files where the program has left none; return whether `fewer_files` follows."""
            ...

        def fewer_files(self) -> None:
            """Set the limit back."""
            ...

        def scratch(self) -> Recorder:
            """Return an empty recorder of the same kind."""
            ...

    class Watcher(Protocol):
        """A constant for the code of a library's function; it is true.

        Asked for that, it calls a function of ours with the frame that asks, as `untraced` does.
        """

        def __init__(self, meet: Callable[[FrameType], object], /) -> None: ...

    class Nap(Protocol):
        """A lock; see `_thread.lock`."""

        def acquire(self, *, timeout: float = -1.0) -> bool:
            """Close it, or wait for so many seconds until it is open; return whether it was."""
            ...

        def release(self) -> None:
            """Open it."""
            ...

        def end(self) -> None:
            """Know that the thread that slept on it is about to end."""
            ...

    class Monitor(Protocol):
        """Callbacks for `sys.monitoring`.

        Attributes:
            meets_modules: whether the bodies of modules are to be met too.
        """

        meets_modules: bool

        @property
        def started(self) -> Callable[[CodeType, int], object]:
            """For PY_START."""
            ...

        @property
        def returned(self) -> Callable[[CodeType, int, object], object]:
            """For PY_RETURN."""
            ...

        @property
        def yielded(self) -> Callable[[CodeType, int, object], object]:
            """For PY_YIELD."""
            ...

        @property
        def resumed(self) -> Callable[[CodeType, int], object]:
            """For PY_RESUME."""
            ...

        @property
        def thrown(self) -> Callable[[CodeType, int, BaseException], object]:
            """For PY_THROW."""
            ...

        @property
        def unwound(self) -> Callable[[CodeType, int, BaseException], object]:
            """For PY_UNWIND."""
            ...

        def watch(self, code: CodeType, site: Site) -> None:
            """Let a code object report at a site."""
            ...

        def watch_unwinding(self, code: CodeType, told: object) -> None:
            """Compare `told` with the exception that leaves a code object."""
            ...

        def attend(self, arm: Callable[[int, CodeType, int], object], tool: int, events: int) -> bool:
            """Ask for events of the code of each function that comes to be, or gets other code, and may be news.

            Args:
                arm: asks the interpreter for the events of a code object; no Python code may run in it.
                tool: its first argument.
                events: its last one.

            Returns:
                Whether this recorder can.
            """
            ...

        def rest(self) -> None:
            """Attend to no new function any more."""
            ...

        def silence(self, site: Site) -> None:
            """Let what is watched at a site report nothing."""
            ...

        def unsilence(self, site: Site) -> None:
            """Let it report again."""
            ...

        def forget(self, code: CodeType) -> None:
            """Let a code object report nothing."""
            ...


IN_CODE, BY_CALLBACK = 1, 2
"""How many frames above an instrumented function its probes are asked."""


def bind_copies(recorder: Recorder, code: CodeType, plan: Plan, module: str) -> CodeType:
    """Return a copy of code with probes where a plan has places for them; see `Recorder.bind`."""
    transitions, nested = plan
    constants = list(code.co_consts)
    for index, inner in nested:
        constants[index] = bind_copies(recorder, constants[index], inner, module)
    if transitions:
        site = recorder.sites.add(module, code.co_qualname, code.co_filename, code.co_firstlineno, kind_of(code))
        constants[-len(transitions) :] = recorder.probes(site, transitions)
    return code.replace(co_consts=tuple(constants))


def cost_per_record(recorder: Recorder) -> float:
    """Measure on this machine, now: the ns that one record costs, by some thousand calls of a site of its own."""
    scratch = recorder.scratch()
    site = scratch.sites.add("", "", "", 0, FUNCTION)
    start, leave = scratch.probes(site, (START, RETURN))
    rounds = range(2_000)
    bare = recorded = 1 << 62
    for _ in range(3):
        before = time.perf_counter_ns()
        for _ in rounds:
            pass
        between = time.perf_counter_ns()
        for _ in rounds:
            not start  # noqa: B018 - what an instrumented function does on its way in
            not leave  # noqa: B018 - and out
        after = time.perf_counter_ns()
        bare, recorded = min(bare, between - before), min(recorded, after - between)
    return max(0, recorded - bare) / (2 * len(rounds))
