"""The model files below folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lmstrix.gguf.header import is_later_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class FoundFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Model files, sorted, each content once.

    `complete` is false when a folder or a link could not be followed, so that a file that is
    absent here is not known to be gone; `problems` says where, one sentence each.
    """

    paths: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    complete: bool = True


def find_models(folders: Iterable[str | os.PathLike[str]]) -> FoundFiles:
    """Every model below `folders`: `*.gguf`, of a split model its first part.

    Links are followed, circles of them once around. Hidden files and folders (downloads under
    way) and image projectors (`mmproj`) are left out. Raises nothing.
    """
    search = _Search()
    for folder in folders:
        search.below(Path(folder))
    return FoundFiles(
        paths=tuple(sorted(search.found.values())),
        problems=tuple(search.problems),
        complete=not search.problems,
    )


class _Search:
    def __init__(self) -> None:
        self.found: dict[tuple[int, int], Path] = {}
        self.problems: list[str] = []
        self._folders_seen: set[tuple[int, int]] = set()

    def below(self, root: Path) -> None:
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            try:
                about = folder.stat()
                if (about.st_dev, about.st_ino) in self._folders_seen:
                    continue
                self._folders_seen.add((about.st_dev, about.st_ino))
                with os.scandir(folder) as entries:
                    waiting.extend(self._sort(entries))
            except OSError as problem:
                self.problems.append(f"{folder} cannot be read: {problem.strerror or problem}.")

    def _sort(self, entries: Iterator[os.DirEntry[str]]) -> Iterator[Path]:
        """Keep the models among `entries`; hand back the folders."""
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            wanted = _is_model_name(path)
            try:
                about = path.stat()
            except OSError as problem:
                if wanted:
                    self.problems.append(f"{path} cannot be read: {problem.strerror or problem}.")
                continue
            if stat.S_ISDIR(about.st_mode):
                yield path
            elif wanted and stat.S_ISREG(about.st_mode):
                self.found.setdefault((about.st_dev, about.st_ino), path)


def _is_model_name(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(".gguf") and "mmproj" not in name and not is_later_part(path)
