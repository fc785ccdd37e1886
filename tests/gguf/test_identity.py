from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from lmstrix.gguf import file_identity, read_header

if TYPE_CHECKING:
    from pathlib import Path


def _changed(source: Path, target: Path, at: int) -> Path:
    content = bytearray(source.read_bytes())
    content[at] ^= 1
    target.write_bytes(content)
    return target


def test_name_and_time_do_not_matter(llama_file: Path, tmp_path: Path) -> None:
    copy = shutil.copy(llama_file, tmp_path / "other.gguf")
    os.utime(copy, (1, 1))
    assert file_identity(copy) == file_identity(llama_file)
    assert file_identity(read_header(copy)) == file_identity(llama_file)


def test_another_header_size_or_tail_is_another_model(llama_file: Path, tmp_path: Path) -> None:
    original = file_identity(llama_file)
    template = llama_file.read_bytes().index(b"add_generation_prompt")
    longer = tmp_path / "longer.gguf"
    longer.write_bytes(llama_file.read_bytes() + b"\0")
    others = {
        file_identity(_changed(llama_file, tmp_path / "template.gguf", template)),
        file_identity(_changed(llama_file, tmp_path / "weights.gguf", -5)),
        file_identity(longer),
    }
    assert len(others) == 3
    assert original not in others


def test_the_last_part_of_a_split_model_counts(split_file: Path, tmp_path: Path) -> None:
    names = sorted(split_file.parent.glob(split_file.name.replace("00001-of", "*-of")))
    for part in names:
        shutil.copy(part, tmp_path)
    first = tmp_path / split_file.name
    assert file_identity(first) == file_identity(split_file)
    last = tmp_path / names[-1].name
    _changed(names[-1], last, -5)
    assert file_identity(first) != file_identity(split_file)
    assert file_identity(last) == file_identity(first)
