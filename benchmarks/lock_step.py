"""Runs one program in several ways at once, in lock-step: a round of this process, a round of the next, and so on.

A machine that others share has slow and fast moments, from milliseconds to seconds long. Of ways that take turns every
few milliseconds, each meets the same moments, and the ratio of two rounds that follow each other is that of the ways.
While one process has its round, the others wait for theirs.
"""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from benchmarks.processes import PLAIN, command, environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.processes import Way

SETTLING_SECONDS = 0.3
"""Of CPU time that a program has run before its rounds count: by then it is in its steady state."""

SERVE = '''
def serve(main):
    """Run `main` as often as each line of stdin says, and answer with the CPU seconds that it took."""
    import sys, time
    for line in iter(sys.stdin.readline, ""):
        number = range(int(line))
        before = time.process_time()
        for _ in number: main()
        print("seconds", time.process_time() - before, flush=True)
'''
"""What a program ends with: it runs when it is told to. The two clocks are read outside all of its functions."""


class Runner:
    """A process that runs one way."""

    def __init__(self, line: list[str], folder: Path, recorder: str = "native") -> None:
        self._line = line
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            line,
            cwd=folder,
            env=environment(recorder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def round(self, repeats: int) -> float:
        """Run a round; return its CPU seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has nothing to say then
            self._process.stdin.write(f"{repeats}\n")
            self._process.stdin.flush()
        for line in self._process.stdout:  # some tools of others print as well, and so do programs
            found = re.fullmatch(r"seconds (\d+\.\d+(?:e-\d+)?)\n", line)
            if found is not None:
                return float(found[1])
        raise self._failure()

    def end(self, *, is_ours: bool) -> None:
        """Let the process come to its end; another engine or recorder may have taken the place of ours."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.read()
        self._errors.seek(0)
        if self._process.wait(60) or (is_ours and self._errors.read()):
            raise self._failure()
        self._errors.close()

    def _failure(self) -> SystemExit:
        self._errors.seek(0)
        line = " ".join(self._line)
        return SystemExit(f"benchmarks: {line} failed or is not what was asked for:\n{self._errors.read()}")


def lock_step(
    folder: Path,
    ways: Sequence[Way],
    arguments: Sequence[str],
    include: Sequence[str] = (),
    stores: dict[Way, str] | None = None,
    *,
    turns: int,
    round_seconds: float = 0.02,
    most_seconds: float = 10.0,
) -> dict[Way, list[float]]:
    """Run a script that serves, plain and in each way.

    Args:
        folder: where it runs, and the script is.
        ways: beside plain.
        arguments: the script, and what it is given.
        include: patterns for narrative-run.
        stores: folders for narrative-run; without one nothing is kept.
        turns: rounds that count, of each way.
        round_seconds: what a round takes plain, at least: a program that takes less is repeated within it.
        most_seconds: of plain rounds; a program that takes long has fewer of them, but three.

    Returns:
        Of each way, plain among them, the CPU seconds of its rounds; number n of each way ran in the same turn.
    """
    every = [PLAIN, *ways]
    runners = {
        way: Runner(command(way, arguments, include, (stores or {}).get(way, "off")), folder, way.recorder)
        for way in every
    }
    once = min(runners[PLAIN].round(1) for _ in range(2))
    repeats = max(1, round(round_seconds / once))
    for runner in runners.values():
        settled = 0.0
        while settled < SETTLING_SECONDS:
            settled += runner.round(repeats)
    turns = max(3, min(turns, int(most_seconds / (once * repeats))))
    seconds: dict[Way, list[float]] = {way: [] for way in every}
    chance = random.Random(0)  # noqa: S311 - of an order
    for _ in range(turns):
        for way in chance.sample(every, len(every)):
            seconds[way].append(runners[way].round(repeats) / repeats)
    for way, runner in runners.items():
        runner.end(is_ours=bool(way.engine))
    return seconds


def ratios_of_turns(seconds: dict[Way, list[float]], way: Way) -> list[float]:
    """Return the ratio to plain of each turn."""
    return [ours / plain for ours, plain in zip(seconds[way], seconds[PLAIN], strict=True)]
