"""Which engines work in a process: the one that was asked for, or that is best here, and who takes what it cannot."""

from __future__ import annotations

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines import facts
from narrative_auto.instrument.engines.rewrite import RewriteEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from narrative_auto.instrument.engines.base import Engine
    from narrative_auto.instrument.engines.monitoring import MonitoringEngine
    from narrative_auto.instrument.exit_watch import ExitWatch
    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.base import Recorder

    AnyEngine = TypeVar("AnyEngine", bound=Engine)

BEST = {
    (3, 11): ("rewrite", "rewrite"),
    (3, 12): ("rewrite", "rewrite"),
    (3, 13): ("rewrite", "rewrite"),
    (3, 14): ("monitoring", "rewrite"),
}
"""What `auto` means, by interpreter: within a budget, and where every call is recorded. The engine under which the
programs of `benchmarks/` cost less, imports included; within 2 % rewrite. Read from `benchmarks/results/`, by
`benchmarks.results.best_engine`."""

TESTED = (3, 15)
"""The newest interpreter that the test suites run on; what was measured on the one before it holds for it."""

_ORDER = ("rewrite", "monitoring", "settrace")
"""Who takes the place of an engine that cannot work here; the last one always can."""


def best_engine(version: tuple[int, int], *, has_budget: bool) -> str:
    """Return what `auto` means on a version of CPython; on one that nobody has tried, what changes no code."""
    if version > TESTED:
        return "monitoring"
    within, without = BEST[min(version, max(BEST))]
    return within if has_budget else without


class Engines:
    """The engines at work.

    Attributes:
        first: the one that instruments what is imported.
        companion: the one that takes what the first cannot reach; None where there is none.
        reason: why these, in words for `narrative doctor`.
        declined: (name, why) of each engine that was wanted and could not start.
    """

    __slots__ = ("companion", "declined", "first", "reason")

    def __init__(
        self, first: Engine, companion: MonitoringEngine | None, reason: str, declined: list[tuple[str, str]]
    ) -> None:
        self.first = first
        self.companion = companion
        self.reason = reason
        self.declined = declined

    @property
    def rewriter(self) -> RewriteEngine | None:
        """The engine that changes code as it is imported, None where code stays as it is."""
        return self.first if isinstance(self.first, RewriteEngine) else None

    def pass_over(self, filename: str) -> None:
        """Take no notice of a file, if it can hold no application code."""
        if self.companion is not None:
            self.companion.pass_over(filename)

    def rest(self) -> None:
        """Meet no function any more that comes to be from here on, as far as there is an engine beside the first."""
        if self.companion is not None:
            self.companion.rest()

    def stop_watching(self) -> None:
        """Stop those that are called back: while the interpreter comes to its end there is nothing to call any more."""
        for engine in (self.first, self.companion):
            if engine is not None and not isinstance(engine, RewriteEngine):
                engine.stop()

    def stop(self) -> None:
        """Stop them."""
        for engine in (self.first, self.companion):
            if engine is not None:
                engine.stop()


def start(
    wanted: str,
    recorder: Recorder,
    scope: Scope,
    leave_plain: Callable[[str, str, str], None],
    main: ExitWatch | None,
    is_on: Callable[[], bool] = lambda: True,
    *,
    has_budget: bool = True,
    late: bool = False,
) -> Engines:
    """Start the engine that is wanted, or the next one that can, and the one beside it.

    Args:
        wanted: "auto" or an engine's name.
        recorder: what they report to.
        scope: what is application code.
        leave_plain: told of what stays as it is: module, qualified name, reason.
        main: watches how the main module is left.
        is_on: says whether code that did not run yet is still to report.
        has_budget: not every call is recorded.
        late: the application has functions already.
    """
    declined: list[tuple[str, str]] = []

    def make(name: str) -> Engine:
        if name == "rewrite":
            return RewriteEngine(scope, leave_plain)
        if name == "monitoring":
            from narrative_auto.instrument.engines.monitoring import MonitoringEngine

            return MonitoringEngine(scope, main, is_on)
        from narrative_auto.instrument.engines.settrace import SettraceEngine  # and what it needs: a millisecond

        return SettraceEngine(scope, main, is_on)

    def begun(engine: AnyEngine) -> AnyEngine | None:
        try:
            engine.start(recorder)
        except DeclinedError as why:
            declined.append((engine.name, str(why)))
            return None
        except BaseException:
            engine.stop()
            raise
        return engine

    name = best_engine(facts.VERSION, has_budget=has_budget) if wanted == "auto" else wanted
    reason = f"auto: the cheapest one on CPython {facts.VERSION_TEXT}" if wanted == "auto" else f"--engine {wanted}"
    candidates = (begun(make(each)) for each in dict.fromkeys([name, *_ORDER]))
    first = next(engine for engine in candidates if engine is not None)
    if declined:
        reason += f"; {declined[0][0]} cannot: {declined[0][1]}"
    companion = None
    if first.name == "rewrite" and facts.VERSION >= (3, 12):
        from narrative_auto.instrument.engines.monitoring import MonitoringEngine

        companion = begun(MonitoringEngine(scope, main, is_on, only_new=not late))
    return Engines(first, companion, reason, declined)
