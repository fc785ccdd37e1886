"""This machine's LM Studio: where its defaults and models are, and what it calls a model."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # msgspec reads it
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from lmstrix.config import lmstudio_folders, lmstudio_home
from lmstrix.defaults.files import (
    defaults_folder,
    defaults_path,
    name_below,
    read_text,
    unreadable,
)
from lmstrix.defaults.lmstudio import LMStudioDefaults, read_defaults

if TYPE_CHECKING:
    from lmstrix.types import Model

_LOCAL = ("127.0.0.1", "localhost", "::1")


class LMStudioPlace(msgspec.Struct, frozen=True):
    """The folder with LM Studio's defaults and the folders with its models."""

    defaults: Path
    models: tuple[Path, ...]

    @classmethod
    def locate(cls) -> LMStudioPlace | None:
        """That of this machine; `None` where there is no LM Studio."""
        home = lmstudio_home()
        return None if home is None else cls(defaults_folder(home), lmstudio_folders())

    def name_of(self, model: Model) -> str | None:
        """What this LM Studio calls a model; `None` for one it does not have."""
        if model.provider.startswith("lmstudio"):
            if "://" in model.server and urlsplit(model.server).hostname not in _LOCAL:
                return None
            if model.path is not None:
                return name_below(model.path, self.models) or model.path
            # A model without a file of its own is a virtual one: publisher/model.
            return model.key if model.key.count("/") == 1 and "@" not in model.key else None
        if model.path is None or model.format != "gguf":
            return None
        return name_below(model.path, self.models)


def defaults_of(model: Model) -> LMStudioDefaults | None:
    """What this machine's LM Studio will load `model` with.

    `None` where it has not the model or no defaults for it. Raises `DefaultsError` for a file
    that cannot be read.
    """
    place = LMStudioPlace.locate()
    name = place.name_of(model) if place is not None else None
    if place is None or name is None:
        return None
    path = defaults_path(place.defaults, name)
    text = read_text(path)
    if text is None:
        return None
    try:
        return read_defaults(text)
    except ValueError as error:
        raise unreadable(path, why_no_json(error)) from error


def why_no_json(error: ValueError) -> str:
    """Why a text is not the JSON it should be."""
    text = str(error)
    return f"it is not valid JSON: {text}" if hasattr(error, "lineno") else text
