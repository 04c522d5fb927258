"""The options that several commands take, as settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from narrative_auto.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence


def scope_options(
    engine: str,
    app_root: Sequence[str] | None,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
    private: bool | None,  # noqa: FBT001 - as typer gives it
) -> dict[str, tuple[str, str]]:
    """Return what was typed of the options that say what is recorded, as {setting: (option, text)}.

    Raises:
        SettingError: an app root is no folder; the message is one line.
    """
    for folder in app_root or ():
        if not os.path.isdir(folder):
            raise SettingError(f"--app-root takes a folder, and {folder!r} is none")
        if os.pathsep in os.path.abspath(folder):
            raise SettingError(f"--app-root takes a folder without {os.pathsep!r} in its path: {folder!r}")
    texts = (
        ("engine", "--engine", engine),
        ("app_roots", "--app-root", os.pathsep.join(app_root or ())),
        ("include", "--include", ",".join(include or ())),
        ("exclude", "--exclude", ",".join(exclude or ())),
        ("private", "--private", "" if private is None else str(int(private))),
    )
    return {name: (option, text) for name, option, text in texts if text}
