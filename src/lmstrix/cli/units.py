"""Quantities as people read them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Seconds: `0.4 s`, `42 s`, `3 min`, `2 h 5 min`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def tokens(count: int | None) -> str:
    """Tokens: `8,192`."""
    return "-" if count is None else f"{count:,}"


def counted(number: int, noun: str) -> str:
    """`1 model`, `2,000 models`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
