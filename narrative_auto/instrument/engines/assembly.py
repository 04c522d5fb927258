"""Puts probes into the code of one function or module, so that it reports its own transitions."""

from __future__ import annotations

from operator import attrgetter, is_not

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines import body, facts, splice
from narrative_auto.instrument.engines.tables import UnknownShapeError
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import Protocol

    from narrative_auto.instrument.engines.body import Handler, Instructions

    class Original(Protocol):
        """The code as it was; a label stands for the place of an instruction, the next one has a higher one."""

        code: CodeType
        end: int
        exits: list[int]

        def name(self, label: int) -> str:
            """Return the name of an instruction, empty where there is none."""

        def argument(self, label: int) -> int:
            """Return the argument of an instruction."""

        def line(self, label: int) -> int | None:
            """Return the line of an instruction, counted from wherever, None where it has none."""

        def handler(self, label: int) -> Handler | None:
            """Return who handles the exceptions of an instruction, None where nobody does."""

        def target(self, label: int) -> int | None:
            """Return the label of a jump's target, None for what is no jump."""

        def behind(self, label: int) -> int:
            """Return the label of the instruction behind this one and its inline caches."""

        def first(self, name: str) -> int | None:
            """Return the label of the first instruction of this name."""

        def first_target(self) -> int:
            """Return the lowest label to which a jump leads; the end where there is no jump."""

        def draft(self, probes: tuple[object, ...]) -> Draft:
            """Return an empty body to take the place of this one."""

    class Draft(Protocol):
        """The new body as it grows; all of the original is kept, in its order."""

        def new_label(self) -> int:
            """Return a label for a place that the original does not have."""

        def place(self, label: int) -> None:
            """Let a label stand for the instruction that is written next."""

        def set_argument(self, label: int, argument: int) -> None:
            """Give one of the original's instructions another argument."""

        def keep(self, begin: int, end: int, otherwise: Handler | None) -> None:
            """Add a run of the original's instructions; what has no handler gets the one that is given."""

        def keep_with(self, begin: int, end: int, handler: Handler | None) -> None:
            """Add a run of the original's instructions, all with this handler."""

        def insert(
            self,
            instructions: Instructions,
            location: int | None = None,
            handler: Handler | None = None,
            target: int | None = None,
        ) -> None:
            """Add instructions of ours and their inline caches.

            They have the location of the original's instruction behind or in front of them, or none. The target is
            that of the first.
            """

        def code(self) -> CodeType:
            """Return the original's code object with this body in place of its own."""


_FAULTS = (AssertionError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError)
"""What `bytecode` raises for code that it does not understand; it has no exceptions of its own."""

_UNSPLICED = (UnknownShapeError, LookupError, ValueError)
"""What the splicer raises for code that it does not understand, or that is broken: `bytecode` is to say which."""

_SUSPENDS = "YIELD_VALUE"

_PROLOGUE = frozenset({"COPY_FREE_VARS", "MAKE_CELL", "NOP", "POP_TOP", "RETURN_GENERATOR"})
"""What may stand in front of the RESUME at which a function begins to run."""

_RERAISE: Instructions = (("RERAISE", 1),)  # 1: from where it was raised, as the offset below the exception says

_DESCRIPTION = (
    *("co_argcount", "co_cellvars", "co_filename", "co_firstlineno", "co_flags", "co_freevars", "co_kwonlyargcount"),
    *("co_name", "co_names", "co_nlocals", "co_posonlyargcount", "co_qualname", "co_varnames"),
)
_describe = attrgetter(*_DESCRIPTION)


_ROOM: Instructions = (("NOP", None),)
"""For the jump over a probe whose site is released (recorder/c/patch.h)."""


def _truth_test(constant: int) -> Instructions:
    return (("LOAD_CONST", constant), (facts.TRUTH_TEST, None), ("POP_TOP", None))


def _comparison(constant: int) -> Instructions:
    """Compare a probe with the exception, where the stack is [offset, exception], and let the exception go on."""
    comparison = (("COPY", 2), ("COMPARE_OP", facts.EQUALS_ARGUMENT), ("POP_TOP", None))
    # A comparison may find no level of recursion left: a probe that is asked for its truth value before makes room.
    room = _truth_test(constant) if facts.COMPARISON_RECURS else ()
    return (*room, ("LOAD_CONST", constant), *comparison, *_RERAISE)


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
        raise DeclinedError(facts.UNKNOWN)
    try:
        weaver = _Weaver(splice.Original(code))
    except _UNSPLICED:
        weaver = _disassembled(code)
    wanted = ((transition, probe(transition)) for transition in weaver.transitions())
    probes = {transition: target for transition, target in wanted if target is not None}
    if not probes:
        return code
    try:
        assembled = weaver.weave(probes)
    except _UNSPLICED:
        assembled = _reassembled(code, probes)
    _verify(code, assembled)
    return assembled


