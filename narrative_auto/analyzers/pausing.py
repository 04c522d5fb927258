"""How long to wait after having asked too often."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

from narrative_auto.errors import attempted


def retry_after(text: str, most: float) -> float | None:
    """Return the seconds that a Retry-After header asks for; None where it says nothing, or not less than `most`."""
    text = text.strip()
    if re.fullmatch("[0-9]{1,6}", text):
        seconds = float(text)
    else:
        moment = attempted(parsedate_to_datetime, text)
        if moment is None:
            return None
        seconds = max(0.0, moment.timestamp() - time.time())
    return seconds if seconds < most else None
