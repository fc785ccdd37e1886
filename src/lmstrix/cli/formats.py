"""Results as JSON or YAML, from any msgspec struct or plain data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Valid raw in JSON, but a line break or forbidden in YAML (1.2.2, sections 5.1 and 5.4).
_RAW_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
FORMATS = ("text", "json", "yaml")


def format_option(what: str = "Form of the output.") -> Callable[[Any], Any]:
    """The `--format` option."""
    return click.option(
        "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help=what
    )


def encode(result: Any, form: str) -> str:
    """`result` as `json` or `yaml` text."""
    import msgspec  # only when asked for

    plain = msgspec.to_builtins(result, str_keys=True, enc_hook=str)
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()
    return "\n".join(_yaml(plain, 0))


def _yaml(value: Any, depth: int) -> Iterator[str]:
    """Block style; scalars as JSON, which YAML 1.2 reads; long texts as literal blocks."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _yaml_item(f"{pad}{_scalar(str(key))}:", inner, depth + 1)
    elif _is_block_list(value):
        for inner in value:
            if _is_nested(inner):
                first, *rest = _yaml(inner, depth + 1)
                yield f"{pad}- {first.lstrip(' ')}"
                yield from rest
            else:
                yield from _yaml_item(f"{pad}-", inner, depth + 1)
    else:
        yield pad + _scalar(value)


def _yaml_item(head: str, value: Any, depth: int) -> Iterator[str]:
    if _is_nested(value):
        yield head
        yield from _yaml(value, depth)
    elif isinstance(value, str) and _is_block(value):
        keep = "" if value.endswith("\n") else "-"
        yield f"{head} |{keep}"
        yield from ("  " * depth + line if line else "" for line in value.rstrip("\n").split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _is_nested(value: Any) -> bool:
    return (isinstance(value, dict) and bool(value)) or _is_block_list(value)


def _is_block_list(value: Any) -> bool:
    """Whether a list goes line by line; numbers stay in one line."""
    return isinstance(value, (list, tuple)) and not all(
        isinstance(inner, (int, float)) for inner in value
    )


def _is_block(text: str) -> bool:
    """Whether a literal block gives back `text` unchanged."""
    body = text.removesuffix("\n")
    return (
        "\n" in body
        and not body.endswith("\n")
        and not body.startswith((" ", "\n", "\t"))
        and all(c.isprintable() or c == "\n" for c in body)
    )


def _scalar(value: Any) -> str:
    import msgspec  # only when asked for

    if isinstance(value, str) and _is_plain(value):
        return value
    text = msgspec.json.encode(value).decode()
    if isinstance(value, str):
        return _RAW_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e")  # 1e-05 is a text in YAML 1.1
    return text


def _is_plain(text: str) -> bool:
    """Whether YAML reads `text` without quotes as this very text."""
    return (
        bool(text)
        and text.isascii()
        and text.replace("_", "").replace("-", "").replace("/", "").replace(".", "").isalnum()
        and text[0].isalpha()
        and text.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
        and not text.endswith(("-",))
    )
