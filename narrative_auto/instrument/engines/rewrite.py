"""The engine that gives each function probes of its own, in its code; there is no wrapper and no added frame."""

from __future__ import annotations

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines import base, facts
from narrative_auto.instrument.engines.base import (
    CO_OPTIMIZED,
    KEEPS_MONITORING,
    KEEPS_TRACER,
    SEES_CLOSE,
    SEES_THROW,
    SURVIVES_OVERFLOW,
)
from narrative_auto.recorder.sites import site_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FunctionType

    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.base import Plan, Recorder
    from narrative_auto.recorder.sites import Site

VERSION = 3
"""Of what this engine makes of code; a cache knows by it what an earlier release made."""

_PLACE = b""
"""Stands for a probe until the code is bound to a recorder; `marshal` can write it."""


class Prepared:
    """A module's code with places for probes, which any process with the same interpreter can bind to its recorder.

    Attributes:
        code: the module's code object.
        plan: where its probes go; None where it has none.
        declined: (qualified name, reason) of each function of the scope that stays as it is.
    """

    __slots__ = ("code", "declined", "plan")

    def __init__(self, code: CodeType, plan: Plan | None, declined: list[tuple[str, str]]) -> None:
        self.code = code
        self.plan = plan
        self.declined = declined


class RewriteEngine:
    """Puts probes into code objects as they are loaded.

    Args:
        scope: says which functions are stages.
        leave_plain: told of each function that stays as it is although the scope wanted it:
            module, qualified name, reason.
    """

    name = "rewrite"
    capabilities = frozenset({SEES_CLOSE, SEES_THROW, SURVIVES_OVERFLOW, KEEPS_TRACER, KEEPS_MONITORING})

    def __init__(self, scope: Scope, leave_plain: Callable[[str, str, str], None]) -> None:
        self._scope = scope
        self._leave_plain = leave_plain
        self._recorder: Recorder | None = None

    def start(self, recorder: Recorder) -> None:
        """Report to `recorder` from here on.

        Raises:
            DeclinedError: the instructions of this interpreter are not known.
        """
        if not facts.KNOWN_INTERPRETER:
            raise DeclinedError(facts.UNKNOWN)
        self._recorder = recorder
        base.started.append(self)

    def instrument(self, code: CodeType, module: str) -> CodeType:
        """Return a module's code in which the functions of the scope report to the recorder."""
        return self.bind(self.prepare(code), module)

    def prepare(self, code: CodeType) -> Prepared:
        """Return a module's code with places for the probes of the scope's functions."""
        declined: list[tuple[str, str]] = []
        prepared, plan = self._prepare(code, declined)
        return Prepared(prepared, plan, declined)

    def bind(self, prepared: Prepared, module: str) -> CodeType:
        """Return prepared code that reports to the recorder.

        Args:
            prepared: what `prepare` made, in this process or in another.
            module: the module's name, for the sites.
        """
        for qualname, reason in prepared.declined:
            self._leave_plain(module, qualname, reason)
        if prepared.plan is None or self._recorder is None:
            return prepared.code
        return self._recorder.bind(prepared.code, prepared.plan, module)

    def site(self, function: FunctionType) -> Site | None:
        """Return the site whose probes a function's code holds."""
        site = site_in(function.__code__)
        return site if site is not None and site.recorder is self._recorder else None

    def release(self, site: Site) -> None:
        """Let a site's probes fall silent; they stay in the code."""
        site.released = True
        if self._recorder is not None:
            self._recorder.silence(site)

    def restore(self, sites: Sequence[Site]) -> None:
        """Let the probes of sites report again."""
        for site in sites:
            site.released = False
            if self._recorder is not None:
                self._recorder.unsilence(site)

    def stop(self) -> None:
        """Silence every probe; code that is loaded keeps them."""
        if self in base.started:
            base.started.remove(self)
        if self._recorder is not None:
            for site in self._recorder.sites:
                self._recorder.silence(site)

    def _prepare(self, code: CodeType, declined: list[tuple[str, str]]) -> tuple[CodeType, Plan | None]:
        nested = []
        constants = list(code.co_consts)
        for index, constant in enumerate(constants):
            if type(constant) is type(code):
                constants[index], plan = self._prepare(constant, declined)
                if plan is not None:
                    nested.append((index, plan))
        if nested:
            code = code.replace(co_consts=tuple(constants))
        transitions: list[int] = []
        wanted = code.co_flags & CO_OPTIMIZED and self._scope.function(code.co_qualname).instrument
        if wanted and site_in(code) is None:
            code = self._assemble(code, transitions, declined)
        return code, (tuple(transitions), tuple(nested)) if nested or transitions else None

    @staticmethod
    def _assemble(code: CodeType, transitions: list[int], declined: list[tuple[str, str]]) -> CodeType:
        """Return a function's code with a place for each probe, and note their transitions."""
        from narrative_auto.instrument.engines.assembly import assemble

        def place(transition: int) -> object:
            transitions.append(transition)
            return _PLACE

        try:
            return assemble(code, place)
        except DeclinedError as why:
            transitions.clear()
            declined.append((code.co_qualname, str(why)))
            return code
