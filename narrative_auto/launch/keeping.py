"""What outlives this process, and what others have left behind: black boxes, dumps on a signal."""

from __future__ import annotations

import os
import sys

from narrative_auto import settings, store_folder
from narrative_auto.errors import attempted, guarded, say
from narrative_auto.recorder.box_folder import KEPT_BOXES, SUFFIX, boxes_in, default_folder, forget_old, namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from narrative_auto.launch.program import Program
    from narrative_auto.recorder.base import Recorder
    from narrative_auto.settings import Settings
    from narrative_auto.stories.narrator import Narrator


class Keeping:
    """The black box of this process.

    Args:
        chosen: the settings.
        what: what the process runs.
        recorder: whose memory it is.

    Attributes:
        folder: where it lies; "" for none.
    """

    def __init__(self, chosen: Settings, what: Program, recorder: Recorder) -> None:
        self._settings = chosen
        self._program = what
        self._recorder = recorder
        self._store = "" if chosen.store == "off" else store_folder.place(chosen.store, what.project)
        self.folder = ""
        if chosen.black_box != "off":
            runtime = settings.current_environment().get("XDG_RUNTIME_DIR", "")
            self.folder = chosen.black_box or default_folder(runtime)

    def begin(self, narrator: Narrator) -> None:
        """Let what is recorded outlive this process."""
        story_id, number = narrator.story_id, self._settings.dump_signal
        if number:
            folder = self.folder or self._store or self._program.started_in
            fault = self._recorder.dump_on_signal(number, folder, story_id)
            if fault:
                say(f"no dump is written on signal {number}: {fault}")
        if not self.folder and not number:
            return
        facts: dict[str, str | int] = {
            "parent_story_id": narrator.parent_story_id,
            "root_story_id": narrator.root_story_id,
            "started_ns": narrator.started,
            "namespace": namespace(),
            "python": sys.version.split(None, 1)[0],
            "name": narrator.story_name,
            "store": self._store,
            "folder": self._program.started_in,
        }
        if narrator.parent_story_id:  # there may be many of them, and nobody else to look
            self._forget_old()
        guarded("keeping a black box", self._recorder.keep, self.folder, story_id, facts)

    def tell_fault(self) -> None:
        """Say, once, that there is no black box where there should be one."""
        fault = self._recorder.box_fault
        if fault:
            say(f"{fault}: killed, this process leaves less behind; --black-box names a folder")

    def end(self) -> None:
        """Take the black box away: the process ends well."""
        self._recorder.say_goodbye()
        self._forget_old()

    def _forget_old(self) -> None:
        if self.folder and len(boxes_in(self.folder)) > KEPT_BOXES:
            guarded("forgetting old black boxes", forget_old, self.folder)

    def forget(self, story_id: str) -> None:
        """Take away the black box of what this process was before it replaced itself by exec."""
        if self.folder:
            attempted(os.remove, os.path.join(self.folder, story_id + SUFFIX))

    def take_in(self, store: str) -> list[str]:
        """Take what dead processes have left behind into the store; return a line for each that a person started."""
        if self._settings.black_box not in {"", "off"}:
            from narrative_auto.launch.boxes import note_folder

            note_folder(store, self.folder)
        if not self.folder or not boxes_in(self.folder):
            return []
        from narrative_auto.launch.boxes import take_in

        return [
            f"narrative: {box.name} had ended without goodbye: narrative recover {box.story_id[:6]}"
            for box in take_in([self.folder], store)
            if not box.fact("parent_story_id")
        ]
