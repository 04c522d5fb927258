"""Says of a module and its functions whether they are recorded, why, and by which engine; nothing of them is run."""

from __future__ import annotations

import ast
import os
from difflib import get_close_matches
from typing import TYPE_CHECKING

from narrative_auto import settings
from narrative_auto.errors import NarrativeError, attempted
from narrative_auto.instrument.cache import CodeCache, bytecode_of, stamp_of
from narrative_auto.instrument.engines import choice
from narrative_auto.instrument.engines.base import CO_OPTIMIZED
from narrative_auto.instrument.engines.rewrite import RewriteEngine
from narrative_auto.instrument.scope import Scope, Verdict
from narrative_auto.launch import locate
from narrative_auto.launch import program as programs
from narrative_auto.page import Line, counted, fact_lines, printable, relative
from narrative_auto.recorder import choice as recorders
from narrative_auto.recorder.sites import kind_of
from narrative_auto.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType

    from narrative_auto.instrument.engines.base import Engine
    from narrative_auto.instrument.engines.choice import Engines
    from narrative_auto.launch.locate import Located
    from narrative_auto.settings import Settings

_LABELS = 11
"""Columns of the left column."""

_WIDEST_NAME = 34

_NO_PYTHON = {
    locate.EXTENSION: "an extension module: it is compiled, and has no functions in Python",
    locate.BUILTIN: "built into the interpreter: it has no functions in Python",
    locate.NAMESPACE: "a namespace package: it has no code of its own, name a module in it",
}


@record(frozen=True, slots=True)
class Explained:
    """One function.

    Attributes:
        name: the qualified name.
        taken: whether its calls are recorded.
        reason: by whom, or why not.
    """

    name: str
    line: int
    taken: bool
    reason: str


class Explanation:
    """What holds for one module.

    Args:
        module: where it is.
        chosen: the settings.
        scope: what is application code.
    """

    def __init__(self, module: Located, chosen: Settings, scope: Scope) -> None:
        self.module = module
        self._scope = scope
        self.engines = _engines(chosen, scope)
        rewrites = self.engines.rewriter is not None
        self.code = locate.read_code(module)
        # The finder goes by where a module was found; engines that watch go by what its code says.
        watched = self.code is not None and not rewrites and module.kind != locate.FROZEN
        filename = self.code.co_filename if self.code is not None and watched else module.path
        self.taker: Engine | None = self.engines.first
        if rewrites and module.kind in {locate.FROZEN, locate.OTHER}:
            self.taker = self.engines.companion  # no finder of ours sees it, or its loader is to be left alone
        self.verdict = self._module(filename)
        self.cache = self._cache(chosen) if rewrites else f"not needed: {self.engines.first.name} leaves code as it is"

    def _module(self, filename: str) -> Verdict:
        """Return the verdict on the module, as the finder and the engines come to it."""
        module = self.module
        if module.kind in _NO_PYTHON:
            return Verdict(instrument=False, reason=_NO_PYTHON[module.kind])
        if not filename:
            return Verdict(instrument=False, reason=f"{module.kind}: it has no file")
        verdict = self._scope.module(module.name, filename)
        if not verdict.instrument or self.taker is not None:
            return verdict
        if module.kind == locate.FROZEN:
            return Verdict(instrument=False, reason=f"frozen into the interpreter, where {self._first} does not reach")
        loader = f"{type(module.loader).__module__}.{type(module.loader).__qualname__}"
        return Verdict(instrument=False, reason=f"it is loaded by {loader}, where {self._first} does not reach")

    @property
    def _first(self) -> str:
        return self.engines.first.name

    def _cache(self, chosen: Settings) -> str:
        """Return what the cache has of the module."""
        here = programs.current_folder()
        if chosen.cache_dir == "off":
            return "off: it is rewritten at each start"
        if self.module.kind != locate.SOURCE:
            return f"not for a {self.module.kind}: it is rewritten at each start"
        cache = CodeCache(chosen.cache_dir, self._scope.function_rules)
        path = cache.path(self.module.path)
        if path is None:
            return "not for this interpreter: it has no place for bytecode"
        if (
            attempted(cache.get, self.module.path, stamp_of(self.module.path), bytecode_of(self.module.path))
            is not None
        ):
            return f"up to date, {relative(path, here)}"
        return f"{'out of date' if os.path.exists(path) else 'empty'}, {relative(path, here)}"

    def functions(self) -> list[Explained]:
        """Return what holds for each function of the module, in the order of their lines."""
        if self.code is None:
            return []
        rewriter = (
            RewriteEngine(self._scope, lambda *_: None)
            if self.taker is self.engines.first and self.engines.rewriter
            else None
        )
        declined = (
            dict(rewriter.prepare(self.code).declined) if rewriter is not None and self.verdict.instrument else {}
        )
        marked = _marked_out(locate.read_source(self.module))
        explained = [
            self._function(code, declined.get(code.co_qualname, ""), marked) for code in _functions_in(self.code)
        ]
        return sorted(explained, key=lambda one: one.line)

    def _function(self, code: CodeType, fault: str, marked: set[tuple[str, int]]) -> Explained:
        def said(reason: str, *, taken: bool = False) -> Explained:
            return Explained(code.co_qualname, code.co_firstlineno, taken, reason)

        if not self.verdict.instrument:
            return said(self.verdict.reason)
        verdict = self._scope.function(code.co_qualname)
        if not verdict.instrument:
            return said(verdict.reason)
        if (code.co_qualname, code.co_firstlineno) in marked:
            return said("@no_stage")
        kind, taker = kind_of(code), self.taker
        if not fault and taker is not None:
            return said(f"{kind}, by {taker.name}", taken=True)
        companion = self.engines.companion
        if companion is None:
            return said(f"{self._first} declines it ({fault})")
        return said(f"{kind}, by {companion.name}, as {self._first} declines it ({fault})", taken=True)


