"""Runs a script under somebody else's tool, as its documentation says, and with as little as it can do.

python under_peer.py PEER SCRIPT [ARG]...
"""

from __future__ import annotations

import os
import runpy
import sys


def viztracer() -> None:
    """Functions only, into its ring of a million entries, which is full before the time is taken."""
    from viztracer import VizTracer

    VizTracer(ignore_c_function=True, verbose=0).start()


def c_profile() -> None:
    """Python's own profiler, without functions of C."""
    import cProfile

    cProfile.Profile(builtins=False).enable()


def logfire() -> None:
    """Auto-tracing of what is imported from here on; spans go nowhere."""
    import logfire

    logfire.configure(send_to_logfire=False, console=False)
    logfire.install_auto_tracing(modules=["functions"], min_duration=0)


def runtime_narrative() -> None:
    """Automatic instrumentation of what is imported from here on, in a story that nobody hears."""
    import runtime_narrative as peer

    peer.auto_instrument(app_roots=[os.getcwd()])
    peer.story("benchmark", renderers=[]).__enter__()


PEERS = {
    "viztracer": viztracer,
    "cProfile": c_profile,
    "logfire": logfire,
    "runtime-narrative": runtime_narrative,
}


def main() -> None:
    """Start the tool, then the script."""
    peer, script = sys.argv[1:3]
    sys.argv[:] = sys.argv[2:]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    PEERS[peer]()
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.stdout.flush()
        os._exit(0)  # what the tool would write at the end is not asked for


main()
