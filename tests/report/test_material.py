"""What a report is made of."""

from __future__ import annotations

from typing import Any

from lmstrix.report.material import measured, newest_of_each
from lmstrix.results import FailureKind, ProbeKind, TestStatus
from lmstrix.types import LoadConfig, MemoryUse

Q8 = LoadConfig(kv_type_k="q8_0", kv_type_v="q8_0")


def test_each_load_setting_is_shown_once_by_its_newest_ended_test(make: Any):
    old, new = make.result(1), make.result(2)
    broken_off = make.result(3, status=TestStatus.INTERRUPTED)
    quantized = make.result(4, load=Q8)
    assert newest_of_each([quantized, broken_off, new, old], new) == [new, quantized]


def test_the_size_and_the_idle_time_are_no_settings_of_their_own(make: Any):
    one, two = make.result(1), make.result(2, load=LoadConfig(context_tokens=5, ttl_s=9.0))
    assert newest_of_each([two, one], None) == [two]


def test_a_test_of_quality_comes_before_the_main_one_without(make: Any):
    fast, whole = make.result(2, curve=()), make.result(1, load=Q8)
    assert newest_of_each([fast, whole], fast) == [whole, fast]


def test_sizes_and_speeds_come_from_probes_that_worked(make: Any):
    memory = MemoryUse(weights_bytes=5)
    probes = [
        make.probe(ProbeKind.LOAD, 4000, real_context_tokens=4096, memory=memory, load_s=0.5),
        make.probe(ProbeKind.LOAD, 9000, ok=False, failure=FailureKind.OUT_OF_MEMORY),
        make.probe(
            ProbeKind.PROCESS, 8192, prompt_tokens=8000, prompt_tokens_per_s=9.0, tokens_per_s=3.0
        ),
    ]
    found = measured(make.result(), probes)
    assert [(one.tokens, one.memory) for one in found.loaded] == [(4096, memory)]
    assert [one.tokens for one in found.timed] == [1024, 2048, 4096, 8000]
    assert found.timed[-1].answer_per_s == 3.0
    assert found.memory == memory


def test_a_filled_context_of_the_same_length_as_a_question_is_one_point(make: Any):
    filled = make.probe(ProbeKind.PROCESS, 4096, prompt_tokens=4050, prompt_tokens_per_s=9.0)
    assert [one.tokens for one in measured(make.result(), [filled]).timed] == [1024, 2048, 4096]


def test_another_engine_ages_a_result_and_an_unknown_one_does_not(make: Any):
    assert measured(make.result(), [], engine_now="engine 2").aged
    assert not measured(make.result(), [], engine_now="engine 1").aged
    assert not measured(make.result(), []).aged
