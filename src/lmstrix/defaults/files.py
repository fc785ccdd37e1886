"""The files in which LM Studio keeps its defaults: found, read, and written beside a backup."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from lmstrix.config import atomic_write
from lmstrix.errors import DefaultsError

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(".internal") / "user-concrete-model-default-config"
_LAYOUT_PARTS = 3  # publisher/repository/file
_KEPT_BACKUPS = 10


def defaults_folder(home: Path) -> Path:
    """Where LM Studio, whose own folder is `home`, keeps the defaults of its models."""
    return home / FOLDER


def name_below(path: str, folders: Iterable[Path]) -> str | None:
    """What LM Studio calls a model file: `publisher/repository/file`, from its models folder on.

    `None` where the file is not below one of `folders` in that layout.
    """
    for folder in folders:
        for file, top in ((Path(path), folder), (_real_parent(Path(path)), _real(folder))):
            if file.is_relative_to(top):
                parts = file.relative_to(top).parts
                return "/".join(parts) if len(parts) >= _LAYOUT_PARTS else None
    return None


def defaults_path(folder: Path, name: str) -> Path:
    """The file in `folder` with the defaults of the model `name`.

    Raises `DefaultsError` for a name, or a link on the way, that leads out of `folder`.
    """
    path = folder.joinpath(*PurePosixPath(name).parts)
    path = path.with_name(f"{path.name}.json") if path.name else path
    if _leads_away(name) or not _real(path).is_relative_to(_real(folder)):
        raise DefaultsError(
            f"The defaults of {name!r} would lie outside {folder}; nothing was written there.",
            path=path,
            hint="Rename that model, or remove the link in LM Studio's folder.",
        )
    return path


def read_text(path: Path) -> str | None:
    """The text of a file, `None` where there is none. Raises `DefaultsError`."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise unreadable(path, "it is not UTF-8 text") from error
    except OSError as error:
        raise DefaultsError(
            f"{path} cannot be read: {error.strerror or error}.",
            path=path,
            hint="Check that it is a file and that you may read it.",
        ) from error


def unreadable(path: Path, why: str) -> DefaultsError:
    """The error for a file that has not the form it should have."""
    return DefaultsError(
        f"{path} cannot be read: {why}.",
        path=path,
        hint="It was left as it is. Save that model's settings in LM Studio anew, or replace the"
        " file: lmstrix save --force (a backup is kept).",
    )


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, its folders made. Raises `DefaultsError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode("utf-8"))
    except OSError as error:
        raise DefaultsError(
            f"{path} cannot be written: {error.strerror or error}.",
            path=path,
            hint="Check that you may write there; what was there is unchanged.",
        ) from error


def back_up(path: Path, folder: Path, backups: Path) -> Path:
    """Copy a file of `folder` below `backups` before it is changed; the newest ten are kept.

    Not beside it, where LM Studio would have to make something of it. Raises `DefaultsError`.
    """
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    place = backups / path.relative_to(folder).parent
    stem = path.name.removesuffix(".json")
    copy = place / f"{stem}.{moment}.json"
    try:
        data = path.read_bytes()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write(copy, data)
    except OSError as error:
        raise DefaultsError(
            f"No backup of {path} could be made: {error.strerror or error}. It was left as it is.",
            path=path,
            hint=f"Check that you may write into {backups}.",
        ) from error
    pattern = f"{stem}.{'[0-9]' * 8}-{'[0-9]' * 6}-{'[0-9]' * 6}.json"
    older = sorted(one for one in place.iterdir() if PurePosixPath(one.name).match(pattern))
    for old in older[:-_KEPT_BACKUPS]:
        old.unlink(missing_ok=True)
    return copy


def _leads_away(name: str) -> bool:
    """Whether a name is more than plain folders and a file, by the rules of any system."""
    windows = PureWindowsPath(name)
    pieces = [*PurePosixPath(name).parts, *windows.parts]
    return (
        not name.strip("/\\. ")
        or bool(windows.anchor)
        or name.startswith("/")
        or ".." in pieces
        or "\0" in name
        or (os.name == "nt" and ":" in name)
    )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _real_parent(path: Path) -> Path:
    """Links in the folders followed; a file that is one keeps the name LM Studio sees."""
    return _real(path.parent) / path.name
