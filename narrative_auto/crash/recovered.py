"""What a black box says, as lines and as JSON: what each thread and task was inside, and what it did last."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from narrative_auto.failures.redaction import Redactor
from narrative_auto.failures.values import clean
from narrative_auto.page import Line, columns, counted, cut, duration, printable, relative, rule
from narrative_auto.recorder.layout import COPY, ENDED, RESUME, RETURN, START, TRANSITIONS, UNWIND, YIELD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from narrative_auto.recorder.black_box import BlackBox, BoxCall, BoxCrumb, BoxLane

FORMAT = "narrative-recovered/1"
"""The first member of the JSON."""

SHOWN_RECORDS = 10
SHOWN_CRUMBS = 8
SHOWN_LANES = 8
SHOWN_CALLS = 14
SHOWN_TASKS = 8

KEPT_RECORDS = 1_000
"""Records of each thread in the JSON, unless all are asked for."""

_WORDS = {START: "began", RETURN: "returned", UNWIND: "raised", YIELD: "suspended", RESUME: "went on"}


class Recovered:
    """A black box, ready to be told.

    Args:
        box: what was read.
        is_running: its process lives.
        now: ns of the monotonic clock, for a process that lives.
    """

    def __init__(self, box: BlackBox, *, is_running: bool, now: int | None = None) -> None:
        self._box = box
        self._is_running = is_running
        self._redactor = Redactor()
        self._until = (time.perf_counter_ns() if now is None else now) if is_running else box.seen_ns

    def _named(self, text: str) -> str:
        return printable(self._redactor.text(clean(text)))

    def _lane_name(self, lane: BoxLane) -> str:
        if lane.name:
            return self._named(lane.name)
        return "MainThread" if lane.thread == self._box.pid else f"thread {lane.thread}"

    @property
    def _lanes(self) -> list[BoxLane]:
        """The threads, the one that did something last first."""
        return sorted(self._box.lanes, key=lambda lane: lane.records[-1][0] if lane.records else 0, reverse=True)

    def _how(self) -> str:
        if self._is_running:
            return "running"
        return {COPY: "dumped", ENDED: "ended well"}.get(self._box.state, "ended without goodbye")

    # -- lines ------------------------------------------------------------------------------------------------

    def lines(self, width: int, here: str, *, everything: bool = False) -> list[Line]:
        """Return what there is to say.

        Args:
            width: columns.
            here: the current folder; paths below it are shown relative to it.
            everything: all threads, calls and records, however many.
        """
        box = self._box
        how = self._how()
        seen = box.wall(box.seen_ns)
        if seen and not self._is_running:
            how += f", {_ago(time.time() - seen)} ago"
        style = "bold yellow" if self._is_running else "bold red"
        lines = [rule(["narrative", self._named(box.name), how, box.story_id[:6] or "?"], width, style)]
        lines += self._facts()
        lanes = [lane for lane in self._lanes if lane.calls]
        for lane in lanes if everything else lanes[:SHOWN_LANES]:
            lines += self._inside(f"{self._lane_name(lane)} was in", lane.calls, width, here, everything=everything)
        if len(lanes) > SHOWN_LANES and not everything:
            lines.append([(f"and {counted(len(lanes) - SHOWN_LANES, 'thread')} more", "")])
        if not lanes:
            lines += [[("", "")], [("no recorded function was running", "")]]
        lines += self._tasks(width, here, everything=everything)
        for lane in self._lanes if everything else self._lanes[:1]:
            lines += self._records(lane, width, everything=everything)
        lines += self._crumbs(width, everything=everything)
        lines += [[(printable(problem), "yellow")] for problem in self._all_problems()]
        if not everything:
            lines.append(
                [(f"all: narrative recover {box.story_id[:6] or printable(box.path)} --all   (or --json)", "dim")]
            )
        return lines

    def _facts(self) -> list[Line]:
        box = self._box
        parts = [f"pid {box.pid}"] if box.pid else []
        if self._until and box.started_ns:
            parts.append(f"{'runs' if self._is_running else 'ran'} {duration((self._until - box.started_ns) / 1e9)}")
        moment = _moment(box.wall(box.last_record_ns))
        if moment is not None:
            parts.append(f"last record {moment:%H:%M:%S}.{moment.microsecond // 1000:03} UTC")
        lines: list[Line] = [[(", ".join(parts), "")]] if parts else []
        if box.sampled:
            lines.append(
                [(f"{counted(box.sampled, 'function')} sampled to keep the budget: not all calls are here", "")]
            )
        if self._how() == "ended without goodbye":
            lines.append([("cause not recorded: SIGKILL or another signal, no memory, os._exit or exec", "")])
        return lines

    def _inside(self, title: str, calls: tuple[BoxCall, ...], width: int, here: str, *, everything: bool) -> list[Line]:
        lines: list[Line] = [[("", "")], [(title, "bold")]]
        hidden = 0 if everything else max(0, len(calls) - SHOWN_CALLS)
        first = SHOWN_CALLS // 2
        deepest = 8
        for depth, call in enumerate(calls):
            if hidden and first <= depth < first + hidden:
                if depth == first:
                    lines.append([(f"  {'   ' * min(depth, deepest)}… {counted(hidden, 'call')} more …", "dim")])
                continue
            lead = "  " + ("   " * min(depth - 1, deepest) + "└─ " if depth else "")
            place = ""
            if depth == len(calls) - 1 and call.site.filename:
                place = f"   {relative(printable(call.site.filename), here)}:{call.site.line}"
            since = call.suspended or call.started
            took = duration(max(0.0, (self._until - since) / 1e9)) if self._until else ""
            room = max(20, width - columns(place) - 14)
            name = cut(lead + self._named(call.site.name), room)
            padding = " " * max(1, min(40, room) - columns(name))
            lines.append([(name, ""), (f"{padding}{took:>12}", "bold"), (place, "dim")])
        return lines

    def _tasks(self, width: int, here: str, *, everything: bool) -> list[Line]:
        groups: dict[tuple[int, ...], list[tuple[BoxCall, ...]]] = {}
        for task in self._box.tasks:
            groups.setdefault(tuple(call.site.number for call in task), []).append(task)
        lines: list[Line] = []
        shown = list(groups.values())
        for group in shown if everything else shown[:SHOWN_TASKS]:
            kind = "task" if group[0][0].site.awaits else "generator"
            verb = "was" if len(group) == 1 else "were"
            title = f"{counted(len(group), kind)} {verb} suspended in"
            lines += self._inside(title, group[0], width, here, everything=everything)
        if len(shown) > SHOWN_TASKS and not everything:
            lines.append([(f"and {counted(len(shown) - SHOWN_TASKS, 'other chain')} of suspended calls", "")])
        return lines

    def _records(self, lane: BoxLane, width: int, *, everything: bool) -> list[Line]:
        if not lane.records:
            return []
        count = counted(len(lane.records), "record")
        lines: list[Line] = [[("", "")], [(f"last of {count}, {self._lane_name(lane)}", "bold")]]
        told = list(_with_durations(lane.records))
        for at, site, kind, took in told if everything else told[-SHOWN_RECORDS:]:
            ago = f"-{duration(max(0, self._until - at) / 1e9)}"
            name = self._named(self._box.site(site).name)
            room = max(20, min(40, width - 36))
            name = cut(name, room)
            padding = " " * (room - columns(name))
            spent = f"{duration(took / 1e9):>10}" if took is not None else ""
            lines.append([(f"  {ago:>9}  ", "dim"), (f"{name}{padding}  {_WORDS[kind]:<9}{spent}".rstrip(), "")])
        return lines

    def _crumbs(self, width: int, *, everything: bool) -> list[Line]:
        crumbs = self._box.crumbs
        if not crumbs:
            return []
        lines: list[Line] = [[("", "")], [(f"last of {counted(len(crumbs), 'crumb')}", "bold")]]
        until = self._box.wall(self._until)
        for one in crumbs if everything else crumbs[-SHOWN_CRUMBS:]:
            seconds = until - one.wall_ns / 1e9
            ago = f"{'-' if seconds >= 0 else '+'}{duration(abs(seconds))}" if until else ""
            values = " ".join(f"{name}={value}" for name, value in {**one.data, **one.context}.items())
            text = self._redactor.text(clean(f"{one.event} {values}".rstrip()))
            lines.append([(f"  {ago:>9}  ", "dim"), (cut(printable(text), width - 13), "")])
        return lines

    def _all_problems(self) -> list[str]:
        torn = sum(lane.torn for lane in self._box.lanes)
        problems = [f"{counted(torn, 'torn record')} skipped"] if torn else []
        if self._is_running:
            problems.append("the process goes on: what is shown is of one moment, or of several close to each other")
        return problems + self._box.problems

    # -- JSON -------------------------------------------------------------------------------------------------

    def json(self, *, everything: bool = False) -> str:
        """Return the same as JSON; of each thread the last `KEPT_RECORDS` records unless all are asked for."""
        box = self._box
        identity = {name: value for name, value in box.identity.items() if isinstance(value, str | int)}
        content = {
            "format": FORMAT,
            "path": box.path,
            "state": self._how(),
            "pid": box.pid,
            "story": {
                name: self._redactor.text(clean(value)) if isinstance(value, str) else value
                for name, value in identity.items()
            },
            "last_record": _iso(box.wall(box.last_record_ns)),
            "last_seen": _iso(box.wall(box.seen_ns)),
            "last_seen_ns": box.seen_ns,
            "sampled": box.sampled,
            "lanes": [self._lane_member(lane, None if everything else KEPT_RECORDS) for lane in box.lanes],
            "suspended": [[self._call_member(call) for call in task] for task in box.tasks],
            "crumbs": [self._crumb_member(crumb) for crumb in box.crumbs],
            "problems": self._all_problems(),
        }
        return json.dumps(content, indent=2)

    def _crumb_member(self, crumb: BoxCrumb) -> dict[str, Any]:
        def shown(texts: dict[str, str]) -> dict[str, str]:
            return {clean(name): self._redactor.text(clean(text)) for name, text in texts.items()}

        return {
            "ts": _iso(crumb.wall_ns / 1e9),
            "thread": clean(crumb.thread),
            "event": self._redactor.text(clean(crumb.event)),
            "data": shown(crumb.data),
            "context": shown(crumb.context),
        }

    def _lane_member(self, lane: BoxLane, most: int | None) -> dict[str, Any]:
        records = lane.records if most is None else lane.records[-most:]
        return {
            "lane": lane.number,
            "thread": lane.thread,
            "name": self._lane_name(lane),
            "ended": lane.ended,
            "records_written": lane.written,
            "records_torn": lane.torn,
            "open": [self._call_member(call) for call in lane.calls],
            "records": [[at, self._named(self._box.site(site).name), TRANSITIONS[kind]] for at, site, kind in records],
        }

    def _call_member(self, call: BoxCall) -> dict[str, Any]:
        site = call.site
        member = {
            "site": site.number,
            "name": self._named(site.name),
            "module": clean(site.module),
            "filename": clean(site.filename),
            "line": site.line,
            "started_ns": call.started,
            "seconds": max(0, self._until - call.started) / 1e9 if self._until else None,
        }
        if call.suspended:
            member["suspended_ns"] = call.suspended
        return member


def _ago(seconds: float) -> str:
    return f"{max(0.0, seconds):.0f} s" if seconds < 60 else duration(seconds)


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):  # a damaged clock
        return None


def _iso(seconds: float) -> str | None:
    moment = _moment(seconds)
    return moment.isoformat() if moment is not None else None


def _with_durations(
    records: Iterable[tuple[int, int, int]],
) -> Iterable[tuple[int, int, int, int | None]]:
    """Yield records with the ns that a call took whose beginning is among them and that was not suspended."""
    running: list[tuple[int, int | None]] = []
    for at, site, kind in records:
        took = None
        if kind in {START, RESUME}:
            running.append((site, at if kind == START else None))
        else:
            while running:
                open_site, began = running.pop()
                if open_site == site:
                    took = at - began if began is not None and kind != YIELD else None
                    break
        yield at, site, kind, took
