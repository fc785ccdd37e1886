"""What an engine is told: every choice that a user left open is made here. Pure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil

from lmstrix.engine.process import EngineSpec
from lmstrix.errors import LoadError, OutOfMemoryError
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from lmstrix.config import EmbeddedSettings
    from lmstrix.gguf import MemoryNeed
    from lmstrix.types import LoadConfig, Model

# A context that nobody chose: enough for a conversation, small enough for any machine.
_DEFAULT_CONTEXT_TOKENS = 8192
# A cancelled request is let go of after one batch; larger ones are hardly faster, as llama.cpp
# computes 512 tokens at a time anyway (measured on the shipped model: 4.3 to 5.9 s for 7,800
# tokens whatever the batch, idle 51 ms after a cancel with 512, 1.3 s with 2048).
_BATCH_TOKENS = 512
# Below this the threads of a model wait for each other longer than they compute (measured on
# two shared cores, 1 MB model: 186 µs a token with one thread, 560 to 880 µs with two).
_SMALL_MODEL_BYTES = 32 * 2**20


def plan(model: Model, config: LoadConfig, settings: EmbeddedSettings, *, cores: int) -> EngineSpec:
    """The spec for loading `model` as `config` asks, on a machine with `cores`.

    Raises `LoadError` for a model without a file.
    """
    if model.path is None:
        raise LoadError(
            f"{model.key} has no file to load.", model=model.key, hint="Run `lmstrix scan` again."
        )
    embedding = model.type is ModelType.EMBEDDING
    context = config.context_tokens or min(
        model.declared_context_tokens or _DEFAULT_CONTEXT_TOKENS, _DEFAULT_CONTEXT_TOKENS
    )
    # An embedding model sees its whole input at once, so one batch must hold it.
    batch = context if embedding else config.batch_tokens or _BATCH_TOKENS
    small = 0 < model.size_bytes < _SMALL_MODEL_BYTES
    limit = config.memory_limit_bytes
    return EngineSpec(
        model=model.key,
        path=model.path,
        context_tokens=context,
        parallel=config.parallel or settings.parallel,
        threads=config.threads or settings.threads or (1 if small else cores),
        batch_tokens=batch,
        kv_type_k=config.kv_type_k,
        kv_type_v=config.kv_type_v,
        flash_attention=config.flash_attention,
        gpu_layers=config.gpu_layers,
        embedding=embedding,
        memory_limit_bytes=settings.memory_limit_bytes if limit is None else limit,
        prompt_cache_bytes=settings.prompt_cache_bytes,
        ttl_s=settings.ttl_s if config.ttl_s is None else config.ttl_s,
    )


def refuse_hopeless(spec: EngineSpec, need: MemoryNeed, *, machine_bytes: int) -> None:
    """Refuse what certainly cannot fit, so that no machine is driven into swapping by a typo.

    Only weights and what the layers keep count, which follow from the header; whatever comes
    close is for the engine to decide. Raises `OutOfMemoryError`.
    """
    needed = need.weights_bytes + need.kv_bytes + need.recurrent_bytes
    limit = spec.memory_limit_bytes
    if limit is not None and limit < machine_bytes:
        available, what = limit, "the memory limit is"
    else:
        available, what = machine_bytes, "this machine has"
    if needed > available:
        raise OutOfMemoryError(
            f"{spec.model} with a context of {spec.context_tokens:,} tokens needs at least "
            f"{needed / 2**20:,.0f} MiB; {what} {available / 2**20:,.0f} MiB.",
            model=spec.model,
            context_tokens=spec.context_tokens,
            hint=f"See what fits: lmstrix fit {spec.model}",
        )


def usable_cores() -> int:
    """Physical cores that this process may use; a second thread on a core makes nothing faster."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, allowed or 1))
