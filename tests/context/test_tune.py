"""Which load settings are compared, and what is recommended."""

from __future__ import annotations

from typing import Any

import msgspec

from lmstrix.context.tune import Speed, Tuned, compare, options_text, settings_text, variants
from lmstrix.results import Limit, TestKey, TestResult, TestStatus, Verdict
from lmstrix.types import LoadConfig

OWN = LoadConfig()
Q8 = LoadConfig(kv_type_k="q8_0", kv_type_v="q8_0", flash_attention=True)
OFF = LoadConfig(flash_attention=False)


def tuned(
    load: LoadConfig,
    tokens: int | None,
    per_s: float | None = None,
    memory_bytes: int | None = None,
) -> Tuned:
    limit = Limit(verdict=Verdict.FOUND, tokens=tokens) if tokens else Limit()
    result = TestResult(
        key=TestKey(identity="x", provider="embedded", machine="m", load=load),
        model_key="tiny",
        status=TestStatus.COMPLETED,
        started_at=1.0,
        effective=limit,
    )
    speed = Speed(tokens=1000, answer_per_s=per_s) if per_s else None
    return Tuned(load=load, result=result, speed=speed, memory_bytes=memory_bytes)


def advice(*tried: Tuned) -> str:
    return " ".join(compare("tiny", tried).advice)


def test_the_users_own_settings_come_first_and_one_thing_changes_at_a_time():
    found = variants(OWN, gpu_layers=(0, 20))
    assert found[0] == OWN
    assert OFF in found
    assert Q8 in found
    assert LoadConfig(gpu_layers=20) in found
    assert len(found) == len(set(map(settings_text, found)))


def test_what_is_fixed_stays_fixed():
    capped = LoadConfig(memory_limit_bytes=10**9, threads=2)
    assert {(v.memory_limit_bytes, v.threads) for v in variants(capped)} == {(10**9, 2)}


def test_a_quantized_cache_is_never_tried_without_flash_attention():
    base = LoadConfig(kv_type_k="q8_0", kv_type_v="q8_0")
    assert not [v for v in variants(base) if v.flash_attention is False]


def test_the_largest_context_is_recommended_though_it_is_slower():
    found = compare("tiny", [tuned(OWN, 8000, 50.0), tuned(Q8, 16000, 40.0)])
    assert (found.largest, found.fastest, found.best) == (1, 0, 1)
    assert found.advice[-1] == (
        "Recommended: KV cache q8_0, flash attention on (--kv-type q8_0 --flash on)."
    )


def test_of_equal_contexts_the_fastest_is_recommended():
    found = compare("tiny", [tuned(OWN, 8000, 20.0), tuned(Q8, 8050, 60.0)])
    assert found.best == 1
    assert "about the same context" in found.advice[0]


def test_what_differs_by_chance_changes_nothing():
    found = compare("tiny", [tuned(OWN, 8000, 50.0), tuned(Q8, 8100, 53.0)])
    assert (found.largest, found.fastest, found.best) == (0, 0, 0)
    assert found.advice[-1] == "Recommended: leave it as it is."


def test_reading_the_prompt_counts_as_well_as_writing():
    slow = Speed(tokens=8000, first_token_s=60.0, answer_per_s=100.0)
    quick = Speed(tokens=8000, first_token_s=10.0, answer_per_s=80.0)
    one, other = tuned(OWN, 8000), tuned(Q8, 8000)
    found = compare(
        "tiny",
        [msgspec.structs.replace(one, speed=slow), msgspec.structs.replace(other, speed=quick)],
    )
    assert found.fastest == found.best == 1
    assert "13.2 s for a prompt of 8,000 tokens and 256 of answer" in found.advice[1]


def test_less_memory_for_the_same_context_is_said():
    said = advice(tuned(OWN, 8000, 50.0, 10**9), tuned(Q8, 8000, 50.0, 6 * 10**8))
    assert "least memory with KV cache q8_0, flash attention on: 60%" in said
    assert "least memory" not in advice(
        tuned(OWN, 8000, 50.0, 10**9), tuned(Q8, 8000, 50.0, 95 * 10**7)
    )


def test_what_could_not_be_tested_is_no_choice():
    refused = Tuned(load=OFF, why_not="This server chooses that alone.")
    found = compare("tiny", [refused, tuned(Q8, 8000)])
    assert (found.best, found.largest) == (1, 1)
    none: Any = compare("tiny", [refused])
    assert none.best is None
    assert "none" in none.advice[0]


def test_settings_have_words_and_options():
    load = LoadConfig(kv_type_k="q4_0", kv_type_v="q4_0", flash_attention=True, gpu_layers=7)
    assert settings_text(load) == "KV cache q4_0, flash attention on, 7 layers on the GPU"
    assert options_text(load) == "--kv-type q4_0 --flash on --gpu-layers 7"
    assert settings_text(OWN) == "the provider's own settings"
