from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models.making import make_hybrid, make_latent, make_llama, make_recurrent, make_sliding

from lmstrix.errors import UsageError
from lmstrix.gguf import Confidence, MemoryModel, read_header
from lmstrix.gguf.memory import _REARRANGED
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from pathlib import Path

    from models.fixtures import Maker

MIB = 2**20

REPORT = """
import json, sys, xllamacpp
path, load = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = path
params.n_parallel = load.get("parallel", 1)
params.n_ctx = load["context_tokens"] * params.n_parallel
for side in "kv":
    if kind := load.get(f"kv_type_{side}"):
        setattr(params, f"cache_type_{side}", xllamacpp.ggml_type[f"GGML_TYPE_{kind.upper()}"])
if load.get("flash_attention") is False:
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
if batch := load.get("batch_tokens"):
    params.n_batch = params.n_ubatch = batch
params.verbosity, params.ui, params.fit_params, params.warmup = 4, False, False, False
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
sys.stdin.read()
import os; os._exit(0)
"""


def reported(path: Path, load: dict[str, Any]) -> dict[str, float]:
    """The engine's own buffer sizes in MiB, by name."""
    sizes = dict.fromkeys(("KV", "RS", "model", "compute"), 0.0)
    child = subprocess.Popen(
        [sys.executable, "-c", REPORT, json.dumps([str(path), load])],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stderr is not None
        for line in child.stderr:  # ends when the engine listens, or dies
            for name in sizes:
                _, found, tail = line.partition(f" {name} buffer size = ")
                if found:
                    sizes[name] += float(tail.split()[0])
            if "listening on" in line:
                break
    assert child.returncode == 0
    return sizes


@pytest.mark.parametrize(
    ("maker", "shape", "load"),
    [
        (make_llama, {"width": 160, "heads": 5, "kv_heads": 1, "layers": 5},
         {"context_tokens": 1900, "kv_type_k": "q5_1", "kv_type_v": "iq4_nl", "parallel": 3}),
        (make_llama, {"width": 256, "inner": 512, "weights": "q4_k", "experts": 4},
         {"context_tokens": 900, "flash_attention": False}),
        (make_sliding, {"width": 96, "heads": 3, "kv_heads": 3, "head": 32, "window": 700},
         {"context_tokens": 5000, "parallel": 2, "batch_tokens": 160}),
        (make_sliding, {"family": "gemma2", "layers": 5, "window": 100},
         {"context_tokens": 3000, "kv_type_k": "f32"}),
        (make_latent, {"latent": 64, "layers": 4}, {"context_tokens": 2500, "parallel": 2}),
        (make_recurrent, {"width": 192, "layers": 5}, {"context_tokens": 2000, "parallel": 3}),
        (make_hybrid, {"width": 128, "layers": 6}, {"context_tokens": 1111, "parallel": 2}),
        (make_hybrid, {"family": "lfm2", "layers": 5, "width": 1024},
         {"context_tokens": 700, "parallel": 4}),
    ],
)  # fmt: skip
def test_caches_are_those_the_engine_allocates(
    made: Maker, maker: Maker, shape: dict[str, Any], load: dict[str, Any]
) -> None:
    path = made(maker, **shape)
    need, real = MemoryModel(read_header(path)).need(LoadConfig(**load)), reported(path, load)
    # The engine prints hundredths of a MiB, once for each of its buffers.
    assert need.kv_bytes / MIB == pytest.approx(real["KV"], abs=0.011)
    assert need.recurrent_bytes / MIB == pytest.approx(real["RS"], abs=0.006)
    assert need.weights_bytes / MIB == pytest.approx(real["model"], abs=0.011)
    assert 0.95 < need.compute_bytes / MIB / real["compute"] < 1.35


def model_of(path: Path) -> MemoryModel:
    return MemoryModel(read_header(path))


def test_every_kv_type_of_the_engine_has_its_size(llama_file: Path) -> None:
    model = model_of(llama_file)

    def per_token(kind: str) -> float:
        config = LoadConfig(context_tokens=1024, kv_type_k=kind, kv_type_v=kind)
        return model.need(config).kv_bytes / 1024 / (2 * 2 * 2 * 16)

    sizes = {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32}
    sizes |= {"q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32}
    assert {kind: per_token(kind) for kind in sizes} == sizes


def test_an_unknown_kv_type_is_refused_with_the_list(llama_file: Path) -> None:
    with pytest.raises(UsageError, match="q3_k") as caught:
        model_of(llama_file).need(LoadConfig(kv_type_k="q3_k"))
    assert "q8_0" in caught.value.hint


def test_the_total_is_the_sum_of_its_parts(sliding_file: Path) -> None:
    need = model_of(sliding_file).need(LoadConfig(context_tokens=4096))
    assert need.total_bytes == sum(msgspec.structs.asdict(need).values())
    assert need.checkpoint_bytes > 0


def test_a_recurrent_state_does_not_grow_with_the_context(recurrent_file: Path) -> None:
    model = model_of(recurrent_file)
    small, large = (model.need(LoadConfig(context_tokens=n)) for n in (512, 1 << 20))
    assert small.kv_bytes == large.kv_bytes == 0
    assert small.recurrent_bytes == large.recurrent_bytes > 0


def test_only_the_layers_that_see_everything_grow_beyond_the_window(sliding_file: Path) -> None:
    model = model_of(sliding_file)
    need = [model.need(LoadConfig(context_tokens=n)).kv_bytes for n in (8192, 16_384)]
    assert need[1] - need[0] == 8192 * (2 * 2 * 2 * 16)  # one layer of seven


def test_rearranged_weights_count_once_where_the_file_is_not_mapped(
    made: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    path = made(make_llama, width=256, inner=256, weights="q4_0", tied=False)
    header = read_header(path)
    copied = sum(
        t.size_bytes
        for t in header.tensors
        if t.type in _REARRANGED and t.name != "token_embd.weight"
    )
    mapped = MemoryModel(header).need(LoadConfig()).weights_bytes
    read = MemoryModel(header).need(LoadConfig(memory_limit_bytes=1)).weights_bytes
    assert read == header.weight_bytes
    assert mapped > read + copied / 2


def test_confidence_follows_what_is_known(llama_file: Path) -> None:
    header = read_header(llama_file)

    def confidence(**changes: object) -> Confidence:
        architecture = str(changes.pop("architecture", "llama"))
        metadata = {
            key.replace("llama.", f"{architecture}."): value
            for key, value in header.metadata.items()
        } | {"general.architecture": architecture}
        metadata |= {f"{architecture}.{key}": value for key, value in changes.items()}
        return MemoryModel(msgspec.structs.replace(header, metadata=metadata)).confidence

    assert confidence() is Confidence.HIGH
    assert confidence(architecture="granite") is Confidence.MEDIUM
    assert confidence(architecture="brandnew") is Confidence.LOW
    window = {"attention.sliding_window": 4096}
    assert confidence(architecture="granite", **window) is Confidence.LOW
    assert confidence(architecture="llama", **window) is Confidence.HIGH


@pytest.fixture(scope="module")
def models(
    llama_file: Path, sliding_file: Path, latent_file: Path, recurrent_file: Path, hybrid_file: Path
) -> list[MemoryModel]:
    return [
        model_of(path)
        for path in (llama_file, sliding_file, latent_file, recurrent_file, hybrid_file)
    ]


CONFIGS = st.builds(
    LoadConfig,
    kv_type_k=st.sampled_from([None, "f32", "q8_0", "q4_0"]),
    kv_type_v=st.sampled_from([None, "f16", "q5_1"]),
    parallel=st.none() | st.integers(1, 8),
    batch_tokens=st.none() | st.integers(1, 4096),
    flash_attention=st.none() | st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    which=st.integers(0, 4),
    config=CONFIGS,
    budget=st.integers(0, 1 << 34),
    ceiling=st.none() | st.integers(0, 1 << 20),
)
def test_the_largest_context_fits_and_the_next_step_does_not(
    models: list[MemoryModel], which: int, config: LoadConfig, budget: int, ceiling: int | None
) -> None:
    model = models[which]
    most = model.largest_context(config, budget, ceiling_tokens=ceiling)
    top = ceiling if ceiling is not None else model.header.own("context_length", int)
    assert top is not None

    def total(tokens: int) -> int:
        return model.need(msgspec.structs.replace(config, context_tokens=tokens)).total_bytes

    assert 0 <= most <= top
    assert most == top or most % 256 == 0
    if most:
        assert total(most) <= budget
    if most + 256 <= top:
        assert total(most + 256) > budget
    assert model.largest_context(config, budget + (1 << 20), ceiling_tokens=ceiling) >= most


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    which=st.integers(0, 4), config=CONFIGS, a=st.integers(1, 1 << 21), b=st.integers(1, 1 << 21)
)
def test_more_context_never_needs_less(
    models: list[MemoryModel], which: int, config: LoadConfig, a: int, b: int
) -> None:
    small, large = sorted((a, b))
    model = models[which]
    first, second = (
        model.need(msgspec.structs.replace(config, context_tokens=n)) for n in (small, large)
    )
    assert all(
        x <= y
        for x, y in zip(
            msgspec.structs.astuple(first), msgspec.structs.astuple(second), strict=True
        )
    )


KEYS = st.sampled_from(
    [
        "block_count", "embedding_length", "feed_forward_length", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "attention.sliding_window",
        "attention.sliding_window_pattern", "attention.kv_lora_rank", "attention.key_length_mla",
        "attention.shared_kv_layers", "nextn_predict_layers", "expert_used_count", "context_length",
        "ssm.inner_size", "ssm.conv_kernel", "ssm.state_size", "wkv.head_size", "vocab_size",
    ]
)  # fmt: skip
VALUES = st.integers(-(2**63), 2**64) | st.floats() | st.booleans() | st.text(max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.dictionaries(KEYS, VALUES | st.lists(VALUES, max_size=4).map(tuple)))
def test_a_header_that_lies_still_gives_a_prediction(
    sliding_file: Path, changes: dict[str, Any]
) -> None:
    header = read_header(sliding_file)
    lies = {f"{header.architecture}.{key}": value for key, value in changes.items()}
    lying = msgspec.structs.replace(header, metadata={**header.metadata, **lies})
    model = MemoryModel(lying)
    need = model.need(LoadConfig(context_tokens=4096))
    assert min(msgspec.structs.astuple(need)) >= 0
    assert model.confidence in Confidence
