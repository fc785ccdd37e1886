"""The report as one HTML page that needs nothing else: no network, no other file. Pure."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from lmstrix.report import plots, tables, wording
from lmstrix.report.markup import Markup, joined, tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmstrix.report.material import Card, Material, Measured

_LIMITS = ("loadable", "processable", "effective")
_SHOWN_AT_FIRST = 6


def html(material: Material) -> str:
    """The whole page.

    Its content security policy lets nothing run or load but its own style and script, by their
    hashes.
    """
    style, script = part("page.css") + part("plot.css"), part("page.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"LMStrix {material.version}"),
        tag("title", "LMStrix report"),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        *_header(material),
        tag(
            "main",
            tag("section", tag("h2", "Models", id="models"), tables.of_models(material)),
            _comparison(material),
            *(_model(card, card.main) for card in material.tested if card.main is not None),
        ),
        tag("p", "", id="said", role="status", class_="small muted"),
        _footer(),
        tag("script", Markup(script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


@cache
def part(name: str) -> str:
    """A style sheet or script that lies beside this module."""
    return files("lmstrix.report").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _header(material: Material) -> Iterator[Markup]:
    yield tag("h1", "What these models really handle")
    tested = len(material.tested)
    yield tag(
        "p",
        f"{len(material.cards):,} models, {tested:,} tested. Machine {material.machine[:8]},"
        f" LMStrix {material.version}, {wording.moment(material.made_at)}.",
        class_="muted",
    )


def _comparison(material: Material) -> Markup | None:
    """Tested models beside each other; boxes choose among them."""
    cards = [card for card in material.tested if plots.comparable(card)]
    if len(cards) < 2:
        return None
    drawn = [plots.compare_quality(cards), plots.compare_speed(cards)]
    boxes = [
        tag(
            "label",
            tag(
                "input",
                type="checkbox",
                data_model=card.number,
                checked=place < _SHOWN_AT_FIRST,
            ),
            _swatch(card),
            card.name,
        )
        for place, card in enumerate(cards)
    ]
    return tag(
        "section",
        tag("h2", "Comparison", id="comparison"),
        tag("fieldset", tag("legend", "Models shown"), *boxes, class_="choice"),
        tag("div", *(tag("div", plot) for plot in drawn if plot is not None), class_="plots"),
    )


def _swatch(card: Card) -> Markup:
    line = tag("line", class_=f"line {plots.color_of(card)}", x1=0, x2=22, y1=6, y2=6)
    return tag(
        "svg", line, class_="plot key", viewBox="0 0 22 12", width=22, height=12, aria_hidden="true"
    )


def _model(card: Card, test: Measured) -> Markup:
    """One model: its limits, its plots, and the evidence."""
    drawn = plots.of_model(card)
    return tag(
        "section",
        tag("h2", card.name, id=f"m{card.number}"),
        tag("p", wording.model_facts(card.entry.model), class_="muted"),
        tag("p", _origin(test), class_="muted small"),
        tag("p", f"{_capital(wording.measured_on(test))}.", class_="warn") if test.aged else None,
        _facts(card, test),
        tag("div", *(tag("div", plot) for plot in drawn), class_="plots") if drawn else None,
        *_other_settings(card),
        _evidence(test),
        _numbers(test),
        class_="model",
        aria_labelledby=f"m{card.number}",
    )


def _origin(test: Measured) -> str:
    """How, when and on what it was measured."""
    result = test.result
    engine = f" on {result.engine}" if result.engine else ""
    day = wording.day(result.finished_at or result.started_at)
    return f"Load settings: {wording.settings(result.key.load)}. Tested {day}{engine}."


def _facts(card: Card, test: Measured) -> Markup:
    result = test.result
    rows = [
        ("Declared", wording.tokens(card.declared_tokens), "tokens"),
        *(
            (
                name.capitalize(),
                wording.limit_text(card.limit(name)),
                wording.limit_note(card.limit(name)),
            )
            for name in _LIMITS
        ),
        (
            "First token",
            wording.seconds(result.time_to_first_token_s),
            "at the longest prompt",
        ),
        ("Writing", wording.rate(result.tokens_per_s), "tokens/s at the longest prompt"),
        ("Memory", wording.size(wording.memory_total(test.memory)), "at the largest context"),
    ]
    boxes = [
        tag("div", tag("dt", title), tag("dd", value, tag("small", note) if note else None))
        for title, value, note in rows
    ]
    return tag("dl", *boxes, class_="facts")


def _other_settings(card: Card) -> Iterator[Markup]:
    if len(card.tests) > 1:
        yield tag("h3", "Under each load settings")
        yield tables.of_settings(card)


def _evidence(test: Measured) -> Markup | None:
    result = test.result
    lines = [
        tag("li", tag("strong", f"{name.capitalize()}: "), " ".join(limit.evidence))
        for name, limit in ((name, getattr(result, name)) for name in _LIMITS)
        if limit.evidence
    ]
    lines += [tag("li", tag("strong", "Note: "), note) for note in result.notes]
    if not lines:
        return None
    return tag("details", tag("summary", "What shows it"), tag("ul", *lines, class_="evidence"))


def _numbers(test: Measured) -> Markup | None:
    parts = []
    if test.curve or test.timed:
        parts.append(tables.of_lengths(test))
    if test.loaded:
        parts.append(tables.of_loads(test))
    if not parts:
        return None
    return tag("details", tag("summary", "The numbers of the plots"), *_spaced(parts))


def _spaced(parts: list[Markup]) -> Iterator[Markup]:
    for number, one in enumerate(parts):
        if number:
            yield tag("p", "")
        yield one


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _footer() -> Markup:
    return tag(
        "footer",
        tag(
            "p",
            joined(
                "Loadable: the model loads, really that large. Processable: a prompt that fills"
                " the context is processed whole. Effective: the longest prompt up to which"
                " answers stay as good as at short lengths. k is 1,024 tokens; bars around points"
                " are 95 % intervals."
            ),
            class_="small muted",
        ),
    )
