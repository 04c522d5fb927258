"""The engine that gives each function probes of its own, in its code; there is no wrapper and no added frame."""

from __future__ import annotations

from narrative_auto.errors import DeclinedError
from narrative_auto.recorder.sites import ASYNC_GENERATOR, COROUTINE, FUNCTION, GENERATOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from narrative_auto.instrument.scope import Scope
    from narrative_auto.recorder.pure import PureRecorder

_CO_OPTIMIZED = 0x1
_CO_GENERATOR = 0x20
_CO_COROUTINE = 0x80
_CO_ITERABLE_COROUTINE = 0x100
_CO_ASYNC_GENERATOR = 0x200

_KINDS = (
    (_CO_ASYNC_GENERATOR, ASYNC_GENERATOR),
    (_CO_COROUTINE | _CO_ITERABLE_COROUTINE, COROUTINE),
    (_CO_GENERATOR, GENERATOR),
)


class RewriteEngine:
    """Puts probes into code objects as they are loaded.

    Args:
        recorder: gives the sites and the probes.
        scope: says which functions are stages.
        leave_plain: told of each function that stays as it is although the scope wanted it:
            module, qualified name, reason.
    """

    name = "rewrite"

    def __init__(self, recorder: PureRecorder, scope: Scope, leave_plain: Callable[[str, str, str], None]) -> None:
        self._recorder = recorder
        self._scope = scope
        self._leave_plain = leave_plain

    def instrument(self, code: CodeType, module: str) -> CodeType:
        """Return a module's code in which the functions of the scope report to the recorder."""
        constants = list(code.co_consts)
        changed = False
        for index, constant in enumerate(constants):
            if isinstance(constant, type(code)):
                inner = self.instrument(constant, module)
                inner = self._assemble(inner, module)
                changed = changed or inner is not constant
                constants[index] = inner
        return code.replace(co_consts=tuple(constants)) if changed else code

    def _assemble(self, code: CodeType, module: str) -> CodeType:
        """Return a function's code with its probes; class bodies and what the scope leaves out as they are."""
        if not code.co_flags & _CO_OPTIMIZED or not self._scope.function(code.co_qualname).instrument:
            return code
        from narrative_auto.instrument.engines.assembly import assemble

        kind = next((kind for flags, kind in _KINDS if code.co_flags & flags), FUNCTION)
        site = self._recorder.sites.add(module, code.co_qualname, code.co_filename, code.co_firstlineno, kind)
        try:
            return assemble(code, lambda transition: self._recorder.probe(site, transition))
        except DeclinedError as declined:
            self._leave_plain(module, code.co_qualname, str(declined))
            return code
