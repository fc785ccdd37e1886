"""`lmstrix info`: everything that is known of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lmstrix.cli.formats import FORMATS, encode
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.options import model_options, one_model
from lmstrix.cli.root import command as declare
from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lmstrix.cli.terminal import Terminal
    from lmstrix.defaults.lmstudio import LMStudioDefaults
    from lmstrix.results import LengthPoint, TestResult
    from lmstrix.store import Entry
    from lmstrix.types import Instance, Model

EXAMPLES = """\
\b
Examples:
  lmstrix info my-model
  lmstrix info my-model --format json
"""
# What the blocks below the fields tell at greater length.
_ELSEWHERE = ("id", "loadable", "processable", "effective", "1.x")
_UNKNOWN = "-"


class Known(NamedTuple):
    """A model with its tests on this machine, newest first, and its instances.

    `defaults` is what LM Studio loads it with, or why that cannot be read.
    """

    entry: Entry
    results: Sequence[TestResult]
    loaded: Sequence[Instance]
    defaults: LMStudioDefaults | str | None = None


@declare(name="info", epilog=EXAMPLES)
@model_options
@click.option(
    "--format",
    "--show",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Form of the output.",
)
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """Show everything that is known of MODEL: what it is, what it can, how its tests went."""
    model = one_model(given["model"], given["model_option"])
    if model is None:
        raise UsageError("About which model?", hint="lmstrix info MODEL; see 'lmstrix list'.")
    known = invocation.run(_look_up(invocation, model))
    terminal = invocation.terminal
    if given["form"] == "text":
        for line in info_lines(known, terminal):
            terminal.print(line)
    else:
        from lmstrix.registry.detail import model_data  # not needed for --help

        data = model_data(known.entry, results=known.results, loaded=known.loaded)
        if known.defaults is not None:
            data = {**data, "lmstudio_defaults": known.defaults}
        terminal.print(encode(data, given["form"]))


async def _look_up(invocation: Invocation, name: str) -> Known:
    from lmstrix.store import Store

    async with invocation.client() as client:
        entry = await client.find(name)
        instances = await client.instances()
        for problem in client.problems:
            invocation.terminal.note(f"note: {problem}")
    model = entry.model
    with Store.open(invocation.places.database) as store:
        results = store.results(model)
    place = (model.provider, model.server, model.key)
    loaded = [one for one in instances if (one.provider, one.server, one.model_key) == place]
    return Known(entry, results, loaded, _defaults(model))


def _defaults(model: Model) -> LMStudioDefaults | str | None:
    from lmstrix.defaults.place import defaults_of
    from lmstrix.errors import DefaultsError

    try:
        return defaults_of(model)
    except DefaultsError as error:
        return error.message


def info_lines(known: Known, terminal: Terminal) -> Iterator[str]:
    """The model's fields, then its instances, its tests and what LMStrix 1.x knew."""
    from lmstrix.registry.layout import one_line  # not needed for --help

    yield one_line(known.entry.model.key)
    rows = [*field_rows(known.entry), ("Loaded", loaded_text(known.loaded))]
    if known.defaults is not None:
        rows.append(("In LM Studio", defaults_text(known.defaults)))
    width = max(len(title) for title, _ in rows)
    for title, text in rows:
        yield from _hanging(f"  {title:<{width}}  ", text or _UNKNOWN, terminal)
    for result in known.results:
        yield ""
        yield from test_lines(result, terminal)
    if known.entry.legacy is not None:
        yield ""
        yield from legacy_lines(known.entry, terminal)


def field_rows(entry: Entry) -> Iterator[tuple[str, str]]:
    """Title and text of every field; the text is empty where nothing is known."""
    from lmstrix.registry.columns import COLUMNS, iso_time  # not needed for --help

    model = entry.model
    for column in COLUMNS.values():
        if column.name not in _ELSEWHERE:
            yield column.title, column.text(entry)
    yield "Format", model.format
    yield "Identity", model.identity or ""
    yield "File changed", iso_time(model.modified_at) or ""
    yield "Added", iso_time(entry.added_at or None) or ""
    yield "Last seen", iso_time(entry.seen_at or None) or ""


def loaded_text(loaded: Sequence[Instance]) -> str:
    """`as NAME with context N`, for each instance."""
    from lmstrix.cli.units import tokens  # not needed for --help

    texts = (f"as {one.id} with context {tokens(one.context_tokens)}" for one in loaded)
    return ", ".join(texts) or "no"


