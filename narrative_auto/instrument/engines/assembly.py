"""Puts probes into the code of one function or module, so that it reports its own transitions."""

from __future__ import annotations

import sys
from itertools import accumulate, count

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines import facts
from narrative_auto.recorder.layout import RESUME, RETURN, START, UNWIND, YIELD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import CodeType

    from bytecode import ConcreteBytecode, ConcreteInstr
    from bytecode.concrete import ExceptionTableEntry
    from bytecode.instr import InstrLocation

    Handler = tuple[int, int, bool]
    """What an exception table says of an instruction: the label of the handler, the depth to which the stack is cut
    for it, and whether the offset of what raised is pushed (by it, RERAISE keeps the traceback's line)."""

_PROLOGUE = frozenset({"CACHE", "COPY_FREE_VARS", "MAKE_CELL", "NOP", "POP_TOP", "RETURN_GENERATOR"})
"""What may stand in front of the RESUME at which a function begins to run."""

_RETURNS = frozenset({"RETURN_VALUE", "RETURN_CONST"})
_SUSPENDS = "YIELD_VALUE"
_EXITS = _RETURNS | {_SUSPENDS}

_PROBES_STACK = 2
"""What probes need beyond the original's stack. At a return or yield: themselves. In a handler: the offset and the
exception, for which the original has room with one of the two (it has a handler at the same depth), and themselves."""

_OUTER_STACK = 4
"""The outer handler starts from an empty stack: the offset, the exception, the probe, the exception again."""

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
        original = _Original(code)
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


