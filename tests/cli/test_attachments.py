"""Schemas, tools and pictures as they are read from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from lmstrix.cli.attachments import parse_think, read_image, read_schema, read_tools
from lmstrix.errors import LMStrixError, NotFoundError, UsageError
from lmstrix.types import Tool

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = Tool(name="add", description="Adds.", parameters=SCHEMA)
PLAIN = {"name": "add", "description": "Adds.", "parameters": SCHEMA}


def written(folder: Path, content: object) -> str:
    path = folder / "given.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        SCHEMA,
        {"name": "n", "schema": SCHEMA},
        {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
    ],
)
def test_a_schema_is_read_bare_or_as_openai_wraps_it(tmp_path: Path, content: object):
    assert read_schema(written(tmp_path, content)) == SCHEMA


def test_a_schema_that_is_no_object_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="no JSON Schema"):
        read_schema(written(tmp_path, [1]))


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        [PLAIN],
        {"type": "function", "function": PLAIN},
        {"name": "add", "description": "Adds.", "input_schema": SCHEMA},
    ],
)
def test_tools_are_read_in_every_form_that_servers_take(tmp_path: Path, content: object):
    assert read_tools([written(tmp_path, content)]) == (ADD,)


def test_a_tool_is_named_with_the_schema_of_its_arguments(tmp_path: Path):
    file = written(tmp_path, SCHEMA)
    assert read_tools([f"add={json.dumps(SCHEMA)}", f"sub=@{file}", "now="]) == (
        Tool(name="add", parameters=SCHEMA),
        Tool(name="sub", parameters=SCHEMA),
        Tool(name="now"),
    )


def test_a_file_whose_name_has_an_equals_sign_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").write_text(json.dumps(PLAIN), encoding="utf-8")
    assert read_tools(["a=b"]) == (ADD,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"description": "nameless"}, "no tool"),
        (7, "no tool"),
        ({"name": "a", "parameters": 3}, "no tool"),
    ],
)
def test_what_defines_no_tool_is_refused_with_an_example(
    tmp_path: Path, content: object, said: str
):
    with pytest.raises(UsageError, match=said) as caught:
        read_tools([written(tmp_path, content)])
    assert "parameters" in caught.value.hint


def test_what_is_not_json_is_refused_by_its_name(tmp_path: Path):
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=r"bad\.json is not JSON"):
        read_schema(str(tmp_path / "bad.json"))
    with pytest.raises(UsageError, match="--tool add= is not JSON"):
        read_tools(["add={"])


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"BM....", "image/bmp"),
    ],
)
def test_a_picture_is_known_by_what_it_begins_with(tmp_path: Path, data: bytes, kind: str):
    path = tmp_path / "picture"
    path.write_bytes(data)
    image = read_image(str(path))
    assert (image.data, image.media_type) == (data, kind)


def test_what_is_no_picture_is_refused(tmp_path: Path):
    (tmp_path / "a.png").write_text("<svg/>", encoding="utf-8")
    with pytest.raises(UsageError, match="no picture"):
        read_image(str(tmp_path / "a.png"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    for read in (read_image, read_schema):
        with pytest.raises(NotFoundError, match="nowhere"):
            read(str(tmp_path / "nowhere"))
    with pytest.raises(LMStrixError, match="cannot be read"):
        read_image(str(tmp_path))


def test_think_is_on_off_or_how_much():
    assert [parse_think(value) for value in (None, "on", "off", "low")] == [
        None,
        True,
        False,
        "low",
    ]
