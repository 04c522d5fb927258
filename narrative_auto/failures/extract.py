"""Extracts from an exception what is worth keeping: immutable, bounded, redacted."""

from __future__ import annotations

import linecache
from collections import deque
from itertools import islice

from narrative_auto.errors import attempted
from narrative_auto.failures.messages import message_of, notes_of, text_of
from narrative_auto.failures.pattern import lazily
from narrative_auto.failures.source import SourceLine, snippet
from narrative_auto.failures.values import MOST_MESSAGE_CHARACTERS, clean, name_of_type, shortened
from narrative_auto.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, TracebackType
    from typing import Any

    from narrative_auto.failures.redaction import Redactor
    from narrative_auto.failures.source import Positions
    from narrative_auto.failures.variables import FrameVariables, Variables

MOST_LINKS = 20
"""Exceptions of a chain that are kept, and that are followed to a root."""

FIRST_FRAMES, LAST_FRAMES = 50, 150
"""Frames that are kept of a long traceback: where it began, and where it ended."""

MOST_MEMBERS = 12
"""Members of groups that are kept, those of nested groups among them."""

MOST_NOTES = 10

_MOST_COUNTED = 100_000
_NAME = lazily(r"[^\W\d]\w*")
_RELATION_WORDS = {"cause": "from", "context": "while handling", "member": "with"}


@record(frozen=True, slots=True)
class Frame:
    """One step of a traceback.

    Attributes:
        filename: as the code object has it.
        lineno: the line that was running, from 1; 0 where the interpreter does not know.
        function: the qualified name.
        module: the module's `__name__`, "" where there is none.
        positions: first line, last line, first and last column (in UTF-8 bytes) of what was running.
        is_application: whether this is application code.
    """

    filename: str
    lineno: int
    function: str
    module: str
    positions: tuple[int | None, int | None, int | None, int | None] | None
    is_application: bool


@record(frozen=True, slots=True)
class LinkedError:
    """An exception that belongs to another one.

    Attributes:
        relation: "cause" (`raise … from`), "context" (raised while this one was handled) or "member" (of a group).
        error_type: its type's name, as tracebacks print it.
        message: redacted.
        place: its innermost application frame, else its innermost frame; None if it was never raised.
        depth: of a member, how many groups are around it.
    """

    relation: str
    error_type: str
    message: str
    place: Frame | None
    depth: int = 0

    @property
    def relation_words(self) -> str:
        """The relation as a person reads it before the error's name."""
        return _RELATION_WORDS[self.relation]


@record(frozen=True, slots=True)
class Failure:
    """An exception, without anything that keeps the program's objects alive.

    Attributes:
        error_type: the type's name, as tracebacks print it.
        error_message: redacted, at most `MOST_MESSAGE_CHARACTERS`.
        frames: of its own traceback, outermost first; of a long one the first `FIRST_FRAMES` and last `LAST_FRAMES`.
        frames_left_out: how many are missing between them.
        chain: what it came from, nearest first.
        members: of an exception group, each nested group before its own members.
        members_left_out: how many there are beside.
        notes: redacted.
        place: where it went wrong: see `extract_failure`.
        snippet: the source around the place, redacted.
        variables: of the frames that matter, the place first; empty unless they are asked for.
    """

    error_type: str
    error_message: str
    frames: tuple[Frame, ...]
    frames_left_out: int
    chain: tuple[LinkedError, ...]
    members: tuple[LinkedError, ...]
    members_left_out: int
    notes: tuple[str, ...]
    place: Frame | None
    snippet: tuple[SourceLine, ...]
    variables: tuple[FrameVariables, ...] = ()


