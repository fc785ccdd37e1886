from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from models.making import make_llama

from lmstrix.errors import GGUFError
from lmstrix.gguf import describe, file_identity, relative_key
from lmstrix.types import Model, ModelType

if TYPE_CHECKING:
    from models.fixtures import Maker

HERE = {"provider": "embedded", "server": "local"}


def test_a_chat_model_is_described_from_its_header(made: Maker, tmp_path: Path) -> None:
    source = made(make_llama, layers=3, context_tokens=2048, weights="q8_0")
    path = tmp_path / "publisher" / "repository" / "name-Q8_0.gguf"
    path.parent.mkdir(parents=True)
    shutil.copy(source, path)
    os.utime(path, (7, 7))
    assert describe(path, **HERE, folder=tmp_path) == Model(
        key="name-Q8_0",
        provider="embedded",
        server="local",
        type=ModelType.LLM,
        path=str(path),
        size_bytes=source.stat().st_size,
        name=source.stem,
        architecture="llama",
        parameters=3 * (64 * 64 * 3 + 64 * 128 * 3 + 128) + 2048 * 64 + 64,
        tools=True,
        quantization="Q8_0",
        declared_context_tokens=2048,
        identity=file_identity(source),
        modified_at=7.0,
        tags=("publisher",),
    )


def test_tools_and_reasoning_are_seen_in_the_template(made: Maker) -> None:
    template = "{% if tools %}{{ tools }}{% endif %}<think>{{ messages }}"
    model = describe(made(make_llama, template=template), **HERE)
    assert model.tools
    assert model.reasoning
    plain = describe(made(make_llama, template="{{ messages }}"), **HERE)
    assert not plain.tools
    assert not plain.reasoning


def test_an_embedding_model_is_recognised(embedding_file: Path) -> None:
    model = describe(embedding_file, **HERE)
    assert model.type is ModelType.EMBEDDING
    assert model.declared_context_tokens == 512


def test_a_projector_beside_the_file_means_vision(llama_file: Path, tmp_path: Path) -> None:
    path = shutil.copy(llama_file, tmp_path / "m.gguf")
    assert describe(path, **HERE).type is ModelType.LLM
    (tmp_path / "mmproj-m-f16.gguf").touch()
    model = describe(path, **HERE)
    assert model.type is ModelType.VLM
    assert model.vision


def test_a_split_model_is_described_whole(split_file: Path) -> None:
    model = describe(split_file, **HERE)
    parts = split_file.parent.glob(split_file.name.replace("00001-of", "*-of"))
    assert model.key == split_file.name.removesuffix("-00001-of-00003.gguf")
    assert model.size_bytes == sum(part.stat().st_size for part in parts)


def test_keys_that_must_differ_are_made_of_the_path() -> None:
    folder = Path("models")
    path = folder / "publisher" / "repository" / "name-00001-of-00002.gguf"
    assert relative_key(path, folder) == "publisher/repository/name"
    assert relative_key(Path("elsewhere/name.gguf"), folder) == "name"


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(GGUFError):
        describe(tmp_path / "m.gguf", **HERE)
