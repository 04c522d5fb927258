"""Says what a recorded run would be like here, and what stands in its way; the interpreter is started and asked."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING

from narrative_auto import settings
from narrative_auto.instrument.engines.monitoring import FREE_TOOLS, OWNER
from narrative_auto.launch import interpreter as interpreters
from narrative_auto.launch import places, runner
from narrative_auto.launch import program as programs
from narrative_auto.launch.case import FINE, PROBLEM, REMARK, Case, Fact
from narrative_auto.page import Line, counted, fact_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LABELS = 17
_OUR_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def examine(command: list[str], environ: Mapping[str, str], here: str, seconds: float) -> list[Fact]:
    """Return what a recorded run of a command would be like, one fact a line.

    Args:
        command: as it would be given to narrative-run; empty for this environment's Python.
        environ: the environment variables.
        here: the current folder.
        seconds: how long an interpreter may take to start.

    Raises:
        CommandError: there is no such command, or it cannot be executed.
    """
    interpreter = interpreters.of_command(command)
    before = dict(environ)
    for name in (settings.SWITCH, settings.STORY, settings.LAUNCHED):
        before.pop(name, None)
    path = environ.get("PYTHONPATH", "").removeprefix(runner.hook_folder()).removeprefix(os.pathsep)
    before.pop("PYTHONPATH", None)
    plain = interpreters.ask(interpreter, {**before, "PYTHONPATH": path} if path else before, seconds)
    found = plain.facts.get("settings", {})
    chosen = settings.Settings(engine=found.get("engine", "auto"), store="off", tell="nothing")
    launched = interpreters.Answer(fault=plain.fault)
    if not plain.fault:
        variables = runner.child_environment(environ, chosen, ("engine", "store", "tell"), on_terminal=False)
        launched = interpreters.ask(interpreter, variables, seconds)
    blind = runner.blind_option([interpreter.name, *interpreter.options])
    return list(_facts(Case(interpreter, plain, launched, environ, here, blind)))


def status(facts: list[Fact]) -> int:
    """Return the exit status: 1 where something will not work."""
    return int(any(fact.mark == PROBLEM for fact in facts))


def lines(facts: list[Fact], width: int | None) -> list[Line]:
    """Return the facts as lines, and a last one that counts what was found.

    Args:
        facts: as `examine` gives them.
        width: columns; None for lines as long as they are.
    """
    shown: list[Line] = []
    styles = {PROBLEM: "bold red", REMARK: "yellow", FINE: ""}
    for fact in facts:
        shown += fact_lines(f"{fact.mark:<2}{fact.label}", fact.text, _LABELS, width, styles[fact.mark])
        if fact.remedy:
            shown += fact_lines("    next", fact.remedy, _LABELS, width)
    problems, remarks = (sum(fact.mark == mark for fact in facts) for mark in (PROBLEM, REMARK))
    counts = [counted(number, noun) for number, noun in ((problems, "problem"), (remarks, "remark")) if number]
    shown.append([("", "")])
    shown.append([(" and ".join(counts) or "nothing stands in the way", styles[PROBLEM] if problems else "")])
    return shown


def _facts(case: Case) -> Iterator[Fact]:
    yield from _interpreter(case)
    if case.plain.fault:
        return
    yield from _package(case)
    yield from _start(case)
    if not case.plain.facts.get("settings"):
        return  # without the package there is no more to be known
    yield from _engines(case)
    yield from _application(case)
    yield from _settings(case)
    yield from places.cache(case)
    yield from places.hook(case)
    yield from _sitecustomize(case)
    yield from _tracing(case)
    yield from _tools(case)
    yield from places.store(case)


def _interpreter(case: Case) -> Iterator[Fact]:
    facts = case.plain.facts
    if case.interpreter.remark:
        yield Fact("command", case.interpreter.remark, REMARK)
    if case.plain.fault:
        remedy = f"see what it does alone: {case.interpreter.path} -c pass"
        yield Fact("python", f"{case.interpreter.path}: {case.plain.fault}", PROBLEM, remedy)
        return
    name = {"cpython": "CPython", "pypy": "PyPy"}.get(facts["implementation"], facts["implementation"])
    yield Fact("python", f"{name} {facts['version']}, {facts['executable'] or case.interpreter.path}")
    build = "with the GIL"
    if facts["free_threaded"]:
        build = f"free-threaded, the GIL is {'on' if facts['gil'] else 'off'}"
    yield Fact("build", build + (f", JIT: {facts['jit']}" if facts["jit"] else ""))
    script = case.interpreter.script
    if script and not script.startswith("-") and not os.path.exists(script):
        yield Fact("script", f"there is no file {script}", PROBLEM, "name one that is there")
    if facts["flags"]["interactive"] or facts["flags"]["inspect"]:
        yield Fact("interactive", "a person sees each error as it comes, so there is no crash report", REMARK)


def _package(case: Case) -> Iterator[Fact]:
    facts, python = case.plain.facts, case.interpreter.path
    if not facts.get("package"):
        text = f"this interpreter cannot import it ({facts.get('reason', '')}), so nothing is recorded"
        yield Fact("narrative_auto", text, PROBLEM, f"{python} -m pip install narrative-auto")
        return
    text = f"{facts['package_version']}, {case.shown(facts['package'])}"
    if facts.get("reason"):
        yield Fact("narrative_auto", f"{text}: {facts['reason']}", PROBLEM, "take a newer Python")
    elif os.path.realpath(facts["package"]) != os.path.realpath(_OUR_PACKAGE):
        yield Fact("narrative_auto", f"{text}, which is another than that of this command", REMARK)
    else:
        yield Fact("narrative_auto", text)


def _start(case: Case) -> Iterator[Fact]:
    """Whether the recorder starts under narrative-run, and why not; what kept it from it is said once."""
    if case.launched.fault:
        remedy = "does it run without narrative-run?"
        yield Fact("recording", f"under narrative-run: {case.launched.fault}", PROBLEM, remedy)
    elif case.engines:
        yield Fact("recording", "narrative-run starts the recorder in it")
    elif not case.plain.facts.get("package") or case.plain.facts.get("reason"):
        return
    elif case.blind:
        remedy = f"leave {case.blind} out"
        if case.blind != "-S":
            remedy += "; or narrative install, whose hook is seen with it"
        yield Fact("recording", f"{case.blind} ignores the start-up hook, so nothing is recorded", PROBLEM, remedy)
    else:
        own = case.launched.facts.get("sitecustomize", "")
        if own and own == case.plain.facts["sitecustomize"]:
            text = f"{own} is found before the hook of narrative-run, so nothing is recorded"
            remedy = "take its folder from the front of sys.path (a .pth file put it there); or narrative install"
        else:
            text, remedy = "the start-up hook did not start the recorder", "the lines below say why, if any"
        yield Fact("recording", text, PROBLEM, remedy)
    for line in dict.fromkeys(case.launched.said):
        if line not in case.plain.said and not _is_told_elsewhere(line, case):
            yield Fact("stderr", line, PROBLEM, "see what a recorded run says: narrative-run python -c pass")


def _is_told_elsewhere(line: str, case: Case) -> bool:
    """Return whether a line that was written at start-up is about what has a fact of its own."""
    if line.startswith("Error in sitecustomize"):
        return bool(case.plain.facts["sitecustomize"])
    return line.endswith(("it is left out", "takes its place")) or "cannot import" in line


def _engines(case: Case) -> Iterator[Fact]:
    engines = case.engines
    if not engines:
        return
    wanted = case.settings["engine"]
    first, companion = engines["first"], engines["companion"]
    lost = wanted not in {"auto", first}
    text = f"{first} ({engines['reason']})"
    yield Fact("engine", text, PROBLEM if lost else FINE, f"set engine to auto, or to {first}" if lost else "")
    if companion:
        yield Fact("beside it", f"{companion}, for what {first} cannot reach")
    for name, why in engines["declined"]:
        if name != wanted:
            yield Fact("declined", f"{name}: {why}; what {first} cannot reach runs plain", REMARK)
    yield _recorder(case)
    yield _budget(case)
    if case.engines["recorder"] == "native":
        why = "the processor's counter" if case.engines["clock"] == "counter" else "the kernel's"
        yield Fact("clock", f"{case.engines['clock']}: {why}")
    yield _black_box(case)


def _recorder(case: Case) -> Fact:
    name, why = case.engines["recorder"], case.engines["why_pure"]
    if not why:
        return Fact("recorder", name if name == "native" else f"{name}, as was asked for")
    lost = case.settings["recorder"] not in {"auto", name}
    remedy = "install narrative-auto where there is a C compiler, and the interpreter's headers"
    return Fact("recorder", f"{name}: {why}", PROBLEM if lost else REMARK, remedy)


def _black_box(case: Case) -> Fact:
    folder = case.engines["black_box"]
    if case.engines["recorder"] != "native":
        return Fact("black box", "none: the recorder in Python has no memory that could outlive the process")
    if not folder:
        return Fact("black box", "off: a process that is killed leaves less behind")
    nearest = folder if os.path.isdir(folder) else os.path.dirname(folder)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Fact("black box", f"{folder} cannot be written", PROBLEM, "name another folder with --black-box")
    return Fact("black box", f"in {folder}; narrative recover reads it after a process was killed")


def _budget(case: Case) -> Fact:
    budget = case.settings["budget"]
    if not budget:
        return Fact("budget", "off: every call is recorded")
    share = f"{budget * 100:g}%"
    if case.engines["recorder"] != "native":
        return Fact("budget", f"{share} is not kept: only the compiled recorder can, so every call is recorded", REMARK)
    if case.engines["first"] == "settrace":
        return Fact("budget", f"{share} is not kept: a trace function costs more than that by itself", REMARK)
    return Fact("budget", f"{share} of the program's CPU time; hot, tiny functions are sampled to keep it")


def _application(case: Case) -> Iterator[Fact]:
    facts = case.plain.facts
    if "program" not in facts:
        return
    kind, name = facts["program"]["kind"], facts["program"]["name"]
    yield Fact("program", f"{name} ({kind})" if kind in {programs.SCRIPT, programs.CONSOLE_SCRIPT} else name)
    for index, root in enumerate(facts["app_roots"]):
        text = case.shown(root) if root != case.here else f"{root} (here)"
        if os.path.isdir(root):
            yield Fact("app roots" if index == 0 else "", text)
        else:
            yield Fact("app roots", f"{text} is no folder", PROBLEM, "name one that is there: --app-root DIR")


def _settings(case: Case) -> Iterator[Fact]:
    for line in case.plain.said:
        if line.endswith(("it is left out", "the table is left out")):
            text = line.removeprefix("narrative_auto: ")
            remedy = "mend it: none of the table is taken"
            if line.endswith("it is left out"):
                remedy = "mend it, or unset it: narrative-run does not start with it"
            yield Fact("setting", text, PROBLEM, remedy)
    for name, value in case.settings.items():
        held = tuple(value) if isinstance(value, list) else value
        if held != settings.DEFAULTS[name] and name != "app_roots":
            where = settings.variable(name)
            origin = where if case.environ.get(where) else "[tool.narrative]"
            text = ", ".join(held) if isinstance(held, tuple) else str(held)
            yield Fact("setting", f"{name} = {text}, from {origin}")
    taken = [settings.variable(name) for name in settings.DEFAULTS]
    taken += [settings.SWITCH, settings.STORY, settings.LAUNCHED, settings.STRICT]
    for name in sorted(case.environ):
        near = get_close_matches(name, taken, 1, 0.8) if name.startswith("NARRATIVE") and name not in taken else []
        if near:
            yield Fact("setting", f"{name} is not read by anything here", REMARK, f"if {near[0]} is meant, rename it")


def _sitecustomize(case: Case) -> Iterator[Fact]:
    own, seen = case.plain.facts["sitecustomize"], case.launched.facts.get("sitecustomize", "")
    if not own:
        return
    if own == seen or case.launched.fault:
        where = "after the hook of narrative-run" if case.engines else "as ever"
        yield Fact("sitecustomize", f"{case.shown(own)} is run, {where}")
    else:
        text = f"{case.shown(own)} does not get through under narrative-run"
        yield Fact("sitecustomize", text, PROBLEM, "narrative-run python -c pass shows its error")


def _tracing(case: Case) -> Iterator[Fact]:
    engine = case.engines.get("first", "")
    for name, label in (("trace", "tracer"), ("profile", "profiler")):
        owner, seen = case.plain.facts[name], case.launched.facts.get(name, "")
        if owner:
            text = f"{owner} is active at start-up"
            if engine == "settrace" and name == "trace" and seen != owner:
                yield Fact(label, f"{text}; our settrace engine hands on to it what it sees", REMARK)
            elif case.engines and seen != owner:
                yield Fact(label, f"{text}, but not under narrative-run", PROBLEM, "narrative-run --engine rewrite")
            else:
                yield Fact(label, f"{text}; it stays, and sees the probes of the pure recorder", REMARK)
        if engine == "settrace" and name == "trace" and not seen.startswith(f"{OWNER}."):
            text = f"{seen or 'another'} took the place of our settrace engine, which sees nothing"
            yield Fact(label, text, PROBLEM, "set engine to auto")


def _tools(case: Case) -> Iterator[Fact]:
    """Who has which tool id of `sys.monitoring`."""
    plain, launched = case.plain.facts["tools"], case.launched.facts.get("tools", {})
    if tuple(map(int, case.plain.facts["version"].split(".")[:2])) < (3, 12):
        return
    held = ", ".join(f"{tool} {owner}" for tool, owner in sorted((launched or plain).items()))
    free = [str(tool) for tool in FREE_TOOLS if str(tool) not in plain]
    if free or OWNER in launched.values():
        yield Fact("monitoring ids", held or "none is taken")
    else:
        yield Fact("monitoring ids", f"{held}; no free one is left for us", REMARK)
    for tool, owner in sorted(plain.items()):
        if case.engines and launched.get(tool) != owner:
            text = f"{owner} takes id {tool} at start-up, and cannot have it under narrative-run"
            yield Fact("monitoring ids", text, PROBLEM, "narrative-run --engine settrace leaves all ids free")
