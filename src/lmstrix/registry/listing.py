"""Show entries of the registry in any of the forms of `lmstrix list --show`.

Every form is built as plain text, line by line, so that ten thousand models cost no more than
their text. The objects of `json` and `yaml` and the rows of `csv` hold the fields of
`lmstrix.registry.columns.COLUMNS`: sizes in bytes, contexts in tokens, durations in seconds,
moments as ISO 8601 in UTC, unknown values as null (in CSV: empty). A limit is an object with
`verdict`, `tokens` and `below_tokens`; in CSV its `tokens`.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import UsageError
from lmstrix.registry import facts
from lmstrix.registry.columns import COLUMNS, Column, human_bytes, parse_columns
from lmstrix.registry.layout import Layout, column_widths, display_width, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lmstrix.registry.columns import Plain
    from lmstrix.store import Entry

SHOWS = ("table", "id", "path", "json", "csv", "yaml", "md", "summary")
_TABLE = ("id", "type", "size", "ctx", "dtx", "eff", "1.x", "tps", "status", "date")
# What a narrow table goes without, in this order, and what is shown only where it says something.
_DISPENSABLE = ("date", "eff", "tps", "1.x", "type")
_READABLE_NAME = 24


def render(
    entries: Iterable[Entry],
    *,
    show: str = "table",
    columns: Sequence[str] = (),
    header: bool = True,
    width: int | None = None,
    max_width: int | None = None,
    sort: str = "",
) -> Iterator[str]:
    """The lines of a listing, each without its line end.

    `show` is one of `SHOWS`; `columns` are names in `COLUMNS` (none: those that suit the form).
    A table keeps within the smaller of `width` (the terminal's) and `max_width` (the user's);
    with neither it is as wide as its texts. What it is sorted by (`sort`, a name in `COLUMNS`) is
    among the usual columns, however narrow it is. Raises `UsageError` for another form or
    column, before the first line.
    """
    chosen = [COLUMNS[name] for name in parse_columns(",".join(columns))] if columns else []
    if show not in SHOWS:
        raise UsageError(f"Cannot show models as {show!r}.", hint=f"One of {', '.join(SHOWS)}.")
    limits = [limit for limit in (width, max_width) if limit is not None]
    if limits and min(limits) < 1:
        raise UsageError("A table needs a width of at least 1 column.")
    room = min(limits, default=None)
    lines: Iterator[str]
    every = chosen or list(COLUMNS.values())
    match show:
        case "id":
            lines = (entry.model.key for entry in entries)
        case "path":
            lines = (entry.model.path for entry in entries if entry.model.path)
        case "json":
            lines = _json(entries, every)
        case "yaml":
            lines = _yaml(entries, every)
        case "csv":
            lines = _csv(entries, every, header=header)
        case "md":
            lines = _markdown(list(entries), chosen, header=header)
        case "summary":
            lines = _summary(entries)
        case _:
            lines = _table(list(entries), chosen, header=header, room=room, sort=sort)
    return lines


def _table(
    entries: Sequence[Entry],
    chosen: Sequence[Column],
    *,
    header: bool,
    room: int | None,
    sort: str,
) -> Iterator[str]:
    columns = chosen or _suitable(entries, sort)
    texts = {c.name: [one_line(c.text(entry)) for entry in entries] for c in columns}
    natural = {
        name: max(display_width(COLUMNS[name].title) if header else 1, _widest(column))
        for name, column in texts.items()
    }
    if not chosen and room is not None:
        columns = _affordable(columns, natural, room, sort)
    layout = Layout(
        column_widths([natural[c.name] for c in columns], [c.shrinks for c in columns], room),
        [c.right for c in columns],
        room,
    )
    if header:
        yield layout.line([column.title for column in columns])
    for row in zip(*(texts[column.name] for column in columns), strict=True):
        yield layout.line(row)


def _widest(texts: Iterable[str]) -> int:
    return max(map(display_width, texts), default=0)


def _suitable(entries: Sequence[Entry], sort: str = "") -> list[Column]:
    """The usual columns, less those that would be empty for all these entries."""
    added = (sort,) if sort in COLUMNS and sort not in _TABLE else ()
    return [
        column
        for column in (COLUMNS[name] for name in (*_TABLE[:-3], *added, *_TABLE[-3:]))
        if column.name not in _DISPENSABLE or any(map(column.text, entries))
    ]


def _affordable(
    columns: Sequence[Column], natural: Mapping[str, int], room: int, sort: str
) -> Sequence[Column]:
    """Of the usual columns those that leave the names readable."""
    for name in (name for name in _DISPENSABLE if name != sort):
        others = sum(natural[column.name] + 2 for column in columns if column.name != "id")
        if room - others >= min(natural["id"], _READABLE_NAME):
            break
        columns = [column for column in columns if column.name != name]
    return columns


def _markdown(entries: Sequence[Entry], chosen: Sequence[Column], *, header: bool) -> Iterator[str]:
    columns = chosen or _suitable(entries)
    if header:
        yield _markdown_row(column.title for column in columns)
        yield _markdown_row("---:" if column.right else "---" for column in columns)
    for entry in entries:
        yield _markdown_row(_markdown_text(column.text(entry)) for column in columns)


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\|`*_<\[\]])", r"\\\1", one_line(text))


def _json(entries: Iterable[Entry], columns: Sequence[Column]) -> Iterator[str]:
    encoder = msgspec.json.Encoder()
    before = None
    yield "["
    for entry in entries:
        if before is not None:
            yield f"  {before},"
        before = encoder.encode({c.field: c.value(entry) for c in columns}).decode()
    if before is not None:
        yield f"  {before}"
    yield "]"


def _csv(entries: Iterable[Entry], columns: Sequence[Column], *, header: bool) -> Iterator[str]:
    import csv  # noqa: PLC0415  # only this form needs it

    writer = csv.writer(_Line())
    if header:
        yield writer.writerow([column.field for column in columns])
    for entry in entries:
        yield writer.writerow([_flat(column.value(entry)) for column in columns])


class _Line:
    """A file for the csv writer, whose `writerow` returns what `write` returned: the line."""

    def write(self, text: str) -> str:
        return text.removesuffix("\r\n")


def _flat(value: Plain) -> str | float | None:
    if isinstance(value, dict):
        tokens: int | None = value["tokens"]
        return tokens
    return " ".join(value) if isinstance(value, list) else value


def _yaml(entries: Iterable[Entry], columns: Sequence[Column]) -> Iterator[str]:
    empty = True
    for entry in entries:
        empty = False
        for place, column in enumerate(columns):
            yield f"{'  ' if place else '- '}{column.field}: {_yaml_value(column.value(entry))}"
    if empty:
        yield "[]"


# Valid raw in JSON, but a line break or forbidden in YAML (1.2.2, sections 5.1 and 5.4).
_RAW_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def _yaml_value(value: Plain) -> str:
    """`value` in flow style: JSON, narrowed to what YAML 1.1 and 1.2 read alike."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml_value(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml_value, value))}]"
    text = msgspec.json.encode(value).decode()
    if isinstance(value, str):
        return _RAW_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    if "e" in text and "." not in text and isinstance(value, float):
        return text.replace("e", ".0e")  # 1e-05 is a text in YAML 1.1
    return text


def _summary(entries: Iterable[Entry]) -> Iterator[str]:
    counts = total_bytes = missing = 0
    by: dict[str, Counter[str]] = {"Status": Counter(), "Type": Counter(), "Provider": Counter()}
    for entry in entries:
        counts += 1
        total_bytes += entry.model.size_bytes
        missing += entry.missing_since is not None
        by["Status"][facts.status(entry).value] += 1
        by["Type"][entry.model.type.value] += 1
        by["Provider"][entry.model.provider] += 1
    yield f"Models    {counts:,}, {human_bytes(total_bytes)}"
    for title, counter in by.items():
        if counter:
            parts = (f"{one_line(name)} {count:,}" for name, count in counter.most_common())
            yield f"{title:<9} {', '.join(parts)}"
    if missing:
        yield f"Missing   {missing:,}"
