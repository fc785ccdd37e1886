from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pydantic
import pytest
from scripted.lmstudio import ScriptedServer, fragment, success

import lmstrix.lmstudio as lms
from lmstrix.lmstudio.configs import (
    TABLES,
    TYPES,
    prediction_options,
    read_load_config,
    read_prediction_config,
)
from lmstrix.lmstudio.formats import structured_setting
from lmstrix.protocol.lmstudio.config import PREDICTION, Field, Fields


class OurBook(lms.BaseModel):
    title: str
    year: int


class StructBook(msgspec.Struct):
    title: str
    year: int


class PydanticBook(pydantic.BaseModel):
    title: str
    year: int


@dataclasses.dataclass
class DataBook:
    title: str
    year: int


class OtherBook:
    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return msgspec.json.schema(StructBook)


@pytest.mark.parametrize("kind", [OurBook, StructBook, PydanticBook, DataBook])
def test_a_class_is_sent_as_its_schema_and_the_answer_read_as_one_of_it(
    kind: type, llm: Any, server: ScriptedServer
) -> None:
    async def predict(talk: Any) -> None:
        await talk.send(fragment('{"title":"T","year":1937}'))
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = predict
    result = llm.respond("hi", response_format=kind)
    assert result.parsed == {"title": "T", "year": 1937}
    assert result.structured
    assert isinstance(result.value, kind)
    assert result.value.year == 1937  # type: ignore[attr-defined]
    created = server.sent("channelCreate")[-1]["creationParameter"]
    (field,) = created["predictionConfigStack"]["layers"][0]["config"]["fields"]
    assert field["key"] == "llm.prediction.structured"
    assert set(field["value"]["jsonSchema"]["properties"]) == {"title", "year"}
    assert "$ref" not in field["value"]["jsonSchema"]
    assert '"year": 1937' in str(result)


def test_an_answer_that_does_not_fit_its_class_is_an_error_of_its_value_alone(
    llm: Any, server: ScriptedServer
) -> None:
    async def predict(talk: Any) -> None:
        await talk.send(fragment('{"title":5}'))
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = predict
    result = llm.respond("hi", response_format=OurBook)
    assert result.parsed == {"title": 5}
    with pytest.raises(lms.LMStudioValueError, match="no OurBook"):
        _ = result.value
    plain = llm.respond("hi", response_format={"type": "object"})
    with pytest.raises(lms.LMStudioRuntimeError, match="no class"):
        _ = plain.value


def test_an_answer_that_is_no_object_stays_a_text(llm: Any, server: ScriptedServer) -> None:
    async def predict(talk: Any) -> None:
        await talk.send(fragment("[1]"))
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = predict
    grammar = {"type": "gbnf", "gbnfGrammar": 'root ::= "[1]"'}
    for given in ({"response_format": grammar}, {"config": {"structured": grammar}}):
        result = llm.respond("hi", **given)
        assert result.parsed is result.content
        assert not result.structured


def test_a_schema_a_setting_and_any_class_with_a_schema_will_do() -> None:
    schema = {"type": "object", "properties": {"a_b": {}}}
    assert structured_setting(schema) == {"type": "json", "jsonSchema": schema}
    setting = lms.LlmStructuredPredictionSetting(type="json", json_schema=schema)
    assert structured_setting(setting) == {"type": "json", "jsonSchema": schema}
    assert structured_setting({"type": "json", "jsonSchema": schema})["jsonSchema"] == schema
    assert structured_setting(OtherBook)["jsonSchema"] == OtherBook.model_json_schema()
    for wrong in (5, int, {"properties": {}}):
        with pytest.raises(lms.LMStudioValueError, match="Failed to parse response format"):
            structured_setting(wrong)  # type: ignore[arg-type]


def test_every_option_has_a_key_and_every_key_an_option() -> None:
    for kind, table in (
        *((TYPES[name], TABLES[name]) for name in TYPES),
        (lms.LlmPredictionConfig, PREDICTION),
    ):
        options = set(kind.__struct_encode_fields__) - {"raw"}
        keys = {key.option.partition(".")[0] for key in table if key.option}
        assert options <= keys
        assert {name for name in keys - options if "Sidecar" not in name} == set()


def test_options_may_be_written_either_way() -> None:
    spelled = {"max_tokens": 5, "stopStrings": ["x"], "tool_choice": "required"}
    assert prediction_options(spelled) == {
        "maxTokens": 5,
        "stopStrings": ["x"],
        "toolChoice": {"type": "generic", "mode": "required"},
    }
    config = lms.LlmPredictionConfig(max_tokens=5, stop_strings=["x"])
    assert prediction_options(config) == {"maxTokens": 5, "stopStrings": ["x"]}
    assert lms.LlmPredictionConfig.from_dict({"max_tokens": 5}).to_dict() == {"maxTokens": 5}
    with pytest.raises(lms.LMStudioValueError, match="neither"):
        prediction_options("warm")  # type: ignore[arg-type]


def test_one_odd_value_of_a_server_spoils_no_others() -> None:
    fields = Fields(
        fields=[
            Field(key="llm.prediction.temperature", value="warm"),
            Field(key="llm.prediction.topKSampling", value=5),
            Field(key="brand.new", value=1),
        ]
    )
    config = read_prediction_config(fields)
    assert (config.temperature, config.top_k_sampling) == (None, 5)
    assert read_load_config(None, "llm").to_dict() == {}
