"""The names that programs use, and the models they mean. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lmstrix.errors import ModelNotFoundError, NotFoundError
from lmstrix.registry.find import find_entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmstrix.store import Entry

# What a path has below the folder of all models: publisher, repository, file.
_PATH_PIECES = 3


class Names:
    """The models of a gateway by every name they may be called.

    The first of these that matches decides: an alias, a key and whatever else `lmstrix` itself
    takes for a model's name, the beginning of publisher/repository/file whatever the case, or an
    alias with `*` or `?`, the longest such one first.
    """

    def __init__(self, entries: Sequence[Entry], aliases: Mapping[str, str]) -> None:
        self._entries = entries
        self._plain = {name: meant for name, meant in aliases.items() if not _is_pattern(name)}
        patterns = [(name, meant) for name, meant in aliases.items() if _is_pattern(name)]
        self._patterns = sorted(patterns, key=lambda one: -len(one[0]))
        self._found: dict[str, Entry] = {}

    def find(self, name: str) -> Entry:
        """The one model that `name` means.

        Raises `ModelNotFoundError`, `AmbiguousModelError`, and `UsageError` for an empty name.
        """
        if (known := self._found.get(name)) is None:
            known = self._found[name] = self._find(name)
        return known

    def _find(self, name: str) -> Entry:
        if (meant := self._plain.get(name)) is not None:
            return self._lookup(meant)
        try:
            return self._lookup(name)
        except NotFoundError:
            low = name.casefold()
            for pattern, meant in self._patterns:
                if fnmatchcase(low, pattern.casefold()):
                    return self._lookup(meant)
            raise

    def _lookup(self, name: str) -> Entry:
        try:
            return find_entry(name, self._entries)
        except ModelNotFoundError:
            low = name.casefold().removesuffix(".gguf")
            found = [one for one in self._entries if _path_name(one).startswith(low)]
            if len(found) != 1:
                raise
            return found[0]


def _path_name(entry: Entry) -> str:
    path = (entry.model.path or "").replace("\\", "/").casefold()
    return "/".join(path.split("/")[-_PATH_PIECES:])


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name
