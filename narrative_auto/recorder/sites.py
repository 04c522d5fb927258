"""The table of sites: the static places of instrumented functions."""

from __future__ import annotations

from _functools import partial  # type: ignore[import-not-found] # functools would import collections
from _weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any

FUNCTION, GENERATOR, COROUTINE, ASYNC_GENERATOR = "function", "generator", "coroutine", "async generator"


class Site:
    """The static place of one instrumented function.

    Attributes:
        number: its index in the table and in records, from 1; 0 stands for "no site".
        module: the module's name, as imported.
        qualname: the function's `__qualname__`.
        name: the stage's name; the qualified name unless the program gave it one.
        filename, line: where the function is defined.
        kind: "function", "generator", "coroutine" or "async generator".
        marked: the program gave it a name of its own, so each of its calls is notable.
        released: it reports nothing any more.
        probes, recorder: what reports here, and to whom.
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
        self.probes: list[Any] = []
        self.recorder: Any = None

    @property
    def is_private(self) -> bool:
        """Whether the function's own name starts with an underscore, `__init__` and `__call__` apart."""
        own = self.qualname.rpartition(".")[2]
        return own.startswith("_") and not (own.startswith("__") and own.endswith("__"))


def site_in(code: CodeType) -> Site | None:
    """Return the site whose probes are constants of a code object, None for code without probes."""
    for constant in reversed(code.co_consts):  # probes are the last ones
        if hasattr(type(constant), "site"):
            site: Site = constant.site
            return site
    return None


class SiteTable:
    """All sites of the process, by number.

    A site that is instrumented again (a reloaded module) gets a new number: its records may be in the ring still.
    """

    def __init__(self) -> None:
        self._sites: list[Site] = [Site(0, "", "", "", 0, FUNCTION)]
        self._of_code: dict[int, tuple[Site, object]] = {}

    def bind(self, code: CodeType, site: Site) -> None:
        """Note the site of a code object without probes, by its identity: code objects compare by structure."""
        self._of_code[id(code)] = (site, ref(code, partial(self._of_code.pop, id(code))))

    def of(self, code: CodeType) -> Site | None:
        """Return the site of a function's code, None for code that is no site."""
        bound = self._of_code.get(id(code))
        return bound[0] if bound is not None else site_in(code)

    def add(self, module: str, qualname: str, filename: str, line: int, kind: str) -> Site:
        """Return a new site. Appending to a list is atomic, so two importing threads get two numbers."""
        site = Site(0, module, qualname, filename, line, kind)
        self._sites.append(site)
        number = len(self._sites) - 1
        # Another thread may have appended between the two lines: then ours stands a little further down.
        while self._sites[number] is not site:
            number -= 1
        site.number = number
        return site

    def __getitem__(self, number: int) -> Site:
        return self._sites[number]

    def __len__(self) -> int:
        return len(self._sites) - 1

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites[1:])