def extract_failure(
    exc: BaseException,
    *,
    is_application: Callable[[str], bool],
    redactor: Redactor,
    variables: Variables | None = None,
    context_lines: int = 2,
) -> Failure:
    """Return what is known of an exception; nothing that it or the program's classes do makes this raise.

    The place is the innermost application frame of the error that began it all: explicit causes (`raise … from`) are
    followed, an implicit context is not, since what is raised in a handler goes wrong in the handler. Where the
    root has no application frame, the nearest error that has one decides; where none has, the innermost frame.
    Code without a file is the application's where nothing else is, as with `python -c`; beside files of the application
    it is what a library has generated: a method of a frozen dataclass, a wrapper of SQLAlchemy's.

    Args:
        exc: the exception, with its traceback.
        is_application: whether a source file is application code.
        redactor: takes secrets out of every text.
        variables: shows local variables; None for none.
        context_lines: lines of source before and after the place.
    """
    extraction = _Extraction(is_application, redactor, context_lines)
    steps, left_out = _bounded_steps(_traceback(exc))
    errors = [exc, *_causes(exc)]
    extraction.look_for_files(errors)
    place = extraction.place_step(errors)
    members = list(islice(_members(exc), MOST_MEMBERS))
    return Failure(
        error_type=name_of_type(type(exc)),
        error_message=extraction.message(exc),
        frames=tuple(map(extraction.frame, steps)),
        frames_left_out=left_out,
        chain=tuple(extraction.link(relation, error) for relation, error in _chain(exc)),
        members=tuple(extraction.link("member", error, depth) for depth, error in members),
        members_left_out=_count_members(exc) - len(members),
        notes=extraction.notes(exc),
        place=extraction.frame(place) if place is not None else None,
        snippet=extraction.snippet(place) if place is not None else (),
        variables=() if variables is None or place is None else extraction.variables(exc, place, variables),
    )


def codes_to_place(exc: BaseException) -> list[CodeType]:
    """Return the code that an exception went through, outermost first, down to where its explicit causes began.

    A cause's own traceback begins in the frame that caught it. Where that frame is one of those that the later
    exception went through, the path goes on from there with the cause's frames.
    """
    path = [step.tb_frame for step in _steps(_traceback(exc))]
    for cause in _causes(exc):
        inner = [step.tb_frame for step in _steps(_traceback(cause))]
        if not inner:
            continue
        met = next((index for index in range(len(path) - 1, -1, -1) if path[index] is inner[0]), None)
        if met is None:
            break
        path[met:] = inner
    return [frame.f_code for frame in {id(frame): frame for frame in path}.values()]  # raised again: a step more


class _Extraction:
    """What all parts of one extraction need.

    Args:
        is_application: whether a source file is application code; asked once a file.
        redactor: takes secrets out of every text.
    """

    def __init__(self, is_application: Callable[[str], bool], redactor: Redactor, context_lines: int) -> None:
        self._context_lines = context_lines
        self._ask = is_application
        self._known: dict[str, bool] = {}
        self._redactor = redactor
        self._has_files = False

    def look_for_files(self, errors: list[BaseException]) -> None:
        """Find out whether files of the application are on the way, before anything else is asked for."""
        steps = (step for error in errors for step in _steps(_traceback(error)))
        self._has_files = any(_has_file(step) and self.is_application(step) for step in steps)

    def is_application(self, step: TracebackType) -> bool:
        if self._has_files and not _has_file(step):
            return False
        filename = step.tb_frame.f_code.co_filename
        if filename not in self._known:
            self._known[filename] = bool(attempted(self._ask, filename))
        return self._known[filename]

    def message(self, error: BaseException) -> str:
        return self._text(message_of(error))

    def notes(self, error: BaseException) -> tuple[str, ...]:
        """Return what `add_note` has added."""
        texts = map(text_of, notes_of(error)[:MOST_NOTES])
        return tuple("<unprintable note>" if text is None else self._text(text) for text in texts)

    def link(self, relation: str, error: BaseException, depth: int = 0) -> LinkedError:
        step = self.place_step([error])
        place = None if step is None else self.frame(step)
        return LinkedError(relation, name_of_type(type(error)), self.message(error), place, depth)

    def place_step(self, errors: list[BaseException]) -> TracebackType | None:
        """Return the innermost application step of the last error that has one, else the innermost of the last."""
        innermost = None
        for error in reversed(errors):
            found = None
            for step in _steps(_traceback(error)):
                last = step
                if self.is_application(step):
                    found = step
            if found is not None:
                return found
            if innermost is None and _traceback(error) is not None:
                innermost = last
        return innermost

    def frame(self, step: TracebackType) -> Frame:
        code = step.tb_frame.f_code
        module = attempted(step.tb_frame.f_globals.get, "__name__")
        return Frame(
            filename=clean(code.co_filename),
            lineno=step.tb_lineno or 0,
            function=clean(code.co_qualname),
            module=clean(module) if isinstance(module, str) else "",
            positions=_positions(step),
            is_application=self.is_application(step),
        )

    def snippet(self, step: TracebackType) -> tuple[SourceLine, ...]:
        return snippet(
            step.tb_frame.f_code.co_filename,
            step.tb_lineno or 0,
            self._context_lines,
            positions=_positions(step),
            module_globals=step.tb_frame.f_globals,
            secrets=self._redactor.source_spans,
        )

    def variables(self, exc: BaseException, place: TracebackType, shown: Variables) -> tuple[FrameVariables, ...]:
        """Return the variables of the place, and of the application's frames that led to it, nearest first."""
        around = [step for step in _steps(_traceback(exc)) if self.is_application(step)][::-1]
        frames = {id(step.tb_frame): step for step in [place, *around]}
        steps = list(frames.values())[: shown.most_frames]
        told = [attempted(shown.of, step.tb_frame, step.tb_lineno or 0, _names_at(step)) for step in steps]
        return tuple(one for one in told if one is not None)

    def _text(self, text: str) -> str:
        # Redacted before it is cut: half a secret is not recognised.
        return shortened(self._redactor.text(text), MOST_MESSAGE_CHARACTERS)


