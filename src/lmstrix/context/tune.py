"""Which load settings are worth comparing, and which of those that were compared is best. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from lmstrix.results import TestResult  # noqa: TC001  # msgspec reads it
from lmstrix.types import LoadConfig  # noqa: TC001  # as above

if TYPE_CHECKING:
    from collections.abc import Sequence

KV_TYPES = ("q8_0", "q4_0")
AS_LARGE = 0.02  # contexts closer than this are one: the search ends within 1 % of each
AS_FAST = 0.1  # single measurements differ by so much without a reason
ANSWER_TOKENS = 256  # of a request by which speeds are compared


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a prompt of `tokens` was read and answered."""

    tokens: int
    first_token_s: float | None = None
    prompt_per_s: float | None = None
    answer_per_s: float | None = None


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """What one choice of load settings came to.

    `speed` was measured at a length that every choice holds; `memory_bytes` is what its largest
    load took. `why_not` says why it could not be tested.
    """

    load: LoadConfig
    result: TestResult | None = None
    speed: Speed | None = None
    memory_bytes: int | None = None
    why_not: str = ""

    @property
    def usable_tokens(self) -> int:
        """The context to trust; 0 where there is none."""
        return (self.result.usable_tokens or 0) if self.result is not None else 0

    @property
    def request_s(self) -> float:
        """Seconds for reading the prompt and writing `ANSWER_TOKENS`; endless if not measured."""
        speed = self.speed
        if speed is None or not speed.answer_per_s:
            return math.inf
        return (speed.first_token_s or 0.0) + ANSWER_TOKENS / speed.answer_per_s


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Load settings compared. `best`, `largest` and `fastest` are places in `tried`.

    They are `None` where nothing was found; `advice` is sentences.
    """

    model_key: str
    tried: tuple[Tuned, ...]
    best: int | None = None
    largest: int | None = None
    fastest: int | None = None
    advice: tuple[str, ...] = ()


def variants(
    base: LoadConfig, *, kv_types: Sequence[str] = KV_TYPES, gpu_layers: Sequence[int] = ()
) -> tuple[LoadConfig, ...]:
    """The load settings to compare: those of `base` first, then one thing changed each.

    Flash attention on and off, each type of the KV cache (with flash attention, which llama.cpp
    needs for a quantized value cache), and each number of layers on the GPU.
    """
    change = msgspec.structs.replace
    found = [base, *(change(base, flash_attention=flash) for flash in (True, False))]
    found += [
        change(base, kv_type_k=kind, kv_type_v=kind, flash_attention=True) for kind in kv_types
    ]
    found += [change(base, gpu_layers=layers) for layers in gpu_layers]
    distinct: list[LoadConfig] = []
    for load in found:
        if load not in distinct and not _contradicts(load):
            distinct.append(load)
    return tuple(distinct)


def compare(model_key: str, tried: Sequence[Tuned]) -> Tuning:
    """The largest, the fastest, and the best: the fastest of those that are as large as any.

    The first of `tried` is what a model is loaded with unasked; something else is better only by
    more than measurements differ anyway.
    """
    places = [place for place, one in enumerate(tried) if one.usable_tokens]
    if not places:
        return Tuning(
            model_key=model_key,
            tried=tuple(tried),
            advice=("With none of these settings a usable context was found.",),
        )
    largest = _largest(tried, places)
    fastest = _fastest(tried, places)
    most = tried[largest].usable_tokens
    large = [place for place in places if tried[place].usable_tokens >= most * (1 - AS_LARGE)]
    best = _fastest(tried, large)
    return Tuning(
        model_key=model_key,
        tried=tuple(tried),
        best=best,
        largest=largest,
        fastest=fastest,
        advice=tuple(_advice(tried, best=best, largest=largest, fastest=fastest, large=large)),
    )


def settings_text(load: LoadConfig) -> str:
    """Load settings in words."""
    parts = []
    if load.kv_type_k:
        parts.append(f"KV cache {load.kv_type_k}")
    if load.flash_attention is not None:
        parts.append(f"flash attention {'on' if load.flash_attention else 'off'}")
    if load.gpu_layers is not None:
        parts.append(f"{load.gpu_layers} layers on the GPU")
    return ", ".join(parts) or "the provider's own settings"


def options_text(load: LoadConfig) -> str:
    """The same as options of the command line."""
    parts = []
    if load.kv_type_k:
        parts.append(f"--kv-type {load.kv_type_k}")
    if load.flash_attention is not None:
        parts.append(f"--flash {'on' if load.flash_attention else 'off'}")
    if load.gpu_layers is not None:
        parts.append(f"--gpu-layers {load.gpu_layers}")
    return " ".join(parts)


def _contradicts(load: LoadConfig) -> bool:
    quantized = load.kv_type_v not in (None, "f16", "f32", "bf16")
    return quantized and load.flash_attention is False


def _largest(tried: Sequence[Tuned], places: Sequence[int]) -> int:
    """The one with the most usable context; the first of those that are as large."""
    most = max(tried[place].usable_tokens for place in places)
    return next(p for p in places if tried[p].usable_tokens >= most * (1 - AS_LARGE))


def _fastest(tried: Sequence[Tuned], places: Sequence[int]) -> int:
    """The one whose request takes least time; the first of those that are as fast."""
    least = min(tried[place].request_s for place in places)
    return next(p for p in places if tried[p].request_s * (1 - AS_FAST) <= least)


def _advice(
    tried: Sequence[Tuned], *, best: int, largest: int, fastest: int, large: Sequence[int]
) -> list[str]:
    said = []
    most = tried[largest].usable_tokens
    usable = [one for one in tried if one.usable_tokens]
    if len(large) == len(usable) > 1:
        said.append(f"All settings that work hold about the same context, {most:,} tokens.")
    else:
        said.append(f"The largest context, {most:,} tokens, comes with {_name(tried[largest])}.")
    quick = tried[fastest]
    if quick.speed is not None and quick.request_s < math.inf:
        took = (
            f"{quick.request_s:,.1f} s for a prompt of {quick.speed.tokens:,} tokens and"
            f" {ANSWER_TOKENS} of answer"
        )
        if fastest == 0:
            said.append(f"None is clearly faster than {_name(quick)}: {took}.")
        else:
            said.append(f"The fastest is {_name(quick)}: {took}.")
    said += _memory_advice(tried, large)
    options = options_text(tried[best].load)
    if best == 0 or not options:
        said.append("Recommended: leave it as it is.")
    else:
        said.append(f"Recommended: {_name(tried[best])} ({options}).")
    return said


def _memory_advice(tried: Sequence[Tuned], large: Sequence[int]) -> list[str]:
    """Whether another choice holds the same context in clearly less memory."""
    own = tried[large[0]].memory_bytes
    known = [(tried[place].memory_bytes or 0, place) for place in large]
    least, place = min(((size, at) for size, at in known if size), default=(0, 0))
    if own is None or not least or least > own * (1 - AS_FAST):
        return []
    share = f"{least / own:.0%} of that of {_name(tried[large[0]])}"
    return [f"The same context takes the least memory with {_name(tried[place])}: {share}."]


def _name(one: Tuned) -> str:
    return settings_text(one.load)
