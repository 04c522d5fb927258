"""The contract of engines, and the ones that are at work in this process."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FunctionType
    from typing import Protocol

    from narrative_auto.instrument.engines.rewrite import Prepared
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.recorder.sites import Site

    class Engine(Protocol):
        """Lets the functions of the scope report their transitions to a recorder.

        Attributes:
            name: as `--engine` takes it.
            capabilities: what it can do beyond what each engine must, some of `CAPABILITIES`.
        """

        name: str
        capabilities: frozenset[str]

        def start(self, recorder: Recorder) -> None:
            """Begin to report to `recorder`.

            Raises:
                DeclinedError: this interpreter or process has no room for the engine; the message says why.
            """
            ...

        def instrument(self, code: CodeType, module: str) -> CodeType:
            """Return a module's code in which the functions of the scope report.

            Args:
                code: the module's own code object, as compiled.
                module: the module's name, for the sites.
            """
            ...

        def site(self, function: FunctionType) -> Site | None:
            """Return the site of a function that reports through this engine, or will; None for any other."""
            ...

        def release(self, site: Site) -> None:
            """Let a site report nothing any more."""
            ...

        def restore(self, sites: Sequence[Site]) -> None:
            """Let released sites report again; those that report through another engine are nothing to this one."""
            ...

        def stop(self) -> None:
            """Let every site fall silent, and give back what `start` took."""
            ...

    class Rewriter(Engine, Protocol):
        """An engine that changes code, in two steps, so that the result of the first one can be kept."""

        def prepare(self, code: CodeType) -> Prepared:
            """Return a module's code with places for its probes."""
            ...

        def bind(self, prepared: Prepared, module: str) -> CodeType:
            """Return prepared code that reports to the recorder, under a module's name."""
            ...


SEES_EXISTING = "sees functions that exist already"
SEES_EXEC = "sees code run by exec"
SEES_CLOSE = "sees the end of a generator that is closed or dropped while it is suspended"
SEES_THROW = "sees a generator go on when throw() ends what it delegates to"
SURVIVES_OVERFLOW = "goes on after the end of the stack was reached"
KEEPS_CODE = "keeps code objects as compiled"
KEEPS_TRACER = "leaves sys.settrace to the program"
KEEPS_MONITORING = "adds no user of sys.monitoring"

CAPABILITIES = frozenset(
    {
        *(SEES_EXISTING, SEES_EXEC, SEES_CLOSE, SEES_THROW, SURVIVES_OVERFLOW),
        *(KEEPS_CODE, KEEPS_TRACER, KEEPS_MONITORING),
    }
)
"""What engines differ in; the conformance suite says which engine must have which."""

started: list[Engine] = []
"""The engines at work in this process, in the order in which they are asked."""


def site_of(function: FunctionType) -> tuple[Engine, Site] | None:
    """Return the site of a function and the engine through which it reports; None where none does."""
    for engine in started:
        site = engine.site(function)
        if site is not None:
            return engine, site
    return None


CO_OPTIMIZED = 0x1
"""The flag of a function's code; class bodies and modules lack it."""
