"""Values that were secret once, to be taken out wherever they turn up again."""

from __future__ import annotations

import re

from narrative_auto.failures.pattern import lazily
from narrative_auto.failures.randomness import is_ordinary
from narrative_auto.failures.shapes import REDACTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from narrative_auto.failures.shapes import Span

_SHORTEST = 6
_LONGEST = 4_000
_MOST_PARTS = 50

_STRING = lazily(r"""[bBfFrRuU]{0,2}(?P<quote>\\{0,3}["'])(?P<inner>(?:\\.|(?!(?P=quote))[^\\\n]){1,4000})(?P=quote)""")
_PART = lazily(r"""[^\s,;="'\\()\[\]{}<>]{6,4000}+""")
_ESCAPE = lazily(r"\\(.)", re.DOTALL)
_LINE = lazily(r"[^\r\n\\]{16,}+")
_MEANT = {"n": "\n", "t": "\t", "r": "\r"}


class Remembered:
    """A bounded number of secret values, the newest; other threads and signal handlers may use it at the same time.

    Args:
        most: values that are kept.
    """

    __slots__ = ("_forms", "_most")

    def __init__(self, most: int) -> None:
        # No lock: a signal handler could want it while its own thread holds it. Each step on the dict is one.
        self._forms: dict[str, tuple[str, ...]] = {}
        self._most = most

    def learn(self, found: str) -> None:
        """Remember what was redacted: the value, or the values where it is a list, a header or the like.

        Args:
            found: as it stood in the text, with quotes or brackets.
        """
        for value in _values(found):
            self.learn_value(value)

    def learn_value(self, value: str) -> None:
        """Remember a value as it is, unless it is too short or says nothing: a word, a number, a path."""
        value = value.strip()
        if not _SHORTEST <= len(value) <= _LONGEST or value in self._forms:
            return
        if REDACTED in value or is_ordinary(value):
            return
        self._forms[value] = _forms(value)
        while len(self._forms) > self._most:
            for oldest in tuple(self._forms)[:1]:
                self._forms.pop(oldest, None)

    def learn_all(self, other: Remembered) -> None:
        """Remember what somebody else does."""
        for value in tuple(other._forms):
            self.learn_value(value)

    def spans(self, text: str) -> Iterator[Span]:
        """Give where remembered values stand in a text: as they are, and as `repr`, JSON and URLs quote them."""
        for form in [form for forms in tuple(self._forms.values()) for form in forms if form in text]:
            start = text.find(form)
            while start >= 0:
                yield start, start + len(form)
                start = text.find(form, start + len(form))

    def __len__(self) -> int:
        return len(self._forms)


def _forms(value: str) -> tuple[str, ...]:
    """Return a value and how it is quoted elsewhere, each once."""
    import json
    from urllib.parse import quote, quote_plus

    in_json = json.dumps(value)[1:-1]
    ascii_free = json.dumps(value, ensure_ascii=False)[1:-1]
    utf8 = value.encode("utf-8", "surrogateescape" if value.isprintable() else "backslashreplace")
    forms = (
        value,
        repr(value)[1:-1],
        in_json,
        ascii_free,
        json.dumps(in_json)[1:-1],
        quote(utf8, ""),
        quote_plus(utf8),
    )
    return tuple(dict.fromkeys(forms))


def _values(found: str) -> Iterable[str]:
    """Give the values in what was redacted."""
    whole = _STRING.fullmatch(found)
    if whole:
        yield from _meant(whole["inner"])
        return
    if "-----BEGIN" in found:
        # Its lines turn up alone in snippets; the first and last say nothing.
        yield from [line for line in _LINE.findall(found)[:_MOST_PARTS] if "-----" not in line]
        return
    strings = [string for one in list(_STRING.finditer(found))[:_MOST_PARTS] for string in _meant(one["inner"])]
    if strings:
        yield from strings
        return
    yield found.strip("()[]{}")
    if any(mark in found for mark in " ;,"):
        yield from _PART.findall(found)[:_MOST_PARTS]


def _meant(inner: str) -> Iterable[str]:
    """Give what a quoted text stands for, and the text as it is."""
    yield inner
    if "\\" in inner:
        yield _ESCAPE.sub(lambda mark: _MEANT.get(mark[1], mark[1]), inner)
