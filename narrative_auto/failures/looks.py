"""Reads in a method's bytecode what it does with its object.

The names of instructions are those of CPython 3.11 to 3.15. One that is not known here, jumps back, or calls anything
but `type`, makes a method one of which nothing is said.
"""

from __future__ import annotations

import sys
from opcode import opname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    Looks = tuple[tuple[str, bool], ...]

_FORMATS = frozenset(("FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC", "CONVERT_VALUE"))
_ASKS_FOR_NONE = frozenset(
    (
        *("POP_JUMP_IF_NONE", "POP_JUMP_IF_NOT_NONE"),
        *("POP_JUMP_FORWARD_IF_NONE", "POP_JUMP_FORWARD_IF_NOT_NONE"),
    )
)
_GOES_ON = frozenset(
    (
        *("LOAD_CONST", "LOAD_SMALL_INT", "BUILD_STRING", "BUILD_TUPLE", "RETURN_VALUE", "RETURN_CONST"),
        *("COPY", "POP_TOP", "IS_OP", "TO_BOOL", "UNARY_NOT"),
        *("JUMP_FORWARD", "JUMP_IF_TRUE_OR_POP", "JUMP_IF_FALSE_OR_POP"),
        *("POP_JUMP_IF_TRUE", "POP_JUMP_IF_FALSE", "POP_JUMP_FORWARD_IF_TRUE", "POP_JUMP_FORWARD_IF_FALSE"),
    )
)
"""Instructions that end at once with plain values; those that jump, jump forward."""

_SAYS_NOTHING = frozenset(("RESUME", "CACHE", "NOP", "NOT_TAKEN", "PRECALL", "PUSH_NULL"))
_LINEAR = (0, 2, 10, 11)
"""What `BINARY_OP` may do: `+`, `//`, `-` and `/`; the others can make much of little."""

_MOST_DIGITS = 3
"""Digits of a width or precision."""

_OTHER_KINDS = 0x04 | 0x08 | 0x20 | 0x80 | 0x200
"""Flags of code that takes any number of arguments, or is that of a generator or coroutine; see `inspect`."""

_OF_CLASS = ("__name__", "__qualname__")
_MOST_KNOWN = 1_000

_known: dict[int, tuple[CodeType, Looks | None]] = {}
"""What methods do, by the identity of their code, which lives as long."""


def looks_of(code: CodeType) -> Looks | None:
    """Return what a method does with its object, where it does no more than to put its attributes into words.

    Args:
        code: the method's; it names no object but its first argument and the built-in `type`.

    Returns:
        Names of the object's attributes, each with whether it is only formatted, or compared with None: else an
        operator may get it. None where the method does anything else.
    """
    known = _known.get(id(code))
    if known is None:
        known = code, _read(code)
        if len(_known) < _MOST_KNOWN:
            _known[id(code)] = known
    return known[1]


def _read(code: CodeType) -> Looks | None:
    if code.co_argcount != 1 or code.co_kwonlyargcount or code.co_flags & _OTHER_KINDS:
        return None
    pairs = zip(code.co_code[::2], code.co_code[1::2], strict=True)
    steps = [(opname[what], argument) for what, argument in pairs if opname[what] not in _SAYS_NOTHING]
    looks = []
    top = ""  # of the stack: "object", its "class", "type", or "type and object"; "" for all else
    for at, (what, argument) in enumerate(steps):
        if what == "LOAD_ATTR" and top in {"object", "class"}:
            name = code.co_names[argument >> 1 if sys.version_info >= (3, 12) else argument]
            if top == "class" and name not in _OF_CLASS:
                return None
            if top == "object" and name != "__class__":
                looks.append((name, _is_only_shown(steps[at + 1 : at + 3])))
            top = "class" if top == "object" and name == "__class__" else ""
        elif what == "LOAD_GLOBAL" and not top and code.co_names[argument >> 1] == "type":
            top = "type"
        elif what in {"LOAD_FAST", "LOAD_FAST_BORROW"} and argument == 0 and top in {"", "type"}:
            top = "type and object" if top else "object"
        elif what == "CALL" and argument == 1 and top == "type and object":
            top = "class"
        elif top or not _ends(what, argument) or not _is_small(code, steps[at - 1 : at + 1]):
            return None
    return tuple(looks)


def _is_only_shown(then: list[tuple[str, int]]) -> bool:
    """Return whether the next two instructions format what is there: as it is, or as a text tells how."""
    what = then[0][0]
    return what in _FORMATS or what in _ASKS_FOR_NONE or (what == "LOAD_CONST" and _has_specification(*then[1]))


def _has_specification(what: str, argument: int) -> bool:
    return what == "FORMAT_WITH_SPEC" or (what == "FORMAT_VALUE" and argument & 0x04 != 0)


def _is_small(code: CodeType, steps: list[tuple[str, int]]) -> bool:
    """Return whether the second of two instructions, if it formats by a text, makes no more than a line of a number."""
    if len(steps) < 2 or not _has_specification(*steps[1]):
        return True
    what, argument = steps[0]
    text = code.co_consts[argument] if what == "LOAD_CONST" else None
    most = _MOST_DIGITS + 1
    return type(text) is str and not any(text[at : at + most].isdigit() for at in range(len(text) - _MOST_DIGITS))


def _ends(what: str, argument: int) -> bool:
    return (
        what in _FORMATS or what in _ASKS_FOR_NONE or what in _GOES_ON or (what == "BINARY_OP" and argument in _LINEAR)
    )
