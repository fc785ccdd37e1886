"""Damaged, missing and forbidden files: named, refused with the right exit code, nothing lost."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run


@pytest.fixture
def folder(tmp_path: Path, shipped: Path) -> Path:
    """A model folder with one sound model, known to the store."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(shipped / "tiny-chat.gguf", folder)
    return folder


@pytest.fixture
def scanned(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMSTRIX_MODEL_FOLDERS", str(folder))
    assert run("scan").returncode == 0
    return folder


def ids(run: Run) -> list[str]:
    return run("list", "--show", "id").stdout.split()


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("empty.gguf", lambda data: b"", "empty"),
        ("half.gguf", lambda data: data[: len(data) // 2], "half"),
        ("head.gguf", lambda data: data[:3000], "head"),
        ("renamed.gguf", lambda data: b"PK\x03\x04" + data[4:], "renamed"),
    ],
)
def test_a_damaged_file_is_named_by_a_scan_and_the_sound_ones_are_kept(
    run: Run, scanned: Path, name: str, damage: Callable[[bytes], bytes], said: str
):
    sound = (scanned / "tiny-chat.gguf").read_bytes()
    (scanned / name).write_bytes(damage(sound))
    done = run("scan")
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert ids(run) == ["tiny-chat"]
    asked = run("infer", "hello", str(scanned / name))
    assert (asked.returncode, asked.stdout) == (1, "")
    assert name in asked.stderr
    assert "Traceback" not in asked.stderr


def test_a_file_renamed_since_the_scan_keeps_its_history(run: Run, scanned: Path):
    (scanned / "tiny-chat.gguf").rename(scanned / "little.gguf")
    gone = run("infer", "hello", "tiny-chat")
    assert gone.returncode == 1
    assert "tiny-chat" in gone.stderr
    assert "lmstrix scan" in gone.stderr
    run("scan")
    assert ids(run) == ["little"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_folder_without_read_rights_loses_no_model(run: Run, scanned: Path):
    scanned.chmod(0o000)
    try:
        done = run("scan")
    finally:
        scanned.chmod(0o755)
    assert str(scanned) in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert ids(run) == ["tiny-chat"]
    assert "missing" not in run("list").stdout


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_file_without_read_rights_is_named(run: Run, scanned: Path):
    (scanned / "tiny-chat.gguf").chmod(0o000)
    asked = run("infer", "hello", "tiny-chat")
    assert asked.returncode == 1
    assert "tiny-chat.gguf" in asked.stderr
    assert "ermission" in asked.stderr
    assert "Traceback" not in asked.stderr
