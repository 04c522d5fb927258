"""Takes secrets out of texts: by the names of values, and by the shapes of what no name announces."""

from __future__ import annotations

import re

from narrative_auto.errors import attempted
from narrative_auto.failures.assignments import source_spans, text_spans
from narrative_auto.failures.naming import SECRET_NAMES, is_described, plain, without_other_words
from narrative_auto.failures.nested import nested
from narrative_auto.failures.pattern import lazily
from narrative_auto.failures.remembered import Remembered
from narrative_auto.failures.shapes import REDACTED, shape_spans
from narrative_auto.failures.sql import sql_spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from narrative_auto.failures.shapes import Span

MOST_CHARACTERS = 40_000
"""Longer texts are cut before they are searched, so that the time stays bounded."""

MOST_REMEMBERED = 200
"""Values that are remembered, the newest."""

_MOST_TAIL = 4_096
_MOST_NAMES = 1_000
_CUT = " …"
_OPTION_NAME = lazily(r"-{1,2}(?P<name>\w[\w.-]*+)")
_SETTING = lazily(r"(?P<name>-{0,2}[\w.-]++)=")

# A text that can hold no secret, whatever the names are: short words and numbers with blanks between them, and neither
# a sign that assigns nor a quote within. No shape is as short; cards and the schemes of headers are looked ahead for.
_NO_SCHEME = r"(?! [AaBbGgNnSsTt] (?i:pikey|asic|earer|enie|egotiate|tlm|plunk|oken) \b )"
_ENDS = r"(?! [\w-] | \.\w )"
_WORD = rf"""
    (?: {_NO_SCHEME} (?: [A-Z]?[a-z]{{1,20}}+ | [^\W\d] \w{{0,13}}+ ) {_ENDS}
      | [+-]?[0-9]{{1,12}}+ (?:[.,][0-9]{{1,9}}+)? (?![ -]?[0-9]) [a-z%]{{0,2}}+ {_ENDS}
      | (?= [\w.-]{{1,13}} {_ENDS} ) {_NO_SCHEME} \w++ (?: [.-] {_NO_SCHEME} \w++ )++
    )
"""
_ORDINARY = lazily(
    rf"""['"]?+ [(]?+ (?: {_WORD} (?: [ ,;!?()%…]++ | (?=[.'"]{{0,2}}\Z) ) )*+ [.]?+ ['"]?+""", re.VERBOSE
)


