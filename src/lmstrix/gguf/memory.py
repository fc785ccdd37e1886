"""How much memory llama.cpp will take for a model, before it is loaded.

Weights, KV cache and recurrent state follow llama.cpp's own arithmetic and are exact for the
families of `VERIFIED`. The compute buffer is what its graph allocator was measured to reserve,
as a formula of the model's widths; the overhead is fitted to the engine process on Linux.
`benchmarks/memory_model.py` compares all of it with the engine on models not used for fitting.
"""

from __future__ import annotations

import platform
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import UsageError
from lmstrix.gguf.layers import (
    Layer,
    has_unknown_window,
    is_encoder,
    is_latent,
    read_layers,
)
from lmstrix.gguf.quantization import CACHE_TYPES, TensorType

if TYPE_CHECKING:
    from lmstrix.gguf.header import Header, Tensor
    from lmstrix.types import LoadConfig

VERIFIED = frozenset(
    {
        "bert", "deepseek2", "gemma2", "gemma3", "jamba", "lfm2", "llama", "mamba",
        "qwen3", "qwen3moe",
    }
)  # fmt: skip
"""Families compared with the engine's own reports."""
_PLAIN = frozenset(
    {
        "command-r", "deepseek", "ernie4_5", "exaone", "falcon", "gemma", "glm4", "gpt2", "granite",
        "granitemoe", "internlm2", "minicpm", "mistral3", "nemotron", "olmo", "olmoe", "phi2",
        "phi3", "phimoe", "qwen2", "qwen2moe", "qwen2vl", "qwen3vl", "qwen3vlmoe", "seed_oss",
        "smollm3", "stablelm", "starcoder2",
    }
)  # fmt: skip
# On x86 with AVX2 the engine keeps a second, rearranged copy of matrices of these types.
_REARRANGED = frozenset({"q4_0", "q4_k", "iq4_nl", "mxfp4"})

_DEFAULT_BATCH_TOKENS = 2048
_DEFAULT_MICROBATCH_TOKENS = 512
_CELLS_STEP = 256
_UNDECLARED_CEILING = 1 << 20

_PROCESS_BYTES = 36_000_000
_TOKEN_BYTES = 190
_MERGE_BYTES = 200
_TENSOR_BYTES = 8_000
_CELL_BYTES = 52 + 110  # kept for each cell, and for each cell in use


class Confidence(StrEnum):
    """How far a prediction can be trusted."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class MemoryNeed(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes an instance will hold when its context is full, by what they are for.

    `weights_bytes` counts a mapped file as memory and includes the engine's rearranged copies;
    `recurrent_bytes` does not depend on the context; `checkpoint_bytes` are the states that the
    engine keeps to go back in a sliding or recurrent context.
    """

    weights_bytes: int
    kv_bytes: int
    recurrent_bytes: int
    compute_bytes: int
    checkpoint_bytes: int
    overhead_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return sum(msgspec.structs.astuple(self))


class _Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """A `LoadConfig` in the engine's own numbers. Cells are per sequence."""

    cells: int
    context_tokens: int
    sequences: int
    microbatch: int
    key: TensorType
    value: TensorType
    flash: bool
    mapped: bool

    def cells_of(self, layer: Layer) -> int:
        if layer.window_tokens is None:
            return self.cells
        return _padded(min(self.cells, layer.window_tokens + self.microbatch))

    def cache_bytes(self, layer: Layer) -> int:
        row = self.key.row_bytes(layer.key) + self.value.row_bytes(layer.value)
        return self.cells_of(layer) * self.sequences * row


