"""The start-up hook of narrative-run: starts the recorder, then makes way for the sitecustomize that it shadows.

It may be read by any Python that inherits the environment, so it keeps to what every version can parse, and is silent
in an interpreter that does not have the package - unless that interpreter is the one that was launched.
"""

import os
import sys


def _step_aside():
    """Leave no trace: not on sys.path, not among the modules, not in the importer cache."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if folder != here]
    sys.path_importer_cache.pop(here, None)
    sys.modules.pop("sitecustomize", None)


def _start():
    if os.environ.get("NARRATIVE_AUTO", "0") in ("", "0"):
        return
    try:
        if sys.version_info < (3, 11):
            raise ImportError("narrative_auto needs Python 3.11 or later, this is %d.%d" % sys.version_info[:2])
        from narrative_auto.launch.bootstrap import start
    except ImportError as reason:
        if not os.environ.get("NARRATIVE_STORY"):
            sys.stderr.write(
                "narrative-run: %s cannot import narrative_auto, so nothing is recorded (%s): "
                "%s -m pip install narrative-auto\n" % (sys.executable, reason, sys.executable)
            )
    else:
        start()


_step_aside()
_start()

# What follows is what the interpreter would have done without this file. An ImportError that names sitecustomize
# tells `site` that there is none.
import sitecustomize  # noqa: E402, F401
