"""Puts probes into the code of one function or module, so that it reports its own transitions."""

from __future__ import annotations

import sys

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines import facts
from narrative_auto.instrument.engines.body import EXITS, SUSPENDS, Draft, Original
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType

    from bytecode.instr import InstrLocation

    from narrative_auto.instrument.engines.body import Handler


_LIBRARY_FAULTS = (AssertionError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError)
"""What `bytecode` raises for code that it does not understand; it has no exceptions of its own."""

_SAME_AS_ORIGINAL = (
    *("co_argcount", "co_cellvars", "co_filename", "co_firstlineno", "co_flags", "co_freevars", "co_kwonlyargcount"),
    *("co_name", "co_names", "co_nlocals", "co_posonlyargcount", "co_qualname", "co_varnames"),
)


def assemble(code: CodeType, probe: Callable[[int], object | None]) -> CodeType:
    """Return a copy of `code` that reports its own transitions, not those of the code objects nested in it.

    A probe for START, RETURN, YIELD or RESUME is reported to by asking for its truth value, the one for UNWIND by
    comparing it with the exception for equality: ``probe == exception``. Tracebacks, line events and everything that
    describes the function are those of the original; the probes are added behind its constants.

    Args:
        code: the code of a function of any kind, or of a module.
        probe: called once for each transition that the code can make, returns the object to report that transition to,
            or None to leave the transition out.

    Returns:
        The new code object; `code` itself where every transition is left out.

    Raises:
        DeclinedError: the code cannot be assembled with certainty; the message is the reason.
    """
    if not facts.KNOWN_INTERPRETER:
        version = ".".join(map(str, facts.VERSION))
        raise DeclinedError(
            f"code is rewritten on CPython 3.11 to 3.15 only, this is {sys.implementation.name} {version}"
        )
    try:
        original = Original(code)
    except _LIBRARY_FAULTS as fault:
        raise _misunderstood(code, fault) from fault
    wanted = ((transition, probe(transition)) for transition in original.transitions())
    probes = {transition: target for transition, target in wanted if target is not None}
    if not probes:
        return code
    try:
        assembled = _Weaver(original, probes).weave().code(original)
    except _LIBRARY_FAULTS as fault:
        raise _misunderstood(code, fault) from fault
    _verify(code, assembled)
    return assembled


def _misunderstood(code: CodeType, fault: Exception) -> DeclinedError:
    return DeclinedError(f"the code of {code.co_qualname} was not understood ({type(fault).__name__}: {fault})")


