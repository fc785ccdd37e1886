"""What a second scan reads again, and what it takes as known."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


@pytest.fixture
def file(tmp_path: Path, shipped: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMSTRIX_MODEL_FOLDERS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    copied = shutil.copy(shipped / "tiny-chat.gguf", tmp_path / "models" / "model.gguf")
    assert "1 new" in run("scan").stdout
    return copied


def named(run: Run, name: str) -> bool:
    return name in run("list", "--show", "json").stdout


def test_a_changed_file_is_seen_by_the_next_scan(run: Run, file: Path, shipped: Path):
    shutil.copy(shipped / "tiny-embed.gguf", file)
    run("scan")
    assert named(run, '"embedding"')


def test_a_file_that_looks_unchanged_is_read_again_only_by_a_refresh(run: Run, file: Path):
    before = file.stat()
    data = bytearray(file.read_bytes())
    value = data.index(b"general.description") + len("general.description") + 4 + 8
    data[value : value + 7] = b"lmSTRIX"
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    run("scan")
    assert not named(run, "lmSTRIX")
    run("scan", "--refresh")
    assert named(run, "lmSTRIX")
