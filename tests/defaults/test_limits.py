"""Which limit becomes a default, and how much of it."""

from __future__ import annotations

from typing import Any

import pytest

from lmstrix.defaults.limits import parse_share, result_to_save
from lmstrix.errors import UsageError
from lmstrix.results import Limit, TestKey, TestResult, TestStatus, Verdict
from lmstrix.types import LoadConfig, Model

MODEL = Model(key="tiny", provider="lmstudio", server="http://127.0.0.1:1234")


def result(number: int, provider: str = "embedded", **fields: Any) -> TestResult:
    kv_type = fields.pop("kv_type", None)
    load = LoadConfig(kv_type_k=kv_type, kv_type_v=kv_type)
    fields.setdefault("processable", Limit(verdict=Verdict.FOUND, tokens=4096))
    fields.setdefault("status", TestStatus.COMPLETED)
    return TestResult(
        id=number,
        key=TestKey(identity="x", provider=provider, machine="m", load=load),
        model_key="tiny",
        started_at=1.0,
        **fields,
    )


def test_all_of_the_tested_limit_is_saved_unless_told_otherwise():
    assert parse_share(None).of(8192) == 8192


def test_a_number_is_the_most_and_never_more_than_was_tested():
    assert parse_share("6000").of(8192) == 6000
    assert parse_share(9000).of(8192) == 8192


def test_a_percentage_is_rounded_down():
    assert parse_share("75%").of(8191) == 6143
    assert parse_share("0.001%").of(8192) == 0


def test_a_percentage_holds_only_above_the_size_named():
    share = parse_share("50%", above_tokens=8192)
    assert share.of(8192) == 8192
    assert share.of(8193) == 4096


@pytest.mark.parametrize("limit", ["0", "-5", "0%", "101%", "-1%", "many", "", "1.5"])
def test_a_limit_that_cannot_be_is_refused(limit: str):
    with pytest.raises(UsageError, match="--limit"):
        parse_share(limit)


def test_above_without_a_percentage_says_nothing():
    with pytest.raises(UsageError, match="--above"):
        parse_share("4096", above_tokens=100)


def test_the_limit_of_another_kv_type_is_never_taken():
    quantized = result(2, kv_type="q8_0")
    assert result_to_save([quantized], MODEL) is None
    assert result_to_save([quantized, result(1)], MODEL, kv_type="q8_0") is quantized
    assert result_to_save([result(1)], MODEL, kv_type="q8_0") is None


def test_a_named_default_type_is_the_default_type():
    plain, named = result(1), result(2, kv_type="f16")
    assert result_to_save([plain], MODEL, kv_type="f16") is plain
    assert result_to_save([named], MODEL) is named


def test_the_models_own_provider_then_an_ended_test_then_the_newest_counts():
    own, other = result(1, "lmstudio"), result(5)
    assert result_to_save([other, own], MODEL) is own
    broken_off = result(6, status=TestStatus.INTERRUPTED)
    assert result_to_save([broken_off, result(4), other], MODEL) is other


def test_a_test_that_found_nothing_is_no_limit():
    nothing = result(1, processable=Limit(verdict=Verdict.NONE))
    assert result_to_save([nothing], MODEL) is None
