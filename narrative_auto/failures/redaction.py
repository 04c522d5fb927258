"""Takes secrets out of texts: by the names of values, and by the shapes of what no name announces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from narrative_auto.errors import attempted
from narrative_auto.failures.assignments import source_spans, text_spans
from narrative_auto.failures.shapes import REDACTED, shape_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from narrative_auto.failures.shapes import Span

SECRET_NAMES = (
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "cookie",
    "session",
    "credential",
    "private_key",
    "privatekey",
)
"""A name that contains one of these, in any case and with "-" or " " for "_", is a secret's name."""

MOST_CHARACTERS = 40_000
"""Longer texts are cut before they are searched, so that the time stays bounded."""

_MOST_TAIL = 4_096
_CUT = " …"
_OPTION_NAME = re.compile(r"-{1,2}(?P<name>\w[\w.-]*+)")
_SETTING = re.compile(r"(?P<name>-{0,2}[\w.-]++)=")


class Redactor:
    """Takes secrets out of texts before anything else sees them.

    Args:
        extra_names: further parts of names whose values are secret.
        patterns: regular expressions for such names, searched without regard to case.
        callback: says of a name whether its value is secret; one that raises says no.

    Raises:
        re.error: a pattern is none.
    """

    __slots__ = ("_callback", "_names", "_patterns")

    def __init__(
        self,
        extra_names: Sequence[str] = (),
        patterns: Sequence[str] = (),
        callback: Callable[[str], bool] | None = None,
    ) -> None:
        self._names = tuple(_plain(name) for name in (*SECRET_NAMES, *extra_names) if name)
        self._patterns = tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
        self._callback = callback

    def name(self, name: str) -> bool:
        """Return whether this is the name of a secret."""
        plain = _plain(name)
        return (
            any(secret in plain for secret in self._names)
            or any(pattern.search(name) for pattern in self._patterns)
            or (self._callback is not None and bool(attempted(self._callback, name)))
        )

    def text(self, text: str) -> str:
        """Return a message, a traceback or the like without its secrets.

        A text of more than `MOST_CHARACTERS` is cut, and loses the word that the cut went through, since half of a
        secret is no longer recognised.
        """
        text = _bounded(text)
        return _replaced(text, _merged([*shape_spans(text), *text_spans(text, self.name)]))

    def source(self, text: str) -> str:
        """Return lines of Python source without their secrets; see `source_spans`."""
        text = _bounded(text)
        return _replaced(text, self.source_spans(text))

    def source_spans(self, text: str) -> list[Span]:
        """Return where lines of Python source have secrets: in order, without overlap.

        Only literals count there as values; names and calls, which say how the program works, stay readable.

        Args:
            text: whole lines, of at most `MOST_CHARACTERS` together; what is beyond is a secret as a whole.
        """
        spans = [*shape_spans(text[:MOST_CHARACTERS]), *source_spans(text[:MOST_CHARACTERS], self.name)]
        if len(text) > MOST_CHARACTERS:
            spans.append((max(0, text.rfind("\n", 0, MOST_CHARACTERS)), len(text)))
        return _merged(spans)

    def arguments(self, argv: Sequence[str]) -> list[str]:
        """Return a command line without the values of secret options and settings, and without what is secret by shape.

        Args:
            argv: as in `sys.orig_argv`.
        """
        shown = []
        follows_option = False
        for argument in argv:
            setting = _SETTING.match(argument)
            option = _OPTION_NAME.fullmatch(argument)
            if follows_option and not argument.startswith("--"):
                shown.append(REDACTED)
            elif setting and self.name(setting["name"]):
                shown.append(setting.group() + REDACTED)
            else:
                shown.append(self.text(argument))
            follows_option = option is not None and self.name(option["name"])
        return shown


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _bounded(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    kept = text[:MOST_CHARACTERS]
    # The last blank, if it is near; a word longer than that is no text that anybody misses.
    words = re.compile(r"\s\S*\Z").search(kept, MOST_CHARACTERS - _MOST_TAIL)
    return kept[: words.start() if words else MOST_CHARACTERS - _MOST_TAIL] + _CUT


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that touch or overlap made one, empty ones left out."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _replaced(text: str, spans: Iterable[Span]) -> str:
    pieces = []
    position = 0
    for start, end in spans:
        pieces += [text[position:start], REDACTED]
        position = end
    return "".join([*pieces, text[position:]])
