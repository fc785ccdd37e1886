"""The columns of a listing: what each shows in a table, and what it hands to programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lmstrix.errors import UsageError
from lmstrix.registry import facts
from lmstrix.results import Limit, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.store import Entry

Plain = str | int | float | bool | None | list[str] | dict[str, Any]


class Column(NamedTuple):
    """One column.

    `name` is what users type, `title` the table's heading, `field` the name in JSON, YAML and
    CSV. `value` is plain data for programs, `text` what people read.
    """

    name: str
    title: str
    field: str
    value: Callable[[Entry], Plain]
    text: Callable[[Entry], str]
    right: bool = False
    shrinks: bool = False


def human_bytes(size: float | None) -> str:
    """`4.1 GB`: decimal units, as shops and file managers count."""
    if size is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def human_count(number: float | None) -> str:
    """`7.2B`: how people name numbers of parameters."""
    if not number:
        return ""
    for unit in ("", "K", "M"):
        if number < 999.5:
            return f"{number:.0f}{unit}" if not unit or number >= 99.95 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:,.1f}B"


def human_limit(limit: Limit) -> str:
    """`8,192`; `8,192+` where the search ended before the limit was found."""
    if limit.verdict is Verdict.NONE:
        return "none"
    if limit.verdict is Verdict.NOT_APPLICABLE:
        return "n/a"
    if limit.tokens is None:
        return ""
    return f"{limit.tokens:,}{'+' if limit.verdict is Verdict.AT_LEAST else ''}"


def iso_time(at: float | None) -> str | None:
    """A moment as `2026-01-31T12:00:00Z`."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def status_text(entry: Entry) -> str:
    """The test's status; `missing` for a model gone since the last scan, `unseen` before any."""
    if entry.missing_since is not None:
        return "missing"
    return "unseen" if entry.seen_at is None else facts.status(entry).value


def _tokens(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}"


def _local_day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d")  # noqa: DTZ006  # the user's own day


def _seconds(duration_s: float | None) -> str:
    return "" if duration_s is None else f"{duration_s:.2f} s"


def _rate(per_s: float | None) -> str:
    return "" if per_s is None else f"{per_s:.1f}"


def _percent(share: float | None) -> str:
    # Rounded down: 100 % is only what reached all of it.
    return "" if share is None else f"{int(share * 100)}%"


def _limit(limit: Limit) -> Plain:
    return {
        "verdict": limit.verdict.value,
        "tokens": limit.tokens,
        "below_tokens": limit.below_tokens,
    }


def _text_column(name: str, title: str, field: str, value: Callable[[Entry], str | None]) -> Column:
    return Column(name, title, field, value, lambda entry: value(entry) or "", shrinks=True)


def _number_column(
    name: str,
    title: str,
    field: str,
    value: Callable[[Entry], float | None],
    show: Callable[[Any], str],
) -> Column:
    return Column(name, title, field, value, lambda entry: show(value(entry)), right=True)


def _list_column(
    name: str, title: str, field: str, value: Callable[[Entry], tuple[str, ...]]
) -> Column:
    return Column(
        name,
        title,
        field,
        lambda entry: list(value(entry)),
        lambda entry: ", ".join(value(entry)),
        shrinks=True,
    )


def _limit_column(name: str, title: str, field: str, value: Callable[[Entry], Limit]) -> Column:
    return Column(
        name,
        title,
        field,
        lambda entry: _limit(value(entry)),
        lambda entry: human_limit(value(entry)),
        right=True,
    )


def _legacy_tokens(entry: Entry) -> int | None:
    return entry.legacy.tested_max_context if entry.legacy else None


_ALL = (
    _text_column("id", "Model", "key", lambda e: e.model.key),
    _text_column("name", "Name", "name", facts.name),
    Column("type", "Type", "type", lambda e: e.model.type.value, lambda e: e.model.type.value),
    _number_column("size", "Size", "size_bytes", facts.size_bytes, human_bytes),
    _text_column("arch", "Arch", "architecture", lambda e: e.model.architecture),
    _text_column("quant", "Quant", "quantization", lambda e: e.model.quantization),
    _number_column("params", "Params", "parameters", lambda e: e.model.parameters, human_count),
    Column(
        "ctx",
        "Tested",
        "context_tokens",
        facts.usable_tokens,
        lambda entry: human_limit(facts.usable_limit(entry)),
        right=True,
    ),
    _limit_column("loadable", "Loadable", "loadable", facts.loadable),
    _limit_column("processable", "Processable", "processable", facts.processable),
    _limit_column("effective", "Effective", "effective", facts.effective),
    _number_column("dtx", "Declared", "declared_context_tokens", facts.declared_tokens, _tokens),
    _number_column("eff", "Eff", "tested_share", facts.usable_share, _percent),
    _number_column("1.x", "1.x", "legacy_context_tokens", _legacy_tokens, _tokens),
    _number_column("ttft", "TTFT", "time_to_first_token_s", facts.time_to_first_token_s, _seconds),
    _number_column("tps", "Tok/s", "tokens_per_s", facts.tokens_per_s, _rate),
    Column("status", "Status", "status", lambda e: facts.status(e).value, status_text),
    Column(
        "date",
        "Date",
        "tested_at",
        lambda e: iso_time(facts.tested_at(e)),
        lambda e: _local_day(facts.tested_at(e)),
    ),
    _text_column("provider", "Provider", "provider", lambda e: e.model.provider),
    _text_column("server", "Server", "server", lambda e: e.model.server),
    _text_column("path", "Path", "path", lambda e: e.model.path),
    _list_column("can", "Can", "abilities", facts.abilities),
    _list_column("tags", "Tags", "tags", lambda e: e.model.tags),
    _text_column("description", "Description", "description", lambda e: e.model.description),
    Column(
        "missing",
        "Missing since",
        "missing_since",
        lambda e: iso_time(e.missing_since),
        lambda e: _local_day(e.missing_since),
    ),
)
COLUMNS = {column.name: column for column in _ALL}
_ALIASES = {
    "key": "id",
    "model": "id",
    "tag": "tags",
    "architecture": "arch",
    "parameters": "params",
}


def parse_columns(text: str) -> tuple[str, ...]:
    """The names in `a,b,c`, as in `COLUMNS`. Raises `UsageError` for another."""
    names = []
    for piece in text.split(","):
        word = piece.strip().lower()
        word = _ALIASES.get(word, word)
        if word not in COLUMNS:
            raise UsageError(
                f"There is no column {piece.strip()!r}.", hint=f"Columns: {', '.join(COLUMNS)}."
            )
        names.append(word)
    return tuple(dict.fromkeys(names))
