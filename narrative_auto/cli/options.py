"""Command lines: what they may say, and the options that several commands take, as settings."""

from __future__ import annotations

import argparse
import os

from narrative_auto.cli.messages import UsageError
from narrative_auto.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

_COLUMNS = 80


class Parser(argparse.ArgumentParser):
    """Takes a command line apart; options are given whole, and what is wrong is told in one line.

    Attributes:
        commands: the names of the commands that it knows.
    """

    def __init__(self, **more: Any) -> None:
        def formatter(prog: str) -> argparse.HelpFormatter:
            # Without a width, each option would load what looks for the terminal's.
            return argparse.HelpFormatter(prog, width=_COLUMNS, max_help_position=28)

        super().__init__(allow_abbrev=False, formatter_class=formatter, **more)
        self.commands: Iterable[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Take a command line apart; what is not known is refused here, by the command that does not know it."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            if name.startswith("-") and name != "--":
                raise UsageError(f"there is no option {name}{_but(name, self._option_string_actions)}")
            raise UsageError(f"{unknown[0]!r} is one argument too many")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Refuse a command line; say what a mistyped command is like, and how a value may begin with a dash."""
        _, is_choice, choice = message.partition("invalid choice: '")
        name = choice.partition("'")[0]  # from 3.15 on a suggestion of its own follows
        like = _but(name, self.commands)
        if is_choice and like:
            message = f"there is no command {name}{like}"
        elif message.endswith("expected one argument"):
            message += ": --option=VALUE where the value begins with -"
        raise UsageError(message)


def _but(name: str, known: Iterable[str]) -> str:
    """Return what a mistyped name is like, for the end of a sentence; "" for nothing."""
    from difflib import get_close_matches

    return "".join(f", but {like}" for like in get_close_matches(name, known, 1))


def add_scope(parser: argparse.ArgumentParser, engines: str, roots: str, patterns: tuple[str, str, str]) -> None:
    """Add the options that say what is recorded; `scope_settings` reads them.

    Args:
        parser: of the command.
        engines, roots, patterns: help for --engine, --app-root, and --include, --exclude and --private.
    """
    parser.add_argument("--engine", metavar="ENGINE", default="", help=engines)
    parser.add_argument("--app-root", metavar="DIR", action="append", default=[], help=roots)
    parser.add_argument("--include", metavar="PATTERN", action="append", default=[], help=patterns[0])
    parser.add_argument("--exclude", metavar="PATTERN", action="append", default=[], help=patterns[1])
    parser.add_argument("--private", action=argparse.BooleanOptionalAction, default=None, help=patterns[2])


def scope_settings(options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Return what was typed of the options that say what is recorded, as {setting: (option, text)}.

    Raises:
        SettingError: an app root is no folder; the message is one line.
    """
    for folder in options.app_root:
        if not os.path.isdir(folder):
            raise SettingError(f"--app-root takes a folder, and {folder!r} is none")
        if os.pathsep in os.path.abspath(folder):
            raise SettingError(f"--app-root takes a folder without {os.pathsep!r} in its path: {folder!r}")
    texts = (
        ("engine", "--engine", options.engine),
        ("app_roots", "--app-root", os.pathsep.join(options.app_root)),
        ("include", "--include", ",".join(options.include)),
        ("exclude", "--exclude", ",".join(options.exclude)),
        ("private", "--private", "" if options.private is None else str(int(options.private))),
    )
    return {name: (option, text) for name, option, text in texts if text}


def whole_command(words: list[str]) -> list[str]:
    """Return a command as it was typed behind the options, without the `--` that may end these."""
    return words[1:] if words[:1] == ["--"] else words
