"""Headers as large as real ones, without the weights: the data is a hole in the file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def make_big_header(
    path: Path, *, tokens: int = 151_936, merges: int = 151_387, layers: int = 36, seed: int = 0
) -> Path:
    """The header of an 8-billion-parameter model with a 152,000-token vocabulary (sparse file)."""
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_name("Synthetic 8B")
    writer.add_context_length(262_144)
    writer.add_embedding_length(4096)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(12_288)
    writer.add_head_count(32)
    writer.add_head_count_kv(8)
    writer.add_key_length(128)
    writer.add_value_length(128)
    writer.add_layer_norm_rms_eps(1e-6)
    lengths = np.random.default_rng(seed).integers(3, 12, tokens)
    names = [f"{i:x}".ljust(length, "x") for i, length in enumerate(lengths)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(names)
    writer.add_token_types([1] * tokens)
    writer.add_token_merges([f"{name[:3]} {name[3:] or 'y'}" for name in names[:merges]])
    writer.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    total = _add_tensors(writer, layers, tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, path.stat().st_size + 64 + total)
    return path


def _add_tensors(writer: gguf.GGUFWriter, layers: int, tokens: int) -> int:
    total = 0

    def add(name: str, *shape: int, kind: type = np.float16) -> None:
        nonlocal total
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        writer.add_tensor_info(name, shape, np.dtype(kind), size)
        total += -(-size // 32) * 32

    add("token_embd.weight", tokens, 4096)
    for i in range(layers):
        add(f"blk.{i}.attn_norm.weight", 4096, kind=np.float32)
        add(f"blk.{i}.attn_q.weight", 4096, 4096)
        add(f"blk.{i}.attn_k.weight", 1024, 4096)
        add(f"blk.{i}.attn_v.weight", 1024, 4096)
        add(f"blk.{i}.attn_output.weight", 4096, 4096)
        add(f"blk.{i}.ffn_norm.weight", 4096, kind=np.float32)
        add(f"blk.{i}.ffn_gate.weight", 12_288, 4096)
        add(f"blk.{i}.ffn_up.weight", 12_288, 4096)
        add(f"blk.{i}.ffn_down.weight", 4096, 12_288)
    add("output_norm.weight", 4096, kind=np.float32)
    return total
