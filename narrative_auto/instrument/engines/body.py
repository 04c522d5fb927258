"""The body of a code object, by way of `bytecode`: as the compiler wrote it, and as it grows with probes in it.

It is slow, and knows more than `splice` does.
"""

from __future__ import annotations

from itertools import accumulate, count

from narrative_auto.errors import DeclinedError
from narrative_auto.recorder.sites import CAN_SUSPEND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType

    from bytecode import ConcreteBytecode, ConcreteInstr
    from bytecode.concrete import ExceptionTableEntry

    Handler = tuple[int, int, bool]
    """What an exception table says of an instruction: the label of the handler, the depth to which the stack is cut
    for it, and whether the offset of what raised is pushed (by it, RERAISE keeps the traceback's line)."""

    Instructions = tuple[tuple[str, int | None], ...]
    """Names and arguments of instructions of ours."""

EXITS = frozenset({"RETURN_VALUE", "RETURN_CONST", "YIELD_VALUE"})
"""Where a function is left other than by an exception."""

_SUSPENSION_STACK = 2
"""What probes of what can be suspended need beyond the original's stack. At a yield: themselves. In a handler: the
offset and the exception, for which the original has room with one of the two (it has a handler at the same depth), and
themselves."""

_OUTER_STACK = 4
"""The outer handler starts from an empty stack: the offset, the exception, the probe, the exception again. That is more
than the result and a probe at a return, where the stack holds nothing else."""


def stack_with_probes(code: CodeType) -> int:
    """Return the size of the stack that code needs with probes in it.

    No more than that: larger frames fill the pages of frames sooner, and a recursion whose depth goes back
    and forth over the end of one takes twice the time.
    """
    more = _SUSPENSION_STACK if code.co_flags & CAN_SUSPEND else 0
    return max(code.co_stacksize + more, _OUTER_STACK)


