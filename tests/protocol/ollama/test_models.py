from __future__ import annotations

import msgspec
import pytest

from lmstrix.protocol.ollama.models import (
    Create,
    Named,
    Processes,
    Shown,
    Tags,
    parameter_count,
    parameter_size,
    unix_s,
)


def test_a_list_of_models_is_read_whatever_else_is_in_it() -> None:
    tags = msgspec.json.decode(
        b'{"models":[{"name":"a:latest","model":"a:latest","size":5,"digest":"d","new":1,'
        b'"modified_at":"2025-05-10T08:06:48.639712648-07:00",'
        b'"details":{"format":"gguf","families":null,"parameter_size":"7.6B"}}]}',
        type=Tags,
    )
    assert tags.models is not None
    assert tags.models[0].details is not None
    assert tags.models[0].details.parameter_size == "7.6B"
    assert msgspec.json.decode(b'{"models":null}', type=Tags).models is None


def test_older_servers_do_not_tell_the_context_of_what_is_loaded() -> None:
    found = msgspec.json.decode(b'{"models":[{"model":"a","size":1}]}', type=Processes)
    assert found.models is not None
    assert found.models[0].context_length is None


def test_the_metadata_of_a_model_is_found_below_its_architecture() -> None:
    shown = Shown(model_info={"general.architecture": "llama", "llama.context_length": 8192})
    assert shown.own("context_length") == 8192
    assert shown.own("embedding_length") is None
    assert Shown().own("context_length") is None


def test_the_older_field_names_a_model_too() -> None:
    assert Named(name="a").wanted == "a"
    assert msgspec.json.decode(b'{"name":"b","from":"a"}', type=Create).wanted == "b"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00:00Z", None),
        ("2025-05-10T08:06:48.639712648-07:00", 1746889608.639712),
        ("2025-05-10T15:06:48Z", 1746889608.0),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read_as_go_writes_them(text: str | None, seconds: float | None) -> None:
    assert unix_s(text) == seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [(7_600_000_000, "7.6B"), (3_000_000_000, "3B"), (134_515_008, "134.52M"), (25_000, "25K")],
)
def test_parameters_are_counted_as_ollama_writes_them(count: int, text: str) -> None:
    assert parameter_size(count) == text
    read = parameter_count(text)
    assert read is not None
    assert read == pytest.approx(count, rel=0.001)


@pytest.mark.parametrize("text", ["", None, "many", "8x7B", "B"])
def test_what_is_no_count_of_parameters_is_none(text: str | None) -> None:
    assert parameter_count(text) is None
