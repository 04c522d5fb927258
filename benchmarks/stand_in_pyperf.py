"""Stands in for pyperf in a folder of programs of pyperformance: runs what they hand over in this very process.

The programs serve `lock_step`.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from serve import serve

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
        """Run a function as often as is asked for."""
        serve(lambda: function(*arguments))

    def bench_time_func(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Do so with a function that is told how often to repeat itself: once."""
        self.bench_func(name, function, 1, *arguments)
