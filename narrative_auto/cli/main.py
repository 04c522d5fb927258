"""`narrative`: looks at past stories, and puts the start-up hook into an environment."""

from __future__ import annotations

import argparse
import sys

from narrative_auto import __version__
from narrative_auto.cli.messages import USAGE, call, fail
from narrative_auto.cli.options import Parser, add_scope, scope_settings, whole_command
from narrative_auto.launch.program import current_folder
from narrative_auto.settings import current_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    _Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]

PROGRAM = "narrative"


def _at_least(least: float, kind: type[int] | type[float]) -> Callable[[str], float]:
    """Return what reads a number of that size or more."""

    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least:g} on")
        return value

    return number


def _stories(options: argparse.Namespace) -> int:
    from narrative_auto.cli import boxes, past
    from narrative_auto.page import Page

    boxes.take_in(options.db, current_folder())
    Page(sys.stdout).show(past.list_lines(past.open_store(options.db, current_folder()), options.last))
    return 0


def _story(options: argparse.Namespace) -> int:
    from narrative_auto.cli import boxes, past
    from narrative_auto.page import Page

    boxes.take_in(options.db, current_folder())
    page = Page(sys.stdout)
    page.show(past.story_lines(past.open_store(options.db, current_folder()), options.id, page.width))
    return 0


def _recover(options: argparse.Namespace) -> int:
    from narrative_auto.cli import boxes

    if options.last and options.target:
        return fail(PROGRAM, f"--last and {options.target} contradict each other: give one of them", USAGE)
    found = boxes.found(options.target, current_folder())
    boxes.show(found, everything=options.all, as_json=options.json)
    return 0


def _dump(options: argparse.Namespace) -> int:
    from narrative_auto.cli import boxes

    boxes.show(boxes.found_running(options.pid, current_folder()), everything=options.all, as_json=options.json)
    return 0


def _explain(options: argparse.Namespace) -> int:
    from narrative_auto.launch.explain import explain_lines
    from narrative_auto.page import Page

    page = Page(sys.stdout)
    width = page.width if page.is_terminal else None
    typed = scope_settings(options)
    page.show(explain_lines(options.target, typed, current_environment(), current_folder(), width))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from narrative_auto.launch import doctor
    from narrative_auto.page import Page

    page = Page(sys.stdout)
    facts = doctor.examine(
        whole_command(options.command), current_environment(), current_folder(), float(options.timeout)
    )
    page.show(doctor.lines(facts, page.width if page.is_terminal else None))
    return doctor.status(facts)


def _scrub(options: argparse.Namespace) -> int:
    from narrative_auto.cli import scrub

    try:
        done = scrub.scrub(options.file, options.output, options.name)
    except scrub.ScrubError as error:
        return fail(PROGRAM, str(error), USAGE)
    told = sys.stderr if done.written == "stdout" else sys.stdout
    source = "stdin" if options.file == scrub.STANDARD_INPUT else options.file
    if not done.taken_out:
        told.write(f"nothing to take out of {source}\n")
    else:
        told.write(f"{done.taken_out} value{'s' * (done.taken_out > 1)} taken out of {source}")
        told.write(f", written to {done.written}\n" if options.output else "\n")
    return 0


def _install(_: argparse.Namespace) -> int:
    from narrative_auto.launch import site_hook

    path = site_hook.install()
    sys.stdout.write(
        f"installed {path}\nNARRATIVE_AUTO=1 python app.py now records; narrative uninstall takes it out\n"
    )
    return 0


def _uninstall(_: argparse.Namespace) -> int:
    from narrative_auto.launch import site_hook

    path = site_hook.uninstall()
    if path is None:
        sys.stdout.write(f"nothing to remove: there is no {site_hook.hook_path()}\n")
    else:
        sys.stdout.write(f"removed {path}\n")
    return 0


