"""What the doctor says about files: the cache of rewritten code, the installed hook, the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from narrative_auto import settings, store_folder
from narrative_auto.errors import StoreError
from narrative_auto.launch import site_hook
from narrative_auto.launch.case import PROBLEM, REMARK, Case, Fact
from narrative_auto.page import counted
from narrative_auto.renderers.stored import StoredStories

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LEFT_PLAIN = 20


def cache(case: Case) -> Iterator[Fact]:
    """Where rewritten code is kept, and whether it can be."""
    facts, wanted = case.plain.facts, case.settings["cache_dir"]
    if case.engines and case.engines["first"] != "rewrite":
        yield Fact("cache", f"not needed: {case.engines['first']} leaves code as it is")
        return
    if wanted == "off":
        yield Fact("cache", "off: code is rewritten at each start")
        return
    folder = facts.get("program", {}).get("folder") or case.here
    if wanted:
        place, text = wanted, case.shown(wanted)
    elif facts["pycache_prefix"]:
        place = os.path.join(facts["pycache_prefix"], os.path.abspath(folder).lstrip(os.sep))
        text = f"{case.shown(place)} (PYTHONPYCACHEPREFIX)"
    else:
        place, text = os.path.join(folder, "__pycache__"), "the __pycache__ beside each source"
    fault = unwritable(place)
    if facts["flags"]["dont_write_bytecode"]:
        text = "not written (PYTHONDONTWRITEBYTECODE or -B): code is rewritten at each start"
        yield Fact("cache", text, REMARK, "NARRATIVE_ENGINE=monitoring does without" if _can_monitor(case) else "")
    elif not facts["cache_tag"]:
        yield Fact("cache", "this interpreter has no place for bytecode: code is rewritten at each start", REMARK)
    elif fault:
        said = f"{case.shown(place)} cannot be written ({fault}): code is rewritten at each start"
        yield Fact("cache", said, PROBLEM if wanted else REMARK, "narrative-run --cache-dir DIR names another place")
    else:
        yield Fact("cache", text)


def _can_monitor(case: Case) -> bool:
    return bool(case.engines) and case.engines["companion"] == "monitoring"


def unwritable(folder: str) -> str:
    """Return why a folder cannot be written to, or cannot be made; "" where it can."""
    place = os.path.abspath(folder)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        return f"{os.path.basename(place)} is {'a dangling link' if os.path.islink(place) else 'a file'}"
    if os.access(place, os.W_OK | os.X_OK):
        return ""
    try:
        is_read_only = bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    except (OSError, AttributeError):  # Windows has none
        is_read_only = False
    return "a read-only file system" if is_read_only else "no permission"


def hook(case: Case) -> Iterator[Fact]:
    """The hook of `narrative install` in the command's environment."""
    path = os.path.join(case.plain.facts["purelib"], site_hook.HOOK_FILE)
    python = case.interpreter.path
    again = f"{python} -m narrative_auto install writes it anew"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            content = file.read().strip()
    except FileNotFoundError:
        if settings.is_on(case.environ):
            text = f"not there, so {settings.SWITCH}={case.environ[settings.SWITCH]} alone records nothing"
            yield Fact("installed hook", text, REMARK, f"narrative-run; or {python} -m narrative_auto install")
        else:
            yield Fact("installed hook", "not there; narrative-run does not need it")
        return
    except OSError as error:
        yield Fact("installed hook", f"{path} cannot be read ({error.strerror})", REMARK, again)
        return
    if content == site_hook.HOOK_LINE:
        yield Fact("installed hook", f"{settings.SWITCH}=1 alone records, by {case.shown(path)}")
    else:
        kind = "of another release" if "narrative_auto" in content else "not what narrative install writes"
        text = f"{path} is {kind}: {settings.SWITCH}=1 alone may record nothing"
        yield Fact("installed hook", text, PROBLEM, again)


def store(case: Case) -> Iterator[Fact]:
    """Where stories are kept, and what the newest one had to leave plain."""
    wanted = case.settings["store"]
    if wanted == "off":
        yield Fact("store", "off: no story is kept")
        return
    project = case.plain.facts.get("program", {}).get("project") or case.here
    folder = wanted or os.path.join(project, store_folder.NAME)
    fault = unwritable(os.path.join(folder, store_folder.CRASHES))
    if fault:
        text = f"{case.shown(folder)} cannot be written ({fault}): stories go to a folder of your own instead"
        yield Fact("store", text, REMARK, "narrative-run --store DIR names another, --store off keeps none")
    else:
        yield Fact("store", case.shown(folder) + ("" if os.path.isdir(folder) else ", made by the first story"))
    database = os.path.join(folder, store_folder.DATABASE)
    if not os.path.exists(database):
        return
    try:
        store = StoredStories(database)
        newest = store.newest(1)
        plain = store.left_plain(newest[0]) if newest else []
        store.close()
    except StoreError as error:
        yield Fact("store", str(error), PROBLEM, f"move it away: the next story makes another {store_folder.DATABASE}")
        return
    for module, function, reason in plain[:_MOST_LEFT_PLAIN]:
        text = f"{module}{':' + function if function else ''}: {reason} (story {newest[0].story_id[:6]})"
        yield Fact("left plain", text, REMARK)
    if len(plain) > _MOST_LEFT_PLAIN:
        rest = counted(len(plain) - _MOST_LEFT_PLAIN, "other")
        yield Fact("left plain", f"{rest}: narrative story {newest[0].story_id[:6]}", REMARK)