class MemoryModel:
    """Predicts the memory of one model; pure once the header is read.

    `checkpoints` is how many states per sequence the engine may keep (llama.cpp's own default
    is 32, at least 8,192 tokens apart).
    """

    def __init__(self, header: Header, *, checkpoints: int = 32) -> None:
        self.header = header
        self.layers = read_layers(header)
        self._checkpoints = checkpoints
        self._floats_per_token = _floats_per_token(header, self.layers)

    @property
    def confidence(self) -> Confidence:
        """High for families compared with the engine, low for unknown ones."""
        family = self.header.architecture
        if not self.layers or has_unknown_window(self.header):
            return Confidence.LOW
        if family in VERIFIED:
            return Confidence.HIGH
        return Confidence.MEDIUM if family in _PLAIN else Confidence.LOW

    def need(self, config: LoadConfig) -> MemoryNeed:
        """What an instance loaded with `config` will hold when its context is full.

        Where `config.context_tokens` is `None` the declared context is meant. Raises
        `UsageError` for a KV type that llama.cpp does not offer.
        """
        sizes = self._sizes(config)
        states = 4 * sum(layer.state for layer in self.layers)
        return MemoryNeed(
            weights_bytes=self._weights(mapped=sizes.mapped),
            kv_bytes=sum(sizes.cache_bytes(layer) for layer in self.layers),
            recurrent_bytes=states * sizes.sequences,
            compute_bytes=self._compute(sizes),
            checkpoint_bytes=self._checkpoint_bytes(sizes, states),
            overhead_bytes=self._overhead(sizes),
        )

    def largest_context(
        self, config: LoadConfig, budget_bytes: int, *, ceiling_tokens: int | None = None
    ) -> int:
        """The most tokens whose total need stays within the budget; 0 if nothing does.

        At most `ceiling_tokens` (by default the declared context); below that a multiple of
        256, the engine's own step. `config.context_tokens` is not looked at.
        """
        ceiling = ceiling_tokens if ceiling_tokens is not None else self._declared()

        def fits(tokens: int) -> bool:
            sized = msgspec.structs.replace(config, context_tokens=tokens)
            return self.need(sized).total_bytes <= budget_bytes

        if ceiling > 0 and fits(ceiling):
            return ceiling
        low, high = 0, ceiling // _CELLS_STEP  # low fits (or is 0), above high nothing does
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle * _CELLS_STEP) else (low, middle - 1)
        return low * _CELLS_STEP

    def _declared(self) -> int:
        return self.header.count("context_length") or _UNDECLARED_CEILING

    def _sizes(self, config: LoadConfig) -> _Sizes:
        sequences = max(config.parallel or 1, 1)
        tokens = config.context_tokens or self._declared()
        if config.batch_tokens:
            batch = microbatch = config.batch_tokens
        else:
            batch, microbatch = _DEFAULT_BATCH_TOKENS, _DEFAULT_MICROBATCH_TOKENS
        value = _cache_type(config.kv_type_v)
        return _Sizes(
            cells=_padded(tokens),
            context_tokens=tokens,
            sequences=sequences,
            microbatch=min(microbatch, batch, _padded(tokens) * sequences),
            key=_cache_type(config.kv_type_k),
            value=value,
            # "auto" turns it on wherever the CPU can; a quantized V needs it.
            flash=config.flash_attention is not False or value.block > 1,
            mapped=config.memory_limit_bytes is None,
        )

    def _weights(self, *, mapped: bool) -> int:
        """The tensors as loaded: those the engine rearranges are copied out of the file."""
        tensors = self.header.tensors
        tied = not any(tensor.name == "output.weight" for tensor in tensors)
        copied, kept = [], []
        for tensor in tensors:
            embedding = tensor.name == "token_embd.weight"
            rearranged = _is_rearranged(tensor) and (tied or not embedding)
            if rearranged:
                copied.append(tensor)
            if embedding or not rearranged:
                kept.append(tensor)
        copies = sum(tensor.size_bytes for tensor in copied)
        if not mapped:
            return copies + sum(tensor.size_bytes for tensor in kept)
        # Of a mapped file everything between the first and the last tensor in use stays.
        spans: dict[int, tuple[int, int]] = {}
        for tensor in kept:
            start, end = spans.get(tensor.part, (tensor.offset, 0))
            spans[tensor.part] = (
                min(start, tensor.offset),
                max(end, tensor.offset + tensor.size_bytes),
            )
        return copies + sum(end - start for start, end in spans.values())

    def _compute(self, sizes: _Sizes) -> int:
        """The graph's buffer: masks, and of its steps the one that holds most at once."""
        header, tokens = self.header, sizes.microbatch
        if is_encoder(header):
            mask = 2 * tokens
        else:
            caches = {sizes.cells_of(layer) for layer in self.layers if layer.key}
            mask = sum(caches) * (2 if sizes.flash else 4)
        states = max((layer.state for layer in self.layers), default=0) * sizes.sequences
        attention = _attention_floats(header, self.layers) + self._scores(sizes)
        steps = (
            4 * (tokens * self._floats_per_token + states),
            4 * tokens * attention + self._halved_cache(sizes),
            4
            * (
                header.token_count * sizes.sequences + tokens * 2 * header.count("embedding_length")
            ),
        )
        return tokens * mask + max(steps)

    def _halved_cache(self, sizes: _Sizes) -> int:
        """Flash attention reads 32-bit keys and values as 16-bit copies."""
        if not sizes.flash:
            return 0
        return max(
            (
                2
                * sizes.cells_of(layer)
                * sizes.sequences
                * (
                    layer.key * (sizes.key.name == "f32")
                    + layer.value * (sizes.value.name == "f32")
                )
                for layer in self.layers
            ),
            default=0,
        )

    def _scores(self, sizes: _Sizes) -> int:
        """The attention scores of one token, where they are not made in pieces."""
        if sizes.flash:
            return 0
        return max((layer.heads * sizes.cells_of(layer) for layer in self.layers), default=0)

    def _checkpoint_bytes(self, sizes: _Sizes, states: int) -> int:
        """A checkpoint holds the sliding layers' cells within the window and all states."""
        sliding = sum(
            min(layer.window_tokens, sizes.context_tokens)
            * (sizes.key.row_bytes(layer.key) + sizes.value.row_bytes(layer.value))
            for layer in self.layers
            if layer.window_tokens is not None
        )
        # Two near the end of every prompt, others at least 8,192 tokens apart.
        kept = min(self._checkpoints, 2 + sizes.context_tokens // 8192)
        return (sliding + states) * kept * sizes.sequences

    def _overhead(self, sizes: _Sizes) -> int:
        merges = self.header.metadata.get("tokenizer.ggml.merges")
        merge_count = getattr(merges, "length", 0)
        kinds = {sizes.cells_of(layer) for layer in self.layers if layer.key}
        return (
            _PROCESS_BYTES
            + self.header.token_count * (_TOKEN_BYTES + 4 * sizes.sequences)
            + merge_count * _MERGE_BYTES
            + len(self.header.tensors) * _TENSOR_BYTES
            + sum(kinds) * sizes.sequences * _CELL_BYTES
            # A multiplication's right side, converted to 16 bits by the CPU backend.
            + 2 * sizes.microbatch * max(self._floats_per_token // 3, self._scores(sizes))
        )


def _cache_type(name: str | None) -> TensorType:
    try:
        return CACHE_TYPES[(name or "f16").lower()]
    except KeyError:
        raise UsageError(
            f"{name!r} is no KV cache type", hint=f"There are: {', '.join(sorted(CACHE_TYPES))}."
        ) from None


def _is_rearranged(tensor: Tensor) -> bool:
    return (
        tensor.type in _REARRANGED
        and len(tensor.shape) > 1
        and tensor.shape[1] % 8 == 0
        and platform.machine().lower() in ("x86_64", "amd64")
    )


def _padded(tokens: int) -> int:
    return -(-tokens // _CELLS_STEP) * _CELLS_STEP


def _floats_per_token(header: Header, layers: tuple[Layer, ...]) -> int:
    """The most 32-bit floats of activations alive at once for one token (flash attention)."""
    width = header.count("embedding_length")
    return max(
        _attention_floats(header, layers),
        _feed_forward_floats(header, width),
        _state_floats(header, width, layers),
    ) + 16  # fmt: skip


def _attention_floats(header: Header, layers: tuple[Layer, ...]) -> int:
    width = header.count("embedding_length")
    if is_encoder(header):
        return width * 13 // 2
    most = 0
    latent = header.count("attention.kv_lora_rank")
    unfolded = header.count("attention.key_length_mla")
    for layer in layers:
        if is_latent(header):
            floats = 3 * width + layer.query + layer.heads * (latent + 2 * unfolded)
        else:
            floats = 5 * width + layer.query + layer.key + layer.value
            floats += layer.query if layer.query > width else 0
        most = max(most, floats)
    return most


def _feed_forward_floats(header: Header, width: int) -> int:
    inner = header.per_layer("feed_forward_length")
    dense = max((0, *inner) if isinstance(inner, tuple) else (0, inner or 0))
    names = {tensor.name.rpartition("blk.")[2].partition(".")[2] for tensor in header.tensors}
    gated = "ffn_gate.weight" in names
    floats = 5 * width + (3 if gated else 1) * dense
    used = header.count("expert_used_count")
    if used and "ffn_down_exps.weight" in names:
        expert = header.count("expert_feed_forward_length") or dense
        sparse = 5 * width + used * (3 * expert + (width if width > expert else 0))
        floats = max(sparse, floats if gated else 0)
    return floats


def _state_floats(header: Header, width: int, layers: tuple[Layer, ...]) -> int:
    if not any(layer.state for layer in layers):
        return 0
    if header.count("shortconv.l_cache"):
        return 9 * width
    if header.count("wkv.head_size"):
        return 10 * width
    return 5 * width + 5 * header.count("ssm.inner_size")