_DATABASE = (
    "The store: a database file, or the folder that holds stories.db. By default the nearest .narrative/ upwards, "
    "else runtime_narrative.db here."
)


def _parser() -> Parser:
    parser = Parser(prog=PROGRAM, description="Look at the stories of past runs. Programs are run with narrative-run.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}", help="Show the version.")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", dest="named")

    def add(name: str, run: Callable[[argparse.Namespace], int], told: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, help=told, description=told)
        command.set_defaults(run=run)
        return command

    _add_past(add)
    _add_processes(add)
    _add_questions(add)
    _add_scrub(add)
    add(
        "install", _install, "Put the start-up hook into this environment: NARRATIVE_AUTO=1 python app.py then records."
    )
    add("uninstall", _uninstall, "Take the start-up hook out of this environment.")
    parser.commands = commands.choices
    return parser


def _add_past(add: _Add) -> None:
    """Add what looks at stories."""
    stories = add("stories", _stories, "List the stories of past runs.")
    stories.add_argument(
        "--last", metavar="N", type=_at_least(1, int), default=10, help="How many, the newest first; 10 by default."
    )
    story = add("story", _story, "Show one story: what ran, its whole tree, its failure.")
    story.add_argument("id", metavar="ID", help="A story's id, or how it begins.")
    for command in (stories, story):
        command.add_argument("--db", metavar="PATH", default="", help=_DATABASE)


def _add_processes(add: _Add) -> None:
    """Add what looks at processes, dead and alive."""
    recover = add(
        "recover",
        _recover,
        "Show what a process was doing that died without a word: what it was inside, and what it did last.",
    )
    recover.add_argument(
        "target",
        metavar="PATH|PID|ID",
        nargs="?",
        default="",
        help="A black box, its process's number, or how its story's id begins.",
    )
    recover.add_argument("--last", action="store_true", help="The last one that was left behind; the default.")
    dump = add("dump", _dump, "Show what a running process is doing. Nothing is sent to it, and it is not stopped.")
    dump.add_argument("pid", metavar="PID", type=_at_least(1, int), help="The process's number.")
    for command in (recover, dump):
        command.add_argument("--all", action="store_true", help="All threads, calls and records, however many.")
        command.add_argument("--json", action="store_true", help="As JSON, for programs.")


def _add_questions(add: _Add) -> None:
    """Add what says how a run would be."""
    explain = add(
        "explain",
        _explain,
        "Say whether a module or a function is recorded, why, and by which engine. Nothing of it is run.",
    )
    explain.add_argument(
        "target", metavar="TARGET", help="pkg.mod, pkg.mod:func, pkg.mod:Class.method, app.py or app.py:func"
    )
    as_there = "As for narrative-run."
    roots = "A folder whose modules are the application; also looked in."
    add_scope(explain, as_there, roots, (as_there, as_there, as_there))
    doctor = add(
        "doctor",
        _doctor,
        "Say what a recorded run would be like here, and what stands in its way. The command is not run.",
    )
    doctor.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="As for narrative-run; else this Python."
    )
    doctor.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_at_least(0.1, float),
        default=20.0,
        help="How long an interpreter may take to start; 20 by default.",
    )


def _add_scrub(add: _Add) -> None:
    scrub = add("scrub", _scrub, "Take the secrets out of a file that exists already, by name and by shape.")
    scrub.add_argument(
        "file", metavar="FILE", help="A crash dump, JSON, JSON lines, a log, any other text; - for stdin."
    )
    output = "Where to write instead, - for stdout; FILE stays as it is."
    scrub.add_argument("--output", metavar="PATH", default="", help=output)
    name = "A further part of names whose values are secret."
    scrub.add_argument("--name", metavar="NAME", action="append", default=[], help=name)


def _narrative() -> int:
    parser = _parser()
    options = parser.parse_args()
    if options.named is None:
        parser.print_help()
        return 0
    status: int = options.run(options)
    return status


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(call(PROGRAM, _narrative))
