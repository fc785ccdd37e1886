"""Values that options take: durations, sizes, contexts, pairs. Nothing is ever read as Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

_UNIT_S = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|min|[smhd]?)", re.IGNORECASE)
_TOKENS = re.compile(r"(\d[\d,_]*)(k?)", re.IGNORECASE)
_PAIR_START = re.compile(r"(?:^|,)\s*([A-Za-z_][\w.-]*)=")


def parse_duration(text: str) -> float:
    """Seconds in `90`, `90s`, `1.5m`, `1h30m` or `250ms`; ValueError otherwise."""
    position, seconds = 0, 0.0
    stripped = text.strip()
    while position < len(stripped):
        part = _DURATION_PART.match(stripped, position)
        if part is None:
            raise ValueError(text)
        seconds += float(part[1]) * _UNIT_S[part[2].lower()]
        position = part.end()
    if not stripped:
        raise ValueError(text)
    return seconds


def parse_tokens(text: str) -> int:
    """Tokens in `4096`, `4,096` or `32k` (k = 1,024); ValueError otherwise."""
    match = _TOKENS.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return int(re.sub("[,_]", "", match[1])) * (1024 if match[2] else 1)


def parse_pairs(text: str) -> dict[str, str]:
    """Pairs of `name=value,name=value`. A comma is part of a value unless `name=` follows it.

    Raises ValueError where the text does not begin with a name, or a name comes twice.
    """
    starts = list(_PAIR_START.finditer(text))
    if not starts or starts[0].start() != 0 or text.startswith(","):
        raise ValueError(text)
    pairs: dict[str, str] = {}
    ends = [start.start() for start in starts[1:]] + [len(text)]
    for start, end in zip(starts, ends, strict=True):
        if start[1] in pairs:
            raise ValueError(text)
        pairs[start[1]] = text[start.end() : end]
    return pairs


class Duration(click.ParamType[Any]):
    """A time above zero, in seconds."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read seconds or units."""
        if isinstance(value, (int, float)):
            return float(value)
        try:
            seconds = parse_duration(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time: write 90, 90s, 10m or 1h30m.", param, ctx)
        if seconds <= 0:
            self.fail("the time must be above zero.", param, ctx)
        return seconds


class Size(click.ParamType[Any]):
    """An amount of memory, in bytes."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read a number with or without a unit."""
        if isinstance(value, int):
            return value
        from lmstrix.config import parse_size  # only where a size is given

        try:
            size = parse_size(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a size: write 512MB, 2GiB or bytes.", param, ctx)
        if size <= 0:
            self.fail("the size must be above zero.", param, ctx)
        return size


class Tokens(click.ParamType[Any]):
    """A number of tokens above zero."""

    name = "tokens"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read a number, with `k` for 1,024."""
        if isinstance(value, int):
            return value
        try:
            tokens = parse_tokens(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of tokens: write 8192 or 8k.", param, ctx)
        if tokens < 1:
            self.fail("the number of tokens must be above zero.", param, ctx)
        return tokens


class Length(click.ParamType[Any]):
    """Tokens, a percentage or a word, kept as text for `lmstrix.sizes`; `8k` becomes 8192."""

    name = "n|n%"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,  # noqa: ARG002  # click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> str:
        """Write out `k`; everything else is judged where the context is known."""
        text = str(value).strip()
        try:
            return str(parse_tokens(text))
        except ValueError:
            return text


class KVType(click.ParamType[Any]):
    """An element type of the KV cache."""

    name = "type"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Read `q8_0`, in any case."""
        text = str(value).lower()
        if text not in KV_TYPES:
            self.fail(f"{value!r} is not one of {', '.join(KV_TYPES)}.", param, ctx)
        return text


class Pairs(click.ParamType[Any]):
    """`name=value,...`, or `@file.json` with one JSON object."""

    name = "k=v,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        """Read pairs or the file they are in."""
        if isinstance(value, dict):
            return value
        text = str(value)
        if text.startswith("@"):
            return self._from_file(Path(text[1:]), param, ctx)
        try:
            return parse_pairs(text)
        except ValueError:
            self.fail(
                f"{text!r} is not name=value pairs: write --dict topic=rivers,tone=dry, each name"
                " once.",
                param,
                ctx,
            )

    def _from_file(
        self, path: Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        import json  # only here

        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.fail(f"{path}: {error.strerror or error}.", param, ctx)
        except UnicodeDecodeError as error:
            self.fail(f"{path} is not UTF-8 text (byte {error.start}).", param, ctx)
        except json.JSONDecodeError as error:
            self.fail(f"{path}, line {error.lineno}: not JSON: {error.msg}.", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{path} holds no JSON object of names and values.", param, ctx)
        return {
            name: text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
            for name, text in found.items()
        }


class Number(click.FloatRange):
    """A number within bounds, shown as N."""

    name = "n"


class Count(click.IntRange):
    """A whole number within bounds, shown as N."""

    name = "n"


COUNT = Count(min=0)
POSITIVE = Number(min=0)
SHARE = Number(min=0, max=1)
DURATION = Duration()
SIZE = Size()
TOKENS = Tokens()
KV_TYPE = KVType()
LENGTH = Length()
PAIRS = Pairs()
