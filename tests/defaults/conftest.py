"""An LM Studio on this machine: its folder below the test's home, with a model in it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix import AsyncLMStrix
from lmstrix.config import Settings
from lmstrix.defaults.files import FOLDER
from lmstrix.results import Limit, TestKey, TestResult, TestStatus, Verdict
from lmstrix.store import Store, machine_id
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lmstrix.config import Places

CHAT, EMBED = "pub/tiny/tiny-chat.gguf", "pub/tiny/tiny-embed.gguf"


class Studio:
    """LM Studio's folder, and test results of the models in it."""

    def __init__(self, home: Path, places: Places) -> None:
        self.home = home
        self.places = places
        self.models = home / "models"
        self.defaults = home / FOLDER

    def file(self, name: str = CHAT) -> Path:
        """The file with a model's defaults."""
        return self.defaults / f"{name}.json"

    def write(self, text: str, name: str = CHAT) -> Path:
        """Put defaults there, as LM Studio would."""
        path = self.file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def backups(self) -> list[Path]:
        """Every backup there is."""
        return sorted((self.places.backups / "lmstudio").rglob("*.json"))

    def tested(self, key: str, tokens: int, **load: Any) -> TestResult:
        """Record that a test of a model found this limit."""
        with Store.open(self.places.database) as store:
            (model,) = [one.model for one in store.entries() if one.model.key == key]
            assert model.identity is not None
            result = TestResult(
                key=TestKey(
                    identity=model.identity,
                    provider=model.provider,
                    machine=machine_id(),
                    load=LoadConfig(**load),
                ),
                model_key=key,
                status=TestStatus.COMPLETED,
                started_at=1.0,
                processable=Limit(verdict=Verdict.FOUND, tokens=tokens),
            )
            store.begin_test(result)
        return result


@pytest.fixture
def studio(home: Path, places: Places, shipped: Path) -> Studio:
    """An LM Studio with the shipped models."""
    made = Studio(home / ".lmstudio", places)
    for name in (CHAT, EMBED):
        path = made.models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shipped / path.name, path)
    return made


@pytest.fixture
async def client(studio: Studio, shipped: Path) -> AsyncIterator[AsyncLMStrix]:
    """Knows LM Studio's models and one that it has not."""
    elsewhere = studio.home.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(shipped / "tiny-chat-overclaimed.gguf", elsewhere)
    settings = Settings(model_folders=(str(elsewhere),), discover=False)
    async with AsyncLMStrix(settings=settings) as opened:
        await opened.scan(provider="embedded")
        yield opened