class _Weaver:
    """Writes the original's instructions into a draft, with the probes among them and their handlers behind them."""

    __slots__ = ("_detours", "_draft", "_numbers", "_original", "_outer", "_probes", "_tells_suspensions")

    def __init__(self, original: Original, probes: Mapping[int, object]) -> None:
        first = len(original.code.co_consts)
        self._original = original
        self._probes = probes
        self._tells_suspensions = YIELD in probes or RESUME in probes
        self._numbers = {transition: first + number for number, transition in enumerate(probes)}
        self._draft = Draft(tuple(probes.values()))
        self._outer: Handler | None = (self._draft.new_label(), 0, True) if UNWIND in probes else None
        # Which transition to report, and whose handler to go on to: where the exception is to be handled instead.
        self._detours: dict[tuple[int, Handler | None], Handler] = {}

    def weave(self) -> Draft:
        """Return the finished draft."""
        original = self._original
        label = self._begin()
        for exit_label in [label for label, each in enumerate(original.instructions) if each.name in EXITS]:
            if exit_label < label:
                raise DeclinedError(f"{original.code.co_qualname} can end before it begins")
            self._keep(label, exit_label)
            label = self._suspend(exit_label) if original.name(exit_label) == SUSPENDS else self._leave(exit_label)
        self._keep(label, len(original.instructions))
        self._write_detours()
        self._write_outer()
        self._draft.aim(original.targets)
        return self._draft

    def _handler(self, label: int) -> Handler | None:
        """Return who handles what the original's instruction raises: the program's own handler, else the outer one."""
        return self._original.handlers[label] or self._outer

    def _keep(self, begin: int, end: int) -> None:
        """Write a run of the original's instructions, as they were but for the outer handler."""
        outer, original = self._outer, self._original
        handlers = [handler or outer for handler in original.handlers[begin:end]]
        self._draft.copy(begin, original.instructions[begin:end], handlers)

    def _keep_one(self, label: int, handler: Handler | None) -> int:
        """Write one of the original's instructions and its inline caches, and return the label of the next."""
        end = self._original.behind(label)
        self._draft.copy(label, self._original.instructions[label:end], [handler] * (end - label))
        return end

    def _begin(self) -> int:
        """Write everything up to the START probe, and return the label of the first instruction behind it."""
        original = self._original
        resume = original.instructions[original.entry]
        before = slice(0, original.entry)
        self._draft.copy(0, original.instructions[before], original.handlers[before])
        # A signal handler may raise at RESUME, before START was reported. That matters from 3.12 on in a generator:
        # the handler that turns StopIteration into RuntimeError covers its RESUME, and goes on to the outer one.
        label = self._keep_one(original.entry, self._detour(START, original.entry, otherwise=None))
        # A START on the `def` line, in front of another line, shows in tracers as a line of its own. One without a
        # line, in front of code on the `def` line, lets that line begin a second time.
        following = original.instructions[label]
        location = resume.location if following.lineno == resume.lineno else None
        self._report(START, location, None)
        return label

    def _leave(self, label: int) -> int:
        """Write a return, and return the label of the next instruction.

        The probe is outside every handler, so that a return is never followed by another way out. The instruction is
        outside the outer one only: a tracer may raise there, and the program may have a handler for that.
        """
        original = self._original
        self._draft.place(label)
        self._report(RETURN, original.instructions[label].location, None)
        return self._keep_one(label, original.handlers[label])

    def _suspend(self, label: int) -> int:
        """Write a suspension: YIELD_VALUE and the RESUME that follows it; return the label of the next instruction."""
        original = self._original
        resume = original.behind(label)
        if original.name(resume) != "RESUME":
            raise DeclinedError(f"{original.code.co_qualname} has a YIELD_VALUE without a RESUME")
        self._unmark_bare_yield(label, resume)
        self._draft.place(label)
        self._report(YIELD, original.instructions[label].location, self._handler(label))
        parted = facts.THROW_READS_SEND and self._tells_suspensions and original.name(label - 1) == "SEND"
        landing = self._repeat_send(label - 1) if parted else None
        # `throw()`, `close()` and a cancelled task resume with an exception: it goes by way of the RESUME probe.
        self._keep_one(label, self._detour(RESUME, label, otherwise=self._outer))
        end = self._keep_one(resume, self._detour(RESUME, resume, otherwise=self._outer))
        self._report(RESUME, original.instructions[resume].location, self._handler(resume))
        return self._close_loop(end, landing) if landing is not None else end

    def _repeat_send(self, send: int) -> int:
        """Put a SEND that is never run in front of YIELD_VALUE, for `throw()` to read where it leaves the loop.

        Returns:
            The label to which it leads; it is not placed yet.
        """
        draft = self._draft
        over, landing = draft.new_label(), draft.new_label()
        location, handler = self._original.instructions[send].location, self._handler(send)
        draft.insert("JUMP_FORWARD", 0, location, handler, over)
        draft.insert("SEND", 0, location, handler, landing)
        draft.place(over)
        return landing

    def _close_loop(self, jump: int, landing: int) -> int:
        """Write the jump that closes the loop of a `yield from`, and behind it a RESUME probe for `throw()` to land on.

        Nothing else comes to that probe. An iterator that fails during `throw()` raises as if from the jump, which
        raises nothing of its own.
        """
        original = self._original
        if (
            original.name(jump) != "JUMP_BACKWARD_NO_INTERRUPT"
            or original.targets.get(original.targets[jump]) != jump + 1
        ):
            raise DeclinedError(f"{original.code.co_qualname} has a `yield from` that is not a loop")
        location = original.instructions[jump].location
        end = self._keep_one(jump, self._detour(RESUME, jump, otherwise=self._outer))
        self._draft.place(landing)
        self._report(RESUME, location, self._handler(jump))
        return end

    def _unmark_bare_yield(self, label: int, resume: int) -> None:
        """Let `close()` run a generator that it would finish unseen: ours is a handler that wants to be run."""
        instructions = self._original.instructions
        if UNWIND not in self._probes and RESUME not in self._probes:
            return
        if facts.MARKS_BARE_YIELD_AT_RESUME:
            instructions[resume].arg &= facts.RESUME_PLACE_BITS
        elif facts.MARKS_BARE_YIELD_AT_YIELD and instructions[label].arg == 1:
            instructions[label].arg = 2

    def _detour(self, transition: int, label: int, *, otherwise: Handler | None) -> Handler | None:
        """Return a handler that reports a transition and then goes on to the one that the instruction has now.

        It cuts the stack as that one does, so all instructions with the same handler share one detour.
        """
        own = self._original.handlers[label]
        destination = own or otherwise
        if transition not in self._probes or (own is None and transition == START):
            return destination
        key = (transition, destination)
        if key not in self._detours:
            depth = destination[1] if destination else 0
            self._detours[key] = (self._draft.new_label(), depth, True)
        return self._detours[key]

    def _write_detours(self) -> None:
        for (transition, destination), (label, _, _) in self._detours.items():
            self._draft.place(label)
            self._report(transition, None, None)
            self._draft.insert("RERAISE", 1, handler=destination)  # 1: from where it was raised, the offset below says

    def _write_outer(self) -> None:
        """Write the handler through which every exception leaves the function: the stack is [offset, exception]."""
        if self._outer is None:
            return
        draft = self._draft
        draft.place(self._outer[0])
        draft.insert("LOAD_CONST", self._numbers[UNWIND])
        draft.insert("COPY", 2)
        draft.insert("COMPARE_OP", facts.EQUALS_ARGUMENT)
        draft.insert("POP_TOP")
        draft.insert("RERAISE", 1)

    def _report(self, transition: int, location: InstrLocation | None, handler: Handler | None) -> None:
        """Write the probe of a transition, if there is one: ask it for its truth value and forget the answer."""
        if transition not in self._probes:
            return
        self._draft.insert("LOAD_CONST", self._numbers[transition], location, handler)
        self._draft.insert(facts.TRUTH_TEST, None, location, handler)
        self._draft.insert("POP_TOP", None, location, handler)


def _verify(code: CodeType, assembled: CodeType) -> None:
    """Decline what differs from the original in more than its body, whatever the reason may be."""
    for name in _SAME_AS_ORIGINAL:
        if getattr(code, name) != getattr(assembled, name):
            raise DeclinedError(f"the new code of {code.co_qualname} has another {name}")
    if any(old is not new for old, new in zip(code.co_consts, assembled.co_consts, strict=False)):
        raise DeclinedError(f"the new code of {code.co_qualname} has other constants")
    if assembled.co_stacksize < code.co_stacksize:
        raise DeclinedError(f"the new code of {code.co_qualname} has less stack than the original")
