"""Folds the totals of who called whom into a tree of stages that a person can take in."""

from __future__ import annotations

from narrative_auto.records import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from narrative_auto.stories.events import StageTotal

SLOW_SHARE = 0.05
"""A private helper is shown if it took this share of the story's time, or failed."""


@record(slots=True)
class StageNode:
    """One line of the tree: a stage as called from the stage above it.

    Attributes:
        total: the counts; None for the root, which is the story.
        recursive_calls: calls that the stage made of itself.
        below: the stages that it called.
    """

    total: StageTotal | None
    recursive_calls: int = 0
    below: list[StageNode] = field(default_factory=list)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, StageNode]]:
        """Yield this node and all below it, with their depths, in the tree's order."""
        yield depth, self
        for node in self.below:
            yield from node.walk(depth + 1)


def fold(totals: Iterable[StageTotal]) -> StageNode:
    """Return the tree of all stages, in the order of their first calls; the story is the root.

    A function that was called from two places stands under both, with the calls that each made. What it called in
    turn is known per function, not per place, so that stands once: where the function spent most of its time.

    Args:
        totals: ordered by first call, so that a caller comes before what it called.
    """
    edges = list(totals)
    called: dict[int, list[StageTotal]] = {}
    for edge in edges:
        called.setdefault(edge.caller, []).append(edge)
    homes = _homes(edges)

    def unfold(node: StageNode, site: int) -> StageNode:
        for edge in called.get(site, ()):
            if edge.site == site:
                node.recursive_calls += edge.calls
                continue
            child = StageNode(edge)
            node.below.append(unfold(child, edge.site) if homes[edge.site] is edge else child)
        return node

    return unfold(StageNode(None), 0)


def _homes(edges: list[StageTotal]) -> dict[int, StageTotal]:
    """Return for each site the edge under which its own callees stand; following the callers always ends at 0."""
    homes: dict[int, StageTotal] = {}
    for edge in edges:
        if edge.caller != edge.site:
            homes.setdefault(edge.site, edge)  # the first call of all: its caller was running, so it has a home too

    def leads_through(site: int, avoided: int) -> bool:
        while site in homes and site != avoided:
            site = homes[site].caller
        return site == avoided

    for edge in sorted(edges, key=lambda one: one.total_seconds, reverse=True):
        home = homes.get(edge.site)
        heavier = home is not None and edge.total_seconds > home.total_seconds
        if heavier and edge.caller != edge.site and not leads_through(edge.caller, edge.site):
            homes[edge.site] = edge
    return homes


def without_private(node: StageNode, seconds: float) -> StageNode:
    """Return the tree without private helpers that are neither slow nor failing; what they called moves up.

    Args:
        node: the tree.
        seconds: the story's duration.
    """
    below: list[StageNode] = []
    for child in node.below:
        kept = without_private(child, seconds)
        assert child.total is not None
        if child.total.private and not child.total.raised and child.total.total_seconds < SLOW_SHARE * seconds:
            below += kept.below
        else:
            below.append(kept)
    return StageNode(node.total, node.recursive_calls, below)


def _lines_of(node: StageNode) -> int:
    """Return how many lines a stage takes: what it raised has a line of its own."""
    return 2 if node.total is not None and node.total.raised else 1


def keep_largest(node: StageNode, lines: int) -> tuple[StageNode, int]:
    """Return the tree cut to a number of lines, and how many stages were left out; they take a line together.

    What failed is kept first, then what took the most time; a stage is kept with all stages above it.
    """
    above: dict[int, StageNode] = {}
    nodes = [one for _, one in node.walk()][1:]
    for _, parent in node.walk():
        for child in parent.below:
            above[id(child)] = parent
    if sum(map(_lines_of, nodes)) <= lines:
        return node, 0
    kept: set[int] = set()
    used = 1

    def weight(one: StageNode) -> tuple[bool, float]:
        assert one.total is not None
        return (one.total.raised > 0, one.total.total_seconds)

    for one in sorted(nodes, key=weight, reverse=True):
        chain = []
        step: StageNode | None = one
        while step is not None and step is not node and id(step) not in kept:
            chain.append(step)
            step = above.get(id(step))
        needed = sum(map(_lines_of, chain))
        if used + needed <= lines:
            used += needed
            kept.update(map(id, chain))

    def cut(one: StageNode) -> StageNode:
        return StageNode(one.total, one.recursive_calls, [cut(child) for child in one.below if id(child) in kept])

    return cut(node), len(nodes) - len(kept)
