"""The settings: defaults < `[tool.narrative]` in pyproject.toml < environment < command line.

This is the only reader of environment variables, and the only place that knows how a setting is written as text.
"""

from __future__ import annotations

import os
import sys

from narrative_auto.errors import SettingError, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

ENGINES = ("auto", "rewrite", "monitoring", "settrace")
RECORDERS = ("auto", "native", "pure")
CLOCKS = ("auto", "counter", "kernel")
TELLS = ("tree", "line", "failure", "nothing")
ANALYZERS = ("anthropic", "openai", "ollama", "off")

SWITCH = "NARRATIVE_AUTO"
"""Set to anything but "" and "0": the start-up hook starts the recorder."""

STORY = "NARRATIVE_STORY"
"""Set by a process for its children, as `STORY_ID:PID:ROOT_STORY_ID`: they store and do not tell.

PID is that of the process that tells, which may replace itself by `exec`; 0 in a process that does not.
"""

LAUNCHED = "NARRATIVE_LAUNCHED"
"""Set by narrative-run to what stderr gets unless a setting says otherwise: "tree" on a terminal, else "line"."""

STRICT = "NARRATIVE_STRICT"
"""Set by tests: faults of ours are raised instead of being told."""


class Settings:
    """What a person can set; frozen.

    Attributes:
        engine: what puts probes into code, one of `ENGINES`.
        recorder: what they report to, one of `RECORDERS`.
        budget: the share of the process's CPU time that recording may take; 0.0 to record every call.
        app_roots: folders whose modules are application code; empty: found from the script.
        include, exclude: module patterns such as `shop.*`, which takes `shop` too.
        private: functions whose names start with `_` are recorded as well.
        min_duration: seconds from which a finished call is notable.
        tell: what stderr gets, one of `TELLS`; "" until it is known who started the program.
        store: the folder of the store, or "off"; "" for `.narrative/` at the project's root.
        cache_dir: the folder of rewritten code, or "off"; "" for the `__pycache__` beside each source.
        clock: what the compiled recorder reads the time from: "counter" (the processor's), "kernel", or "auto" for the
            counter where the kernel itself trusts it.
        redact: parts of names whose values are secret, beside those that always are.
        repr: patterns of `module.Type` of the program's types whose `repr` a crash report may call.
        dump_signal: the number of the signal on which a copy of the black box is written; 0 for none.
        black_box: the folder of black boxes, or "off"; "" for one of the user's that lies in memory.
        analyzer: the language model that is asked about a failure, one of `ANALYZERS`; "" for none, as "off".
    """

    __slots__ = (
        "analyzer",
        "app_roots",
        "black_box",
        "budget",
        "cache_dir",
        "clock",
        "dump_signal",
        "engine",
        "exclude",
        "include",
        "min_duration",
        "private",
        "recorder",
        "redact",
        "repr",
        "store",
        "tell",
    )

    engine: str
    recorder: str
    budget: float
    app_roots: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    private: bool
    min_duration: float
    tell: str
    store: str
    cache_dir: str
    black_box: str
    dump_signal: int
    clock: str
    analyzer: str
    redact: tuple[str, ...]
    repr: tuple[str, ...]

    def __init__(self, **values: Any) -> None:
        for name, default in DEFAULTS.items():
            object.__setattr__(self, name, values.pop(name, default))
        if values:
            raise TypeError(f"no such setting: {', '.join(values)}")

    def replace(self, **values: Any) -> Settings:
        """Return settings that differ in some values."""
        return Settings(**{**{name: getattr(self, name) for name in self.__slots__}, **values})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: {name}")

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


DEFAULTS: dict[str, Any] = {
    "engine": "auto",
    "recorder": "auto",
    "budget": 0.03,
    "app_roots": (),
    "include": (),
    "exclude": (),
    "private": True,
    "min_duration": 0.001,
    "tell": "",
    "store": "",
    "cache_dir": "",
    "black_box": "",
    "dump_signal": 0,
    "clock": "auto",
    "analyzer": "",
    "redact": (),
    "repr": (),
}


def _one_of(choices: tuple[str, ...]) -> Callable[[str, str], str]:
    def parse(source: str, text: str) -> str:
        if text not in choices:
            raise SettingError(f"{source} takes one of {', '.join(choices)}, not {text!r}")
        return text

    return parse