class _Original:
    """The code as it was: its instructions, caches among them, and for each of them the handler and jump target.

    A label is an instruction's index in `instructions`.
    """

    __slots__ = ("code", "concrete", "entry", "handlers", "instructions", "targets")

    def __init__(self, code: CodeType) -> None:
        from bytecode import ConcreteBytecode, ConcreteInstr  # here, because a warm start must not pay for it

        self.code = code
        self.concrete: ConcreteBytecode = ConcreteBytecode.from_code(code)
        self.instructions: list[ConcreteInstr] = [each for each in self.concrete if isinstance(each, ConcreteInstr)]
        starts = _starts(each.size // 2 for each in self.instructions)
        self.targets = self._find_targets(starts)
        self.handlers = self._find_handlers(starts)
        self.entry = self._find_entry()

    def _find_targets(self, starts: list[int]) -> dict[int, int]:
        """Return the label of its target for every jump."""
        at = {start: label for label, start in enumerate(starts)}
        jumps = (label for label, each in enumerate(self.instructions) if each.has_jump())
        targets = {label: self.instructions[label].get_jump_target(starts[label]) for label in jumps}
        return {label: at[target] for label, target in targets.items() if target is not None}

    def _find_handlers(self, starts: list[int]) -> list[Handler | None]:
        """Return for every instruction who handles its exceptions, None where nobody does."""
        at = {start: label for label, start in enumerate(starts)}
        handlers: list[Handler | None] = [None] * len(self.instructions)
        label, previous_stop = 0, -1
        for entry in self.concrete.exception_table:
            if entry.start_offset <= previous_stop:
                raise DeclinedError(f"the exception table of {self.code.co_qualname} has overlapping entries")
            previous_stop = entry.stop_offset
            handler = (at[entry.target], entry.stack_depth, bool(entry.push_lasti))
            while label < len(handlers) and starts[label] <= entry.stop_offset:
                # An instruction begins with its EXTENDED_ARGs, and some compilers let a range begin behind them.
                if starts[label] + self.instructions[label].size // 2 > entry.start_offset:
                    handlers[label] = handler
                label += 1
        return handlers

    def _find_entry(self) -> int:
        """Return the label of the RESUME at which the function begins to run, in a generator when first asked."""
        names = [each.name for each in self.instructions]
        # In front of RETURN_GENERATOR, a generator expression takes its iterator (3.15): the generator is not yet.
        label = names.index("RETURN_GENERATOR") if "RETURN_GENERATOR" in names else 0
        while names[label] in _PROLOGUE:
            label += 1
        if names[label] != "RESUME" or self.instructions[label].arg & facts.RESUME_PLACE_BITS:
            raise DeclinedError(f"{self.code.co_qualname} does not begin as compiled functions begin")
        if any(target <= label for target in self.targets.values()):
            raise DeclinedError(f"{self.code.co_qualname} has a jump to its own beginning")
        return label

    def name(self, label: int) -> str:
        """Return the name of an instruction, empty where there is none."""
        return self.instructions[label].name if 0 <= label < len(self.instructions) else ""

    def behind(self, label: int) -> int:
        """Return the label of the instruction behind this one and its inline caches."""
        label += 1
        while self.name(label) == "CACHE":
            label += 1
        return label

    def transitions(self) -> list[int]:
        """Return the transitions that this code can make, in the order of their numbers."""
        names = {each.name for each in self.instructions}
        can_return = [RETURN] if names & _RETURNS else []
        can_suspend = [YIELD, RESUME] if _SUSPENDS in names else []
        return [START, *can_return, UNWIND, *can_suspend]


def _starts(sizes: Iterable[int]) -> list[int]:
    """Return where each instruction begins, its EXTENDED_ARGs included, and where the last one ends."""
    return list(accumulate(sizes, initial=0))


class _Weaver:
    """Writes the original's instructions into a draft, with the probes among them and their handlers behind them."""

    __slots__ = ("_detours", "_draft", "_numbers", "_original", "_outer", "_probes", "_tells_suspensions")

    def __init__(self, original: _Original, probes: Mapping[int, object]) -> None:
        first = len(original.code.co_consts)
        self._original = original
        self._probes = probes
        self._tells_suspensions = YIELD in probes or RESUME in probes
        self._numbers = {transition: first + number for number, transition in enumerate(probes)}
        self._draft = _Draft(tuple(probes.values()))
        self._outer: Handler | None = (self._draft.new_label(), 0, True) if UNWIND in probes else None
        # Which transition to report, and whose handler to go on to: where the exception is to be handled instead.
        self._detours: dict[tuple[int, Handler | None], Handler] = {}

    def weave(self) -> _Draft:
        """Return the finished draft."""
        original = self._original
        label = self._begin()
        for exit_label in [label for label, each in enumerate(original.instructions) if each.name in _EXITS]:
            if exit_label < label:
                raise DeclinedError(f"{original.code.co_qualname} can end before it begins")
            self._keep(label, exit_label)
            label = self._suspend(exit_label) if original.name(exit_label) == _SUSPENDS else self._leave(exit_label)
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


class _Draft:
    """The new body as it grows: instructions, their handlers and jump targets, and where the labels came to stand."""

    __slots__ = (
        *("_handlers", "_instructions", "_jumps", "_labels", "_make", "_make_entry"),
        *("_nowhere", "_probes", "_unused_label"),
    )

    def __init__(self, probes: tuple[object, ...]) -> None:
        from bytecode import ConcreteInstr  # here for the same reason as above
        from bytecode.concrete import ExceptionTableEntry
        from bytecode.instr import InstrLocation

        self._make = ConcreteInstr
        self._make_entry = ExceptionTableEntry
        self._nowhere = InstrLocation(None, None, None, None)  # to give none would repeat that of the line before
        self._probes = probes
        self._instructions: list[ConcreteInstr] = []
        self._handlers: list[Handler | None] = []
        self._jumps: dict[int, int] = {}
        self._labels: dict[int, int] = {}
        self._unused_label = -1

    def new_label(self) -> int:
        """Return a label for a place that the original does not have."""
        self._unused_label -= 1
        return self._unused_label

    def place(self, label: int) -> None:
        """Let a label stand for the instruction that is written next."""
        self._labels[label] = len(self._instructions)

    def copy(self, label: int, instructions: list[ConcreteInstr], handlers: list[Handler | None]) -> None:
        """Add a run of the original's instructions, the first of which has this label there."""
        index = len(self._instructions)
        in_front = self._labels.get(label, index)  # a probe of its own
        self._labels.update(zip(range(label, label + len(instructions)), count(index)))
        self._labels[label] = in_front
        self._instructions += instructions
        self._handlers += handlers

    def insert(
        self,
        name: str,
        argument: int | None = None,
        location: InstrLocation | None = None,
        handler: Handler | None = None,
        target: int | None = None,
    ) -> None:
        """Add an instruction of ours and the inline caches that the interpreter wants behind it."""
        place = location or self._nowhere
        arguments = () if argument is None else (argument,)
        instruction = self._make(name, *arguments, location=place)
        if target is not None:
            self._jumps[len(self._instructions)] = target
        inserted = [instruction, *[self._make("CACHE", 0, location=place)] * instruction.use_cache_opcodes()]
        self._instructions += inserted
        self._handlers += [handler] * len(inserted)

    def aim(self, targets: Mapping[int, int]) -> None:
        """Let the original's jumps lead to their targets, both given by label."""
        self._jumps.update((self._labels[label], target) for label, target in targets.items())

    def code(self, original: _Original) -> CodeType:
        """Return the original's code object with this body in place of its own."""
        starts = self._settle_jumps()
        concrete = original.concrete
        concrete[:] = self._instructions
        concrete.consts = [*original.code.co_consts, *self._probes]
        concrete.exception_table = self._exception_table(starts)
        stack = max(original.code.co_stacksize + _PROBES_STACK, _OUTER_STACK)
        built = concrete.to_code(stacksize=stack, compute_exception_stack_depths=False)
        if len(built.co_code) != 2 * starts[-1]:
            raise DeclinedError(f"the new code of {original.code.co_qualname} came out at another length than planned")
        return original.code.replace(
            co_code=built.co_code,
            co_consts=(*original.code.co_consts, *self._probes),
            co_exceptiontable=built.co_exceptiontable,
            co_linetable=built.co_linetable,
            co_stacksize=stack,
        )

    def _settle_jumps(self) -> list[int]:
        """Give every jump its argument; return where each instruction begins, and where the last one ends.

        A longer jump may need EXTENDED_ARGs, which make others longer. No jump is ever made shorter, so it ends.
        """
        sizes = [each.size // 2 for each in self._instructions]
        jumps = [
            (index, self._labels[label], each.use_cache_opcodes(), -1 if each.is_backward_rel_jump() else 1)
            for index, label in self._jumps.items()
            for each in [self._instructions[index]]
        ]
        settled = False
        while not settled:
            settled = True
            starts = _starts(sizes)
            arguments = {}
            for index, target, caches, direction in jumps:
                arguments[index] = argument = direction * (starts[target] - starts[index + 1] - caches)
                size = 1 + (argument.bit_length() - 1) // 8
                if size > sizes[index]:
                    sizes[index] = size
                    settled = False
        for index, argument in arguments.items():
            jump, extended = self._instructions[index], sizes[index] - 1 or None
            self._instructions[index] = self._make(jump.name, argument, location=jump.location, extended_args=extended)
        return starts

    def _exception_table(self, starts: list[int]) -> list[ExceptionTableEntry]:
        """Return one entry for each run of instructions that have the same handler."""
        entries: list[ExceptionTableEntry] = []
        begin = 0
        for index in range(1, len(self._handlers) + 1):
            if index < len(self._handlers) and self._handlers[index] == self._handlers[begin]:
                continue
            handler = self._handlers[begin]
            if handler is not None:
                label, depth, keeps_offset = handler
                target = self._labels[label]
                if label < 0 and begin <= target < index:
                    raise DeclinedError("a handler of ours would handle its own exceptions")
                entries.append(self._make_entry(starts[begin], starts[index] - 1, starts[target], depth, keeps_offset))
            begin = index
        return entries


def _verify(code: CodeType, assembled: CodeType) -> None:
    """Decline what differs from the original in more than its body, whatever the reason may be."""
    for name in _SAME_AS_ORIGINAL:
        if getattr(code, name) != getattr(assembled, name):
            raise DeclinedError(f"the new code of {code.co_qualname} has another {name}")
    if any(old is not new for old, new in zip(code.co_consts, assembled.co_consts, strict=False)):
        raise DeclinedError(f"the new code of {code.co_qualname} has other constants")
    if assembled.co_stacksize < code.co_stacksize:
        raise DeclinedError(f"the new code of {code.co_qualname} has less stack than the original")
