"""The recorder in Python: flight ring, totals and notable calls, a lane for each thread."""

from __future__ import annotations

import _thread
import itertools

from narrative_auto.recorder.base import BY_CALLBACK, IN_CODE, bind_copies
from narrative_auto.recorder.blocks import Blocks
from narrative_auto.recorder.calls import caller_of, lane_of, started_at
from narrative_auto.recorder.lane import (
    BLOCK,
    CALLEES,
    CALLER,
    CALLS,
    ERRORS,
    FIRST,
    LANE,
    LONGEST,
    NOTABLE_LIMIT,
    NUMBER,
    RAISED,
    RESUMED,
    ROW,
    SELF,
    SITE,
    STARTED,
    TOTAL,
    Lane,
)
from narrative_auto.recorder.layout import (
    CROWD,
    CROWD_RING_RECORDS,
    RESUME,
    RETURN,
    RING_RECORDS,
    START,
    THREAD_RING_RECORDS,
    UNWIND,
    WORDS_PER_RECORD,
    YIELD,
)
from narrative_auto.recorder.probes import SilentProbe, Watcher, probe_types
from narrative_auto.recorder.readings import Edge, NotableCall, OpenCall
from narrative_auto.recorder.sites import FUNCTION, GENERATOR, Site, SiteTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import CodeType
    from typing import Any

    from narrative_auto.recorder.base import Monitor, Nap, Plan


class _Retiring:
    """Lives in a thread's local storage; when the thread ends, its lane is folded into the recorder's totals."""

    __slots__ = ("_lane", "_retire")

    def __init__(self, retire: Any, lane: Lane) -> None:
        self._retire = retire
        self._lane = lane

    def __del__(self) -> None:
        self._retire(self._lane)


