from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import UnsupportedError
from lmstrix.protocol.lmstudio.config import (
    COMPLETION_LAYER,
    EMBEDDING_LOAD,
    LLM_LOAD,
    PREDICTION,
    Box,
    ConfigStack,
    Field,
    Fields,
    Layer,
    fields_to_options,
    key_named,
    options_to_fields,
    override,
    read_value,
    unknown_options,
)
from lmstrix.protocol.lmstudio.settings import (
    load_fields,
    read_load_config,
    read_sampling,
    sampling_fields,
)
from lmstrix.types import LoadConfig, Sampling


def values_of(fields: list[Field]) -> dict[str, Any]:
    return Fields(fields=fields).values()


def test_later_layers_win() -> None:
    stack = ConfigStack(
        layers=[
            Layer(layer_name="a", config=Fields(fields=[Field(key="k", value=1)])),
            Layer(
                layer_name="b",
                config=Fields(fields=[Field(key="k", value=2), Field(key="l", value=3)]),
            ),
        ]
    )
    assert stack.collapse() == {"k": 2, "l": 3}


def test_ticked_values_are_boxed_and_false_unticks_them() -> None:
    fields = values_of(
        options_to_fields({"maxTokens": 5, "topPSampling": False, "temperature": 0}, PREDICTION)
    )
    assert fields == {
        "llm.prediction.maxPredictedTokens": {"checked": True, "value": 5},
        "llm.prediction.topPSampling": {"checked": False, "value": 0.95},
        "llm.prediction.temperature": 0,
    }


def test_a_value_is_read_out_of_its_box() -> None:
    name = "llm.prediction.topPSampling"
    assert read_value({name: {"checked": True, "value": 0.5}}, name) == 0.5
    assert read_value({name: {"checked": False, "value": 0.5}}, name) is False
    assert read_value({name: {"checked": True, "value": False}}, name) is False
    assert read_value({}, name) is None
    assert read_value({"new.key": {"any": 1}}, "new.key") == {"any": 1}


@pytest.mark.parametrize("table", [LLM_LOAD, EMBEDDING_LOAD, PREDICTION])
def test_options_survive_the_way_to_fields_and_back(table: tuple[Any, ...]) -> None:
    options: dict[str, Any] = {}
    for number, key in enumerate(table):
        name, _, rest = key.option.partition(".")
        if key.box is Box.GPU_SPLIT or not name:
            continue
        if rest:
            options.setdefault(name, {})[rest] = number
        else:
            options[name] = number
    assert fields_to_options(values_of(options_to_fields(options, table)), table) == options


def test_keys_are_unique_and_in_order() -> None:
    for table in (LLM_LOAD, EMBEDDING_LOAD, PREDICTION):
        names = [key.option for key in table if key.option]
        assert len(set(names)) == len(names)
        assert all(key_named(key.name) == key for key in table)


def test_a_gpu_ratio_alone_says_nothing_of_how_gpus_share() -> None:
    assert values_of(options_to_fields({"gpu": {"ratio": 0.5}}, LLM_LOAD)) == {
        "llm.load.llama.acceleration.offloadRatio": 0.5
    }


def test_a_main_gpu_is_the_only_one_in_the_order_of_priority() -> None:
    gpu = {"mainGpu": 1, "splitStrategy": "favorMainGpu", "disabledGpus": [2]}
    fields = values_of(options_to_fields({"gpu": gpu}, LLM_LOAD))
    assert fields["load.gpuSplitConfig"] == {
        "disabledGpus": [2],
        "strategy": "priorityOrder",
        "priority": [1],
        "customRatio": [],
    }
    assert fields_to_options(fields, LLM_LOAD) == {"gpu": gpu}


def test_odd_values_of_a_server_are_passed_over() -> None:
    fields = {"load.gpuSplitConfig": "odd", "llm.load.seed": None, "unknown.key": 1}
    assert fields_to_options(fields, LLM_LOAD) == {"seed": None}


def test_raw_fields_are_added_as_they_are() -> None:
    raw = {"fields": [{"key": "some.new.key", "value": {"a": 1}}]}
    assert values_of(options_to_fields({"raw": raw}, PREDICTION)) == {"some.new.key": {"a": 1}}


def test_unknown_options_are_named() -> None:
    assert unknown_options({"gpu": {}, "seed": 1, "sead": 2}, LLM_LOAD) == ["sead"]


def test_a_completion_has_a_template_that_adds_nothing() -> None:
    assert COMPLETION_LAYER.layer_name == "completeModeFormatting"
    template = COMPLETION_LAYER.config.values()["llm.prediction.promptTemplate"]
    assert template["stopStrings"] == []
    assert override([]).to_dict() == {"layerName": "apiOverride", "config": {"fields": []}}


_SAMPLINGS = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_k=st.none() | st.integers(0, 100),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
    repeat_penalty=st.none() | st.floats(0.1, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    seed=st.none() | st.integers(0, 2**31),
    stop=st.none() | st.lists(st.text(min_size=1), max_size=3).map(tuple),
    max_tokens=st.none() | st.integers(1, 10**6),
)


@given(_SAMPLINGS)
def test_sampling_survives_the_way_to_fields_and_back(sampling: Sampling) -> None:
    assert read_sampling(values_of(sampling_fields(sampling))) == sampling


def test_sampling_that_is_off_does_nothing() -> None:
    off = {"checked": False, "value": 1}
    sampling = read_sampling(
        {
            "llm.prediction.topPSampling": off,
            "llm.prediction.repeatPenalty": off,
            "llm.prediction.maxPredictedTokens": off,
            "llm.prediction.seed": off,
        }
    )
    assert sampling == Sampling(top_p=1.0, repeat_penalty=1.0)


def test_load_settings_survive_the_way_to_fields_and_back() -> None:
    config = LoadConfig(
        context_tokens=4096,
        kv_type_k="q8_0",
        kv_type_v="q4_0",
        flash_attention=False,
        parallel=2,
        batch_tokens=64,
        gpu_layers=0,
        threads=3,
    )
    assert read_load_config(values_of(load_fields(config))) == config
    embedding = LoadConfig(context_tokens=512, batch_tokens=64, gpu_layers=-1)
    fields = values_of(load_fields(embedding, namespace="embedding"))
    assert set(fields) == {
        "embedding.load.contextLength",
        "embedding.load.llama.evalBatchSize",
        "embedding.load.llama.acceleration.offloadRatio",
    }
    assert read_load_config(fields) == embedding


@pytest.mark.parametrize(
    ("config", "namespace"),
    [
        (LoadConfig(memory_limit_bytes=1), "llm"),
        (LoadConfig(gpu_layers=7), "llm"),
        (LoadConfig(kv_type_k="q8_0"), "embedding"),
    ],
)
def test_what_lm_studio_has_no_key_for_is_refused(config: LoadConfig, namespace: str) -> None:
    with pytest.raises(UnsupportedError):
        load_fields(config, namespace=namespace)
