"""Runs a program under an engine and a recorder, and reads back every transition that was recorded."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrative_auto.instrument.engines.monitoring import MonitoringEngine
from narrative_auto.instrument.engines.rewrite import RewriteEngine
from narrative_auto.instrument.engines.settrace import SettraceEngine
from narrative_auto.instrument.scope import Scope
from narrative_auto.recorder.lane import Lane
from narrative_auto.recorder.layout import TRANSITIONS
from narrative_auto.recorder.native import NativeRecorder
from narrative_auto.recorder.pure import PureRecorder

if TYPE_CHECKING:
    from narrative_auto.instrument.engines.base import Engine
    from narrative_auto.recorder.base import Recorder


class KeepingRecorder(PureRecorder):
    """The pure recorder; the rings of threads that have ended can still be read, as those of the compiled one can."""

    def __init__(self) -> None:
        super().__init__(min_duration=1 << 62)

    def _retire(self, lane: Lane) -> None:
        pass


def _plain(module: str, function: str, reason: str) -> None:
    raise AssertionError(f"{module}:{function} was left plain: {reason}")


ENGINES: dict[str, Callable[[Scope], Engine]] = {
    "rewrite": lambda scope: RewriteEngine(scope, _plain),
    "settrace": SettraceEngine,
}
if sys.version_info >= (3, 12):
    ENGINES["monitoring"] = MonitoringEngine

RECORDERS: dict[str, Callable[[], Recorder]] = {"native": lambda: NativeRecorder(1 << 62), "pure": KeepingRecorder}


@dataclass(frozen=True)
class Report:
    """One record: what happened, where, and in which lane, counted from 1."""

    transition: str
    qualname: str
    lane: int

    def __str__(self) -> str:
        lane = f"{self.lane}:" if self.lane != 1 else ""
        return f"{lane}{self.qualname}.{self.transition}"


class Bench:
    """An engine at work on a recorder.

    Attributes:
        engine, recorder: the two.
        folder: the application's folder.
    """

    def __init__(self, engine: Engine, recorder: Recorder, folder: Path) -> None:
        self.engine = engine
        self.recorder = recorder
        self.folder = folder

    def load(self, source: str, name: str = "program", *, instrument: bool = True) -> types.ModuleType:
        """Import a module of the application from its source, as the finder does."""
        path = self.folder / f"{name}.py"
        path.write_text(source, "utf-8")
        code = compile(source, str(path), "exec", dont_inherit=True)
        if instrument:
            code = self.engine.instrument(code, name)
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        try:
            exec(code, module.__dict__)
        finally:
            del sys.modules[name]
        return module

    def reports(self, wanted: Callable[[str], bool] = lambda _: True, since: int = 0) -> list[Report]:
        """Return what was recorded since then (ns), by time, at the sites whose qualified name is wanted."""
        sites = self.recorder.sites
        records = [
            (at, lane, TRANSITIONS[kind], sites[site].qualname)
            for lane in sorted(self.recorder.lanes)
            for at, site, kind in self.recorder.last_records(lane, 1 << 20)
            if at >= since
        ]
        order = sorted({lane for _, lane, _, _ in records})
        records.sort(key=lambda record: record[0])
        reports = [Report(kind, qualname, order.index(lane) + 1) for _, lane, kind, qualname in records]
        return [report for report in reports if wanted(report.qualname)]

    @property
    def depth(self) -> int:
        """How many calls this thread's shadow stack holds."""
        lane = self.recorder.current_lane()
        return self.recorder.depth(lane) if lane is not None else 0

    def calls(self, name: str) -> int:
        """Return how many calls of a function were counted."""
        sites = self.recorder.sites
        return sum(edge.calls for edge in self.recorder.edges() if sites[edge.site].qualname == name)


@contextmanager
def bench(engine: str | Callable[[Scope], Engine], recorder: str, folder: Path, **rules: Any) -> Iterator[Bench]:
    """Start an engine over the application in `folder`; stop it at the end."""
    make = ENGINES[engine] if isinstance(engine, str) else engine
    # This checkout is installed as editable, so its tests would be application code.
    started = make(Scope([str(folder)], exclude=["tests.*", "conftest"], **rules))
    events = RECORDERS[recorder]()
    started.start(events)
    try:
        yield Bench(started, events, folder)
    finally:
        started.stop()
