"""What goes with a prompt: the schema of its answer, tools, pictures. Nothing of it is executed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstrix.errors import LMStrixError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.types import Image, Tool

_NAMED = re.compile(r"([A-Za-z_][\w.-]{0,63})=(.*)", re.DOTALL)
# What the first bytes of a picture say of its kind.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_TOOL_FORM = '{"name": "add", "description": "...", "parameters": {"type": "object", ...}}'


def read_schema(path: str) -> dict[str, Any]:
    """The JSON Schema in a file.

    Raises `NotFoundError` where there is none, `UsageError` where it is no JSON object.
    """
    found = _read_json(path)
    if not isinstance(found, dict):
        raise UsageError(
            f"{path} holds no JSON Schema, which is an object.",
            hint='For example {"type": "object", "properties": {"n": {"type": "integer"}}}',
        )
    # The form in which OpenAI's API takes a schema has it inside.
    for inner in (found, found.get("json_schema")):
        if isinstance(inner, dict) and isinstance(inner.get("schema"), dict):
            return dict(inner["schema"])
    return found


def read_tools(values: Sequence[str]) -> tuple[Tool, ...]:
    """The tools of every `--tool`: a file with one or several, or `NAME=SCHEMA`.

    A definition is as OpenAI's or Anthropic's API takes it. `SCHEMA` is the JSON Schema of the
    arguments, or `@FILE` where that is. Raises `NotFoundError` and `UsageError`.
    """
    tools: list[Tool] = []
    for value in values:
        named = _NAMED.fullmatch(value)
        if named is None or Path(value).is_file():
            found = _read_json(value)
            tools += [_tool(one, value) for one in (found if isinstance(found, list) else [found])]
        else:
            tools.append(
                _tool({"name": named[1], "parameters": _arguments(*named.groups())}, value)
            )
    return tuple(tools)


def _arguments(name: str, text: str) -> object:
    if text.startswith("@"):
        return _read_json(text[1:])
    return _parse(text.encode("utf-8", "surrogateescape"), f"--tool {name}=") if text else {}


def _tool(definition: object, source: str) -> Tool:
    from lmstrix.types import Tool  # only where there is one

    inner = definition.get("function", definition) if isinstance(definition, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("name"), str):
        parameters = inner.get("parameters", inner.get("input_schema", {}))
        description = inner.get("description") or ""
        if isinstance(parameters, dict) and isinstance(description, str):
            return Tool(name=inner["name"], description=description, parameters=parameters)
    raise UsageError(f"{source} defines no tool.", hint=f"A tool looks like this: {_TOOL_FORM}")


def read_image(path: str) -> Image:
    """The picture in a file, its kind by what it begins with.

    Raises `NotFoundError` where there is none, `UsageError` where it is no picture.
    """
    from lmstrix.types import Image  # only where there is one

    data = _read_bytes(path)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Image(data, "image/webp")
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return Image(data, media_type)
    raise UsageError(
        f"{path} is no picture that models read.", hint="Give a PNG, JPEG, WebP, GIF or BMP file."
    )


def parse_think(value: str | None) -> bool | str | None:
    """`--think` as a request holds it."""
    return {"on": True, "off": False}.get(value, value) if value is not None else None


def _read_json(path: str) -> object:
    return _parse(_read_bytes(path), path)


def _parse(data: bytes, source: str) -> object:
    import msgspec  # only where there is JSON

    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"{source} is not JSON: {problem}.") from None


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.", hint="Check the path.") from None
    except OSError as error:
        raise LMStrixError(f"{path} cannot be read: {error.strerror or error}.") from None
