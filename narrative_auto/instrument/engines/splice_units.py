"""The code units of instructions, two bytes each, by the interpreter's own tables: opcodes, caches, arguments."""

from __future__ import annotations

import opcode

from narrative_auto.instrument.engines import facts
from narrative_auto.instrument.engines.body import EXITS
from narrative_auto.instrument.engines.tables import UnknownShapeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from narrative_auto.instrument.engines.body import Instructions

CACHE = opcode.opmap["CACHE"]
EXTENDED = opcode.EXTENDED_ARG

_JUMPS = frozenset(code for code in opcode.hasjrel if code < 256)  # above are those that only the compiler knows
BACKWARD = frozenset(code for code in _JUMPS if facts.jumps_backward(opcode.opname[code]))

_CACHE_ENTRIES = opcode._inline_cache_entries  # type: ignore[attr-defined] # noqa: SLF001 - `dis` has no other source
CACHES: tuple[int, ...] = tuple(
    (_CACHE_ENTRIES.get(name, 0) for name in opcode.opname) if facts.CACHES_BY_NAME else _CACHE_ENTRIES
)
"""How many code units of inline caches the interpreter wants behind each instruction."""
_NO_CACHES = bytes(2 * max(CACHES))


def _marks(codes: frozenset[int]) -> bytes:
    return bytes(code in codes for code in range(256))


IS_JUMP = _marks(_JUMPS)
IS_EXIT = _marks(frozenset(opcode.opmap[name] for name in EXITS if name in opcode.opmap))
"""Tables for `bytes.translate`: 1 for the opcodes that are meant."""


def encoded(instructions: Instructions) -> bytes:
    """Return instructions of ours and their inline caches as they stand in code."""
    text = bytearray()
    for name, argument in instructions:
        code = opcode.opmap[name]
        number = argument or 0
        if number > 255:
            for shift in range((number.bit_length() - 1) // 8 * 8, 0, -8):
                text += bytes([EXTENDED, number >> shift & 255])
        text.append(code)
        text.append(number & 255)
        text += _NO_CACHES[: 2 * CACHES[code]]
    return bytes(text)


def write_argument(text: bytearray, unit: int, argument: int) -> bool:
    """Give the instruction whose opcode stands here an argument; return whether it has the EXTENDED_ARGs for it."""
    if argument < 0:
        raise UnknownShapeError("a jump that changes its direction")
    index = 2 * unit
    text[index + 1] = argument & 255
    argument >>= 8
    while index and text[index - 2] == EXTENDED:
        index -= 2
        text[index + 1] = argument & 255
        argument >>= 8
    return not argument
