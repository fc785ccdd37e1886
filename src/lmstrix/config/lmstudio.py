"""Where LM Studio keeps its models. Only ever read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lmstrix.config.places import user_home

if TYPE_CHECKING:
    from collections.abc import Mapping


class _LMStudioSettings(msgspec.Struct, frozen=True, rename="camel"):
    downloads_folder: str | None = None


def lmstudio_home(environ: Mapping[str, str] | None = None) -> Path | None:
    """LM Studio's own folder, or `None` where there is none.

    The first line of `~/.lmstudio-home-pointer`, else `~/.cache/lm-studio`, else
    `~/.lmstudio`; the first of these that is a folder.
    """
    home = user_home(os.environ if environ is None else environ)
    candidates = [home / ".cache" / "lm-studio", home / ".lmstudio"]
    pointed = _first_line(home / ".lmstudio-home-pointer")
    if pointed:
        candidates.insert(0, Path(pointed))
    return next((folder for folder in candidates if folder.is_dir()), None)


def lmstudio_folders(environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """The folders in which LM Studio keeps downloaded models: none or one.

    `downloadsFolder` of its `settings.json` where that can be read and exists, else `models`
    in its home.
    """
    home = lmstudio_home(environ)
    if home is None:
        return ()
    candidates = [home / "models"]
    try:
        found = msgspec.json.decode((home / "settings.json").read_bytes(), type=_LMStudioSettings)
    except (OSError, msgspec.DecodeError):
        # Another program's file: absent, unreadable or of a new shape, its default then holds.
        pass
    else:
        if found.downloads_folder:
            candidates.insert(0, Path(found.downloads_folder))
    return tuple(folder for folder in candidates if folder.is_dir())[:1]


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return lines[0].strip() if lines else ""
