"""Functions of the standard library in which something happens that a crash report should know of.

They carry a watcher, so that no handler, hook or filter of ours stands among the program's: whatever it puts in their
place, or takes away, goes on as without us.
"""

from __future__ import annotations

from narrative_auto.recorder.layout import RETURN, START

LOGS, WARNS, STARTS_PROCESS, LEFT_LOOP, LEFT_THREAD, LEFT_REQUEST, BEGINS_WORKER, LEFT_WORKER, ENDS_WORKER = (
    "logs",
    "warns",
    "starts a process",
    "tells of an exception in a loop",
    "tells of an exception in a thread",
    "tells of an exception in a request",
    "begins a worker",
    "tells of an exception in a worker",
    "ends a worker",
)
"""What a function does with one of its variables: a log record, a warning message, a command line; the context of an
event loop's exception handler, the thread that an exception has ended, the address that a request came from: once that
was told. A worker of `multiprocessing` ends with an exit status; its exception is looked for in its process only."""

TRANSITIONS = {
    LOGS: START,
    WARNS: START,
    STARTS_PROCESS: START,
    LEFT_LOOP: RETURN,
    LEFT_THREAD: RETURN,
    LEFT_REQUEST: RETURN,
    BEGINS_WORKER: START,
    LEFT_WORKER: RETURN,
    ENDS_WORKER: RETURN,
}

EVENTS: dict[str, dict[str, dict[str, str]]] = {
    "logging": {"Logger.callHandlers": {LOGS: "record"}},
    "warnings": {"_showwarnmsg": {WARNS: "msg"}},
    "_py_warnings": {"_showwarnmsg": {WARNS: "msg"}},
    "subprocess": {"Popen._execute_child": {STARTS_PROCESS: "args"}},
    "asyncio.base_events": {"BaseEventLoop.call_exception_handler": {LEFT_LOOP: "context"}},
    "multiprocessing.process": {"BaseProcess._bootstrap": {BEGINS_WORKER: "self", ENDS_WORKER: "exitcode"}},
    "traceback": {"print_exc": {LEFT_WORKER: "chain"}},
    "socketserver": {"BaseServer.handle_error": {LEFT_REQUEST: "client_address"}},
    "threading": {"_make_invoke_excepthook.<locals>.invoke_excepthook": {LEFT_THREAD: "thread"}},
}
"""{module: {qualified name of a function: {what it does: the variable that it does it with}}}."""
