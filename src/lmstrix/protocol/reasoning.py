"""Reasoning that a model writes into its answer, between `<think>` and `</think>`."""

from __future__ import annotations

from enum import Enum, auto

_OPEN = "<think>"
_CLOSE = "</think>"


class _Part(Enum):
    START = auto()  # nothing but white space and perhaps the beginning of the mark
    OPENED = auto()  # line breaks after the mark, which belong to it
    REASONING = auto()
    GAP = auto()  # white space between the reasoning and the answer, which belongs to neither
    ANSWER = auto()


class ReasoningSplitter:
    """Text in, in any pieces; `(text, is_reasoning)` out.

    Only a mark that opens the answer counts: later ones are text that speaks of such marks.
    `passes` is whether everything from here on is answer, which need not be fed any more.
    """

    def __init__(self) -> None:
        self._part = _Part.START
        self._held = ""

    @property
    def passes(self) -> bool:
        """Whether nothing is held back and nothing more will be found."""
        return self._part is _Part.ANSWER

    def feed(self, text: str) -> list[tuple[str, bool]]:
        """What is certain once `text` has come; pieces that may be part of a mark are held."""
        text = self._held + text
        self._held = ""
        found: list[tuple[str, bool]] = []
        if self._part is _Part.START:
            text = self._start(text)
        if self._part is _Part.OPENED:
            text = text.lstrip("\n")
            if text:
                self._part = _Part.REASONING
        if self._part is _Part.REASONING:
            text = self._reasoning(text, found)
        if self._part is _Part.GAP:
            text = text.lstrip()
            if text:
                self._part = _Part.ANSWER
        if self._part is _Part.ANSWER and text:
            found.append((text, False))
        return found

    def close(self) -> list[tuple[str, bool]]:
        """What was held back, at the end of the answer."""
        held, self._held = self._held, ""
        thought = self._part is _Part.REASONING
        self._part = _Part.ANSWER
        return [(held, thought)] if held else []

    def _start(self, text: str) -> str:
        words = text.lstrip()
        if words.startswith(_OPEN):
            self._part = _Part.OPENED
            return words[len(_OPEN) :]
        if _OPEN.startswith(words):
            self._held = text
            return ""
        self._part = _Part.ANSWER
        return text

    def _reasoning(self, text: str, found: list[tuple[str, bool]]) -> str:
        thought, mark, rest = text.partition(_CLOSE)
        if mark:
            self._part = _Part.GAP
        else:
            cut = len(thought) - _overlap(thought)
            thought, self._held = thought[:cut], thought[cut:]
        if thought:
            found.append((thought, True))
        return rest


def _overlap(text: str) -> int:
    """How many characters at the end of `text` may begin the closing mark."""
    for length in range(min(len(text), len(_CLOSE) - 1), 0, -1):
        if _CLOSE.startswith(text[-length:]):
            return length
    return 0
