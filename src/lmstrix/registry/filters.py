"""Read `--filter` and match entries against it.

filter  = piece ("," piece)*             every piece must match
piece   = [key ":"] value ("|" value)*   without a key: the key before, at first `name`
value   = text, with * ? [ ] as a glob   for keys of text
        | [> >= < <= =] quantity         for keys of numbers and dates
        | quantity - quantity            (also `..`), both ends included
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import FilterError
from lmstrix.registry import facts
from lmstrix.results import TestStatus
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from lmstrix.registry.quantities import Span
    from lmstrix.store import Entry

_NUMBERS: dict[str, Callable[[Entry], float | None]] = {
    "size": facts.size_bytes,
    "params": lambda entry: entry.model.parameters,
    "ctx": facts.usable_tokens,
    "dtx": facts.declared_tokens,
    "eff": facts.usable_share,
    "ttft": facts.time_to_first_token_s,
    "tps": facts.tokens_per_s,
    "date": facts.tested_at,
}


def _known(*texts: str | None) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


_TEXTS: dict[str, Callable[[Entry], tuple[str, ...]]] = {
    "name": lambda entry: _known(
        entry.model.key, entry.model.name, facts.last_piece(entry.model.key)
    ),
    "path": lambda entry: _known(entry.model.path),
    "server": lambda entry: (entry.model.server,),
    "arch": lambda entry: _known(entry.model.architecture),
    "quant": lambda entry: _known(entry.model.quantization),
    "provider": lambda entry: (entry.model.provider,),
    "tag": lambda entry: entry.model.tags,
    "can": facts.abilities,
}
# Names are searched; of the others people write the whole word.
_SEARCHED = {"name", "path", "server"}
# Beside the status of its test: gone since the last scan; imported and not yet found by one.
_PRESENCE: dict[str, Callable[[Entry], bool]] = {
    "missing": lambda entry: entry.missing_since is not None,
    "unseen": lambda entry: entry.seen_at is None,
}
_STATUSES = {
    **{status.value: status.value for status in TestStatus},
    "tested": TestStatus.COMPLETED.value,
    **{word: word for word in _PRESENCE},
}
_TYPES = {
    **{kind.value: kind.value for kind in ModelType},
    "embed": ModelType.EMBEDDING.value,
    "embeddings": ModelType.EMBEDDING.value,
    "vision": ModelType.VLM.value,
}
_WORDS = {"status": _STATUSES, "type": _TYPES}
_ALIASES = {"id": "name", "key": "name", "tags": "tag", "quantization": "quant"}
FILTER_KEYS = (*_TEXTS, *_WORDS, *_NUMBERS)


class Condition(msgspec.Struct, frozen=True):
    """One piece of a filter: the fact `key` is in one of `spans` or is one of `words`."""

    key: str
    text: str
    spans: tuple[Span, ...] = ()
    words: tuple[str, ...] = ()

    def matches(self, entry: Entry) -> bool:
        """Whether the entry meets it; an unknown number meets nothing."""
        if self.key in _NUMBERS:
            number = _NUMBERS[self.key](entry)
            return number is not None and any(number in span for span in self.spans)
        if self.key == "status":
            return facts.status(entry) in self.words or any(
                holds(entry) for word, holds in _PRESENCE.items() if word in self.words
            )
        if self.key == "type":
            return entry.model.type in self.words
        texts = [text.casefold() for text in _TEXTS[self.key](entry)]
        return any(_like(text, word) for word in self.words for text in texts)


class Filter(msgspec.Struct, frozen=True):
    """What `--filter` asks for; without conditions everything matches."""

    conditions: tuple[Condition, ...] = ()

    def matches(self, entry: Entry) -> bool:
        """Whether the entry meets every condition."""
        return not self.conditions or all(one.matches(entry) for one in self.conditions)

    def __str__(self) -> str:
        return ",".join(f"{condition.key}:{condition.text}" for condition in self.conditions)


def parse_filter(text: str, *, now: datetime | None = None) -> Filter:
    """Read a filter such as `status:tested,size:>5GB,name:*instruct*`.

    `now`, aware, settles `today`, `yesterday` and the time zone in which days begin (default:
    the clock's). Raises `FilterError` naming the piece and what is expected.
    """
    if not text.strip():
        return Filter()
    conditions: list[Condition] = []
    key = "name"
    for piece in text.split(","):
        head, colon, rest = piece.partition(":")
        if colon:
            key, value = _key(head, piece), rest.strip()
        else:
            value = piece.strip()
        conditions.append(_condition(key, value, piece, now))
    _refuse_contradictions(conditions)
    return Filter(tuple(conditions))


def matches_keywords(entry: Entry, keywords: Iterable[str]) -> bool:
    """Whether every keyword is somewhere in the key, name, architecture, tags or description."""
    wanted = [word.strip().casefold() for word in keywords]
    if not wanted:
        return True
    model = entry.model
    known = _known(model.key, model.name, model.architecture, *model.tags, model.description)
    text = "\n".join(known).casefold()
    return all(word in text for word in wanted)


def _key(head: str, piece: str) -> str:
    key = head.strip().lower()
    key = _ALIASES.get(key, key)
    if key not in FILTER_KEYS:
        raise FilterError(
            f"Cannot read the filter piece {piece.strip()!r}: there is no key {head.strip()!r}.",
            piece=piece.strip(),
            hint=f"Keys are {', '.join(FILTER_KEYS)}."
            f" To look for the whole text in names: name:{piece.strip()}",
        )
    return key


def _condition(key: str, value: str, piece: str, now: datetime | None) -> Condition:
    parts = [part.strip() for part in value.split("|")]
    text = "|".join(parts)
    if not all(parts):
        raise _unreadable(piece, f"a value for {key}")
    if key in _NUMBERS:
        from lmstrix.registry.quantities import (  # noqa: PLC0415  # patterns take time to compile
            READERS,
            read_span,
        )

        reader = READERS[key]
        try:
            return Condition(key, text, spans=tuple(read_span(p, reader, now=now) for p in parts))
        except ValueError:
            raise _unreadable(piece, reader.expected) from None
    if key in _WORDS:
        known = _WORDS[key]
        if any(part.lower() not in known for part in parts):
            raise _unreadable(piece, "one of " + ", ".join(known))
        return Condition(key, text, words=tuple(known[part.lower()] for part in parts))
    words = [part.casefold() for part in parts]
    if key in _SEARCHED:
        words = [word if any(char in word for char in "*?[") else f"*{word}*" for word in words]
    return Condition(key, text, words=tuple(words))


def _unreadable(piece: str, expected: str) -> FilterError:
    return FilterError(
        f"Cannot read the filter piece {piece.strip()!r}: expected {expected}.",
        piece=piece.strip(),
        hint="For example: --filter 'status:tested,size:>5GB,ctx:16384-65536,name:*instruct*'",
    )


def _refuse_contradictions(conditions: Sequence[Condition]) -> None:
    """A model has one type and one test status: two different ones can only be a slip."""
    for key in _WORDS:
        asked = [c for c in conditions if c.key == key and _PRESENCE.keys().isdisjoint(c.words)]
        for first, second in pairwise(asked):
            if not set(first.words) & set(second.words):
                raise FilterError(
                    f"No model has both {key} {first.text} and {key} {second.text}.",
                    piece=f"{key}:{second.text}",
                    hint=f"A comma means and; for either write {key}:{first.text}|{second.text}",
                )


def _like(text: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase  # noqa: PLC0415  # only where a filter looks at texts

    return fnmatchcase(text, pattern) or text == pattern
