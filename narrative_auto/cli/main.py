"""`narrative`: looks at past stories, and puts the start-up hook into an environment."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from narrative_auto import __version__
from narrative_auto.cli.messages import USAGE, call, fail
from narrative_auto.launch import site_hook
from narrative_auto.launch.program import current_folder
from narrative_auto.settings import current_environment

PROGRAM = "narrative"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Database = Annotated[
    str,
    typer.Option(
        "--db",
        metavar="PATH",
        help="The store: a database file, or the folder that holds stories.db. "
        "By default the nearest .narrative/ upwards, else runtime_narrative.db here.",
    ),
]


@app.callback(invoke_without_command=True)
def narrative(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,  # noqa: FBT002
) -> None:
    """Look at the stories of past runs. Programs are run with narrative-run."""
    if version:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")
        raise typer.Exit(0)


@app.command()
def stories(
    db: Database = "",
    last: Annotated[int, typer.Option(help="How many, the newest first.", min=1, metavar="N")] = 10,
) -> None:
    """List the stories of past runs."""
    from narrative_auto.cli import boxes, past
    from narrative_auto.page import Page

    boxes.take_in(db, current_folder())
    Page(sys.stdout).write(past.list_lines(past.open_store(db, current_folder()), last))


@app.command()
def story(
    story_id: Annotated[str, typer.Argument(metavar="ID", help="A story's id, or how it begins.")],
    db: Database = "",
) -> None:
    """Show one story: what ran, its whole tree, its failure."""
    from narrative_auto.cli import boxes, past
    from narrative_auto.page import Page

    boxes.take_in(db, current_folder())
    page = Page(sys.stdout)
    page.write(past.story_lines(past.open_store(db, current_folder()), story_id, page.width))


Everything = Annotated[bool, typer.Option("--all", help="All threads, calls and records, however many.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@app.command()
def recover(
    target: Annotated[
        str,
        typer.Argument(
            metavar="[PATH|PID|ID]", help="A black box, its process's number, or how its story's id begins."
        ),
    ] = "",
    last: Annotated[bool, typer.Option("--last", help="The last one that was left behind; the default.")] = False,  # noqa: FBT002
    everything: Everything = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> int:
    """Show what a process was doing that died without a word: what it was inside, and what it did last."""
    from narrative_auto.cli import boxes

    if last and target:
        return fail(PROGRAM, f"--last and {target} contradict each other: give one of them", USAGE)
    boxes.show(boxes.found(target, current_folder()), everything=everything, as_json=as_json)
    return 0


@app.command()
def dump(
    pid: Annotated[int, typer.Argument(metavar="PID", help="The process's number.", min=1)],
    everything: Everything = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show what a running process is doing. Nothing is sent to it, and it is not stopped."""
    from narrative_auto.cli import boxes

    boxes.show(boxes.found_running(pid, current_folder()), everything=everything, as_json=as_json)


@app.command()
def explain(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="pkg.mod, pkg.mod:func, pkg.mod:Class.method, app.py or app.py:func")
    ],
    engine: Annotated[str, typer.Option(help="As for narrative-run.", metavar="ENGINE")] = "",
    app_root: Annotated[
        list[str] | None,
        typer.Option(help="A folder whose modules are the application; also looked in.", metavar="DIR"),
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help="As for narrative-run.", metavar="PATTERN")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="As for narrative-run.", metavar="PATTERN")] = None,
    private: Annotated[bool | None, typer.Option("--private/--no-private", help="As for narrative-run.")] = None,
) -> None:
    """Say whether a module or a function is recorded, why, and by which engine. Nothing of it is run."""
    from narrative_auto.cli.options import scope_options
    from narrative_auto.launch.explain import explain_lines
    from narrative_auto.page import Page

    page = Page(sys.stdout)
    typed = scope_options(engine, app_root, include, exclude, private)
    environ = current_environment()
    page.write(explain_lines(target, typed, environ, current_folder(), page.width if page.is_terminal else None))


@app.command(context_settings={"allow_interspersed_args": False})
def doctor(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND [ARG]...]", help="As for narrative-run; else this Python.", show_default=False
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="How long an interpreter may take to start.", min=0.1, metavar="SECONDS")
    ] = 20.0,
) -> int:
    """Say what a recorded run would be like here, and what stands in its way. The command is not run."""
    from narrative_auto.launch import doctor as doctors
    from narrative_auto.page import Page

    page = Page(sys.stdout)
    facts = doctors.examine(command or [], current_environment(), current_folder(), timeout)
    page.write(doctors.lines(facts, page.width if page.is_terminal else None))
    return doctors.status(facts)


@app.command()
def scrub(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A crash dump, JSON, JSON lines, a log, any other text.")],
    output: Annotated[
        str, typer.Option(help="Where to write instead, - for stdout; FILE stays as it is.", metavar="PATH")
    ] = "",
    name: Annotated[
        list[str] | None, typer.Option(help="A further part of names whose values are secret.", metavar="NAME")
    ] = None,
) -> int:
    """Take the secrets out of a file that exists already, by name and by shape."""
    from narrative_auto.cli import scrub as scrubbing

    try:
        done = scrubbing.scrub(file, output, name or [])
    except scrubbing.ScrubError as error:
        return fail(PROGRAM, str(error), USAGE)
    told = sys.stderr if output == scrubbing.STANDARD_OUTPUT else sys.stdout
    if not done.taken_out:
        told.write(f"nothing to take out of {file}\n")
    else:
        told.write(f"{done.taken_out} value{'s' * (done.taken_out > 1)} taken out of {file}")
        told.write(f", written to {done.written}\n" if output else "\n")
    return 0


@app.command()
def install() -> None:
    """Put the start-up hook into this environment: NARRATIVE_AUTO=1 python app.py then records."""
    path = site_hook.install()
    sys.stdout.write(
        f"installed {path}\nNARRATIVE_AUTO=1 python app.py now records; narrative uninstall takes it out\n"
    )


@app.command()
def uninstall() -> None:
    """Take the start-up hook out of this environment."""
    path = site_hook.uninstall()
    if path is None:
        sys.stdout.write(f"nothing to remove: there is no {site_hook.hook_path()}\n")
    else:
        sys.stdout.write(f"removed {path}\n")


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(call(PROGRAM, app))
