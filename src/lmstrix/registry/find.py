"""From what a user types to the one model that is meant."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from lmstrix.errors import AmbiguousModelError, ModelNotFoundError, UsageError
from lmstrix.registry.facts import is_present, last_piece

if TYPE_CHECKING:
    from lmstrix.store import Entry

_Rule: TypeAlias = Callable[["Entry"], bool]
_SHOWN = 8
_NEAREST = 5
_DEFAULT_TAG = ":latest"


def find_entry(
    query: str, entries: Iterable[Entry], *, aliases: Mapping[str, str] = MappingProxyType({})
) -> Entry:
    """The one model that `query` means.

    The first of these that anything answers to decides: exact key, `provider/key`, path
    (absolute, or any number of its last folders; with or without `.gguf`), alias, the same
    regardless of case or without the tag `:latest`, which Ollama lets one leave out, the
    beginning of a key or of its last piece. Models that are there come before missing ones.
    Raises `AmbiguousModelError`, `ModelNotFoundError`, and `UsageError` when `query` is empty.
    """
    if not query.strip():
        raise UsageError("The model's name is empty.", hint="See `lmstrix list` for the names.")
    entries = list(entries)
    for rule in _exact_rules(query):
        if found := _settle(query, filter(rule, entries)):
            return found
    if (meant := aliases.get(query)) is not None and meant != query:
        return find_entry(meant, entries)
    for rule in _lenient_rules(query.strip()):
        if found := _settle(query, filter(rule, entries)):
            return found
    raise _not_found(query, entries, aliases)


def find_path(query: str) -> Path | None:
    """The GGUF file that `query` names on this machine, scanned or not; `None` if none.

    The ending `.gguf` may be left out where a folder is named too.
    """
    path = Path(query).expanduser()
    candidates = [path]
    if path.suffix.lower() != ".gguf":
        candidates = [path.with_name(f"{path.name}.gguf")] if len(path.parts) > 1 else []
    return next((one for one in candidates if one.is_file()), None)


def qualified_name(entry: Entry) -> str:
    """`provider/key`, which `find_entry` understands."""
    return f"{entry.model.provider}/{entry.model.key}"


def _exact_rules(query: str) -> Sequence[_Rule]:
    full = _bare_path(os.path.abspath(Path(query).expanduser()))  # noqa: PTH100  # keeps links as written
    # What starts at a place names one file; anything else may be the end of a longer path.
    placed = query.startswith((".", "~")) or os.path.isabs(query)  # noqa: PTH117  # as above
    tail = "/" + _bare_path(query)

    def is_path(entry: Entry) -> bool:
        if entry.model.path is None:
            return False
        path = _bare_path(entry.model.path)
        return path == full or (not placed and f"/{path}".endswith(tail))

    return (
        lambda entry: entry.model.key == query,
        lambda entry: qualified_name(entry) == query,
        is_path,
    )


def _lenient_rules(query: str) -> Sequence[_Rule]:
    low = query.casefold()
    bare = low.removesuffix(".gguf")

    def same(entry: Entry) -> bool:
        model = entry.model
        names = (model.key, qualified_name(entry), last_piece(model.key), model.name or "")
        folded = {name.casefold() for name in names}
        folded |= {name.removesuffix(_DEFAULT_TAG) for name in folded}
        return not folded.isdisjoint((low, bare))

    def begins(entry: Entry) -> bool:
        key = entry.model.key
        return key.casefold().startswith(low) or last_piece(key).casefold().startswith(low)

    return same, begins


def _bare_path(path: str) -> str:
    path = path.replace("\\", "/")
    return path[:-5] if path.lower().endswith(".gguf") else path


def _settle(query: str, found: Iterable[Entry]) -> Entry | None:
    """The one that was found, `None` for none; raises `AmbiguousModelError` for several."""
    candidates = list(found)
    candidates = [one for one in candidates if is_present(one)] or candidates
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    names = sorted({entry.model.key for entry in candidates})
    if len(names) < len(candidates):
        names = sorted(_with_server(entry, candidates) for entry in candidates)
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise AmbiguousModelError(
        f"{query!r} may mean {len(names)} models: {', '.join(names[:_SHOWN])}{rest}.",
        query=query,
        candidates=names,
        hint="Write more of the name, or provider/key.",
    )


def _with_server(entry: Entry, candidates: Sequence[Entry]) -> str:
    name = qualified_name(entry)
    same = sum(qualified_name(one) == name for one in candidates)
    return f"{name} (on {entry.model.server})" if same > 1 else name


def _not_found(
    query: str, entries: Sequence[Entry], aliases: Mapping[str, str]
) -> ModelNotFoundError:
    from difflib import get_close_matches  # noqa: PLC0415  # only when nothing was found

    if not entries:
        return ModelNotFoundError(
            f"No model is called {query!r}: no models are known yet.",
            query=query,
            hint="Find them first: lmstrix scan",
        )
    spellings = {alias.casefold(): alias for alias in aliases}
    for entry in entries:
        key = entry.model.key
        spellings[(key if "/" in query else last_piece(key)).casefold()] = key
    low = query.casefold()
    inside = sorted((text for text in spellings if low in text), key=len)
    close = get_close_matches(low, spellings, n=_NEAREST, cutoff=0.5)
    nearest = list(dict.fromkeys(spellings[text] for text in (*inside, *close)))[:_NEAREST]
    guess = f" Nearest: {', '.join(nearest)}." if nearest else ""
    return ModelNotFoundError(
        f"No model is called {query!r}.{guess}",
        query=query,
        nearest=nearest,
        hint="If it is new here, run `lmstrix scan`; `lmstrix list` shows all names.",
    )