def explain_lines(
    target: str,
    typed: Mapping[str, tuple[str, str]],
    environ: Mapping[str, str],
    here: str,
    width: int | None,
) -> list[Line]:
    """Return what holds for a module or a function, one fact a line.

    Args:
        target: `pkg.mod`, `pkg.mod:func`, `pkg.mod:Class.method`; a script's path in the place of a module's name.
        typed: {setting: (option, text)} as typed.
        environ: the environment variables.
        here: the current folder, from where the program would be run.
        width: columns; None for lines as long as they are.

    Raises:
        NarrativeError: there is no such module or function, it cannot be read, or a setting is not taken.
    """
    place, function = _parted(target)
    is_script = place.endswith((".py", ".pyw")) or os.sep in place or (os.path.isfile(place) and "." not in place)
    if is_script:
        module = locate.find_script(place)
        what = programs.Program(
            programs.SCRIPT,
            os.path.basename(place),
            os.path.dirname(os.path.realpath(place)),
            os.path.realpath(place),
        )
    else:
        if not all(part.isidentifier() for part in place.split(".")):
            raise NarrativeError(f"{target!r} names no module: narrative explain shop.pricing:price, or app.py:main")
        what = programs.Program(programs.OTHER, place, here)
    chosen = settings.load(environ, what.folder, typed)
    if not is_script:
        module = locate.find_module(place, locate.search_path([here, *chosen.app_roots]))
    scope = Scope(chosen.app_roots or what.app_roots(), chosen.include, chosen.exclude, private=chosen.private)
    explanation = Explanation(module, chosen, scope)
    shown = explanation.functions()
    if function:
        shown = _picked(shown, place, function)
    lines = [line for fact in _facts(explanation, here) for line in fact_lines(*fact, _LABELS, width)]
    if explanation.verdict.instrument or function:
        lines += _function_lines(shown, width, folds=not function)
    elif shown:
        count = counted(len(_named(shown)), "function")
        lines += fact_lines("functions", f"{count}, left out with the module", _LABELS, width)
    return lines


def _parted(target: str) -> tuple[str, str]:
    """Return a target's module or path, and its function or "" (a colon may belong to a path)."""
    place, colon, function = target.rpartition(":")
    if not colon or not place or os.sep in function or "\\" in function:
        return target, ""
    return place, function


def _facts(explanation: Explanation, here: str) -> Iterator[tuple[str, str]]:
    module, verdict, engines = explanation.module, explanation.verdict, explanation.engines
    is_script = module.kind == locate.SCRIPT
    yield ("script" if is_script else "module"), relative(module.path, here) if is_script else module.name
    where = relative(module.path, here) if module.path else ", ".join(relative(one, here) for one in module.folders)
    kind = "" if module.kind in {locate.SOURCE, locate.EXTENSION, locate.FROZEN} else f" ({module.kind})"
    if where and not is_script:
        yield "found", where + kind
    yield "verdict", f"{'recorded' if verdict.instrument else 'left out'}: {verdict.reason}"
    if not verdict.instrument:
        if (
            explanation.taker is not None
            and module.kind not in _NO_PYTHON
            and "narrative_auto itself" not in verdict.reason
        ):
            yield "next", _remedy(module, verdict)
        return
    beside = f"; beside it {engines.companion.name}, for what that cannot reach" if engines.companion else ""
    yield "engine", f"{engines.first.name} ({engines.reason}){beside}"
    if explanation.taker is engines.first:
        yield "cache", explanation.cache
    elif engines.companion is not None:
        reason = "frozen" if module.kind == locate.FROZEN else "loaded by other means"
        yield "taken by", f"{engines.companion.name}, as it is {reason}"


