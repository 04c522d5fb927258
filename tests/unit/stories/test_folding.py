"""The folded tree."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from narrative_auto.stories.events import StageTotal
from narrative_auto.stories.folding import StageNode, fold, keep_largest, without_private

Shape = list[tuple[str, int, list[object]]]


def edge(
    site: int, caller: int, calls: int = 1, seconds: float = 1.0, *, private: bool = False, raised: int = 0
) -> StageTotal:
    """Return the totals of an edge; the stage's name is its site's letter."""
    errors = {"ValueError": raised} if raised else {}
    name = chr(ord("a") + site - 1)
    return StageTotal(site, caller, name, "m", "m.py", 1, private, calls, seconds, seconds, seconds, raised, errors)


def shape(node: StageNode) -> list[object]:
    """Return the tree as nested lists of (name, calls, recursive calls, below)."""
    return [
        (one.total.name, one.total.calls, one.recursive_calls, shape(one))
        for one in node.below
        if one.total is not None
    ]


def test_a_function_stands_under_each_of_its_callers() -> None:
    """The calls that each caller made are told apart; what the function called stands where it spent most time."""
    tree = fold([edge(1, 0), edge(2, 1, 1, 0.1), edge(3, 2, 5), edge(4, 1), edge(2, 4, 9, 0.8)])
    assert shape(tree) == [
        ("a", 1, 0, [("b", 1, 0, []), ("d", 1, 0, [("b", 9, 0, [("c", 5, 0, [])])])]),
    ]


def test_recursion_is_folded() -> None:
    """A function that calls itself is one line with its recursive calls."""
    assert shape(fold([edge(1, 0), edge(1, 1, 899)])) == [("a", 1, 899, [])]


def test_mutual_recursion_is_cut_where_it_comes_back() -> None:
    """Every edge stands exactly once, whatever the calls look like."""
    tree = fold([edge(1, 0, 1, 1.0), edge(2, 1, 10, 5.0), edge(1, 2, 9, 4.0), edge(3, 2, 1, 0.1)])
    assert shape(tree) == [("a", 1, 0, [("b", 10, 0, [("a", 9, 0, []), ("c", 1, 0, [])])])]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 8), st.integers(1, 99), st.floats(0, 9)), max_size=40))
def test_no_call_is_lost(calls: list[tuple[int, int, int, float]]) -> None:
    """Whatever called whom, the tree holds as many calls as were counted."""
    known, edges, seen = {0}, [], set()
    for caller, site, count, seconds in calls:
        # A caller is running when it calls, so it has been called before.
        if caller in known and (caller, site) not in seen:
            known.add(site)
            seen.add((caller, site))
            edges.append(edge(site, caller, count, seconds))
    nodes = [node for _, node in fold(edges).walk() if node.total is not None]
    assert sum(node.total.calls + node.recursive_calls for node in nodes if node.total) == sum(
        one.calls for one in edges
    )


def test_private_helpers_are_shown_where_they_matter() -> None:
    """A private helper is hidden unless it is slow or fails; what it called moves up."""
    edges = [
        edge(1, 0, seconds=10),
        edge(2, 1, seconds=0.1, private=True),
        edge(3, 2, seconds=0.1),
        edge(4, 1, seconds=2, private=True),
        edge(5, 1, seconds=0.1, private=True, raised=1),
    ]
    tree = without_private(fold(edges), 10)
    assert [name for name, *_ in shape(tree)[0][3]] == ["c", "d", "e"]  # type: ignore[index]


def test_the_largest_are_kept_with_what_stands_above_them() -> None:
    """A cut tree keeps failures and time, never a stage without its callers, and says how many are missing."""
    edges = [edge(1, 0, seconds=10), *(edge(n, 1, seconds=n) for n in range(2, 9)), edge(9, 2, seconds=0.01, raised=1)]
    tree, left_out = keep_largest(fold(edges), 6)
    assert shape(tree) == [("a", 1, 0, [("b", 1, 0, [("i", 1, 0, [])]), ("h", 1, 0, [])])]
    assert left_out == 5
