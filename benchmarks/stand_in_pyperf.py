"""Stands in for pyperf in a folder of programs of pyperformance: runs what they hand over in this very process.

Prints the CPU seconds of each round, the first one included. How many rounds there are is the first argument.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

perf_counter = time.perf_counter


class Runner:
    """What those programs use of `pyperf.Runner`."""

    def __init__(self, add_cmdline_args: object = None) -> None:  # noqa: ARG002 - pyperf's own arguments
        self.metadata: dict[str, object] = {}
        self.argparser = argparse.ArgumentParser()

    def parse_args(self) -> argparse.Namespace:
        """Return the program's own defaults."""
        return self.argparser.parse_args([])

    @staticmethod
    def bench_func(_name: str, function: Callable[..., object], *arguments: object) -> None:
        """Time some rounds of a function."""
        for _ in range(int(sys.argv[1])):
            before = time.process_time()
            function(*arguments)
            print(time.process_time() - before)

    def bench_time_func(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Time some rounds of a function that is told how often to repeat itself: once."""
        self.bench_func(name, function, 1, *arguments)
