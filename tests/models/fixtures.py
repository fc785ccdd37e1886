"""Pytest plugin: models made once in a test run, for all its processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from filelock import FileLock

from . import headers, making

Maker: TypeAlias = Callable[..., Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """`made(make_llama, layers=3)` is the path of such a model, written by the first who asks.

    The file is shared: a test that changes it copies it first.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-models"
    folder.mkdir(exist_ok=True)

    def make(maker: Maker, **shape: object) -> Path:
        settings = repr(sorted(shape.items())).encode()
        digest = hashlib.blake2b(settings, digest_size=4).hexdigest()
        name = f"{maker.__name__.removeprefix('make_')}-{digest}"
        path, done = folder / f"{name}.gguf", folder / f"{name}.done"
        with FileLock(folder / f"{name}.lock"):
            if not done.exists():
                done.write_text(str(maker(path, **shape)), encoding="utf-8")
        return Path(done.read_text(encoding="utf-8"))

    return make


@pytest.fixture(scope="session")
def llama_file(made: Maker) -> Path:
    """A plain llama of two layers with random weights."""
    return made(making.make_llama)


@pytest.fixture(scope="session")
def slow_file(made: Maker) -> Path:
    """A model that takes 5 to 10 ms for a token with two threads."""
    return made(making.make_slow)


@pytest.fixture(scope="session")
def sliding_file(made: Maker) -> Path:
    """Sliding-window attention (gemma3, window of 256)."""
    return made(making.make_sliding)


@pytest.fixture(scope="session")
def latent_file(made: Maker) -> Path:
    """Multi-head latent attention (deepseek2)."""
    return made(making.make_latent)


@pytest.fixture(scope="session")
def recurrent_file(made: Maker) -> Path:
    """No attention (mamba)."""
    return made(making.make_recurrent)


@pytest.fixture(scope="session")
def hybrid_file(made: Maker) -> Path:
    """Attention and mamba layers in turn (jamba)."""
    return made(making.make_hybrid)


@pytest.fixture(scope="session")
def embedding_file(made: Maker) -> Path:
    """A bert that gives vectors of 768 dimensions."""
    return made(making.make_embedding)


@pytest.fixture(scope="session")
def big_header_file(made: Maker) -> Path:
    """A 152,000-token vocabulary and 36 layers, weights left out (a sparse file)."""
    return made(headers.make_big_header)


@pytest.fixture(scope="session")
def split_file(made: Maker) -> Path:
    """The first of several parts of a llama."""
    return made(making.make_llama, tensors_per_file=8)
