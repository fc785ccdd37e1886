from __future__ import annotations

import os
import shutil
import struct
import sys
import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models.making import make_llama
from permissions import bound_by_permissions

from lmstrix.errors import GGUFError, TruncatedFileError
from lmstrix.gguf import LongArray, read_header
from lmstrix.gguf.quantization import FILE_TYPES, TENSOR_TYPES

if TYPE_CHECKING:
    from pathlib import Path

    from models.fixtures import Maker

Refused: TypeAlias = Callable[[bytes], GGUFError]

U32, U64 = struct.Struct("<I").pack, struct.Struct("<Q").pack


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return U64(len(raw)) + raw


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + U32(kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return (
        text(name) + U32(len(shape)) + b"".join(U64(side) for side in shape) + U32(kind)
        + U64(offset)
    )  # fmt: skip


def image(
    keys: list[bytes] = [],  # noqa: B006  # never changed
    tensors: list[bytes] = [],  # noqa: B006
    *,
    data: int = 0,
    version: int = 3,
) -> bytes:
    head = b"GGUF" + U32(version) + U64(len(tensors)) + U64(len(keys))
    head += b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    def read(content: bytes) -> GGUFError:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        with pytest.raises(GGUFError) as caught:
            read_header(path)
        assert caught.value.path == path
        return caught.value

    return read


def test_a_real_header_is_read_as_the_reference_reader_reads_it(llama_file: Path) -> None:
    header, reference = read_header(llama_file), gguf.GGUFReader(llama_file)
    assert header.version == 3
    assert header.architecture == "llama"
    assert header.token_count == 2048
    assert header.metadata["tokenizer.ggml.tokens"] == LongArray("text", 2048)
    for name, field in reference.fields.items():
        if not name.startswith(("GGUF.", "tokenizer.ggml.tok", "tokenizer.ggml.merges")):
            assert header.metadata[name] == pytest.approx(field.contents()), name
    assert [(t.name, t.shape, t.size_bytes) for t in header.tensors] == [
        (t.name, tuple(t.shape), t.n_bytes) for t in reference.tensors
    ]
    assert header.parameters == sum(t.n_elements for t in reference.tensors)
    assert header.parts[0].header_bytes + header.weight_bytes <= header.size_bytes


@pytest.mark.parametrize("weights", ["f32", "f16", "q8_0", "q4_0", "q4_k", "q6_k", "iq4_xs"])
def test_weights_are_counted_to_the_byte(made: Maker, weights: str) -> None:
    path = made(make_llama, width=256, inner=256, weights=weights)
    reference = gguf.GGUFReader(path)
    assert read_header(path).weight_bytes == sum(t.n_bytes for t in reference.tensors)


def test_tensor_types_are_those_of_the_format() -> None:
    assert {n: (kind.block, kind.block_bytes) for n, kind in TENSOR_TYPES.items()} == {
        int(n): size for n, size in gguf.GGML_QUANT_SIZES.items()
    }
    assert {kind.name.upper() for kind in TENSOR_TYPES.values()} == {
        kind.name for kind in gguf.GGML_QUANT_SIZES
    }
    for file_type in gguf.LlamaFileType:
        if file_type.name != "GUESSED":
            assert FILE_TYPES[file_type] in file_type.name


def test_a_large_vocabulary_is_passed_over_in_little_memory(big_header_file: Path) -> None:
    tracemalloc.start()
    header = read_header(big_header_file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert header.token_count == 151_936
    assert header.metadata["tokenizer.ggml.merges"] == LongArray("text", 151_387)
    assert header.parameters > 7e9
    assert peak < 8e6


def test_a_list_with_a_number_for_each_layer_is_kept(hybrid_file: Path) -> None:
    assert read_header(hybrid_file).per_layer("attention.head_count_kv") == (0, 2, 0, 2)


def test_a_split_model_is_read_whole_from_any_part(split_file: Path, llama_file: Path) -> None:
    parts = sorted(split_file.parent.glob(split_file.name.replace("00001-of", "*-of")))
    whole = read_header(llama_file)
    assert len(parts) == 3
    for part in parts:
        header = read_header(part)
        assert header.weight_bytes == whole.weight_bytes
        assert header.path == parts[0]
        assert header.architecture == "llama"
        assert header.size_bytes == sum(p.stat().st_size for p in parts)


def test_a_missing_part_is_named(split_file: Path, tmp_path: Path) -> None:
    for part in split_file.parent.glob(split_file.name.replace("00001-of", "*-of")):
        if "00002-of" not in part.name:
            shutil.copy(part, tmp_path)
    with pytest.raises(GGUFError, match=r"00002-of-00003\.gguf is missing"):
        read_header(tmp_path / split_file.name)


def test_a_part_under_another_name_is_refused(split_file: Path, tmp_path: Path) -> None:
    shutil.copy(split_file, tmp_path / "renamed.gguf")
    with pytest.raises(GGUFError, match="one of 3 parts"):
        read_header(tmp_path / "renamed.gguf")
    for number in (1, 2, 3):
        shutil.copy(split_file, tmp_path / f"same-0000{number}-of-00003.gguf")
    with pytest.raises(GGUFError, match="not part 2"):
        read_header(tmp_path / "same-00001-of-00003.gguf")


def test_a_file_cut_anywhere_is_called_truncated(llama_file: Path, tmp_path: Path) -> None:
    content, path = llama_file.read_bytes(), tmp_path / "cut.gguf"
    header = read_header(llama_file)
    lengths = [5, 20, 200, header.parts[0].header_bytes - 1, len(content) // 2]
    end = max(t.offset + t.size_bytes for t in header.tensors)
    start = -(-header.parts[0].header_bytes // 32) * 32
    for length in [*lengths, start + end - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(TruncatedFileError) as caught:
            read_header(path)
        assert "download" in caught.value.hint
    path.write_bytes(content[: start + end])
    assert read_header(path).weight_bytes == header.weight_bytes


def test_each_kind_of_wrong_file_is_named(refused: Refused) -> None:
    assert "empty" in refused(b"").message
    assert "not a GGUF" in refused(b"PK\x03\x04" + bytes(100)).message
    assert "not a GGUF" in refused(b"GG").message
    assert "version 1 " in refused(b"GGUF" + U32(1) + bytes(64)).message
    assert "version 77" in refused(b"GGUF" + U32(77) + bytes(64)).message
    big = refused(b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(64))
    assert "big-endian" in big.message
    assert "gguf-convert-endian" in big.hint


def test_absurd_counts_are_refused(refused: Refused) -> None:
    assert "tensors" in refused(b"GGUF" + U32(3) + U64(1 << 60) + U64(0)).message
    assert "keys" in refused(b"GGUF" + U32(3) + U64(0) + U64(1 << 40)).message
    assert "'a'" in refused(image([key("a", 9, U32(4) + U64(1 << 50))])).message
    assert "'a'" in refused(image([key("a", 9, U32(8) + U64((1 << 63) + 5))])).message
    assert isinstance(refused(image([text("a") + U32(8) + U64(1 << 62)])), TruncatedFileError)
    assert isinstance(refused(image([key("a", 9, U32(8) + U64(9_000))])), TruncatedFileError)
    texts = key("tokenizer.x", 9, U32(8) + U64(3) + text("a") + U64(2**64 - 1) + text("b"))
    assert isinstance(refused(image([texts], data=100)), TruncatedFileError)


def test_damaged_metadata_is_refused(refused: Refused) -> None:
    nested = key("a", 9, U32(9) + U64(1) + U32(4) + U64(1) + U32(7))
    assert "array of arrays" in refused(image([nested])).message
    assert "twice" in refused(image([key("a", 4, U32(1)), key("a", 4, U32(2))])).message
    assert "unknown type 99" in refused(image([key("a", 99, b"")], data=64)).message
    assert "unknown type 13" in refused(image([key("a", 9, U32(13) + U64(0))])).message
    for alignment in (0, 3):
        assert (
            "power of two" in refused(image([key("general.alignment", 4, U32(alignment))])).message
        )


def test_damaged_tensors_are_refused(refused: Refused) -> None:
    assert "5 dimensions" in refused(image([], [tensor("t", (1,) * 5)], data=64)).message
    assert "whole q8_0 blocks" in refused(image([], [tensor("t", (33,), 8)], data=64)).message
    assert "multiple of 32" in refused(image([], [tensor("t", (1,), offset=8)], data=64)).message
    assert "twice" in refused(image([], [tensor("t", (1,)), tensor("t", (1,))], data=64)).message
    both = [tensor("t", (16,)), tensor("u", (16,))]
    assert "over one another" in refused(image([], both, data=64)).message
    assert "larger than any" in refused(image([], [tensor("t", (1 << 40, 1 << 40))])).message
    overflow = refused(image([], [tensor("t", (1,), offset=2**64 - 32)], data=64))
    assert isinstance(overflow, TruncatedFileError)


def test_a_tensor_type_of_the_future_is_measured_by_its_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    path.write_bytes(image([], [tensor("t", (64,), 250), tensor("u", (8,), 0, 64)], data=96))
    first, second = read_header(path).tensors
    assert (first.type, first.size_bytes, second.size_bytes) == ("type 250", 64, 32)


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match="a folder"):
        read_header(tmp_path)
    with pytest.raises(GGUFError, match="cannot be read"):
        read_header(tmp_path / "absent.gguf")
    with pytest.raises(GGUFError, match="no path"):
        read_header("a\0b.gguf")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.gguf")
        with pytest.raises(GGUFError, match="no regular file"):
            read_header(tmp_path / "pipe.gguf")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
def test_a_file_without_read_rights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "closed.gguf"
    path.write_bytes(image())
    path.chmod(0)
    with bound_by_permissions(), pytest.raises(GGUFError, match="Permission denied"):
        read_header(path)


SMALL = image(
    [
        key("general.architecture", 8, text("llama")),
        key("llama.block_count", 4, U32(2)),
        key("llama.attention.head_count_kv", 9, U32(4) + U64(2) + U32(1) + U32(2)),
        key("tokenizer.ggml.tokens", 9, U32(8) + U64(3) + text("a") + text("bc") + text("")),
        key("general.alignment", 4, U32(32)),
        key("split.count", 2, struct.pack("<H", 1)),
    ],
    [tensor("blk.0.attn_k.weight", (32, 4), 8), tensor("blk.1.x", (8,), 0, 160)],
    data=192,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(SMALL) - 1),
            st.sampled_from([b"\xff", b"\0", b"\x09", b"\xff" * 8, U64(1 << 63), U32(9), b"\x7f"])
            | st.binary(min_size=1, max_size=9),
        ),
        max_size=4,
    ),
    cut=st.integers(0, len(SMALL)) | st.just(len(SMALL)),
)
def test_no_mutation_of_a_header_raises_anything_else(
    edits: list[tuple[int, bytes]], cut: int, tmp_path: Path
) -> None:
    content = bytearray(SMALL)
    for at, patch in edits:
        content[at : at + len(patch)] = patch
    path = tmp_path / "mutated.gguf"
    path.write_bytes(content[:cut])
    try:
        header = read_header(path)
    except GGUFError:
        return
    assert header.weight_bytes <= header.size_bytes


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_no_bytes_strewn_over_a_real_header_raise_anything_else(
    seed: int, count: int, llama_file: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(seed)
    content = bytearray(llama_file.read_bytes())
    end = read_header(llama_file).parts[0].header_bytes
    for at in random.integers(0, end, count):
        content[at] = random.integers(0, 256)
    path = tmp_path / "strewn.gguf"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except GGUFError:
        return
    assert header.weight_bytes <= header.size_bytes
