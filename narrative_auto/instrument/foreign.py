"""Modules that pytest loads: it rewrites their assertions with a loader of its own, which no finder of ours sees.

So the loader itself reports, by a probe at its end, which module it has loaded, and that is then instrumented in place.
Needed where no engine meets code as it starts.
"""

from __future__ import annotations

import sys

from narrative_auto.errors import guarded
from narrative_auto.recorder.layout import RETURN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType

MODULE = "_pytest.assertion.rewrite"
_FUNCTION = "AssertionRewritingHook.exec_module"
_ARGUMENT = "module"


class _Loaded:
    """The probe at the end of the loader: hands on the module that it was given."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[ModuleType], object]) -> None:
        self._tell = tell

    def __bool__(self) -> bool:
        module = sys._getframe(1).f_locals.get(_ARGUMENT)  # noqa: SLF001 - the loader's own frame
        if module is not None:
            guarded("instrumenting a test module", self._tell, module)
        return True


def watched(code: CodeType, tell: Callable[[ModuleType], object]) -> CodeType:
    """Return the code of `MODULE`, whose loader calls `tell` with each module that it has loaded.

    Raises:
        DeclinedError: the loader's code cannot be assembled with certainty.
    """
    from narrative_auto.instrument.engines.assembly import assemble

    if code.co_qualname == _FUNCTION:
        return assemble(code, {RETURN: _Loaded(tell)}.get)
    constants = tuple(watched(one, tell) if isinstance(one, type(code)) else one for one in code.co_consts)
    changed = any(new is not old for new, old in zip(constants, code.co_consts, strict=True))
    return code.replace(co_consts=constants) if changed else code
