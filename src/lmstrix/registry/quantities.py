"""Read the quantities that people write in filters: sizes, contexts, shares, times and dates."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PREFIXES = "kmgt"
_BYTES = {
    "b": 1.0,
    **{f"{prefix}b": 1000.0**power for power, prefix in enumerate(_PREFIXES, 1)},
    **{f"{prefix}ib": 1024.0**power for power, prefix in enumerate(_PREFIXES, 1)},
    **{prefix: 1024.0**power for power, prefix in enumerate(_PREFIXES, 1)},
}
_NUMBER = re.compile(r"(\d+)(?:\.(\d+))?\s*([a-z%]*)", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_SIGNED = re.compile(r"(>=|<=|>|<|=)\s*(.+)")
_RANGE = re.compile(r"(.+?)\s*(?:\.\.|-)\s*(.+)")
_DATE_RANGE = re.compile(r"(.+?)\s*\.\.\s*(.+)|(\d{4}-\d\d-\d\d)\s*-\s*(\d{4}-\d\d-\d\d)")


class Span(msgspec.Struct, frozen=True):
    """Numbers from `low` to `high`; an open end leaves out the number itself."""

    low: float = -inf
    high: float = inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, number: float) -> bool:
        above = number > self.low if self.low_open else number >= self.low
        return above and (number < self.high if self.high_open else number <= self.high)


class Quantity(NamedTuple):
    """What was written: the value itself (a day has 24 hours), and all that rounds to it."""

    value: Span
    near: Span


class Reader(NamedTuple):
    """How the values of one key are read, and how to say what is expected."""

    expected: str
    read: Callable[[str, datetime | None], Quantity]
    ranges: re.Pattern[str] = _RANGE


def read_span(text: str, reader: Reader, *, now: datetime | None = None) -> Span:
    """What a value such as `>5GB`, `16384-65536` or `today` allows.

    A lone quantity allows what rounds to it as it is written: `5GB` is 4.5 to 5.5. `now`,
    aware, settles the time zone and `today`. Raises `ValueError`.
    """
    text = text.strip().lower()
    if signed := _SIGNED.fullmatch(text):
        value, near = reader.read(signed[2], now)
        return {
            ">": Span(low=value.high, low_open=not value.high_open),
            ">=": Span(low=value.low),
            "<": Span(high=value.low, high_open=True),
            "<=": Span(high=value.high, high_open=value.high_open),
            "=": near,
        }[signed[1]]
    if pair := reader.ranges.fullmatch(text):
        first, last = (reader.read(part, now).value for part in pair.groups() if part)
        if first.low > last.high:
            raise ValueError(f"{text!r} runs backwards")
        return Span(first.low, last.high, high_open=last.high_open)
    return reader.read(text, now).near


def _number(
    units: Mapping[str, float], *, exact: bool = False
) -> Callable[[str, datetime | None], Quantity]:
    def read(text: str, _: datetime | None) -> Quantity:
        match = _NUMBER.fullmatch(text.strip())
        if match is None or match[3] not in units:
            raise ValueError(f"{text!r} is not a quantity")
        whole, fraction, unit = match[1], match[2] or "", match[3]
        factor = units[unit]
        value = float(f"{whole}.{fraction}0") * factor
        half = 0.5 * factor / 10 ** len(fraction)
        point = Span(value, value)
        return Quantity(point, point if exact else Span(value - half, value + half, high_open=True))

    return read


def _date(text: str, now: datetime | None) -> Quantity:
    try:
        first, last = _days(text.strip(), now)
        span = Span(_midnight(first, now), _midnight(last, now), high_open=True)
    except OverflowError as error:
        raise ValueError(f"{text!r} is outside the calendar") from error
    return Quantity(span, span)


def _days(text: str, now: datetime | None) -> tuple[datetime, datetime]:
    """The first day of a day, month or year, and the day after its last."""
    if text in ("today", "yesterday"):
        moment = now or datetime.now()  # noqa: DTZ005  # the user's own day
        today = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001  # zone comes later
        first = today - timedelta(days=text == "yesterday")
        return first, first + timedelta(days=1)
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a date")
    year, month, day = (int(part or 1) for part in match.groups())
    first = datetime(year, month, day)  # noqa: DTZ001  # zone comes later
    if match[3]:
        return first, first + timedelta(days=1)
    if match[2] and month < 12:
        return first, first.replace(month=month + 1)
    return first, first.replace(year=year + 1, month=1)


def _midnight(day: datetime, now: datetime | None) -> float:
    # Without a zone given, the system's rules hold, daylight saving time of that day included.
    return day.replace(tzinfo=now.tzinfo if now else None).timestamp()


READERS = {
    "size": Reader("a size such as >5GB, <=4.7GiB or 3GB-10GB", _number(_BYTES)),
    "params": Reader(
        "a number of parameters such as >7B or 500M-3B",
        _number({"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}),
    ),
    "ctx": Reader(
        "a context in tokens such as >=32768, 16k or 16384-65536",
        _number({"": 1.0, "k": 2.0**10, "m": 2.0**20}, exact=True),
    ),
    "eff": Reader("a share such as <50% or 0.25-0.5", _number({"": 1.0, "%": 0.01})),
    "ttft": Reader("a time such as <2s or 500ms-1s", _number({"": 1.0, "s": 1.0, "ms": 0.001})),
    "tps": Reader("tokens per second such as >20", _number({"": 1.0})),
    "date": Reader(
        "a day, month or year such as >2026-01-01, 2026-03, today or 2026-01-01..2026-03-31",
        _date,
        _DATE_RANGE,
    ),
}
READERS["dtx"] = READERS["ctx"]
