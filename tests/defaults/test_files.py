"""Where LM Studio's defaults lie, and that nothing is written anywhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lmstrix.defaults.files import back_up, defaults_path, name_below, read_text, write_text
from lmstrix.errors import DefaultsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "defaults"
    place.mkdir()
    return place


def test_the_file_is_named_after_the_model(folder: Path):
    assert defaults_path(folder, "pub/repo/m.gguf") == folder / "pub" / "repo" / "m.gguf.json"
    assert defaults_path(folder, "pub/virtual") == folder / "pub" / "virtual.json"


@pytest.mark.parametrize(
    "name",
    [
        "../m.gguf", "pub/../../m.gguf", "pub/repo/..", "/etc/m.gguf", "", ".", "/", "..",
        "pub\\..\\..\\m.gguf", "C:\\m.gguf", "C:m.gguf", "\\\\host\\share\\m.gguf", "pub/m\0.gguf",
    ],
)  # fmt: skip
def test_a_name_that_leads_away_is_refused(folder: Path, name: str):
    with pytest.raises(DefaultsError, match="outside"):
        defaults_path(folder, name)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_link_that_leads_away_is_refused(folder: Path, tmp_path: Path):
    (folder / "pub").symlink_to(tmp_path)
    with pytest.raises(DefaultsError, match="outside"):
        defaults_path(folder, "pub/repo/m.gguf")
    (folder / "file.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(DefaultsError, match="outside"):
        defaults_path(folder, "file")


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_link_to_the_whole_folder_is_the_users_choice(folder: Path, tmp_path: Path):
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    write_text(defaults_path(linked, "p/r/m.gguf"), "{}")
    assert (folder / "p" / "r" / "m.gguf.json").read_text() == "{}"


def test_only_files_in_lm_studios_layout_have_a_name(tmp_path: Path):
    models = tmp_path / "models"
    assert name_below(str(models / "p" / "r" / "m.gguf"), [models]) == "p/r/m.gguf"
    assert name_below(str(models / "m.gguf"), [models]) is None
    assert name_below(str(tmp_path / "p" / "r" / "m.gguf"), [models]) is None


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_models_folder_behind_a_link_is_the_same_folder(tmp_path: Path):
    real, linked = tmp_path / "real", tmp_path / "linked"
    (real / "p" / "r").mkdir(parents=True)
    linked.symlink_to(real)
    assert name_below(str(real / "p" / "r" / "m.gguf"), [linked]) == "p/r/m.gguf"
    (real / "p" / "r" / "m.gguf").symlink_to(tmp_path / "blob")
    assert name_below(str(linked / "p" / "r" / "m.gguf"), [real]) == "p/r/m.gguf"


def test_no_file_is_no_text_and_a_bad_one_is_named(folder: Path):
    path = folder / "m.json"
    assert read_text(path) is None
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DefaultsError, match="not UTF-8") as caught:
        read_text(path)
    assert caught.value.path == path
    with pytest.raises(DefaultsError, match="cannot be read"):
        read_text(folder)


def test_a_backup_has_what_was_there_and_ten_are_kept(folder: Path, tmp_path: Path):
    path, backups = folder / "p" / "r" / "m.json", tmp_path / "backups"
    write_text(folder / "p" / "r" / "m.other.json", "another model's")
    back_up(folder / "p" / "r" / "m.other.json", folder, backups)
    copies = []
    for number in range(12):
        write_text(path, str(number))
        copies.append(back_up(path, folder, backups))
    kept = sorted((backups / "p" / "r").glob("m.2*.json"))
    assert kept == copies[2:]
    assert [copy.read_text() for copy in kept] == [str(number) for number in range(2, 12)]
    assert len(list((backups / "p" / "r").glob("m.other.*.json"))) == 1


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_a_file_that_cannot_be_written_is_an_error_with_its_name(folder: Path):
    (folder / "p").write_text("a file where a folder should be")
    with pytest.raises(DefaultsError, match="cannot be written"):
        write_text(folder / "p" / "m.json", "{}")
