from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lmstrix.config import EmbeddedSettings
from lmstrix.engine.plan import plan, refuse_hopeless, usable_cores
from lmstrix.errors import LoadError, OutOfMemoryError
from lmstrix.gguf import MemoryNeed
from lmstrix.types import LoadConfig, Model, ModelType

if TYPE_CHECKING:
    from lmstrix.engine.process import EngineSpec

_GIB = 2**30


def model(**changes: object) -> Model:
    about = {
        "key": "m",
        "provider": "embedded",
        "server": "embedded",
        "path": "/m.gguf",
        "size_bytes": _GIB,
        "declared_context_tokens": 131072,
        **changes,
    }
    return Model(**about)


def planned(
    config: LoadConfig, *, settings: EmbeddedSettings | None = None, **about: object
) -> EngineSpec:
    return plan(model(**about), config, settings or EmbeddedSettings(), cores=6)


def test_a_context_nobody_chose_is_the_declared_one_up_to_8192() -> None:
    assert planned(LoadConfig()).context_tokens == 8192
    assert planned(LoadConfig(), declared_context_tokens=2048).context_tokens == 2048
    assert planned(LoadConfig(), declared_context_tokens=None).context_tokens == 8192
    assert planned(LoadConfig(context_tokens=50000)).context_tokens == 50000


def test_the_load_has_the_word_before_the_settings() -> None:
    settings = EmbeddedSettings(threads=3, parallel=2, ttl_s=60, memory_limit_bytes=5 * _GIB)
    spec = planned(LoadConfig(), settings=settings)
    assert (spec.threads, spec.parallel, spec.ttl_s, spec.memory_limit_bytes) == (
        3,
        2,
        60,
        5 * _GIB,
    )
    config = LoadConfig(threads=4, parallel=1, ttl_s=9, memory_limit_bytes=_GIB)
    spec = planned(config, settings=settings)
    assert (spec.threads, spec.parallel, spec.ttl_s, spec.memory_limit_bytes) == (4, 1, 9, _GIB)


def test_a_small_model_gets_one_thread_and_a_large_one_every_core() -> None:
    assert planned(LoadConfig(), size_bytes=2**20).threads == 1
    assert planned(LoadConfig()).threads == 6
    assert usable_cores() >= 1


def test_an_embedding_model_takes_its_whole_context_in_one_batch() -> None:
    spec = planned(LoadConfig(context_tokens=3000), type=ModelType.EMBEDDING)
    assert spec.embedding
    assert spec.batch_tokens == 3000


def test_a_model_without_a_file_is_refused() -> None:
    with pytest.raises(LoadError):
        planned(LoadConfig(), path=None)


def test_what_needs_more_than_the_limit_or_the_machine_is_refused() -> None:
    need = MemoryNeed(
        weights_bytes=2 * _GIB,
        kv_bytes=2 * _GIB,
        recurrent_bytes=_GIB,
        compute_bytes=100 * _GIB,
        checkpoint_bytes=100 * _GIB,
        overhead_bytes=100 * _GIB,
    )
    capped = planned(LoadConfig(memory_limit_bytes=4 * _GIB))
    with pytest.raises(OutOfMemoryError, match=r"5,120 MiB; the memory limit is 4,096 MiB"):
        refuse_hopeless(capped, need, machine_bytes=16 * _GIB)
    with pytest.raises(OutOfMemoryError, match="this machine has"):
        refuse_hopeless(capped, need, machine_bytes=3 * _GIB)
    free = planned(LoadConfig())
    refuse_hopeless(free, need, machine_bytes=16 * _GIB)  # the rest is for the engine to decide
    with pytest.raises(OutOfMemoryError, match="this machine has 4,096 MiB"):
        refuse_hopeless(free, need, machine_bytes=4 * _GIB)
