"""Texts that an object holds under names, in plain sight: none of its code is run to find them."""

from __future__ import annotations

from collections import deque
from itertools import islice
from types import MemberDescriptorType

from narrative_auto.errors import attempted
from narrative_auto.failures.members import NOT_FOUND, attribute_of, bases_of, held_by, members_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_DEPTH = 3
_MOST_MEMBERS = 50
_MOST_OBJECTS = 30


def texts_held(value: object) -> Iterator[tuple[str, str]]:
    """Give the names and texts of an object's attributes, and of those of objects and dicts among them, in bounds."""
    waiting: deque[tuple[object, int]] = deque([(value, _DEPTH)])
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_OBJECTS:
        one, depth = waiting.popleft()
        if id(one) in seen:
            continue
        seen.add(id(one))
        for name, member in attempted(_members, one) or ():
            if type(name) is not str:
                continue
            if type(member) is str:
                yield name, member
            elif depth > 1 and (type(member) is dict or type(type(member)) is type):
                waiting.append((member, depth - 1))


def _members(value: object) -> list[tuple[Any, Any]]:
    if type(value) is dict:
        return list(islice(value.items(), _MOST_MEMBERS))
    slots = (
        (name, attribute_of(value, name))
        for one in bases_of(type(value))
        for name, own in members_of(one).items()
        if type(own) is MemberDescriptorType
    )
    found = [*islice((held_by(value) or {}).items(), _MOST_MEMBERS), *islice(slots, _MOST_MEMBERS)]
    return [(name, member) for name, member in found if member is not NOT_FOUND]