def _remedy(module: Located, verdict: Verdict) -> str:
    """Return what to type so that a module is recorded."""
    if verdict.reason.startswith("--exclude"):
        return f"without {verdict.reason} it would be recorded, if it is application code"
    if module.name == "__main__":
        return f"narrative-run --app-root {os.path.dirname(module.path)} …"
    return f"narrative-run --include '{module.name.partition('.')[0]}.*' …"


def _engines(chosen: Settings, scope: Scope) -> Engines:
    """Return the engines that can work in an interpreter like this one: they are started, and stopped at once."""
    recorder, _ = recorders.make(chosen.recorder)
    engines = choice.start(chosen.engine, recorder, scope, lambda *_: None, None, has_budget=bool(chosen.budget))
    engines.stop()
    return engines


def _functions_in(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of everything in a module that is called: functions, lambdas, comprehensions."""
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            if constant.co_flags & CO_OPTIMIZED:
                yield constant
            yield from _functions_in(constant)


def _marked_out(source: str) -> set[tuple[str, int]]:
    """Return (qualified name, first line) of what the source itself takes out by `@no_stage`."""
    found: set[tuple[str, int]] = set()
    if "no_stage" not in source:
        return found
    tree = attempted(ast.parse, source)
    if tree is None:
        return found
    names = {"no_stage"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "narrative_auto":
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "no_stage"}

    def is_mark(decorator: ast.expr) -> bool:
        own = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
        return own in names

    def visit(node: ast.AST, prefix: str, *, out: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                visit(child, prefix, out=out)
                continue
            marked = out or any(map(is_mark, child.decorator_list))
            is_class = isinstance(child, ast.ClassDef)
            if marked and not is_class:
                found.add((prefix + child.name, min(one.lineno for one in [child, *child.decorator_list])))
            visit(child, f"{prefix}{child.name}.{'' if is_class else '<locals>.'}", out=marked and is_class)

    visit(tree, "", out=False)
    return found


def _plain(name: str) -> str:
    """Return a qualified name as a person may type it."""
    return name.replace("<locals>.", "")


def _named(functions: list[Explained]) -> list[Explained]:
    """Return those that have a name of their own in the source: no lambdas, nor what the compiler adds."""
    return [one for one in functions if not one.name.rpartition(".")[2].startswith(("<", "__annotate"))]


def _picked(functions: list[Explained], place: str, wanted: str) -> list[Explained]:
    """Return the functions of a name, or of a class.

    Raises:
        NarrativeError: there are none; the message suggests others.
    """
    wanted = _plain(wanted)
    exact = [one for one in functions if _plain(one.name) == wanted]
    below = [one for one in functions if _plain(one.name).startswith(f"{wanted}.")]
    if exact or below:
        return exact or below
    names = sorted({_plain(one.name) for one in _named(functions)})
    if not names:
        raise NarrativeError(f"there is no function {wanted} in {place}: it has none")
    near = get_close_matches(wanted, names, 3) or [one for one in names if one.rpartition(".")[2] == wanted][:3]
    meant = " or ".join(f"{place}:{one}" for one in near)
    hint = f"did you mean {meant}?" if near else f"narrative explain {place} lists what there is"
    raise NarrativeError(f"there is no function {wanted} in {place}: {hint}")


def _function_lines(functions: list[Explained], width: int | None, *, folds: bool) -> list[Line]:
    """Return one line a function: verdict, name, line, reason."""
    shown = _named(functions) if folds else functions
    lines: list[Line] = [[("", "")]]
    room = min(max((len(one.name) for one in shown), default=0), _WIDEST_NAME)
    for one in shown:
        text = f"{printable(one.name):<{room}}  line {one.line:<4} {one.reason}"
        label = "recorded" if one.taken else "left out"
        lines += fact_lines(label, text, _LABELS, width, "" if one.taken else "yellow")
    if not shown:
        lines += fact_lines("functions", "it has none", _LABELS, width)
    elif len(shown) < len(functions):
        rest = counted(len(functions) - len(shown), "other")
        lines += fact_lines("left out", f"{rest}: lambdas, comprehensions and the like", _LABELS, width)
    return lines