def _disassembled(code: CodeType) -> _Weaver:
    try:
        return _Weaver(body.Original(code))
    except _FAULTS as fault:
        raise _misunderstood(code, fault) from fault


def _reassembled(code: CodeType, probes: Mapping[int, object]) -> CodeType:
    weaver = _disassembled(code)
    try:
        return weaver.weave(probes)
    except _FAULTS as fault:
        raise _misunderstood(code, fault) from fault


def _misunderstood(code: CodeType, fault: Exception) -> DeclinedError:
    return DeclinedError(f"the code of {code.co_qualname} was not understood ({type(fault).__name__}: {fault})")


class _Weaver:
    """Writes the original's instructions into a draft, with the probes among them and their handlers behind them."""

    __slots__ = ("_detours", "_draft", "_entry", "_exits", "_original", "_outer", "_questions", "_tells_suspensions")

    def __init__(self, original: Original) -> None:
        self._original = original
        self._exits = [(label, original.name(label) == _SUSPENDS) for label in original.exits]
        self._entry = self._find_entry()

    def _find_entry(self) -> int:
        """Return the label of the RESUME at which the function begins to run, in a generator when first asked."""
        original = self._original
        # In front of RETURN_GENERATOR, a generator expression takes its iterator (3.15): the generator is not yet.
        label = original.first("RETURN_GENERATOR") or 0
        while original.name(label) in _PROLOGUE:
            label = original.behind(label)
        if original.name(label) != "RESUME" or original.argument(label) & facts.RESUME_PLACE_BITS:
            raise DeclinedError(f"{original.code.co_qualname} does not begin as compiled functions begin")
        if original.first_target() <= label:
            raise DeclinedError(f"{original.code.co_qualname} has a jump to its own beginning")
        return label

    def transitions(self) -> list[int]:
        """Return the transitions that this code can make, in the order of their numbers."""
        kinds = {suspends for _, suspends in self._exits}
        return [START, *([RETURN] if False in kinds else []), UNWIND, *([YIELD, RESUME] if True in kinds else [])]

    def weave(self, probes: Mapping[int, object]) -> CodeType:
        """Return the original's code with these probes."""
        original = self._original
        first = len(original.code.co_consts)
        self._tells_suspensions = YIELD in probes or RESUME in probes
        self._questions: dict[int, Instructions] = {
            transition: _comparison(first + number) if transition == UNWIND else (*_ROOM, *_truth_test(first + number))
            for number, transition in enumerate(probes)
        }
        self._draft = original.draft(tuple(probes.values()))
        self._outer: Handler | None = (self._draft.new_label(), 0, True) if UNWIND in probes else None
        # Which transition to report, and whose handler to go on to: where the exception is to be handled instead.
        self._detours: dict[tuple[int, Handler | None], Handler] = {}
        label = self._begin()
        for exit_label, suspends in self._exits:
            if exit_label < label:
                raise DeclinedError(f"{original.code.co_qualname} can end before it begins")
            self._draft.keep(label, exit_label, self._outer)
            label = self._suspend(exit_label) if suspends else self._leave(exit_label)
        self._draft.keep(label, original.end, self._outer)
        self._write_detours()
        self._write_outer()
        return self._draft.code()

    def _handler(self, label: int) -> Handler | None:
        """Return who handles what the original's instruction raises: the program's own handler, else the outer one."""
        return self._original.handler(label) or self._outer

    def _keep_one(self, label: int, handler: Handler | None) -> int:
        """Write one of the original's instructions and its inline caches, and return the label of the next."""
        end = self._original.behind(label)
        self._draft.keep_with(label, end, handler)
        return end

    def _begin(self) -> int:
        """Write everything up to the START probe, and return the label of the first instruction behind it."""
        original, entry = self._original, self._entry
        self._draft.keep(0, entry, None)
        # A signal handler may raise at RESUME, before START was reported. That matters from 3.12 on in a generator:
        # the handler that turns StopIteration into RuntimeError covers its RESUME, and goes on to the outer one.
        label = self._keep_one(entry, self._detour(START, entry, otherwise=None))
        # A START on the `def` line, in front of another line, shows in tracers as a line of its own. One without a
        # line, in front of code on the `def` line, lets that line begin a second time.
        if facts.DEBUGGERS_LOOK_BEHIND_RESUME:
            self._report(START, label, None)
        else:
            self._report(START, entry if original.line(label) == original.line(entry) else None, None)
        return label

    def _leave(self, label: int) -> int:
        """Write a return, and return the label of the next instruction.

        The probe is outside every handler, so that a return is never followed by another way out. The instruction is
        outside the outer one only: a tracer may raise there, and the program may have a handler for that.
        """
        self._draft.place(label)
        self._report(RETURN, label, None)
        return self._keep_one(label, self._original.handler(label))

    def _suspend(self, label: int) -> int:
        """Write a suspension: YIELD_VALUE and the RESUME that follows it; return the label of the next instruction."""
        original = self._original
        resume = original.behind(label)
        if original.name(resume) != "RESUME":
            raise DeclinedError(f"{original.code.co_qualname} has a YIELD_VALUE without a RESUME")
        self._unmark_bare_yield(label, resume)
        self._draft.place(label)
        self._report(YIELD, label, self._handler(label))
        parted = facts.THROW_READS_SEND and self._tells_suspensions and original.name(label - 1) == "SEND"
        landing = self._repeat_send(label) if parted else None
        # `throw()`, `close()` and a cancelled task resume with an exception: it goes by way of the RESUME probe.
        self._keep_one(label, self._detour(RESUME, label, otherwise=self._outer))
        end = self._keep_one(resume, self._detour(RESUME, resume, otherwise=self._outer))
        self._report(RESUME, resume, self._handler(resume))
        return self._close_loop(end, landing) if landing is not None else end

    def _repeat_send(self, label: int) -> int:
        """Put a SEND that is never run in front of YIELD_VALUE, for `throw()` to read where it leaves the loop.

        Its location is that of YIELD_VALUE, as the first one's is.

        Returns:
            The label to which it leads; it is not placed yet.
        """
        draft = self._draft
        over, landing = draft.new_label(), draft.new_label()
        handler = self._handler(label - 1)
        draft.insert((("JUMP_FORWARD", 0),), label, handler, over)
        draft.insert((("SEND", 0),), label, handler, landing)
        draft.place(over)
        return landing

    def _close_loop(self, jump: int, landing: int) -> int:
        """Write the jump that closes the loop of a `yield from`, and behind it a RESUME probe for `throw()` to land on.

        Nothing else comes to that probe. An iterator that fails during `throw()` raises as if from the jump, which
        raises nothing of its own.
        """
        original = self._original
        send = original.target(jump) if original.name(jump) == "JUMP_BACKWARD_NO_INTERRUPT" else None
        if send is None or original.target(send) != original.behind(jump):
            raise DeclinedError(f"{original.code.co_qualname} has a `yield from` that is not a loop")
        end = self._keep_one(jump, self._detour(RESUME, jump, otherwise=self._outer))
        self._draft.place(landing)
        self._report(RESUME, jump, self._handler(jump))
        return end

    def _unmark_bare_yield(self, label: int, resume: int) -> None:
        """Let `close()` run a generator that it would finish unseen: ours is a handler that wants to be run."""
        if self._outer is None and RESUME not in self._questions:
            return
        argument = self._original.argument(resume)
        if facts.MARKS_BARE_YIELD_AT_RESUME and argument != argument & facts.RESUME_PLACE_BITS:
            self._draft.set_argument(resume, argument & facts.RESUME_PLACE_BITS)
        elif facts.MARKS_BARE_YIELD_AT_YIELD and self._original.argument(label) == 1:
            self._draft.set_argument(label, 2)

    def _detour(self, transition: int, label: int, *, otherwise: Handler | None) -> Handler | None:
        """Return a handler that reports a transition and then goes on to the one that the instruction has now.

        It cuts the stack as that one does, so all instructions with the same handler share one detour.
        """
        own = self._original.handler(label)
        destination = own or otherwise
        if transition not in self._questions or (own is None and transition == START):
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
            self._draft.insert(_RERAISE, handler=destination)

    def _write_outer(self) -> None:
        """Write the handler through which every exception leaves the function: the stack is [offset, exception]."""
        if self._outer is None:
            return
        self._draft.place(self._outer[0])
        self._draft.insert(self._questions[UNWIND])

    def _report(self, transition: int, location: int | None, handler: Handler | None) -> None:
        """Write the probe of a transition, if there is one: ask it for its truth value and forget the answer."""
        question = self._questions.get(transition)
        if question is not None:
            self._draft.insert(question, location, handler)


def _verify(code: CodeType, assembled: CodeType) -> None:
    """Decline what differs from the original in more than its body, whatever the reason may be."""
    described, new = _describe(code), _describe(assembled)
    if described != new:
        changed = next(name for name, old, its in zip(_DESCRIPTION, described, new, strict=True) if old != its)
        raise DeclinedError(f"the new code of {code.co_qualname} has another {changed}")
    if any(map(is_not, code.co_consts, assembled.co_consts)):
        raise DeclinedError(f"the new code of {code.co_qualname} has other constants")
    if assembled.co_stacksize < code.co_stacksize:
        raise DeclinedError(f"the new code of {code.co_qualname} has less stack than the original")
