"""A GGUF file being written: random weights from a seed, and the shipped model's tokenizer."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
    "q2_k": (gguf.GGMLQuantizationType.Q2_K, gguf.LlamaFileType.MOSTLY_Q2_K),
    "q3_k": (gguf.GGMLQuantizationType.Q3_K, gguf.LlamaFileType.MOSTLY_Q3_K_M),
    "q4_k": (gguf.GGMLQuantizationType.Q4_K, gguf.LlamaFileType.MOSTLY_Q4_K_M),
    "q5_k": (gguf.GGMLQuantizationType.Q5_K, gguf.LlamaFileType.MOSTLY_Q5_K_M),
    "q6_k": (gguf.GGMLQuantizationType.Q6_K, gguf.LlamaFileType.MOSTLY_Q6_K),
    "q4_1": (gguf.GGMLQuantizationType.Q4_1, gguf.LlamaFileType.MOSTLY_Q4_1),
    "q5_0": (gguf.GGMLQuantizationType.Q5_0, gguf.LlamaFileType.MOSTLY_Q5_0),
    "iq4_nl": (gguf.GGMLQuantizationType.IQ4_NL, gguf.LlamaFileType.MOSTLY_IQ4_NL),
    "iq3_s": (gguf.GGMLQuantizationType.IQ3_S, gguf.LlamaFileType.MOSTLY_IQ3_S),
    "iq4_xs": (gguf.GGMLQuantizationType.IQ4_XS, gguf.LlamaFileType.MOSTLY_IQ4_XS),
    "mxfp4": (gguf.GGMLQuantizationType.MXFP4, gguf.LlamaFileType.MOSTLY_MXFP4_MOE),
}


@cache
def shipped_tokenizer() -> dict[str, Any]:
    """The `tokenizer.*` metadata of the shipped chat model."""
    reader = gguf.GGUFReader(str(files("lmstrix") / "shipped" / "tiny-chat.gguf"))
    return {
        key: field.contents()
        for key, field in reader.fields.items()
        if key.startswith("tokenizer.")
    }


class Draft:
    """One model file in the making; `save` writes it.

    `weights` is the type of the matrices (`f32`, `f16`, `q8_0`, `q4_0`); vectors stay `f32`.
    Shapes are given in numpy's order (rows first), which GGUF stores reversed.
    """

    def __init__(
        self,
        path: Path,
        architecture: str,
        *,
        weights: str = "f16",
        seed: int = 0,
        tensors_per_file: int = 0,
    ) -> None:
        self.path = path
        self.weights, file_type = TYPES[weights]
        self.writer = gguf.GGUFWriter(path, architecture, split_max_tensors=tensors_per_file)
        self.writer.add_name(path.stem)
        self.writer.add_file_type(file_type)
        self.architecture = architecture
        self.random = np.random.default_rng(seed)

    def set(self, **values: bool | float | Sequence[int] | None) -> None:
        """Metadata below the architecture's name; `__` in a keyword stands for a dot."""
        for keyword, value in values.items():
            key = f"{self.architecture}.{keyword.replace('__', '.')}"
            if value is None:
                continue
            if isinstance(value, bool):
                self.writer.add_bool(key, value)
            elif isinstance(value, int):
                self.writer.add_uint32(key, value)
            elif isinstance(value, float):
                self.writer.add_float32(key, value)
            else:
                self.writer.add_array(key, list(value))

    def chat_tokenizer(self, vocabulary: int, *, template: str | None = None) -> None:
        """The shipped byte-level BPE, filled up with unused tokens to `vocabulary`."""
        shipped = shipped_tokenizer()
        tokens = list(shipped["tokenizer.ggml.tokens"])
        types = list(shipped["tokenizer.ggml.token_type"])
        extra = vocabulary - len(tokens)
        assert extra >= 0, f"the shipped vocabulary has {len(tokens)} tokens already"
        w = self.writer
        w.add_vocab_size(vocabulary)
        w.add_tokenizer_model(shipped["tokenizer.ggml.model"])
        w.add_tokenizer_pre(shipped["tokenizer.ggml.pre"])
        w.add_token_list(tokens + [f"<|unused_{i}|>" for i in range(extra)])
        w.add_token_types(types + [int(gguf.TokenType.UNUSED)] * extra)
        w.add_token_merges(shipped["tokenizer.ggml.merges"])
        w.add_bos_token_id(shipped["tokenizer.ggml.bos_token_id"])
        w.add_eos_token_id(shipped["tokenizer.ggml.eos_token_id"])
        w.add_pad_token_id(shipped["tokenizer.ggml.padding_token_id"])
        if template != "":
            w.add_chat_template(template or shipped["tokenizer.chat_template"])

    def matrix(self, name: str, *shape: int, scale: float = 1.0, exact: bool = False) -> None:
        """Normal values of variance `scale² / columns`; `exact` keeps them f32."""
        values = self.random.standard_normal(shape, dtype=np.float32)
        values *= np.float32(scale / np.sqrt(shape[-1]))
        if exact or self.weights is gguf.GGMLQuantizationType.F32:
            self.writer.add_tensor(name, values)
        elif shape[-1] % 32:
            self.writer.add_tensor(name, values.astype(np.float16))
        else:
            try:
                packed = gguf.quants.quantize(values, self.weights)
            except NotImplementedError:  # K and I types: the package can only read them
                packed = self._noise(shape[-1], *shape[:-1])
            self.writer.add_tensor(name, packed, raw_dtype=self.weights)

    def _noise(self, columns: int, *shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Blocks of random bytes whose scales are small, whatever their layout."""
        block, size = gguf.GGML_QUANT_SIZES[self.weights]
        assert columns % block == 0, f"{self.weights.name} needs rows of {block}"
        blocks = (*shape, columns // block, size)
        if self.weights is not gguf.GGMLQuantizationType.IQ3_S:
            noise = self.random.integers(0, 16, blocks, dtype=np.uint8)
        else:  # its scale comes first, so the rest may be anything
            noise = self.random.integers(0, 256, blocks, dtype=np.uint8)
            scale = np.float16(0.01 / np.sqrt(columns))  # a weight is some hundred times that
            noise[..., :2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
        return noise.reshape(*shape, -1)

    def vector(self, name: str, *shape: int, value: float = 1.0) -> None:
        """Every element is `value`, in f32."""
        self.writer.add_tensor(name, np.full(shape, value, dtype=np.float32))

    def save(self) -> Path:
        """Write header and tensors; the path of the (first) file."""
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()
        first = next(iter(sorted(self.path.parent.glob(f"{self.path.stem}-00001-of-*.gguf"))), None)
        return first or self.path
