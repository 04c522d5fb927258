"""`python -m tests.transparency.torture`: rewrites every installed function and takes the probes out again.

The standard library and the installed packages are compiled, each function gets its probes by `assemble`, and what is
left when they are taken out is compared with the original, instruction by instruction: opcode, argument, jump target,
line, columns, exception handler. It is also checked that each transition has its probe. Exits 0 if nothing differs and
less than `MOST_DECLINED` was declined.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import multiprocessing
import sys
import sysconfig
import time
import types
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from narrative_auto.errors import DeclinedError
from narrative_auto.instrument.engines.assembly import assemble
from tests.transparency.stripped import Different, Probe, compare

MOST_DECLINED = 0.005
"""The share of functions that may stay plain."""

QUICK = 20
"""`--quick` takes each file of this many."""

LONGEST_LIST = 50
"""Differing functions that are printed."""

LIBRARIES = {"site-packages", "dist-packages"}
NOT_COMPILED = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)


@dataclass
class Counts:
    """What was found in some files: figures by name, reasons for declining, and what differs."""

    figures: Counter[str] = field(default_factory=Counter)
    declined: Counter[str] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Take in the counts of other files."""
        self.figures += other.figures
        self.declined += other.declined
        self.different += other.different


def is_function(code: types.CodeType) -> bool:
    """Whether the rule takes a code object for a function; said here once more, from what the README promises."""
    name = code.co_name
    is_dunder = name.startswith("__") and name.endswith("__") and name not in {"__init__", "__call__"}
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not name.startswith("<") and not is_dunder


def is_assembled(code: types.CodeType) -> bool:
    """Whether `--all-kinds` takes a code object: all but class bodies."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED) or code.co_name == "<module>"


def all_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and all that are nested in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from all_codes(each)


def rewrite(code: types.CodeType, counts: Counts, *, all_kinds: bool) -> types.CodeType:
    """Put probes into a code object and what is nested in it, from the inside out, and compare each."""
    constants = [
        rewrite(each, counts, all_kinds=all_kinds) if isinstance(each, types.CodeType) else each
        for each in code.co_consts
    ]
    inner = code.replace(co_consts=tuple(constants))
    if not (is_assembled(code) if all_kinds else is_function(code)):
        return inner
    counts.figures["handed over"] += 1
    where = f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}"
    try:
        assembled = assemble(inner, Probe)
        compare(code, assembled)
    except DeclinedError as declined:
        counts.declined[str(declined).replace(code.co_qualname, "...")] += 1
        return inner
    except Different as difference:
        counts.different.append(f"{where}: {difference}")
    except Exception as error:  # noqa: BLE001 - whatever a broken assembler raises is a finding
        counts.different.append(f"{where}: {type(error).__name__}: {error}")
        return inner
    counts.figures["instrumented"] += 1
    return assembled


def torture(job: tuple[str, bool]) -> Counts:
    """Rewrite all functions of one file; the job is its path, and whether to take code of all kinds."""
    path, all_kinds = job
    counts = Counts(Counter(files=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
        except NOT_COMPILED:
            counts.figures["not compiled"] = 1
            return counts
    codes = list(all_codes(code))
    counts.figures["codes"] = len(codes)
    counts.figures["functions"] = sum(is_assembled(each) if all_kinds else is_function(each) for each in codes)
    rewrite(code, counts, all_kinds=all_kinds)
    return counts


def find_files(targets: Sequence[str]) -> list[str]:
    """Return the source files of folders, files and modules; without any, all that are installed.

    Raises:
        ValueError: a target is nothing of these; the message is one line.
    """
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found: dict[str, None] = {}
    for target in targets or dict.fromkeys(folders):
        paths = [Path(target)]
        if not paths[0].exists() and targets:
            try:
                spec = importlib.util.find_spec(target)
            except (ImportError, ValueError):
                spec = None
            if spec is None or not (spec.submodule_search_locations or (spec.has_location and spec.origin)):
                raise ValueError(f"{target!r} is no folder, no file and no module with a source")
            paths = [Path(each) for each in spec.submodule_search_locations or [str(spec.origin)]]
        for path in paths:
            sources = [path] if path.is_file() else sorted(path.rglob("*.py"))
            for source in sources:
                # The standard library's folder may hold the packages of another environment: what this one was made of.
                if source.is_file() and (targets or not LIBRARIES & set(source.relative_to(path).parts)):
                    found[str(source.resolve())] = None
    if not found:
        raise ValueError(f"there is no .py file in {' '.join(targets)}")
    return list(found)


def report(counts: Counts, seconds: float, *, all_kinds: bool) -> bool:
    """Print the figures; return whether they are as they should be."""
    figures, declined = counts.figures, sum(counts.declined.values())
    functions, handed_over = figures["functions"], figures["handed over"]
    share = declined / functions if functions else 0.0
    what = "code objects but class bodies" if all_kinds else "functions by the rule"
    print(f"CPython {sys.version.split()[0]}: {figures['files']} files, {figures['not compiled']} that do not compile")
    print(f"  {what:31}{functions:9} of {figures['codes']} code objects that the compiler made")
    print(f"  {'handed to the assembler':31}{handed_over:9}")
    print(f"  {'instrumented':31}{figures['instrumented']:9}")
    print(f"  {'declined':31}{declined:9} {share:.3%}")
    for reason, times in counts.declined.most_common():
        print(f"    {times:6} {reason}")
    print(f"  {'differ':31}{len(counts.different):9}")
    for each in sorted(counts.different)[:LONGEST_LIST]:
        print(f"    {each}")
    print(f"  {seconds:.0f} s")
    if not functions or handed_over != functions:
        print("  the functions that were handed over are not those that the compiler made, or there is none")
    return not counts.different and 0 < functions == handed_over and share < MOST_DECLINED


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.transparency.torture", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("targets", nargs="*", metavar="FOLDER|FILE|MODULE", help="else all that is installed")
    parser.add_argument("--all-kinds", action="store_true", help="also modules, lambdas, comprehensions, dunders")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--quick", action="store_true", help=f"each file of {QUICK} only")
    asked = parser.parse_args(arguments)
    try:
        files = find_files(asked.targets)
        if asked.jobs < 1:
            raise ValueError(f"--jobs takes a number of processes from 1, not {asked.jobs}")
    except ValueError as fault:
        print(f"{parser.prog}: {fault}", file=sys.stderr)
        return 2
    began = time.monotonic()
    total = Counts()
    work = [(path, asked.all_kinds) for path in files[:: QUICK if asked.quick else 1]]
    if asked.jobs == 1:
        for job in work:
            total.add(torture(job))
    else:
        with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
            for counts in pool.imap_unordered(torture, work, chunksize=4):
                total.add(counts)
    return 0 if report(total, time.monotonic() - began, all_kinds=asked.all_kinds) else 1


if __name__ == "__main__":
    sys.exit(main())