def parse_duration(source: str, text: str) -> float:
    """Return the seconds of `text`, such as `500us`, `1ms`, `0.2s`.

    Raises:
        SettingError: the text is no duration; `source` names where it came from.
    """
    for unit, seconds in (("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if text.endswith(unit):
            try:
                value = float(text.removesuffix(unit)) * seconds
            except ValueError:
                break
            if 0 <= value < float("inf"):
                return value
            break
    raise SettingError(f"{source} takes a duration such as 500us, 1ms or 0.2s, not {text!r}")


def parse_budget(source: str, text: str) -> float:
    """Return the share that `text` names, such as `3%`; 0.0 for `off`.

    Raises:
        SettingError: the text is no such share; `source` names where it came from.
    """
    if text == "off":
        return 0.0
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = 0.0
    if not 0.0 < percent <= 100.0:
        raise SettingError(f"{source} takes a share of the program's time such as 3%, or off, not {text!r}")
    return percent / 100.0


def _parse_switch(source: str, text: str) -> bool:
    values = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    value = values.get(text.lower())
    if value is None:
        raise SettingError(f"{source} takes 1 or 0, not {text!r}")
    return value


def _parse_folders(_source: str, text: str) -> tuple[str, ...]:
    return tuple(os.path.abspath(folder) for folder in text.split(os.pathsep) if folder)


def _parse_patterns(source: str, text: str) -> tuple[str, ...]:
    patterns = tuple(pattern.strip() for pattern in text.split(",") if pattern.strip())
    for pattern in patterns:
        if not all(part.isidentifier() for part in pattern.replace("*", "x").replace("?", "x").split(".")):
            raise SettingError(f"{source} takes module patterns such as shop.*, not {pattern!r}")
    return patterns


def _parse_names(_source: str, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parse_signal(source: str, text: str) -> int:
    """Return the number of a signal that a program can live with, such as `USR1`; 0 for `off`."""
    import _signal  # type: ignore[import-not-found] # the C module: `signal` would import enum

    if text == "off":
        return 0
    known = {name.removeprefix("SIG"): number for name, number in vars(_signal).items() if name[:3] == "SIG"}
    usable = {name: known[name] for name in ("USR1", "USR2", "HUP", "QUIT", "WINCH", "IO", "URG") if name in known}
    number = int(text) if text.isdecimal() else usable.get(text.upper().removeprefix("SIG"), 0)
    if number not in usable.values():
        raise SettingError(f"{source} takes one of {', '.join(usable)}, or off, not {text!r}")
    return number


def _parse_folder_or_off(_source: str, text: str) -> str:
    return text if text == "off" else os.path.abspath(os.path.expanduser(text))


PARSERS: dict[str, Callable[[str, str], Any]] = {
    "engine": _one_of(ENGINES),
    "recorder": _one_of(RECORDERS),
    "budget": parse_budget,
    "app_roots": _parse_folders,
    "include": _parse_patterns,
    "exclude": _parse_patterns,
    "private": _parse_switch,
    "min_duration": parse_duration,
    "tell": _one_of(TELLS),
    "store": _parse_folder_or_off,
    "cache_dir": _parse_folder_or_off,
    "black_box": _parse_folder_or_off,
    "dump_signal": _parse_signal,
    "clock": _one_of(CLOCKS),
    "analyzer": _one_of(ANALYZERS),
    "redact": _parse_names,
    "repr": _parse_patterns,
}


def variable(name: str) -> str:
    """Return the environment variable of a setting: `NARRATIVE_MIN_DURATION` for `min_duration`."""
    return f"NARRATIVE_{name.upper()}"


def project_root(start: str) -> str | None:
    """Return the nearest folder from `start` upwards that holds a `pyproject.toml` or a `.git`, or None."""
    folder = start
    while True:
        for mark in ("pyproject.toml", ".git"):
            if os.path.exists(os.path.join(folder, mark)):
                return folder
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def _from_pyproject(folder: str) -> dict[str, tuple[str, str]]:
    """Return the settings of `[tool.narrative]` as {name: (source, text)}; empty without such a table."""
    root = project_root(folder)
    path = os.path.join(root, "pyproject.toml") if root else ""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return {}
    if b"[tool.narrative" not in content:  # tomllib costs 5 to 10 ms to import
        return {}
    import tomllib  # only where there is something to read

    try:
        table = tomllib.loads(content.decode()).get("tool", {}).get("narrative", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from None
    found = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in DEFAULTS:
            raise SettingError(f"{path}: [tool.narrative] has no setting {key!r}; it has {', '.join(DEFAULTS)}")
        if isinstance(value, list):
            joint = os.pathsep if name == "app_roots" else ","
            base = root or ""
            parts = [str(part) for part in value]
            if name == "app_roots":
                parts = [os.path.join(base, part) for part in parts]
            text = joint.join(parts)
        else:
            text = ("1" if value else "0") if isinstance(value, bool) else str(value)
        found[name] = (f"{key} in {path}", text)
    return found


def load(
    environ: Mapping[str, str], folder: str, command_line: Mapping[str, tuple[str, str]] | None = None
) -> Settings:
    """Return the settings that hold for a program.

    Args:
        environ: the environment variables.
        folder: where the search for a pyproject.toml begins; "" not to search.
        command_line: {setting: (option, text)} as typed.

    Raises:
        SettingError: a value that its setting does not take; the message is one line.
    """
    texts = {name: (variable(name), environ[variable(name)]) for name in DEFAULTS if environ.get(variable(name))}
    texts.update(command_line or {})
    if folder and len(texts) < len(DEFAULTS):
        texts = {**_from_pyproject(folder), **texts}
    return Settings(**{name: PARSERS[name](source, text) for name, (source, text) in texts.items()})


def load_or_default(environ: Mapping[str, str], folder: str) -> Settings:
    """Return the settings inside a program that is starting: what cannot be used is told once and left out."""
    usable = dict(environ)
    for name in DEFAULTS:
        text = usable.get(variable(name))
        if text:
            try:
                PARSERS[name](variable(name), text)
            except SettingError as error:
                say(f"{error}; it is left out")
                del usable[variable(name)]
    try:
        return load(usable, folder)
    except SettingError as error:
        say(f"{error}; the table is left out")
        return Settings()


def to_environment(settings: Settings, names: Iterable[str] | None = None) -> dict[str, str]:
    """Return the environment variables from which `load` makes the same settings, all or those of some names."""
    texts = {
        "engine": settings.engine,
        "recorder": settings.recorder,
        "budget": f"{settings.budget * 100:.9g}%" if settings.budget else "off",
        "app_roots": os.pathsep.join(settings.app_roots),
        "include": ",".join(settings.include),
        "exclude": ",".join(settings.exclude),
        "private": "1" if settings.private else "0",
        "min_duration": f"{settings.min_duration:.9g}s",
        "tell": settings.tell,
        "store": settings.store,
        "cache_dir": settings.cache_dir,
        "black_box": settings.black_box,
        "dump_signal": str(settings.dump_signal) if settings.dump_signal else "",
        "clock": settings.clock,
        "analyzer": settings.analyzer,
        "redact": ",".join(settings.redact),
        "repr": ",".join(settings.repr),
    }
    chosen = texts if names is None else list(names)
    return {variable(name): texts[name] for name in chosen if texts[name]}


def is_on(environ: Mapping[str, str]) -> bool:
    """Return whether the start-up hook is asked to start the recorder."""
    return environ.get(SWITCH, "") not in {"", "0"}


def parent_story(environ: Mapping[str, str]) -> tuple[str, int, str]:
    """Return the story's id, the process number and the root story's id that `STORY` names, or ("", 0, "")."""
    story_id, pid, root, *_ = [*environ.get(STORY, "").split(":"), "", ""]
    return (story_id, int(pid), root) if pid.isdigit() and root else ("", 0, "")


def current_environment() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ


def announce_story(story_id: str, root_story_id: str, *, tells: bool) -> None:
    """Let the processes that this one starts know whose children they are."""
    os.environ[STORY] = f"{story_id}:{os.getpid() if tells else 0}:{root_story_id}"


def either_variable(name: str, default: str) -> str:
    """Return `NARRATIVE_<name>`, else `RUNTIME_NARRATIVE_<name>`, else a default."""
    return os.environ.get(f"NARRATIVE_{name}") or os.environ.get(f"RUNTIME_NARRATIVE_{name}") or default


def python_path(environ: Mapping[str, str]) -> list[str]:
    """Return the entries of `PYTHONPATH`."""
    return [folder for folder in environ.get("PYTHONPATH", "").split(os.pathsep) if folder]


def original_arguments() -> list[str]:
    """Return the interpreter's command line, interpreter and options included."""
    return list(sys.orig_argv)