def _has_file(step: TracebackType) -> bool:
    return not step.tb_frame.f_code.co_filename.startswith("<")


# Classes can define properties of these names, which raise or lie; the interpreter itself reads the slots.
def _slot(name: str) -> Callable[[BaseException], Any]:
    getter: Callable[[BaseException], Any] = BaseException.__dict__[name].__get__
    return getter


_cause, _context = _slot("__cause__"), _slot("__context__")
_is_context_suppressed, _traceback = _slot("__suppress_context__"), _slot("__traceback__")


def _causes(error: BaseException) -> list[BaseException]:
    """Return the explicit causes, nearest first."""
    found: list[BaseException] = []
    seen = {id(error)}
    cause = _cause(error)
    while cause is not None and id(cause) not in seen and len(found) < MOST_LINKS:
        seen.add(id(cause))
        found.append(cause)
        cause = _cause(cause)
    return found


def _chain(error: BaseException) -> list[tuple[str, BaseException]]:
    """Return what a traceback would print above an exception, nearest first, with the relation of each."""
    found: list[tuple[str, BaseException]] = []
    seen = {id(error)}
    while len(found) < MOST_LINKS:
        relation, linked = "cause", _cause(error)
        if linked is None and not _is_context_suppressed(error):
            relation, linked = "context", _context(error)
        if linked is None or id(linked) in seen:
            break
        seen.add(id(linked))
        found.append((relation, linked))
        error = linked
    return found


def _members(error: BaseException) -> Iterator[tuple[int, BaseException]]:
    """Give the members of an exception group with how deep they lie, each group before its own members."""
    waiting = [(0, error)]
    seen = {id(error)}
    while waiting:
        depth, one = waiting.pop()
        if depth:
            yield depth, one
        if not issubclass(type(one), BaseExceptionGroup):
            continue
        for member in reversed(BaseExceptionGroup.__dict__["exceptions"].__get__(one)):
            if id(member) not in seen:
                seen.add(id(member))
                waiting.append((depth + 1, member))


def _count_members(error: BaseException) -> int:
    return sum(1 for _ in islice(_members(error), _MOST_COUNTED))


def _names_at(step: TracebackType) -> list[str]:
    """Return the names that the code of a step's line uses, in their order."""
    code = step.tb_frame.f_code
    text = attempted(linecache.getline, code.co_filename, step.tb_lineno) if step.tb_lineno else ""
    return list(dict.fromkeys(_NAME.findall(text or "")))


def _steps(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _bounded_steps(traceback: TracebackType | None) -> tuple[list[TracebackType], int]:
    """Return the first and the last steps of a traceback, and how many there are between them."""
    steps = _steps(traceback)
    first = list(islice(steps, FIRST_FRAMES))
    last: deque[TracebackType] = deque(maxlen=LAST_FRAMES)
    left_out = 0
    for step in steps:
        left_out += len(last) == LAST_FRAMES
        last.append(step)
    return [*first, *last], left_out


def _positions(step: TracebackType) -> Positions | None:
    """Return what part of the source a step was running, None where the code does not say."""
    if step.tb_lasti < 0:
        return None
    # One entry for each code unit, which is of two bytes.
    return next(islice(step.tb_frame.f_code.co_positions(), step.tb_lasti // 2, None), None)
