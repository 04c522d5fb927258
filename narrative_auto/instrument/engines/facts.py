"""Names for the interpreter facts that rewriting code depends on, each with the versions where it holds."""

from __future__ import annotations

import sys

VERSION = sys.version_info[:2]
VERSION_TEXT = ".".join(map(str, VERSION))

OLDEST = (3, 11)
NEWEST = (3, 15)
"""The versions whose instructions `assembly` was written for and is tested with."""

KNOWN_INTERPRETER = sys.implementation.name == "cpython" and OLDEST <= VERSION <= NEWEST

UNKNOWN = f"code is rewritten on CPython 3.11 to 3.15 only, this is {sys.implementation.name} {VERSION_TEXT}"
"""Why code is left alone where `KNOWN_INTERPRETER` is false."""

TRUTH_TEST = "TO_BOOL" if VERSION >= (3, 13) else "UNARY_NOT"
"""The instruction that asks one object for its truth value, replaces it by a boolean and does nothing else."""

_EQUAL = 2  # the index of `==` in `opcode.cmp_op`
_EQUAL_MASK = 8  # 3.12 keeps, beside the operator, the bits by which its specialised forms choose a jump

EQUALS_ARGUMENT = (
    _EQUAL if VERSION == (3, 11) else _EQUAL << 4 | _EQUAL_MASK if VERSION == (3, 12) else _EQUAL << 5 | _EQUAL_MASK
)
"""COMPARE_OP's argument for `==` (3.13 made room for a bit that asks for a conversion to bool, left clear here)."""

COMPARISON_RECURS = VERSION == (3, 11)
"""Whether a comparison takes one of the levels of recursion that Python calls take."""

RESUME_PLACE_BITS = 7 if VERSION >= (3, 15) else 3
"""The bits of RESUME's argument that say where it stands: 0 at a function's start, 1 after a yield, 2 and 3 after
`yield from` and `await`. What lies above (3.13 and later) says that no `try` of the program's encloses the yield."""

MARKS_BARE_YIELD_AT_RESUME = VERSION >= (3, 13)
MARKS_BARE_YIELD_AT_YIELD = VERSION == (3, 12)
"""Where a suspension that no `try` encloses is marked: `close()` and the garbage collector finish a generator without
running it where they find the mark. 3.12 has it in YIELD_VALUE's argument, the number of enclosing handlers; 1 is the
one that turns StopIteration into RuntimeError. 3.11 has no such shortcut."""

THROW_READS_SEND = VERSION == (3, 11)
"""When the iterator of a `yield from` finishes or fails during `throw()`, `gen_throw` leaves the loop by the argument
of the instruction in front of YIELD_VALUE, which it takes for SEND. Later versions have CLEANUP_THROW for that."""

UNWINDS_LOCALLY = VERSION >= (3, 15)
"""Whether sys.monitoring takes PY_UNWIND and PY_THROW as local events (python/cpython#142186); before, they come for
all code or for none."""

SIGNALS_BEFORE_START = VERSION >= (3, 13)
"""Whether a signal handler that raises as a function begins does so before its PY_START: it is then unwound without
having started. In 3.12 the event comes first."""

CLOSES_SILENTLY = VERSION == (3, 13)
"""Whether `close()` and the garbage collector finish a generator that is suspended outside every `try` with no event to
sys.monitoring or a trace function (python/cpython#140373; seen in 3.13.0, not in 3.12.1, 3.14.10 and 3.15.2)."""

THROW_FINISHES_SILENTLY = VERSION == (3, 11)
"""Whether a trace function misses that a delegating generator goes on when `throw()` finishes what it delegates to."""

CACHES_BY_NAME = VERSION >= (3, 13)
"""Whether `opcode` keeps the number of each instruction's inline caches under its name; before, under its code."""


def jumps_backward(name: str) -> bool:
    """Return whether a jump's argument is the distance to a target that lies in front of it.

    3.14 gave END_ASYNC_FOR one: how far back the SEND of its loop is, for events of sys.monitoring.
    """
    return "BACKWARD" in name or name == "END_ASYNC_FOR"


DEBUGGERS_ASK_FOR_LINES = VERSION >= (3, 13)
"""Whether `bdb.set_trace` switches the line events of a frame on again, where another tracer switched them off."""

DEBUGGERS_LOOK_BEHIND_RESUME = VERSION >= (3, 13)
"""pdb sets the breakpoint of `break function` on the line of the instruction behind RESUME."""

DEBUGGERS_MONITOR = VERSION >= (3, 14)
"""Whether bdb watches by `sys.monitoring`, beside a trace function; it still keeps what it calls in each `f_trace`."""
