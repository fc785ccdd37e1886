"""How long a model stays loaded, as Ollama's `keep_alive` says it."""

from __future__ import annotations

import math
import re

from lmstrix.errors import UsageError

_PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


def keep_alive_s(value: float | str | None) -> float | None:
    """Seconds that `keep_alive` stands for: `None` for not said, infinity for below zero.

    It is a number of seconds, or a text as Go writes durations: `5m`, `1h30m`, `-1s`, `0`.
    Raises `UsageError` for any other text.
    """
    if value is None:
        return None
    seconds = float(value) if isinstance(value, int | float) else _parse(value)
    return math.inf if seconds < 0 else seconds


def _parse(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if digits == "0":
        return 0.0
    if not digits or not re.fullmatch(f"(?:{_PIECE.pattern})+", digits):
        raise UsageError(
            f"keep_alive is {text!r}, which is no duration.",
            hint='Give seconds as a number, or a text such as "5m", "1h30m" or "-1s".',
        )
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(digits))


def keep_alive_of(ttl_s: float | None) -> float | None:
    """The `keep_alive` for a time to live in seconds; infinity is sent as -1."""
    if ttl_s is None:
        return None
    if math.isinf(ttl_s):
        return -1
    return int(ttl_s) if ttl_s == int(ttl_s) else ttl_s
