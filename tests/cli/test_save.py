"""`lmstrix save`, run as a user runs it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ENV = {"LMSTRIX_SHIPPED_MODELS": "false"}
DEFAULTS = ".internal/user-concrete-model-default-config/pub/tiny"


@pytest.fixture
def studio(home: Path, shipped: Path) -> Path:
    """LM Studio's folder with a chat and an embedding model."""
    folder = home / ".lmstudio"
    models = folder / "models" / "pub" / "tiny"
    models.mkdir(parents=True)
    for name in ("tiny-chat.gguf", "tiny-embed.gguf"):
        shutil.copy(shipped / name, models)
    return folder


def test_what_was_tested_is_saved_and_said(lmstrix: Any, studio: Path):
    lmstrix("scan", env=ENV)
    assert lmstrix("save", "tiny-chat", env=ENV).returncode == 3
    lmstrix("test", "tiny-chat", "--ctx", "512", "--fast", env=ENV)
    file = studio / DEFAULTS / "tiny-chat.gguf.json"

    shown = lmstrix("save", "tiny-chat", "--dry-run", env=ENV)
    assert shown.returncode == 0
    assert "would save" in shown.stdout
    assert '+        "value": 512' in shown.stdout
    assert not file.exists()

    saved = lmstrix("save", "tiny-chat", "--limit", "50%", "--flash", env=ENV)
    assert saved.returncode == 0, saved.stderr
    assert "context: not set -> 256" in saved.stdout
    assert "flash attention: not set -> on" in saved.stdout
    assert str(file) in saved.stdout
    assert '"value": 256' in file.read_text()

    assert "context 256, flash attention on" in lmstrix("info", "tiny-chat", env=ENV).stdout
    plain = json.loads(lmstrix("info", "tiny-chat", "--format", "json", env=ENV).stdout)
    assert plain["lmstudio_defaults"]["context_tokens"] == 256

    every = lmstrix("save", "--all", env=ENV)
    assert every.returncode == 0
    assert "context: 256 -> 512" in every.stdout
    assert "tiny-embed: skipped" in every.stdout
    assert "1 saved, 1 skipped" in every.stderr

    (again,) = json.loads(lmstrix("save", "tiny-chat", "--format", "json", env=ENV).stdout)
    assert (again["status"], again["context_tokens"]) == ("unchanged", 512)


def test_a_file_that_cannot_be_read_is_a_failure(lmstrix: Any, studio: Path):
    lmstrix("scan", env=ENV)
    lmstrix("test", "tiny-embed", env=ENV)
    file = studio / DEFAULTS / "tiny-embed.gguf.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    failed = lmstrix("save", "--all", env=ENV)
    assert failed.returncode == 1
    assert str(file) in failed.stdout
    assert file.read_text() == "{"
    shown = lmstrix("info", "tiny-embed", "--format", "json", env=ENV)
    assert "not valid JSON" in json.loads(shown.stdout)["lmstudio_defaults"]
    assert lmstrix("save", "--all", "--force", env=ENV).returncode == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["save"], 2),
        (["save", "tiny", "--all"], 2),
        (["save", "--all", "--limit", "0"], 2),
        (["save", "--all", "--limit", "-5"], 2),
        (["save", "--all", "--limit", "4096", "--above", "8k"], 2),
        (["save", "nothing"], 3),
        (["save", "--all"], 3),
    ],
)
def test_what_cannot_be_done_ends_with_its_code(lmstrix: Any, words: list[str], code: int):
    done = lmstrix(*words, env=ENV)
    assert done.returncode == code
    assert "hint: " in done.stderr
