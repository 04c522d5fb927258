"""Records are what dataclasses would be, to whoever uses them as such."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys

import pytest

from narrative_auto.records import changed, field, record


@record(slots=True)
class Point:
    """A place."""

    x: int
    y: int = 2
    marks: list[str] = field(default_factory=list)
    key: str = field(default="k", repr=False)

    @property
    def sum(self) -> int:
        """Both together."""
        return self.x + self.y


@record(frozen=True, slots=True)
class Fixed:
    """What stays."""

    name: str
    size: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.size < 0:
            raise ValueError(self.size)


def test_it_is_made_printed_and_compared_as_a_dataclass_is() -> None:
    """Defaults, factories, hidden fields, equality, a wrong argument."""
    one = Point(1)
    assert repr(one) == "Point(x=1, y=2, marks=[])"
    assert (one.sum, one.key) == (3, "k")
    assert one == Point(1)
    assert one != Point(2)
    assert one != object()
    assert one.marks is not Point(1).marks
    one.x = 5
    assert one.x == 5
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(AttributeError):
        one.other = 1  # type: ignore[attr-defined]
    assert str(inspect.signature(Fixed)) == "(name: 'str', size: 'int' = 0) -> 'None'"
    match Point(7, 8):
        case Point(x, y):
            assert (x, y) == (7, 8)


def test_a_frozen_one_stays_as_it_is() -> None:
    """It can be hashed, and neither assigned to nor made against its rules."""
    one = Fixed("a", 3)
    assert {one: 1}[Fixed("a", 3)] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.size = 4  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.size
    with pytest.raises(ValueError, match="-1"):
        Fixed("a", -1)


@pytest.mark.parametrize("one", [Point(1, 3, ["m"], "s"), Fixed("a", 3)])
def test_it_can_be_copied_pickled_and_changed(one: Point | Fixed) -> None:
    """All ways that there are."""
    assert copy.copy(one) == copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert changed(one) == one
    assert changed(Fixed("a", 3), size=9) == Fixed("a", 9)
    if sys.version_info >= (3, 13):
        assert copy.replace(Fixed("a", 3), size=9) == Fixed("a", 9)


def test_what_takes_dataclasses_takes_it() -> None:
    """`dataclasses` finds its fields, and a dataclass can extend it."""
    assert dataclasses.is_dataclass(Point)
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2, "marks": [], "key": "k"}
    assert dataclasses.replace(Fixed("a"), size=2) == Fixed("a", 2)
    assert [one.name for one in dataclasses.fields(Fixed)] == ["name", "size"]

    @dataclasses.dataclass(frozen=True)
    class Wider(Fixed):
        width: int = 1

    assert dataclasses.asdict(Wider("a", width=4)) == {"name": "a", "size": 0, "width": 4}


def test_none_of_it_imports_dataclasses() -> None:
    """That is what it is for."""
    code = (
        "import sys; import narrative_auto.stories.events, narrative_auto.failures.redaction, narrative_auto.recorder.black_box;"
        "print('dataclasses' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_what_extends_it_is_copied_with_what_is_its_own() -> None:
    """Attributes of its own, an `__init__` of its own."""

    class Named(Point):
        def __init__(self, name: str) -> None:
            super().__init__(len(name))
            self.name = name

    class Sized(Fixed):
        pass

    one = copy.copy(Named("abc"))
    assert (one.name, one.x) == ("abc", 3)
    assert copy.deepcopy(Sized("a", 3)) == Sized("a", 3)
    assert not hasattr(Fixed("a"), "__dict__")