class Redactor:
    """Takes secrets out of texts before anything else sees them.

    Args:
        extra_names: further parts of names whose values are secret.
        patterns: regular expressions for such names, searched without regard to case.
        callback: says of a name whether its value is secret; one that raises says no.

    Raises:
        re.error: a pattern is none.
    """

    __slots__ = ("_callback", "_is_whole", "_known_names", "_memory", "_names", "_patterns")

    def __init__(
        self,
        extra_names: Sequence[str] = (),
        patterns: Sequence[str] = (),
        callback: Callable[[str], bool] | None = None,
    ) -> None:
        self._names = tuple(plain(name) for name in (*SECRET_NAMES, *extra_names) if name)
        self._patterns = tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
        self._callback = callback
        self._known_names: dict[str, bool] = {}
        self._memory: Remembered | None = None
        self._is_whole = False

    def remembering(self, most: int = MOST_REMEMBERED, *, whole: bool = False) -> Redactor:
        """Return a redactor of the same rules that takes a value which it has redacted out of all later texts too.

        Words, numbers, paths and what is shorter than six characters is not remembered.

        Args:
            most: values that are remembered, the newest; each costs some 0.1 µs a text.
            whole: whether no text is cut, however long; for files.
        """
        redactor = Redactor()
        redactor._names, redactor._patterns, redactor._callback = self._names, self._patterns, self._callback
        redactor._memory, redactor._is_whole = Remembered(most), whole
        return redactor

    def also(self, names: Iterable[str]) -> None:
        """Take these parts of names for those of secrets from here on."""
        self._names += tuple(plain(name) for name in names if name)
        self._known_names.clear()

    @property
    def memory(self) -> Remembered | None:
        """What is remembered; None for a redactor that does not remember."""
        return self._memory

    def name(self, name: str) -> bool:
        """Return whether this is the name of a secret."""
        known = self._known_names.get(name)
        if known is None:
            known = self._judged(name)
            if self._callback is None and len(self._known_names) < _MOST_NAMES:
                self._known_names[name] = known
        return known

    def _judged(self, name: str) -> bool:
        lower = plain(name)
        words = without_other_words(lower)
        return (
            any(secret in words for secret in SECRET_NAMES)
            or any(secret in lower for secret in self._names[len(SECRET_NAMES) :])
            or any(pattern.search(name) for pattern in self._patterns)
            or (self._callback is not None and bool(attempted(self._callback, name)))
        )

    def text(self, text: str) -> str:
        """Return a message, a traceback or the like without its secrets.

        A text of more than `MOST_CHARACTERS` is cut, unless the redactor is for files, and loses the word that the cut
        went through, since half of a secret is no longer recognised.
        """
        if len(text) <= MOST_CHARACTERS and _ORDINARY.fullmatch(text):
            return self.without_remembered(text) if self._memory else text
        return self.whole_text(text if self._is_whole else _bounded(text))

    def whole_text(self, text: str) -> str:
        """Return a text of any length without its secrets; for files, since the time grows with the length."""
        spans = _merged([*shape_spans(text), *text_spans(text, self.name), *sql_spans(text, self.name)])
        return self._replaced(text, spans)

    def source(self, text: str) -> str:
        """Return lines of Python source without their secrets; see `source_spans`."""
        text = _bounded(text)
        return self._replaced(text, self.source_spans(text))

    def source_spans(self, text: str) -> list[Span]:
        """Return where lines of Python source have secrets: in order, without overlap.

        Only literals count there as values; names and calls, which say how the program works, stay readable.

        Args:
            text: whole lines, of at most `MOST_CHARACTERS` together; what is beyond is a secret as a whole.
        """
        within = text[:MOST_CHARACTERS]
        spans = [*shape_spans(within), *source_spans(within, self.name), *sql_spans(within, self.name)]
        if len(text) > MOST_CHARACTERS:
            spans.append((max(0, text.rfind("\n", 0, MOST_CHARACTERS)), len(text)))
        return _merged(spans)

    def arguments(self, argv: Sequence[str]) -> list[str]:
        """Return a command line without the values of secret options and settings, and without what is secret by shape.

        Args:
            argv: as in `sys.orig_argv`.
        """
        shown = []
        name = ""
        follows_option = follows_user = False
        for argument in argv:
            setting = _SETTING.match(argument)
            option = _OPTION_NAME.fullmatch(argument)
            if follows_option and not argument.startswith("--") and not is_described(name, argument):
                self.learn(argument)
                shown.append(REDACTED)
            elif (
                setting and self.name(setting["name"]) and not is_described(setting["name"], argument[setting.end() :])
            ):
                self.learn(argument[setting.end() :])
                shown.append(setting.group() + REDACTED)
            elif follows_user:
                shown.append(self.text(f"-u {argument}").removeprefix("-u "))
            else:
                shown.append(self.text(argument))
            name = option["name"] if option else ""
            follows_option = bool(name) and self.name(name)
            follows_user = argument in {"-u", "--user", "--proxy-user"}
        return shown

    def nested(self, value: Any) -> Any:
        """Return a JSON-like value without its secrets: by the keys of its dicts, and as `text` does.

        What is found late is taken out of what came early too. Tuples become lists, as JSON has them.

        Args:
            value: dicts, lists, tuples, texts, numbers, booleans and None; anything else stays as it is.
        """
        redactor = self if self._memory is not None else self.remembering()
        return nested(value, redactor)

    def learn(self, value: str) -> None:
        """Remember a secret value, where this redactor remembers."""
        if self._memory is not None:
            self._memory.learn_value(value)

    def _replaced(self, text: str, spans: list[Span]) -> str:
        if self._memory is None:
            return _without(text, spans)
        for start, end in spans:
            self._memory.learn(text[start:end])
        return _without(text, _merged([*spans, *self._memory.spans(text)]))

    def without_remembered(self, text: str) -> str:
        """Return a text without the values that are remembered; for what was redacted before they were known."""
        return text if self._memory is None else _without(text, _merged(self._memory.spans(text)))


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


def _without(text: str, spans: Iterable[Span]) -> str:
    pieces = []
    position = 0
    for start, end in spans:
        pieces += [text[position:start], REDACTED]
        position = end
    return "".join([*pieces, text[position:]])
