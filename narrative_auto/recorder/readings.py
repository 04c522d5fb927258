"""What a recorder gives to its readers: plain values, detached from its memory."""

from __future__ import annotations


class Edge:
    """The totals of one site called from one other, over all lanes.

    Attributes:
        site, caller: site numbers; the caller is 0 where no recorded function called it.
        calls: calls started.
        resumed: how often a suspended call went on.
        total: ns from start to end; for generators the time in which they ran.
        own: ns in the function itself, without the recorded functions that it called.
        longest: ns of the longest call.
        raised: calls left by an exception that is a failure.
        errors: how many by exception type name.
        first: ns of the monotonic clock when the first call started.
    """

    __slots__ = ("caller", "calls", "errors", "first", "longest", "own", "raised", "resumed", "site", "total")

    def __init__(self, site: int, caller: int) -> None:
        self.site = site
        self.caller = caller
        self.calls = self.resumed = self.total = self.own = self.longest = self.raised = 0
        self.first = 0
        self.errors: dict[str, int] = {}

    def add(
        self,
        calls: int,
        resumed: int,
        total: int,
        own: int,
        longest: int,
        raised: int,
        first: int,
        errors: dict[str, int],
    ) -> None:
        """Take in what one lane saw of this edge."""
        self.calls += calls
        self.resumed += resumed
        self.total += total
        self.own += own
        self.longest = max(self.longest, longest)
        self.raised += raised
        self.first = min(self.first or first, first)
        for name, count in errors.items():
            self.errors[name] = self.errors.get(name, 0) + count

    def copy(self) -> Edge:
        """Return an edge with the same totals."""
        edge = Edge(self.site, self.caller)
        edge.add(self.calls, self.resumed, self.total, self.own, self.longest, self.raised, self.first, self.errors)
        return edge


class NotableCall:
    """A finished call that is worth a `StageCompleted`.

    Attributes:
        site, caller: site numbers; 0 for no caller.
        lane: the lane's number.
        started, ended: ns of the monotonic clock.
        running: ns that it ran itself, its awaiting apart; the same as its duration for a plain function.
        error: the exception's type name, or "" for a call that returned.
        caller_lane, caller_started: where and when the calling stage started, which identify it; the start is 0 for
            none.
    """

    __slots__ = ("caller", "caller_lane", "caller_started", "ended", "error", "lane", "running", "site", "started")

    def __init__(
        self,
        site: int,
        caller: int,
        lane: int,
        started: int,
        ended: int,
        running: int,
        error: str,
        caller_lane: int,
        caller_started: int,
    ) -> None:
        self.site = site
        self.caller = caller
        self.lane = lane
        self.started = started
        self.ended = ended
        self.running = running
        self.error = error
        self.caller_lane = caller_lane
        self.caller_started = caller_started


class OpenCall:
    """A call that has started and not ended, as another thread sees it.

    Attributes:
        site, lane, started: as of a `NotableCall`.
        depth: how many calls are below it on the lane's stack.
        caller, caller_lane, caller_started: as of a `NotableCall`; of a suspended call the site alone is known.
    """

    __slots__ = ("caller", "caller_lane", "caller_started", "depth", "lane", "site", "started")

    def __init__(
        self, site: int, lane: int, started: int, depth: int, caller: int, caller_lane: int, caller_started: int
    ) -> None:
        self.site = site
        self.lane = lane
        self.started = started
        self.depth = depth
        self.caller = caller
        self.caller_lane = caller_lane
        self.caller_started = caller_started
