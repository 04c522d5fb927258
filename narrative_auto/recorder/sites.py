"""The table of sites: the static places of instrumented functions."""

from __future__ import annotations

from _functools import partial  # type: ignore[import-not-found] # functools would import collections
from _weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any

PARTS = 5
"""Of a site's description."""

FUNCTION, GENERATOR, COROUTINE, ASYNC_GENERATOR = "function", "generator", "coroutine", "async generator"
BLOCK = "block"

_CO_GENERATOR = 0x20
_CO_COROUTINE = 0x80
_CO_ITERABLE_COROUTINE = 0x100
_CO_ASYNC_GENERATOR = 0x200

CAN_SUSPEND = _CO_GENERATOR | _CO_COROUTINE | _CO_ITERABLE_COROUTINE | _CO_ASYNC_GENERATOR
"""The flags of code of which a function has one whose calls can be suspended."""

_KINDS = (
    (_CO_ASYNC_GENERATOR, ASYNC_GENERATOR),
    (_CO_COROUTINE | _CO_ITERABLE_COROUTINE, COROUTINE),
    (_CO_GENERATOR, GENERATOR),
)


def kind_of(code: CodeType) -> str:
    """Return the kind of a function by its code."""
    return next((kind for flags, kind in _KINDS if code.co_flags & flags), FUNCTION)


class Site:
    """The static place of one instrumented function.

    Attributes:
        number: its index in the table and in records, from 1; 0 stands for "no site".
        module: the module's name, as imported.
        qualname: the function's `__qualname__`.
        name: the stage's name; the qualified name unless the program gave it one.
        filename, line: where the function is defined.
        kind: "function", "generator", "coroutine" or "async generator"; "block" for the explicit stages of one name.
        marked: the program gave it a name of its own, so each of its calls is notable.
        released: it reports nothing any more.
        probes: those of the pure recorder that report here.
        recorder: to whom it reports.
    """

    __slots__ = (
        "filename",
        "kind",
        "line",
        "marked",
        "module",
        "name",
        "number",
        "probes",
        "qualname",
        "recorder",
        "released",
    )

    def __init__(self, number: int, module: str, qualname: str, filename: str, line: int, kind: str) -> None:
        self.number = number
        self.module = module
        self.qualname = qualname
        self.name = qualname
        self.filename = filename
        self.line = line
        self.kind = kind
        self.marked = False
        self.released = False
        self.probes: tuple[Any, ...] = ()
        self.recorder: Any = None

    @property
    def is_private(self) -> bool:
        """Whether a function's own name starts with an underscore, `__init__` and `__call__` apart."""
        own = self.qualname.rpartition(".")[2]
        return self.kind != BLOCK and own.startswith("_") and not (own.startswith("__") and own.endswith("__"))


def site_in(code: CodeType) -> Site | None:
    """Return the site whose probes are constants of a code object, None for code without probes."""
    for constant in reversed(code.co_consts):  # probes are the last ones
        if hasattr(type(constant), "site"):
            site: Site = constant.site
            return site
    return None


class SiteTable:
    """All sites of the process, by number.

    Args:
        recorder: whose they are, if it may leave sites undescribed.

    Attributes:
        described: for each number, PARTS entries: module, qualified name, file, line, kind. In the first one's place
            stands the site, once it was asked for: a warm start loads thousands of functions and asks for few, and
            what has no object of its own is nothing to the garbage collector.

    A site that is instrumented again (a reloaded module) gets a new number: its records may be in the ring still.
    """

    def __init__(self, recorder: Any = None) -> None:
        self._recorder = recorder
        self.described: list[Any] = [Site(0, "", "", "", 0, FUNCTION), "", "", 0, FUNCTION]
        self._of_code: dict[int, tuple[Site, object]] = {}

    def bind(self, code: CodeType, site: Site) -> None:
        """Note the site of a code object without probes, by its identity: code objects compare by structure."""
        self._of_code[id(code)] = (site, ref(code, partial(self._of_code.pop, id(code))))

    def of(self, code: CodeType) -> Site | None:
        """Return the site of a function's code, None for code that is no site."""
        bound = self._of_code.get(id(code))
        return bound[0] if bound is not None else site_in(code)

    def add(self, module: str, qualname: str, filename: str, line: int, kind: str) -> Site:
        """Return a new site. Adding to a list is atomic, so two importing threads get two numbers."""
        site = Site(0, module, qualname, filename, line, kind)
        self.described += (site, qualname, filename, line, kind)
        at = len(self.described) - PARTS
        # Another thread may have added between the two lines: then ours stands a little further down.
        while id(self.described[at]) != id(site):
            at -= PARTS
        site.number = at // PARTS
        return site

    def __getitem__(self, number: int) -> Site:
        at = number * PARTS
        made = self.described[at]
        if isinstance(made, Site):
            return made
        site = Site(number, *self.described[at : at + PARTS])
        site.recorder = self._recorder
        now: Site = self.described[at]
        if now is made:  # no call since the line above: no other thread comes between
            self.described[at] = now = site
        return now

    def __len__(self) -> int:
        return len(self.described) // PARTS - 1

    def __iter__(self) -> Iterator[Site]:
        return (self[number] for number in range(1, len(self) + 1))
