"""Order the registry's entries by one key; what has no value always comes last."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from lmstrix.errors import FilterError
from lmstrix.registry import facts
from lmstrix.results import TestStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lmstrix.store import Entry

_STATUS_ORDER = {status: place for place, status in enumerate(TestStatus)}


def _by_id(entry: Entry) -> tuple[str, str, str]:
    model = entry.model
    return model.key.casefold(), model.provider, model.server


_KEYS: dict[str, Callable[[Entry], Any]] = {
    "id": _by_id,
    "name": lambda entry: facts.name(entry).casefold(),
    "ctx": facts.usable_tokens,
    "dtx": facts.declared_tokens,
    "size": facts.size_bytes,
    "status": lambda entry: _STATUS_ORDER[facts.status(entry)],
    "date": facts.tested_at,
    "eff": facts.usable_share,
    "ttft": facts.time_to_first_token_s,
    "tps": facts.tokens_per_s,
    "smart": facts.test_cost,
}
SORT_KEYS = tuple(_KEYS)


def sort_entries(entries: Iterable[Entry], by: str = "id", *, reverse: bool = False) -> list[Entry]:
    """The entries in the order of one of `SORT_KEYS`; equal ones keep theirs.

    A trailing `d` (`sized`) puts the largest first, as `reverse` does. Entries without a value
    come last either way. Raises `FilterError` for another key.
    """
    key, descending = parse_sort(by)
    value_of = _KEYS[key]
    known: list[tuple[Any, Entry]] = []
    unknown: list[Entry] = []
    for entry in entries:
        value = value_of(entry)
        if value is None:
            unknown.append(entry)
        else:
            known.append((value, entry))
    known.sort(key=itemgetter(0), reverse=descending or reverse)
    return [entry for _, entry in known] + unknown


def parse_sort(by: str) -> tuple[str, bool]:
    """The key and whether the largest comes first. Raises `FilterError`."""
    word = by.strip().lower()
    if word in _KEYS:
        return word, False
    if word.endswith("d") and word[:-1] in _KEYS:
        return word[:-1], True
    raise FilterError(
        f"Cannot sort by {by!r}.",
        piece=by,
        hint=f"Sort by one of {', '.join(SORT_KEYS)}; a trailing d turns it round.",
    )
