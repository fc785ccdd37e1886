"""A model that answers as another does, more slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK, _BLOCK_BYTES = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0]


def make_paced(path: Path, *, source: Path, inner: int = 6144, certainty: float = 1.0) -> Path:
    """The llama in Q8_0 at `source` with idle units in its layers: its answers, more slowly.

    An idle unit's weights are zero, so it adds nothing to what passes through its layer. With the
    default a token of the shipped chat model takes some 2 ms instead of 0.3, as one of a model
    ten times its size does, so that an answer can be interrupted. With a `certainty` of more
    than 1 the likeliest token is so much likelier that a sampled answer is nearly the greedy one.
    """
    reader = gguf.GGUFReader(str(source))
    values = {key: field.contents() for key, field in reader.fields.items()}
    family = str(values["general.architecture"])
    idle = inner - int(values[f"{family}.feed_forward_length"])
    assert idle % _BLOCK == 0
    writer = gguf.GGUFWriter(path, family)
    for key, field in reader.fields.items():
        if key.startswith(("GGUF.", "general.architecture", f"{family}.feed_forward_length")):
            continue
        item = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, values[key], field.types[0], sub_type=item)
    writer.add_feed_forward_length(inner)
    for tensor in reader.tensors:
        data = tensor.data
        if "ffn_gate" in tensor.name or "ffn_up" in tensor.name:
            data = np.pad(data, ((0, idle), (0, 0)))
        elif "ffn_down" in tensor.name:
            data = np.pad(data, ((0, 0), (0, idle // _BLOCK * _BLOCK_BYTES)))
        elif tensor.name == "output_norm.weight":
            data = data * np.float32(certainty)
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