def defaults_text(defaults: LMStudioDefaults | str) -> str:
    """`context 8,192, flash attention on, KV cache q8_0/q8_0`, as LM Studio will load it."""
    from lmstrix.cli.units import tokens  # not needed for --help

    if isinstance(defaults, str):
        return defaults
    parts = []
    if defaults.context_tokens is not None:
        parts.append(f"context {tokens(defaults.context_tokens)}")
    if defaults.flash_attention is not None:
        parts.append(f"flash attention {'on' if defaults.flash_attention else 'off'}")
    if defaults.kv_type_k or defaults.kv_type_v:
        parts.append(
            f"KV cache {defaults.kv_type_k or 'default'}/{defaults.kv_type_v or 'default'}"
        )
    known = {"context_tokens", "flash_attention", "kv_type_k", "kv_type_v"}
    others = len(defaults.load) - sum(getattr(defaults, name) is not None for name in known)
    if others > 0:
        parts.append(f"and {others} more setting{'' if others == 1 else 's'} for loading")
    return ", ".join(parts) or "its own defaults"


def test_lines(result: TestResult, terminal: Terminal) -> Iterator[str]:
    """One test: how it was done, its limits with all their evidence, quality by length."""
    from lmstrix.cli.limits_report import LIMITS, limit_text
    from lmstrix.cli.units import counted, duration
    from lmstrix.registry.columns import iso_time

    facts = [result.status.value, iso_time(result.started_at) or "", result.key.provider]
    yield f"Test {result.id} ({', '.join(fact for fact in facts if fact)})"
    yield from _hanging("  engine       ", result.engine or _UNKNOWN, terminal)
    yield from _hanging("  load         ", _settings_text(result.key.load), terminal)
    if result.asked is not None:
        yield from _hanging("  asked        ", _settings_text(result.asked), terminal)
    for name in LIMITS:
        limit = getattr(result, name)
        below = f", below {limit.below_tokens:,}" if limit.below_tokens else ""
        yield f"  {name:<11}  {limit_text(limit)}{below}"
        for sentence in limit.evidence:
            yield from _hanging("               ", sentence, terminal)
    if result.tokens_per_s is not None:
        first = duration(result.time_to_first_token_s)
        yield f"  speed        {result.tokens_per_s:,.1f} tokens/s, first token after {first}"
    yield f"  took         {counted(result.probes, 'probe')}, {counted(result.loads, 'load')}"
    for note in result.notes:
        yield from _hanging("  note         ", note, terminal)
    if result.curve:
        yield from (f"  {line}" for line in curve_lines(result.curve))


def curve_lines(curve: Sequence[LengthPoint]) -> list[str]:
    """Quality and speed by prompt length, as a table."""
    from lmstrix.cli.terminal import table  # not needed for --help

    def number(value: float | None, form: str) -> str:
        return _UNKNOWN if value is None else format(value, form)

    rows = [
        (
            f"{point.tokens:,}",
            f"{point.samples:,}",
            number(point.mean, ".2f"),
            f"{number(point.low, '.2f')} to {number(point.high, '.2f')}",
            number(point.time_to_first_token_s, ".2f"),
            number(point.prompt_tokens_per_s, ",.0f"),
            number(point.tokens_per_s, ",.1f"),
        )
        for point in curve
    ]
    header = ("Length", "Samples", "Score", "95 %", "TTFT s", "Prompt tok/s", "Tok/s")
    return table(header, rows, right="rrrrrrr")


def legacy_lines(entry: Entry, terminal: Terminal) -> Iterator[str]:
    """What LMStrix 1.x knew."""
    legacy = entry.legacy
    assert legacy is not None
    yield "LMStrix 1.x"
    yield from _hanging("  tested       ", _settings_text(legacy), terminal)


def _settings_text(settings: Any) -> str:
    """What is set in a struct: `fast, kv_type_k q8_0, threads 2`."""
    import msgspec  # not needed for --help

    shown = [
        name if value is True else f"{name} {_value_text(value)}"
        for name, value in msgspec.to_builtins(settings).items()
        if value not in (None, "", [], {}, False)
    ]
    return ", ".join(shown) or "defaults"


def _value_text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def _hanging(head: str, text: str, terminal: Terminal) -> Iterator[str]:
    from lmstrix.cli.limits_report import hanging

    return hanging(head, text, terminal)
