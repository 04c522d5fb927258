"""Command lines: what they may say, and the options that several commands take, as settings."""

from __future__ import annotations

import argparse
import os

from narrative_auto.cli.messages import UsageError
from narrative_auto.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_COLUMNS = 80


class Parser(argparse.ArgumentParser):
    """Takes a command line apart; options are given whole, and what is wrong is told in one line."""

    def __init__(self, **more: Any) -> None:
        def formatter(prog: str) -> argparse.HelpFormatter:
            # Without a width, each option would load what looks for the terminal's.
            return argparse.HelpFormatter(prog, width=_COLUMNS, max_help_position=28)

        super().__init__(allow_abbrev=False, formatter_class=formatter, **more)

    def error(self, message: str) -> NoReturn:
        """Refuse a command line; name the option that a mistyped one is like."""
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0].partition("=")[0]
        if unknown.startswith("-"):
            from difflib import get_close_matches

            like = get_close_matches(unknown, self._option_string_actions, 1)
            message = f"there is no option {unknown}{f', but {like[0]}' if like else ''}"
        elif unknown:
            message = f"{unknown!r} is one argument too many"
        raise UsageError(message)


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
