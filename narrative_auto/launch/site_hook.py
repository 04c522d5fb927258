"""Puts the start-up hook into the current environment, and takes it out again."""

from __future__ import annotations

import os
import sysconfig

from narrative_auto.errors import NarrativeError

HOOK_FILE = "narrative_auto_hook.pth"

HOOK_LINE = (
    "import os; os.environ.get('NARRATIVE_AUTO', '0') not in ('', '0') and exec("
    "'try: from narrative_auto.launch.bootstrap import start\\nexcept ImportError: pass\\nelse: start()')"
)
"""The hook: `site` executes a line that begins with `import`; without the variable it only looks at the environment.

CPython 3.15 still executes such lines, but prefers `.start` files (PEP 829), which would import a module always.
"""


def hook_path() -> str:
    """Return where the hook lies, or would lie, in the environment of this interpreter."""
    return os.path.join(sysconfig.get_path("purelib"), HOOK_FILE)


def install() -> str:
    """Write the hook; writing it again is fine.

    Returns:
        Its path.

    Raises:
        NarrativeError: the environment cannot be written to.
    """
    path = hook_path()
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(HOOK_LINE + "\n")
    except OSError as error:
        raise NarrativeError(
            f"{path} cannot be written ({error.strerror}): use a virtual environment, or narrative-run"
        ) from None
    return path


def uninstall() -> str | None:
    """Remove the hook.

    Returns:
        Its path; None if it was not there.

    Raises:
        NarrativeError: it cannot be removed.
    """
    path = hook_path()
    try:
        os.remove(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NarrativeError(f"{path} cannot be removed ({error.strerror}): remove it by hand") from None
    return path
