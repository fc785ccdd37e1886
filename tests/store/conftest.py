"""A store of the test's own, and the values that fill it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.results import TestKey, TestResult, TestStatus
from lmstrix.store import Store, machine_id
from lmstrix.types import LoadConfig, Model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "lmstrix.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


class Make:
    """Values with sensible defaults, so that a test names only what it is about."""

    @staticmethod
    def model(key: str = "tiny", **fields: Any) -> Model:
        fields.setdefault("identity", f"identity of {key}")
        return Model(key=key, provider="embedded", server="local", **fields)

    @staticmethod
    def key(identity: str = "identity of tiny", **fields: Any) -> TestKey:
        fields.setdefault("machine", machine_id())
        fields.setdefault("load", LoadConfig())
        return TestKey(identity=identity, provider="embedded", **fields)

    @classmethod
    def result(cls, key: TestKey | None = None, **fields: Any) -> TestResult:
        fields.setdefault("status", TestStatus.TESTING)
        fields.setdefault("model_key", "tiny")
        return TestResult(key=key or cls.key(), started_at=100.0, **fields)


@pytest.fixture
def make() -> type[Make]:
    return Make
