"""Library functions that must not meet rewritten code, or that load modules past every finder: each has a watcher.

Compilers of bytecode (numba, polars) choke on the constants that probes are, and what pickles a function by value is
better off without them: they get the function's own code back just before they look at it. pytest rewrites assertions
with a loader that no finder of ours sees: what it has loaded is instrumented in place.
"""

from __future__ import annotations

import sys

from narrative_auto.errors import attempted_within, guarded_within
from narrative_auto.instrument.library_events import EVENTS
from narrative_auto.instrument.library_events import TRANSITIONS as TRANSITIONS_OF_EVENTS
from narrative_auto.recorder.layout import RETURN, START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FrameType, ModuleType
    from typing import Any

    from narrative_auto.recorder.base import Watcher

READS_CODE, COMPILES, PICKLES, LOADS_MODULE = "reads code", "compiles frames", "pickles", "loads a module"
"""What a watched function does with a variable of its: a function, or the module that it has loaded when it returns."""

_TRANSITIONS = {READS_CODE: START, COMPILES: START, PICKLES: START, LOADS_MODULE: RETURN, **TRANSITIONS_OF_EVENTS}

_CLOUDPICKLE = {"Pickler._dynamic_function_reduce": {READS_CODE: "func"}}

WATCHED: dict[str, dict[str, dict[str, str]]] = {
    "_pytest.assertion.rewrite": {"AssertionRewritingHook.exec_module": {LOADS_MODULE: "module"}},
    "numba.core.bytecode": {"FunctionIdentity.from_function": {READS_CODE: "pyfunc"}},
    "numba.core.dispatcher": {"Dispatcher.__init__": {READS_CODE: "py_func"}},
    "polars._utils.udfs": {"warn_on_inefficient_map": {READS_CODE: "function"}},
    "cloudpickle.cloudpickle": _CLOUDPICKLE,
    "joblib.externals.cloudpickle.cloudpickle": _CLOUDPICKLE,
    "pyspark.cloudpickle.cloudpickle": _CLOUDPICKLE,
    "ray.cloudpickle.cloudpickle": _CLOUDPICKLE,
    "torch._dynamo.eval_frame": {"_TorchDynamoContext.__call__": {COMPILES: "fn"}},
    "torch._dynamo.variables.functions": {"UserFunctionVariable.__init__": {READS_CODE: "fn"}},
    "dill._dill": {"save_function": {PICKLES: "obj"}},
    **EVENTS,
}
"""{module: {qualified name of a function: {what it does: the variable that it does it with}}}."""

COMPILES_FRAMES = frozenset({"torch._dynamo.eval_frame"})
"""Modules of compilers that take whatever function is called: from their import on, nothing is rewritten. What a module
whose body is running defines later has probes still; it gets its own code when something is compiled."""


class Watch:
    """What to do about watched functions.

    Args:
        act: {what a function does: called with the variable}; what is missing is not watched.
        step_aside: called when a module of `COMPILES_FRAMES` is being imported.
        watcher: what stands in watched functions; see `Recorder.watcher`.

    Attributes:
        is_behind: modules that were imported before have not been looked at.
    """

    def __init__(
        self,
        act: Mapping[str, Callable[[Any], object]],
        step_aside: Callable[[], object],
        watcher: type[Watcher],
    ) -> None:
        self._act = act
        self._step_aside = step_aside
        self._watcher = watcher
        self.is_behind = True

    def wants(self, module: str) -> bool:
        """Return whether a module has a function to be watched."""
        return any(kind in self._act for kinds in WATCHED.get(module, {}).values() for kind in kinds)

    def also(self, kind: str, act: Callable[[Any], object]) -> None:
        """Watch what else a function may do, from here on."""
        self._act = {**self._act, kind: act}
        for name, functions in WATCHED.items():
            module = sys.modules.get(name)
            if module is not None and any(kind in kinds for kinds in functions.values()):
                attempted_within(self._take_in, module, name)

    def take_in(self) -> None:
        """Watch the functions of modules that were imported before they could be met, once.

        What that needs is not there in most runs, and they are few: it is left until there is time, or it is needed.
        """
        if not self.is_behind:
            return
        self.is_behind = False
        for name in WATCHED:
            module = sys.modules.get(name)
            if module is not None and self.wants(name):
                attempted_within(self._take_in, module, name)

    def _take_in(self, module: ModuleType, name: str) -> None:
        for path in WATCHED[name]:
            found: Any = module
            for part in path.partition(".<locals>")[0].split("."):
                found = vars(found).get(part)
                found = getattr(found, "__func__", found)
            if type(found) is type(_raise) and not self._is_watched(found.__code__):
                found.__code__ = self.watched(found.__code__, name)

    def watched(self, code: CodeType, module: str) -> CodeType:
        """Return a library module's code in which the functions of the table are watched.

        Raises:
            DeclinedError: such a function cannot be assembled with certainty.
        """
        from narrative_auto.instrument.engines.assembly import assemble

        if module in COMPILES_FRAMES and code.co_name == "<module>":
            self._step_aside()
        kinds = WATCHED[module].get(code.co_qualname, {})
        watchers = {
            _TRANSITIONS[kind]: self._watching(name, self._act[kind])
            for kind, name in kinds.items()
            if kind in self._act
        }
        if watchers:
            return assemble(code, watchers.get)
        constants = tuple(self.watched(one, module) if type(one) is type(code) else one for one in code.co_consts)
        changed = any(new is not old for new, old in zip(constants, code.co_consts, strict=True))
        return code.replace(co_consts=constants) if changed else code

    def _is_watched(self, code: CodeType) -> bool:
        return any(
            type(one) is self._watcher or (type(one) is type(code) and self._is_watched(one)) for one in code.co_consts
        )

    def _watching(self, name: str, act: Callable[[Any], object]) -> Watcher:
        """Return what stands in a watched function and hands on one of its variables."""

        def meet(frame: FrameType) -> None:
            value = frame.f_locals.get(name)
            if value is not None:
                try:
                    act(value)
                except Exception as fault:  # noqa: BLE001 - it is ours, or of a signal handler of the program's
                    guarded_within(f"looking after {name}", _raise, fault)

        return self._watcher(meet)


def _raise(fault: Exception) -> None:
    raise fault