class PlainNap:
    """A lock on which a thread of ours sleeps."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()

    def acquire(self, *, timeout: float = -1.0) -> bool:
        """Close it, or wait for so many seconds until it is open; return whether it was."""
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        """Open it."""
        self._lock.release()

    def end(self) -> None:
        """Do nothing: C code that forks beside this recorder is on its own."""


class PureRecorder:
    """The event buffer of this process.

    Args:
        min_duration: ns from which a finished call is notable.
        wake: called, from a thread that has recorded something new, when there is something to tell.
    """

    name = "pure"
    clock = "kernel"

    def __init__(self, min_duration: int = 1_000_000, wake: Callable[[], object] | None = None) -> None:
        self.sites = SiteTable()
        self.released: list[int] = []  # it keeps no budget: a probe in Python costs nearly as much where it is silent
        self.sampled: list[int] = []
        self.min_duration = min_duration
        self._lanes: list[Lane] = []
        self._wake = wake
        self._retired: dict[tuple[int, int], Edge] = {}
        self._retired_notable: list[tuple[Any, ...]] = []
        self._retired_records = self._retired_disordered = 0
        self._lane_count = 0
        self._lock = _thread.RLock()
        self._local = _thread._local()  # noqa: SLF001 - threading.local without importing threading
        self._suspended: dict[int, list[Any]] = {}
        self._silenced: dict[int, type] = {}
        self._blocks = Blocks(min_duration)
        self._probes = {
            depth: probe_types(self._local, self.open_lane, self._suspended, self._blocks, depth)
            for depth in (IN_CODE, BY_CALLBACK)
        }
        self.follow = self._blocks.follow

    def probes(self, site: Site, transitions: Iterable[int], depth: int = IN_CODE) -> list[Any]:
        """Return the probes that report some transitions at `site`, in their order.

        A warm start spends most of its time here: it makes the probes of every function that is loaded.
        """
        types = self._probes[depth][site.kind != FUNCTION]
        number = site.number
        limit = 0 if site.marked else self.min_duration
        made = [types[each](site, number, number | each << 32, limit) for each in transitions if each in types]
        site.probes = (*site.probes, *made)
        site.recorder = self
        return made

    def bind(self, code: CodeType, plan: Plan, module: str) -> CodeType:
        """Return a copy of code with probes where the plan has places for them."""
        return bind_copies(self, code, plan, module)

    def monitor(
        self, meet: Callable[[CodeType, Any], object], disable: object, foreign: set[str], *, before: bool
    ) -> Monitor:
        """Return callbacks for `sys.monitoring`."""
        from narrative_auto.recorder.monitor import PureMonitor

        return PureMonitor(self, meet, disable, foreign, before=before)

    def silence(self, site: Site) -> None:
        """Let the site's probes report nothing and cost next to nothing."""
        for probe in site.probes:
            if type(probe) is not SilentProbe:
                self._silenced[id(probe)] = type(probe)  # a site keeps its probes, so that none has another's identity
                probe.__class__ = SilentProbe

    def unsilence(self, site: Site) -> None:
        """Let the site's probes report again."""
        for probe in site.probes:
            probe.__class__ = self._silenced.pop(id(probe), type(probe))

    def mark(self, site: Site, name: str) -> None:
        """Give the site's stages a name; each of its calls becomes notable."""
        site.name = name
        site.marked = True
        for probe in site.probes:
            probe.limit = 0

    def keep_crumb(self, text: str) -> None:
        """Do nothing: there is no black box."""

    def enter_block(self, number: int, block: object, around: object) -> tuple[int, int] | None:
        """Begin a block, `with stage(...):`."""
        lane = self._lane_here() or self.open_lane()
        return self._blocks.enter(lane, number, block, around) if lane.number else None

    def leave_block(self, block: object, error: BaseException | None) -> None:
        """End a block, if it is open; with an exception, if that has left it."""
        lane = self._lane_here() or self.open_lane()
        if lane.number:
            self._blocks.leave(lane, block, error)

    def suspend_block(self, block: object) -> None:
        """Let what follows be outside an open block, until `resume_block`."""
        lane = self._lane_here()
        if lane is not None:
            self._blocks.suspend(lane, block)

    def resume_block(self, block: object) -> None:
        """Let what follows be within a suspended block again."""
        lane = self._lane_here() or self.open_lane()
        if lane.number:
            self._blocks.resume(lane, block)

    def mute_thread(self) -> None:
        """Record nothing of the calling thread: it is one of ours."""
        self._local.lane = Lane(0, 2)

    def open_lane(self) -> Lane:
        """Return a new lane for the calling thread."""
        with self._lock:
            self._lane_count += 1
            number = self._lane_count
        records = CROWD_RING_RECORDS if len(self._lanes) >= CROWD else THREAD_RING_RECORDS
        lane = Lane(number, RING_RECORDS if number == 1 else records, self._wake)
        self._lanes.append(lane)
        self._local.lane = lane
        self._local.retiring = _Retiring(self._retire, lane)
        return lane

    @property
    def lanes(self) -> list[int]:
        """The numbers of the lanes of threads that live."""
        return [lane.number for lane in list(self._lanes)]

    def current_lane(self) -> int | None:
        """Return the number of the calling thread's lane, or None if it reached no probe."""
        lane = self._lane_here()
        return lane.number if lane is not None and lane.number else None

    def _lane_here(self) -> Lane | None:
        lane: Lane | None = getattr(self._local, "lane", None)
        return lane

    def _lane(self, number: int) -> Lane:
        return next(lane for lane in list(self._lanes) if lane.number == number)

    def _retire(self, lane: Lane) -> None:
        with self._lock:
            if lane not in self._lanes:
                return
            self._lanes.remove(lane)
            self._blocks.forget(lane)
            for row in lane.rows():
                self._fold(self._retired, row)
            self._retired_notable += lane.notable
            del self._retired_notable[:-NOTABLE_LIMIT]
            self._retired_records += lane.head // WORDS_PER_RECORD
            self._retired_disordered += lane.disordered
            lane.forget()

    @staticmethod
    def _fold(edges: dict[tuple[int, int], Edge], row: list[Any]) -> None:
        key = (row[CALLER], row[SITE])
        edge = edges.get(key)
        if edge is None:
            edge = edges[key] = Edge(row[SITE], row[CALLER])
        calls, total, own, longest, raised = row[CALLS:CALLEES]
        edge.add(calls, row[RESUMED], total, own, longest, raised, row[FIRST], dict(row[ERRORS]))

    def edges(self) -> list[Edge]:
        """Return the totals of every pair of caller and callee, in the order of their first calls."""
        edges: dict[tuple[int, int], Edge] = {}
        with self._lock:
            lanes = list(self._lanes)
            for key, retired in self._retired.items():
                edges[key] = retired.copy()
        for lane in lanes:
            for row in lane.rows():
                self._fold(edges, row)
        return sorted((edge for edge in edges.values() if edge.calls), key=lambda edge: edge.first)

    @property
    def is_empty(self) -> bool:
        """Whether no probe was ever reached."""
        return self._lane_count == 0

    @property
    def records(self) -> int:
        """The number of records written so far."""
        return self._retired_records + sum(lane.head for lane in list(self._lanes)) // WORDS_PER_RECORD

    @property
    def disordered(self) -> int:
        """The number of calls whose caller was left before them."""
        return self._retired_disordered + sum(lane.disordered for lane in list(self._lanes))

    def drain(self) -> tuple[list[NotableCall], int]:
        """Return the notable calls since the last drain, by their end, and how many were dropped."""
        with self._lock:
            taken, self._retired_notable = self._retired_notable, []
            lanes = list(self._lanes)
        dropped = 0
        for lane in lanes:
            mine = lane.notable[:]
            del lane.notable[: len(mine)]  # what the lane's thread appended meanwhile stays
            taken += mine
            dropped, lane.dropped = dropped + lane.dropped, 0
        calls = [NotableCall(*call) for call in taken]
        calls.sort(key=lambda call: call.ended)
        return calls, dropped

    def open_calls(self) -> list[OpenCall]:
        """Return the calls that are running in any thread, outermost first within a lane, then the suspended ones."""
        calls = []
        for lane in list(self._lanes):
            stack = [entry for entry in list(lane.stack) if len(entry) <= BLOCK or entry[BLOCK] is not None]
            for depth, (beneath, entry) in enumerate(itertools.pairwise(stack)):
                caller = caller_of(entry, beneath)
                around = (caller[NUMBER], lane_of(caller, lane), started_at(caller))
                calls.append(OpenCall(entry[NUMBER], lane_of(entry, lane), started_at(entry), depth, *around))
        carried = [block for blocks in list(self._blocks.carried.values()) for block in blocks]
        for entry in [*list(self._suspended.values()), *carried]:
            calls.append(OpenCall(entry[NUMBER], entry[LANE], entry[STARTED], 0, entry[ROW][CALLER], 0, 0))  # noqa: PERF401 - as above
        return calls

    def last_records(self, number: int, count: int) -> list[tuple[int, int, int]]:
        """Return a lane's last records, oldest first, as (ns, site number, transition)."""
        lane = self._lane(number)
        size = lane.mask + 1
        head = lane.head
        first = max(0, head - min(size, count * WORDS_PER_RECORD))
        ring = lane.ring
        records = []
        for position in range(first, head, WORDS_PER_RECORD):
            at = position & lane.mask
            word = ring[at + 1]
            records.append((ring[at], word & 0xFFFFFFFF, word >> 32))
        return records

    def unwound(self, number: int) -> list[tuple[int, int, int, int]]:
        """Return the calls that exceptions left last, by their end: (id of the exception, site, start, end)."""
        return list(self._lane(number).unwound)

    def depth(self, number: int) -> int:
        """Return how many calls a lane's shadow stack holds."""
        return len(self._lane(number).stack) - 1

    @staticmethod
    def new_nap() -> Nap:
        """Return a lock on which a thread of ours can sleep."""
        return PlainNap()

    def before_fork(self) -> None:
        """Let no other thread hold our lock while the process forks; `after_fork` or `begin_child` follows."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Go on in the parent process, where nobody listens until there is something to tell."""
        for lane in self._lanes:
            lane.wake = self._wake
        self._lock.release()

    def begin_child(self) -> None:
        """Forget what the parent process recorded, in a child of fork; calls that are open stay open."""
        self._lock = _thread.RLock()
        lane = self._lane_here()
        self._lanes = [lane] if lane is not None else []
        self._lane_count = len(self._lanes)
        self._retired, self._retired_notable = {}, []
        self._retired_records = self._retired_disordered = 0
        if lane is None:
            return
        lane.wake = self._wake
        lane.head, lane.notable, lane.unwound, lane.dropped, lane.disordered = 0, [], [], 0, 0
        for row in lane.rows():
            row[CALLS] = row[TOTAL] = row[SELF] = row[LONGEST] = row[RAISED] = row[RESUMED] = 0
            row[ERRORS].clear()
        for entry in lane.stack[1:]:
            entry[ROW][CALLS] += 1

    @staticmethod
    def rehearse() -> None:
        """Run the probes' code once, by a recorder of its own.

        While `sys.monitoring` reports the first start of all code, that of the probes must not come where the stack
        ends: the call back to us would not fit there.
        """
        scratch = PureRecorder(min_duration=0)
        for depth in (IN_CODE, BY_CALLBACK):
            for kind in (FUNCTION, GENERATOR):
                site = scratch.sites.add("", "", "", 0, kind)
                start, *others, unwind = scratch.probes(site, (START, YIELD, RESUME, RETURN, UNWIND), depth)
                for probe in (start, start, *others):
                    not probe  # noqa: B018 - what instrumented code does
                not start  # noqa: B018 - the same
                not start  # noqa: B018 - the same
                unwind == RecursionError()  # noqa: B015 - the same

    watcher = Watcher

    @staticmethod
    def lacks_files() -> bool:
        """Return False: it cannot be known."""
        return False

    @staticmethod
    def more_files() -> bool:
        """Return False: what could raise a limit would have to be imported."""
        return False

    def fewer_files(self) -> None:
        """Do nothing: there are no more."""

    @staticmethod
    def untraced(function: Callable[[], object]) -> object:
        """Call a function of ours; a tracer of the program's sees it."""
        return function()

    def keep(self, folder: str, story_id: str, facts: Mapping[str, str | int]) -> None:
        """Do nothing: what this recorder holds is objects, which cannot lie in a file."""

    box_fault = ""

    @staticmethod
    def dump_on_signal(number: int, folder: str, story_id: str) -> str:  # noqa: ARG004 - as the contract has it
        """Return why that cannot be."""
        return "the recorder in Python has no memory that could be dumped"

    def say_goodbye(self) -> None:
        """Do nothing: there is no file."""

    @staticmethod
    def scratch() -> PureRecorder:
        """Return an empty recorder in which nothing is notable."""
        return PureRecorder(1 << 62)
