"""`narrative-run [OPTIONS] COMMAND [ARG…]`: runs any Python command with its story recorded."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C before the command has begun ends us as it would end it

import argparse
import sys

from narrative_auto import __version__, settings
from narrative_auto.cli.messages import USAGE, call, fail
from narrative_auto.cli.options import Parser, add_scope, scope_settings, whole_command
from narrative_auto.errors import CommandError, SettingError
from narrative_auto.launch import runner

PROGRAM = "narrative-run"

_TEXTS = (
    ("recorder", "--recorder", "RECORDER", "auto, native (compiled) or pure: what they report to."),
    (
        "budget",
        "--budget",
        "PERCENT",
        "The share of the program's time that recording may take, 3%% by default, or off to record every call.",
    ),
    ("min_duration", "--min-duration", "DURATION", "Tell calls from this duration one by one: 500us, 1ms, 0.2s."),
    (
        "tell",
        "--tell",
        "WHAT",
        "tree, line, failure or nothing: what stderr gets. By default a tree on a terminal, else two lines.",
    ),
    ("store", "--store", "DIR", "Folder for stories and dumps instead of .narrative/, or off."),
    ("cache_dir", "--cache-dir", "DIR", "Folder for rewritten code instead of each __pycache__, or off."),
    (
        "black_box",
        "--black-box",
        "DIR",
        "Folder for what outlives a process that is killed, by default one that lies in memory, or off.",
    ),
    (
        "dump_signal",
        "--dump-signal",
        "SIGNAL",
        "A signal such as USR1 on which the process writes down what it is doing, and goes on.",
    ),
    (
        "analyzer",
        "--analyze",
        "NAME",
        "anthropic, openai or ollama: the language model that is asked why a run failed; off for none.",
    ),
)
"""The options that take one text: the setting, the option, what stands for its value, help."""

_LISTS = (
    ("redact", "--redact", "NAME", "A part of names whose values are secret, beside password and the like."),
    ("repr", "--repr", "PATTERN", "Types such as 'shop.*' whose repr a crash report may call."),
)
"""The same for those that may be given several times."""


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [OPTIONS] COMMAND [ARG]...",
        description="Run a Python command, and tell and keep the story of what its functions did.",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="python app.py, python -m pkg, app.py, pytest, …"
    )
    add_scope(
        parser,
        "auto, rewrite, monitoring (3.12 and later) or settrace: what makes functions report.",
        "A folder whose modules are the application; may be given several times.",
        (
            "Module pattern to add, such as 'shop.*', wherever it is installed.",
            "Module pattern to leave out; wins over --include.",
            "Record functions whose names start with _ as well.",
        ),
    )
    for setting, option, value, told in _TEXTS:
        parser.add_argument(option, dest=setting, metavar=value, default="", help=told)
    for setting, option, value, told in _LISTS:
        parser.add_argument(option, dest=setting, metavar=value, action="append", default=[], help=told)
    parser.add_argument("-q", "--quiet", action="store_true", help="The same as --tell nothing.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}", help="Show the version.")
    return parser


def _typed(options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Return what was typed, as {setting: (option, text)}.

    Raises:
        SettingError: options that cannot be meant.
    """
    typed = scope_settings(options)
    typed |= {name: (option, text) for name, option, _, _ in _TEXTS if (text := getattr(options, name))}
    typed |= {name: (option, ",".join(texts)) for name, option, _, _ in _LISTS if (texts := getattr(options, name))}
    if options.quiet:
        if options.tell not in {"", "nothing"}:
            raise SettingError(f"--quiet and --tell {options.tell} contradict each other: give one of them")
        typed["tell"] = ("--quiet", "nothing")
    return typed


def _run() -> int:
    options = _parser().parse_args()
    command = whole_command(options.command)
    if not command:
        return fail(PROGRAM, f"no command given: {PROGRAM} python app.py", USAGE)
    environ = settings.current_environment()
    try:
        typed = _typed(options)
        chosen = settings.load(environ, "", typed)
    except SettingError as error:
        return fail(PROGRAM, str(error), USAGE)
    try:
        path, line = runner.resolve(command)
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        variables = runner.child_environment(environ, chosen, typed, on_terminal=on_terminal)
        blind = runner.blind_option(command)
        if blind and typed.get("tell", ("", ""))[1] != "nothing":
            fail(PROGRAM, f"{command[0]} {blind} ignores the start-up hook, so nothing is recorded: leave it out", 0)
        runner.run(path, line, variables)
    except CommandError as error:
        return fail(PROGRAM, str(error), error.status)


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(call(PROGRAM, _run))
