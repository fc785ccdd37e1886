"""The tables of a report: all models, one model's load settings, the numbers of plots. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lmstrix.report import wording
from lmstrix.report.markup import Markup, joined, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.report.material import Card, Material, Measured
    from lmstrix.results import Limit

_LIMITS = ("loadable", "processable", "effective")


class Cell(NamedTuple):
    """What a cell shows, a smaller line below it, and the value it is sorted by."""

    text: str
    note: str = ""
    value: float | str = ""
    number: bool = False
    kind: str = ""

    def markup(self) -> Markup:
        """The cell as an element."""
        kind = f"number {self.kind}".strip() if self.number else self.kind
        note = tag("small", self.note) if self.note else None
        return tag("td", self.text, note, class_=kind or None, data_value=self.value)


class Head(NamedTuple):
    """A column's title; `down` sorts it from the largest at first."""

    title: str
    number: bool = False
    down: bool = False

    def markup(self, *, sortable: bool) -> Markup:
        """The heading, with a button where the table can be sorted."""
        return tag(
            "th",
            tag("button", self.title, type="button") if sortable else self.title,
            scope="col",
            class_="number" if self.number else None,
            data_first="descending" if self.down else None,
        )


_MODELS = (
    Head("Model"),
    Head("Declared", number=True, down=True),
    Head("Loadable", number=True, down=True),
    Head("Processable", number=True, down=True),
    Head("Effective", number=True, down=True),
    Head("First token", number=True),
    Head("Tokens/s", number=True, down=True),
    Head("Memory", number=True),
    Head("Tested"),
    Head("Machine"),
    Head("Engine"),
)
_SETTINGS = (Head("Load settings"), *_MODELS[2:8], Head("Tested"), Head("Engine"))


def of_models(material: Material) -> Markup:
    """Every model in one row."""
    rows = [
        tag(
            "tr",
            tag(
                "th",
                tag("a", card.name, href=f"#m{card.number}") if card.main else card.name,
                scope="row",
                data_value=card.name.casefold(),
            ),
            _count(card.declared_tokens),
            *_measures(card.main),
            *_origin(card, material.machine),
        )
        for card in material.cards
    ]
    return _scrolled("All models", _table(_MODELS, rows, "models sortable", sortable=True))


def of_settings(card: Card) -> Markup:
    """One model under each of the load settings it was tested with."""
    rows = [
        tag(
            "tr",
            tag("th", wording.settings(test.result.key.load), scope="row"),
            *_measures(test),
            Cell(wording.day(_ended(test)), kind="solid").markup(),
            Cell(wording.measured_on(test), kind="warn" if test.aged else "").markup(),
        )
        for test in card.tests
    ]
    return _scrolled("Load settings", _table(_SETTINGS, rows, "settings"))


def of_lengths(test: Measured) -> Markup:
    """The numbers behind the plots over prompt length."""
    families = sorted({name for point in test.curve for name in point.by_family})
    heads = [
        Head("Tokens in the prompt", number=True),
        Head("Questions", number=True),
        Head("Score", number=True),
        Head("95 % interval", number=True),
        *(Head(name, number=True) for name in families),
        Head("First token", number=True),
        Head("Reading, tokens/s", number=True),
        Head("Writing, tokens/s", number=True),
    ]
    scored = {point.tokens: point for point in test.curve}
    timed = {one.tokens: one for one in test.timed}
    rows = []
    for tokens in sorted({*scored, *timed}):
        point, speed = scored.get(tokens), timed.get(tokens)
        shown = [
            f"{tokens:,}",
            f"{point.samples:,}" if point else wording.NOTHING,
            f"{point.mean:.3f}" if point and point.mean is not None else wording.NOTHING,
            f"{point.low:.3f} to {point.high:.3f}"
            if point and point.low is not None and point.high is not None
            else wording.NOTHING,
            *(
                f"{point.by_family[name]:.3f}"
                if point and name in point.by_family
                else wording.NOTHING
                for name in families
            ),
            wording.seconds(speed.first_token_s if speed else None),
            wording.rate(speed.prompt_per_s if speed else None),
            wording.rate(speed.answer_per_s if speed else None),
        ]
        rows.append(tag("tr", *(Cell(text, number=True).markup() for text in shown)))
    return _scrolled("By prompt length", _table(heads, rows, "lengths"))


def of_loads(test: Measured) -> Markup:
    """The numbers behind the plot of memory."""
    heads = [
        Head("Context", number=True),
        Head("Weights", number=True),
        Head("KV cache", number=True),
        Head("Compute buffers", number=True),
        Head("Process", number=True),
        Head("Load time", number=True),
    ]
    rows = []
    for one in test.loaded:
        memory = one.memory
        sizes = (
            (memory.weights_bytes, memory.kv_bytes, memory.compute_bytes, memory.resident_bytes)
            if memory
            else (None,) * 4
        )
        shown = [f"{one.tokens:,}", *(wording.size(size) for size in sizes)]
        shown.append(wording.seconds(one.load_s))
        rows.append(tag("tr", *(Cell(text, number=True).markup() for text in shown)))
    return _scrolled("By context size", _table(heads, rows, "loads"))


def _measures(test: Measured | None) -> list[Markup]:
    """The limits, speeds and memory of a test."""
    if test is None:
        return [Cell(wording.NOTHING, number=True).markup() for _ in range(6)]
    result = test.result
    total = wording.memory_total(test.memory)
    return [
        *(_limit(getattr(result, name)) for name in _LIMITS),
        _figure(wording.seconds(result.time_to_first_token_s), result.time_to_first_token_s),
        _figure(wording.rate(result.tokens_per_s), result.tokens_per_s),
        _figure(wording.size(total), total),
    ]


def _origin(card: Card, machine: str) -> list[Markup]:
    """When and where it was measured."""
    test = card.main
    if test is None:
        return [Cell(text, value="").markup() for text in ("untested", "", "")]
    at, where = _ended(test), test.result.key.machine
    named = "this one" if where == machine else where[:8]
    state = wording.status(card)
    return [
        Cell(
            wording.day(at),
            "" if state == "completed" else state,
            wording.moment(at),
            kind="solid",
        ).markup(),
        Cell(named, value=named, kind="solid").markup(),
        Cell(
            wording.measured_on(test),
            value=test.result.engine,
            kind="warn" if test.aged else "",
        ).markup(),
    ]


def _ended(test: Measured) -> float:
    return test.result.finished_at or test.result.started_at


def _limit(limit: Limit) -> Markup:
    value = "" if limit.tokens is None else limit.tokens
    return Cell(wording.limit_text(limit), wording.limit_note(limit), value, number=True).markup()


def _count(tokens: int | None) -> Markup:
    return _figure(wording.tokens(tokens), tokens)


def _figure(text: str, value: float | None) -> Markup:
    return Cell(text, value="" if value is None else value, number=True).markup()


def _table(
    heads: Sequence[Head], rows: Sequence[Markup], kind: str, *, sortable: bool = False
) -> Markup:
    head = tag("tr", *(one.markup(sortable=sortable) for one in heads))
    return tag("table", tag("thead", head), tag("tbody", *rows), class_=kind)


def _scrolled(label: str, table: Markup) -> Markup:
    """A table that is moved sideways where it is wider than the page, by keys too."""
    return joined(tag("div", table, class_="scroll", role="region", aria_label=label, tabindex=0))
