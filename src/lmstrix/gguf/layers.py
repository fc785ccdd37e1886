"""What each layer of a model remembers of a context.

Which layers attend and which keep a state is read from the tensors they have; sizes come from
the metadata. The rules are llama.cpp's (`llama_hparams`), checked against its own reports by
`benchmarks/memory_model.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from lmstrix.gguf.header import Header

# Of how many layers the last (or first) sees the whole context, where the file does not say:
# the sliding families and llama.cpp's own numbers for them.
_SLIDING_PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone4": 4,
    "exaone-moe": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
    "plamo3": 8,
    "smallthinker": 4,
}
_FULL_LAYER_FIRST = {"smallthinker"}
_DEFAULT_WINDOWS = {"llama4": 8192}
# These carry a window in their files, and llama.cpp attends to everything all the same.
_WINDOW_IGNORED = {"llama", "mistral3", "phi3", "qwen2", "qwen2moe", "qwen3", "qwen3moe"}
_ENCODERS = ("bert", "gemma-embedding", "t5encoder", "wavtokenizer-dec")

_MOST_LAYERS = 512  # llama.cpp's own limit
_ATTENTION_MARKS = ("attn_k.", "attn_kv_a_mqa.", "attn_k_b.")
_STATE_MARKS = ("ssm_", "shortconv.", "time_mix_")


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer: elements of K and V per cell, of its state per sequence; its window.

    `window_tokens` is `None` where the whole context is kept. `query` are the elements of all
    heads' queries.
    """

    key: int = 0
    value: int = 0
    window_tokens: int | None = None
    state: int = 0
    heads: int = 0
    query: int = 0


def read_layers(header: Header) -> tuple[Layer, ...]:
    """Every layer that computes, in order."""
    count = min(header.count("block_count"), _MOST_LAYERS) - header.count("nextn_predict_layers")
    marks = _marks(header, max(count, 0))
    sliding = _sliding(header, len(marks))
    own_cache = len(marks) - header.count("attention.shared_kv_layers")
    state = _state_elements(header)
    encoder = is_encoder(header)
    layers = []
    for i, (attends, keeps_state) in enumerate(marks):
        window = sliding[i]
        heads = _at(header, "attention.head_count", i, default=0)
        kv_heads = _at(header, "attention.head_count_kv", i, default=heads)
        key, value = _head_sizes(header, heads, sliding=window is not None)
        cached = attends and not encoder and i < own_cache
        latent = is_latent(header)
        layers.append(
            Layer(
                key=kv_heads * key if cached else 0,
                value=kv_heads * value if cached and not latent else 0,
                window_tokens=window,
                state=state if keeps_state else 0,
                heads=heads if attends else 0,
                query=heads * key if attends else 0,
            )
        )
    return tuple(layers)


def is_encoder(header: Header) -> bool:
    """Whether it reads its whole input at once and so caches nothing."""
    return any(mark in header.architecture for mark in _ENCODERS)


def is_latent(header: Header) -> bool:
    """Whether keys and values are cached as one latent row (MLA, in its absorbed form)."""
    return bool(header.own("attention.kv_lora_rank", int)) and bool(
        header.own("attention.key_length_mla", int)
    )


def has_unknown_window(header: Header) -> bool:
    """Whether the file speaks of a window in a family whose rule is not known here."""
    return (
        bool(header.own("attention.sliding_window", int))
        and header.architecture not in _SLIDING_PERIODS
        and header.architecture not in _WINDOW_IGNORED
        and not isinstance(header.per_layer("attention.sliding_window_pattern"), tuple)
    )


def _marks(header: Header, count: int) -> list[tuple[bool, bool]]:
    """For each layer, whether it has attention and whether it has a recurrent state."""
    attends, fused, keeps = [False] * count, [False] * count, [False] * count
    for tensor in header.tensors:
        if not tensor.name.startswith("blk."):
            continue
        number, _, rest = tensor.name[4:].partition(".")
        if not number.isdecimal() or int(number) >= count:
            continue
        i = int(number)
        attends[i] |= rest.startswith(_ATTENTION_MARKS)
        fused[i] |= rest.startswith("attn_qkv.")
        keeps[i] |= rest.startswith(_STATE_MARKS)
    # A delta-net layer's fused projection is no attention.
    return [(a or (f and not k), k) for a, f, k in zip(attends, fused, keeps, strict=True)]


def _at(header: Header, key: str, layer: int, *, default: int) -> int:
    found = header.per_layer(key)
    if isinstance(found, tuple):
        found = found[layer] if layer < len(found) else None
    return default if found is None else max(found, 0)


def _head_sizes(header: Header, heads: int, *, sliding: bool) -> tuple[int, int]:
    """Elements of one head's key and value."""
    every = header.count("embedding_length") // heads if heads else 0
    suffix = "_swa" if sliding else ""
    sizes = []
    for name in ("key_length", "value_length"):
        full = header.count(f"attention.{name}")
        own = header.count(f"attention.{name}{suffix}")
        sizes.append(own or full or every)
    return sizes[0], sizes[1]


def _sliding(header: Header, count: int) -> list[int | None]:
    """Each layer's window, `None` where it sees everything."""
    family = header.architecture
    window = header.own("attention.sliding_window", int)
    if window is None:
        window = _DEFAULT_WINDOWS.get(family, 0)
    window = max(window, 0)
    pattern = header.per_layer("attention.sliding_window_pattern")
    if family in _WINDOW_IGNORED or not window:
        return [None] * count
    if isinstance(pattern, tuple):
        return [window if i < len(pattern) and pattern[i] else None for i in range(count)]
    period = pattern or _SLIDING_PERIODS.get(family)
    if not period or period < 1:
        return [None] * count
    full = 0 if family in _FULL_LAYER_FIRST else period - 1
    return [None if i % period == full else window for i in range(count)]


def _state_elements(header: Header) -> int:
    """Elements of the convolution's and the recurrence's state of one sequence in one layer."""
    own = header.count
    width = own("embedding_length")
    if head := own("wkv.head_size"):  # RWKV
        return (own("token_shift_count") or 2) * width + width * head
    if cached := own("shortconv.l_cache"):  # LFM2
        return width * (cached - 1)
    inner, state, groups = own("ssm.inner_size"), own("ssm.state_size"), own("ssm.group_count")
    convolution = max(own("ssm.conv_kernel") - 1, 0) * (inner + 2 * groups * state)
    return convolution + inner * state
