from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from lmstrix.config import lmstudio_folders, lmstudio_home

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}


def test_without_lm_studio_there_is_nothing(environ: dict[str, str]) -> None:
    assert lmstudio_home(environ) is None
    assert lmstudio_folders(environ) == ()


def test_the_pointer_wins_then_the_old_place_then_the_new(
    environ: dict[str, str], tmp_path: Path
) -> None:
    new, old, pointed = tmp_path / ".lmstudio", tmp_path / ".cache" / "lm-studio", tmp_path / "p"
    for folder in (new, old, pointed):
        folder.mkdir(parents=True)
        if folder == pointed:
            (tmp_path / ".lmstudio-home-pointer").write_text(f"{pointed}\nmore", encoding="utf-8")
        assert lmstudio_home(environ) == folder


@pytest.mark.parametrize("pointer", ["", "\n", "/nowhere/at/all", "\udcff"])
def test_a_pointer_to_nothing_is_passed_over(
    environ: dict[str, str], tmp_path: Path, pointer: str
) -> None:
    (tmp_path / ".lmstudio").mkdir()
    data = pointer.encode("utf-8", "surrogateescape")
    (tmp_path / ".lmstudio-home-pointer").write_bytes(data)
    assert lmstudio_home(environ) == tmp_path / ".lmstudio"


@pytest.mark.parametrize("settings", [None, b"{", b"[]", b'{"downloadsFolder": "/nowhere"}', b"{}"])
def test_models_are_in_the_home_where_the_settings_name_no_folder(
    environ: dict[str, str], tmp_path: Path, settings: bytes | None
) -> None:
    models = tmp_path / ".lmstudio" / "models"
    models.mkdir(parents=True)
    if settings is not None:
        (tmp_path / ".lmstudio" / "settings.json").write_bytes(settings)
    assert lmstudio_folders(environ) == (models,)


def test_models_are_where_the_settings_say(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".lmstudio" / "models").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings = {"downloadsFolder": os.fspath(elsewhere), "other": 1}
    (tmp_path / ".lmstudio" / "settings.json").write_bytes(msgspec.json.encode(settings))
    assert lmstudio_folders(environ) == (elsewhere,)
