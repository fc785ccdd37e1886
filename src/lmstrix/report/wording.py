"""Measured things in words, for tables and paragraphs. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lmstrix.registry.columns import human_bytes, human_count, human_limit
from lmstrix.results import FailureKind, Limit, TestStatus, Verdict

if TYPE_CHECKING:
    from lmstrix.report.material import Card, Measured
    from lmstrix.types import LoadConfig, MemoryUse, Model

NOTHING = "-"


def limit_note(limit: Limit) -> str:
    """What is known beyond the number: where it fails, or that nobody knows."""
    if limit.verdict is Verdict.AT_LEAST and limit.tokens is not None:
        if limit.below_tokens is not None:
            return f"undecided up to {limit.below_tokens:,}"
        return "undecided above"
    if limit.verdict is Verdict.FOUND and limit.below_tokens is not None:
        why = f": {limit.failure}" if limit.failure not in (None, FailureKind.WRONG_ANSWER) else ""
        return f"fails from {limit.below_tokens:,}{why}"
    if limit.verdict is Verdict.NONE and limit.failure is not None:
        return str(limit.failure)
    return ""


def limit_text(limit: Limit) -> str:
    """`8,192`, `≥ 8,192`, `none`, `n/a`, or a dash where it was not tested."""
    if limit.verdict is Verdict.AT_LEAST and limit.tokens is not None:
        return f"≥ {limit.tokens:,}"
    return human_limit(limit) or NOTHING


def memory_total(memory: MemoryUse | None) -> int | None:
    """Bytes of weights, KV cache and compute buffers together."""
    if memory is None:
        return None
    return memory.weights_bytes + memory.kv_bytes + memory.compute_bytes


def settings(load: LoadConfig) -> str:
    """How a model was loaded, where that was not left to its provider."""
    parts = []
    kinds = [kind for kind in (load.kv_type_k, load.kv_type_v) if kind]
    if kinds:
        parts.append(f"KV cache {'/'.join(dict.fromkeys(kinds))}")
    if load.flash_attention is not None:
        parts.append(f"flash attention {'on' if load.flash_attention else 'off'}")
    if load.gpu_layers is not None:
        parts.append(f"{load.gpu_layers} layers on the GPU")
    if load.threads is not None:
        parts.append(f"{load.threads} threads")
    if load.parallel is not None:
        parts.append(f"{load.parallel} parallel")
    if load.batch_tokens is not None:
        parts.append(f"batches of {load.batch_tokens:,}")
    if load.memory_limit_bytes is not None:
        parts.append(f"at most {human_bytes(load.memory_limit_bytes)}")
    return ", ".join(parts) or "the provider's own"


def model_facts(model: Model) -> str:
    """Kind, size and origin of a model in one line."""
    parts = [
        model.type.value,
        model.architecture,
        f"{human_count(model.parameters)} parameters" if model.parameters else None,
        model.quantization,
        human_bytes(model.size_bytes) if model.size_bytes else None,
        f"by {model.provider}",
    ]
    return ", ".join(part for part in parts if part)


def measured_on(test: Measured) -> str:
    """The engine, and that another one runs now."""
    engine = test.result.engine
    if test.aged:
        return f"measured on {engine}; now {test.engine_now}"
    return engine


def status(card: Card) -> str:
    """Where the test stands, in a word."""
    return card.main.result.status.value if card.main else TestStatus.UNTESTED.value


def day(at: float | None) -> str:
    """`2026-01-31`, in UTC."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def moment(at: float) -> str:
    """`2026-01-31 12:00 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def seconds(duration_s: float | None) -> str:
    """`0.42 s`, `12 s`."""
    if duration_s is None:
        return NOTHING
    return f"{duration_s:.2f} s" if duration_s < 10 else f"{duration_s:,.0f} s"


def rate(per_s: float | None) -> str:
    """`42.1`, `1,204`."""
    if per_s is None:
        return NOTHING
    return f"{per_s:.1f}" if per_s < 100 else f"{per_s:,.0f}"


def tokens(count: int | None) -> str:
    """`8,192`."""
    return NOTHING if count is None else f"{count:,}"


def size(size_bytes: float | None) -> str:
    """`4.1 GB`."""
    return human_bytes(size_bytes) or NOTHING