class Original:
    """The code as it was: its instructions, caches among them, and for each of them the handler and jump target.

    A label is an instruction's index in `instructions`.
    """

    __slots__ = ("code", "concrete", "end", "exits", "handlers", "instructions", "targets")

    def __init__(self, code: CodeType) -> None:
        from bytecode import ConcreteBytecode, ConcreteInstr  # here, because a warm start must not pay for it

        self.code = code
        self.concrete: ConcreteBytecode = ConcreteBytecode.from_code(code)
        self.instructions: list[ConcreteInstr] = [each for each in self.concrete if isinstance(each, ConcreteInstr)]
        starts = _starts(each.size // 2 for each in self.instructions)
        self.targets = self._find_targets(starts)
        self.handlers = self._find_handlers(starts)
        self.end = len(self.instructions)
        self.exits = [label for label, each in enumerate(self.instructions) if each.name in EXITS]

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

    def name(self, label: int) -> str:
        """Return the name of an instruction, empty where there is none."""
        return self.instructions[label].name if 0 <= label < len(self.instructions) else ""

    def behind(self, label: int) -> int:
        """Return the label of the instruction behind this one and its inline caches."""
        label += 1
        while self.name(label) == "CACHE":
            label += 1
        return label

    def argument(self, label: int) -> int:
        """Return the argument of an instruction."""
        return self.instructions[label].arg

    def line(self, label: int) -> int | None:
        """Return the line of an instruction, None where it has none."""
        line = self.instructions[label].lineno
        return line if isinstance(line, int) else None

    def handler(self, label: int) -> Handler | None:
        """Return who handles the exceptions of an instruction, None where nobody does."""
        return self.handlers[label]

    def target(self, label: int) -> int | None:
        """Return the label of a jump's target, None for what is no jump."""
        return self.targets.get(label)

    def first(self, name: str) -> int | None:
        """Return the label of the first instruction of this name."""
        return next((label for label, each in enumerate(self.instructions) if each.name == name), None)

    def first_target(self) -> int:
        """Return the lowest label to which a jump leads; the end where there is no jump."""
        return min(self.targets.values(), default=self.end)

    def draft(self, probes: tuple[object, ...]) -> Draft:
        """Return an empty body to take the place of this one."""
        return Draft(self, probes)


def _starts(sizes: Iterable[int]) -> list[int]:
    """Return where each instruction begins, its EXTENDED_ARGs included, and where the last one ends."""
    return list(accumulate(sizes, initial=0))


class Draft:
    """The new body as it grows: instructions, their handlers and jump targets, and where the labels came to stand."""

    __slots__ = (
        *("_handlers", "_instructions", "_jumps", "_labels", "_make", "_make_entry"),
        *("_nowhere", "_original", "_probes", "_unused_label"),
    )

    def __init__(self, original: Original, probes: tuple[object, ...]) -> None:
        from bytecode import ConcreteInstr  # here for the same reason as above
        from bytecode.concrete import ExceptionTableEntry
        from bytecode.instr import InstrLocation

        self._make = ConcreteInstr
        self._make_entry = ExceptionTableEntry
        self._nowhere = InstrLocation(None, None, None, None)  # to give none would repeat that of the line before
        self._original = original
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

    def set_argument(self, label: int, argument: int) -> None:
        """Give one of the original's instructions another argument."""
        self._original.instructions[label].arg = argument

    def keep(self, begin: int, end: int, otherwise: Handler | None) -> None:
        """Add a run of the original's instructions; what has no handler gets the one that is given."""
        self._copy(begin, end, [handler or otherwise for handler in self._original.handlers[begin:end]])

    def keep_with(self, begin: int, end: int, handler: Handler | None) -> None:
        """Add a run of the original's instructions, all with this handler."""
        self._copy(begin, end, [handler] * (end - begin))

    def _copy(self, begin: int, end: int, handlers: list[Handler | None]) -> None:
        index = len(self._instructions)
        in_front = self._labels.get(begin, index)  # a probe of its own
        self._labels.update(zip(range(begin, end), count(index)))
        self._labels[begin] = in_front
        self._instructions += self._original.instructions[begin:end]
        self._handlers += handlers

    def insert(
        self,
        instructions: Instructions,
        location: int | None = None,
        handler: Handler | None = None,
        target: int | None = None,
    ) -> None:
        """Add instructions of ours and the inline caches that the interpreter wants behind them.

        They have the location of one of the original's instructions, or none. The target is that of the first.
        """
        place = self._nowhere if location is None else self._original.instructions[location].location
        if target is not None:
            self._jumps[len(self._instructions)] = target
        for name, argument in instructions:
            arguments = () if argument is None else (argument,)
            instruction = self._make(name, *arguments, location=place)
            inserted = [instruction, *[self._make("CACHE", 0, location=place)] * instruction.use_cache_opcodes()]
            self._instructions += inserted
            self._handlers += [handler] * len(inserted)

    def code(self) -> CodeType:
        """Return the original's code object with this body in place of its own."""
        original = self._original
        self._jumps.update((self._labels[label], target) for label, target in original.targets.items())
        starts = self._settle_jumps()
        concrete = original.concrete
        concrete[:] = self._instructions
        concrete.consts = [*original.code.co_consts, *self._probes]
        concrete.exception_table = self._exception_table(starts)
        stack = stack_with_probes(original.code)
        built = concrete.to_code(stacksize=stack, compute_exception_stack_depths=False)
        if len(built.co_code) != 2 * starts[-1]:
            raise DeclinedError(f"the new code of {original.code.co_qualname} came out at another length than planned")
        # `bytecode` 0.19.1 writes columns from 128 on in a form in which the interpreter takes them for lines.
        lines = [line for begin, end, line in built.co_lines() for _ in range(begin, end, 2)]
        if lines != [line for line, _, _, _ in built.co_positions()]:
            raise DeclinedError(f"the new code of {original.code.co_qualname} came out with other lines than planned")
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
