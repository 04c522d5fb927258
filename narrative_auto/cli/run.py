"""`narrative-run [OPTIONS] COMMAND [ARG…]`: runs any Python command with its story recorded."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C before the command has begun ends us as it would end it

import sys
from typing import Annotated

import typer

from narrative_auto import __version__, settings
from narrative_auto.cli.messages import USAGE, call, fail
from narrative_auto.cli.options import scope_options
from narrative_auto.errors import CommandError, SettingError
from narrative_auto.launch import runner

PROGRAM = "narrative-run"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
    options_metavar="[OPTIONS]",
)
def run(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND [ARG]...", help="python app.py, python -m pkg, app.py, pytest, …", show_default=False
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="auto, rewrite, monitoring (3.12 and later) or settrace: what makes functions report.",
            metavar="ENGINE",
        ),
    ] = "",
    recorder: Annotated[
        str, typer.Option(help="auto, native (compiled) or pure: what they report to.", metavar="RECORDER")
    ] = "",
    budget: Annotated[
        str,
        typer.Option(
            help="The share of the program's time that recording may take, 3% by default, or off to record every call.",
            metavar="PERCENT",
        ),
    ] = "",
    app_root: Annotated[
        list[str] | None,
        typer.Option(help="A folder whose modules are the application; may be given several times.", metavar="DIR"),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Module pattern to add, such as 'shop.*', wherever it is installed.", metavar="PATTERN"),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Module pattern to leave out; wins over --include.", metavar="PATTERN")
    ] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--no-private", help="Record functions whose names start with _ as well.")
    ] = None,
    min_duration: Annotated[
        str, typer.Option(help="Tell calls from this duration one by one: 500us, 1ms, 0.2s.", metavar="DURATION")
    ] = "",
    tell: Annotated[
        str,
        typer.Option(
            help="tree, line, failure or nothing: what stderr gets. By default a tree on a terminal, else two lines.",
            metavar="WHAT",
        ),
    ] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The same as --tell nothing.")] = False,  # noqa: FBT002
    store: Annotated[
        str, typer.Option(help="Folder for stories and dumps instead of .narrative/, or off.", metavar="DIR")
    ] = "",
    cache_dir: Annotated[
        str,
        typer.Option(help="Folder for rewritten code instead of each __pycache__, or off.", metavar="DIR"),
    ] = "",
    black_box: Annotated[
        str,
        typer.Option(
            help="Folder for what outlives a process that is killed, by default one that lies in memory, or off.",
            metavar="DIR",
        ),
    ] = "",
    dump_signal: Annotated[
        str,
        typer.Option(
            help="A signal such as USR1 on which the process writes down what it is doing, and goes on.",
            metavar="SIGNAL",
        ),
    ] = "",
    redact: Annotated[
        list[str] | None,
        typer.Option(help="A part of names whose values are secret, beside password and the like.", metavar="NAME"),
    ] = None,
    repr_of: Annotated[
        list[str] | None,
        typer.Option("--repr", help="Types such as 'shop.*' whose repr a crash report may call.", metavar="PATTERN"),
    ] = None,
    analyze: Annotated[
        str,
        typer.Option(
            help="anthropic, openai or ollama: the language model that is asked why a run failed; off for none.",
            metavar="NAME",
        ),
    ] = "",
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,  # noqa: FBT002
) -> int:
    """Run a Python command, and tell and keep the story of what its functions did."""
    if version:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return 0
    if not command:
        return fail(PROGRAM, f"no command given: {PROGRAM} python app.py", USAGE)
    try:
        typed = scope_options(engine, app_root, include, exclude, private)
    except SettingError as error:
        return fail(PROGRAM, str(error), USAGE)
    for name, option, text in (
        ("recorder", "--recorder", recorder),
        ("budget", "--budget", budget),
        ("min_duration", "--min-duration", min_duration),
        ("tell", "--tell", tell),
        ("store", "--store", store),
        ("cache_dir", "--cache-dir", cache_dir),
        ("black_box", "--black-box", black_box),
        ("dump_signal", "--dump-signal", dump_signal),
        ("analyzer", "--analyze", analyze),
    ):
        if text:
            typed[name] = (option, text)
    for name, option, texts in (("redact", "--redact", redact), ("repr", "--repr", repr_of)):
        if texts:
            typed[name] = (option, ",".join(texts))
    if quiet:
        if tell not in {"", "nothing"}:
            return fail(PROGRAM, f"--quiet and --tell {tell} contradict each other: give one of them", USAGE)
        typed["tell"] = ("--quiet", "nothing")
    return _launch(command, typed)


def _launch(command: list[str], typed: dict[str, tuple[str, str]]) -> int:
    environ = settings.current_environment()
    try:
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
    sys.exit(call(PROGRAM, app))
