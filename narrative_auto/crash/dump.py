"""Writes what is known of a crash into a file, before anything is printed."""

from __future__ import annotations

import json
import os
from math import isfinite

from narrative_auto import store_folder
from narrative_auto.failures.values import clean
from narrative_auto.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from narrative_auto.crash.collect import Crash

FORMAT = "narrative-crash/1"
"""The dump's format, its first member: the fields of `Crash`, as JSON."""

KEPT_DUMPS = 100


def write_dump(crash: Crash, folder: str) -> str:
    """Write a crash as JSON, readable by its owner only.

    Args:
        crash: what to write.
        folder: the store's folder.

    Returns:
        The file's path.

    Raises:
        OSError: it cannot be written.
    """
    crashes = os.path.join(folder, store_folder.CRASHES)
    _forget_old(crashes)
    content = _json({"format": FORMAT, **_encodable(crash)}).encode("utf-8")
    descriptor, path = _new_file(crashes, crash.story_id[:6])
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path


def _new_file(crashes: str, name: str) -> tuple[int, str]:
    """Open the first file of a name that is free: a process may survive failures, several at the same moment."""
    for number in range(1, KEPT_DUMPS + 1):
        path = os.path.join(crashes, f"{name}{f'-{number}' if number > 1 else ''}.json")
        try:
            return store_folder.create_private(path, is_new=True), path
        except FileExistsError:
            continue
    raise FileExistsError(f"{crashes} is full of dumps of {name}")


def _json(members: dict[str, Any]) -> str:
    """Return a dump's text: indented, but for the records, of which each has a line."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    records = ",".join(f"\n    {encode(record)}" for record in members.pop("records"))
    others = json.dumps(members, ensure_ascii=False, indent=2).removesuffix("\n}")
    return f'{others},\n  "records": [{records}\n  ]\n}}\n'


def _encodable(value: Any) -> Any:
    """Return the same as JSON can have it.

    A path may hold bytes that are no characters; there is no number for what is none, or is infinite.
    """
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Record):
        return {name: _encodable(getattr(value, name)) for name in value.__match_args__}
    if isinstance(value, dict):
        return {clean(str(name)): _encodable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(one) for one in value]
    return value if value is None or isinstance(value, int) else clean(str(value))


def _forget_old(crashes: str) -> None:
    """Delete the oldest dumps, so that one more makes at most `KEPT_DUMPS`."""
    with os.scandir(crashes) as entries:
        dumps = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(".json"))
    for _, path in dumps[: max(0, len(dumps) - KEPT_DUMPS + 1)]:
        os.remove(path)
