from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lmstrix.protocol.lmstudio.chats import ChatHistoryData, FileHandle, TextData, UserMessage
from lmstrix.protocol.lmstudio.errors import NO_MODEL, read_error
from lmstrix.protocol.lmstudio.models import (
    EmbeddingModelInfo,
    LlmInfo,
    LlmInstanceInfo,
    OtherModelInfo,
    read_info,
    read_instance,
)
from lmstrix.protocol.lmstudio.predictions import PredictMessage
from lmstrix.protocol.lmstudio.shape import camel_case, camel_case_keys

_MODEL = {
    "type": "llm",
    "modelKey": "tiny",
    "format": "gguf",
    "displayName": "Tiny",
    "path": "us/tiny/tiny.gguf",
    "sizeBytes": 10,
    "vision": False,
    "trainedForToolUse": True,
    "maxContextLength": 4096,
}
_INSTANCE = {
    **_MODEL,
    "identifier": "tiny:2",
    "instanceReference": "abc",
    "contextLength": 512,
    "ttlMs": None,
    "lastUsedTime": None,
    "deviceIdentifier": None,
}


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def test_names_are_in_camel_case_on_the_wire_but_for_those_that_break_the_rule() -> None:
    assert camel_case("size_bytes") == "sizeBytes"
    assert camel_case("use_fp16_for_kv_cache") == "useFp16ForKVCache"
    assert camel_case("offload_kv_cache_to_gpu") == "offloadKVCacheToGpu"


def test_a_shape_reads_both_spellings_and_writes_the_wires() -> None:
    handle = FileHandle.from_dict(
        {"type": "file", "name": "a", "identifier": "i", "size_bytes": 3, "fileType": "image"}
    )
    assert handle == FileHandle(name="a", identifier="i", size_bytes=3, file_type="image")
    assert handle.to_dict() == {
        "type": "file",
        "name": "a",
        "identifier": "i",
        "sizeBytes": 3,
        "fileType": "image",
    }


def test_schemas_and_arguments_keep_their_keys() -> None:
    data = {"json_schema": {"a_b": 1}, "arguments": {"c_d": 2}, "other_one": {"e_f": 3}}
    assert camel_case_keys(data) == {
        "jsonSchema": {"a_b": 1},
        "arguments": {"c_d": 2},
        "otherOne": {"eF": 3},
    }


def test_cycles_and_lists_of_lists_are_refused() -> None:
    cycle: dict[str, Any] = {}
    cycle["key"] = cycle
    with pytest.raises(ValueError, match="cycles"):
        camel_case_keys(cycle)
    with pytest.raises(ValueError, match="Lists of lists"):
        camel_case_keys({"key": [[]]})


def test_one_value_twice_is_no_cycle() -> None:
    part = {"a": 1}
    assert camel_case_keys({"x": part, "y": part}) == {"x": part, "y": part}


def test_models_are_read_by_their_type_and_keep_what_the_server_told() -> None:
    assert isinstance(read_info(encode(_MODEL)), LlmInfo)
    embedding = {**_MODEL, "type": "embedding", "somethingNew": [1]}
    assert isinstance(read_info(encode(embedding)), EmbeddingModelInfo)
    instance = read_instance(encode(_INSTANCE))
    assert isinstance(instance, LlmInstanceInfo)
    assert instance.to_dict() == _INSTANCE


def test_a_model_of_an_unknown_type_is_passed_through() -> None:
    other = read_info(encode({**_MODEL, "type": "transcription"}))
    assert isinstance(other, OtherModelInfo)
    assert (other.type, other.model_key) == ("transcription", "tiny")


def test_a_known_type_that_lacks_its_fields_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        read_info(b'{"type":"llm"}')


def test_fields_of_a_newer_server_are_passed_over() -> None:
    message = msgspec.json.decode(
        b'{"type":"fragment","new":1,"fragment":{"content":"a","tokensCount":1,'
        b'"containsDrafted":false,"reasoningType":"none","isStructural":false,"newer":{}}}',
        type=PredictMessage,
    )
    assert message.fragment is not None
    assert message.fragment.content == "a"


def test_a_conversation_survives_the_wire() -> None:
    history = ChatHistoryData(messages=[UserMessage(content=[TextData(text="hello")])])
    wire = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}
    assert history.to_dict() == wire
    assert msgspec.json.decode(encode(history), type=ChatHistoryData) == history


def test_an_error_is_read_whatever_its_form() -> None:
    error = read_error({"title": "T", "stack": "x", "displayData": {"code": NO_MODEL, "query": {}}})
    assert error.code == NO_MODEL
    assert error.stack is None
    assert read_error(msgspec.Raw(b'"text"')).cause == "text"
    assert read_error(msgspec.Raw(b"")).title == "Server API error"
    assert read_error({"title": 5, "displayData": "odd"}).code == ""


def test_an_error_is_one_line_unless_there_is_more_to_say() -> None:
    assert read_error({"title": "Model already exists"}).text() == "Model already exists"
    longer = read_error({"title": "T", "rootTitle": "R", "cause": "because"}).text()
    assert "R: T" in longer
    assert "because" in longer
