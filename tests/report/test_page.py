"""The page: whole, offline, safe, and readable to everybody."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest

from lmstrix.report.page import html
from lmstrix.results import Limit, Verdict
from lmstrix.types import LoadConfig

HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\x00{}"
VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """A page as read: its elements, what is in them, and which were left open."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_everything_is_closed_and_every_id_is_one_elements(make: Any):
    page = Page(html(make.material(make.card(0, "a", make.result()), make.card(1, "b"))))
    assert page.open == []
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(ids.values()) == {1}


def test_a_hostile_name_stays_a_name(make: Any):
    limit = Limit(verdict=Verdict.FOUND, tokens=5, evidence=(HOSTILE,))
    result = make.result(effective=limit, notes=(HOSTILE,))
    material = make.material(make.card(0, HOSTILE, result), make.card(1, HOSTILE * 2, result))
    page = Page(html(material))
    harmless = Page(html(make.material(make.card(0, "a", result), make.card(1, "b", result))))
    assert [name for name, _ in page.elements] == [name for name, _ in harmless.elements]
    assert not [a for _, a in page.elements for name in a if name.startswith("on")]
    assert any("<img src=x onerror=alert(2)>" in text for text in page.texts["h2"])
    assert "\u202e" not in html(material)
    assert "\x00" not in html(material)


def test_nothing_is_loaded_from_anywhere(make: Any):
    source = html(make.material(make.card(0, "a", make.result()), make.card(1, "b", make.result())))
    page = Page(source)
    assert set(re.findall(r"https?://[^\"' ]*", source)) == {"http://www.w3.org/2000/svg"}
    for _, attributes in page.elements:
        assert not {"src", "srcset", "style", "action"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"@import|url\(", source)


def test_the_policy_allows_its_own_style_and_script_and_nothing_else(make: Any):
    source = html(make.material(make.card(0, "a", make.result())))
    (policy,) = (
        meta["content"]
        for meta in Page(source).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_every_model_has_a_row_with_its_limits_and_values_to_sort_by(make: Any):
    page = Page(html(make.material(make.card(0, "tested", make.result()), make.card(1, "new"))))
    rows = [text for text in page.texts["tr"] if text.startswith(("tested", "new"))]
    assert len(rows) == 2
    assert "8,192" in rows[0]
    assert "2,048fails from 2,300" in rows[0]
    assert "this one" in rows[0]
    assert "untested" in rows[1]
    values = [cell["data-value"] for cell in page.all("td") if "data-value" in cell]
    assert "2048" in values


def test_a_limit_without_an_end_says_so(make: Any):
    limit = Limit(verdict=Verdict.AT_LEAST, tokens=4096)
    source = html(make.material(make.card(0, "a", make.result(effective=limit))))
    assert "≥ 4,096" in source
    assert "undecided above" in source


def test_an_aged_result_says_what_it_was_measured_on(make: Any):
    aged = html(make.material(make.card(0, "a", make.result(), engine_now="engine 2")))
    fresh = html(make.material(make.card(0, "a", make.result(), engine_now="engine 1")))
    assert "measured on engine 1; now engine 2" in aged
    assert "measured on" not in fresh


def test_each_load_setting_has_a_row(make: Any):
    quantized = make.result(2, load=LoadConfig(kv_type_k="q8_0", kv_type_v="q8_0"))
    page = Page(html(make.material(make.card(0, "a", make.result(), quantized))))
    assert any(text.startswith("KV cache q8_0") for text in page.texts["tr"])
    assert any(text.startswith("the provider's own") for text in page.texts["tr"])


def test_two_tested_models_are_compared_and_one_is_not(make: Any):
    two = Page(html(make.material(*(make.card(n, f"m{n}", make.result()) for n in range(2)))))
    assert "Comparison" in two.texts["h2"]
    assert {one["data-model"] for one in two.all("input")} == {"0", "1"}
    assert {one["data-model"] for one in two.all("g")} == {"0", "1"}
    assert (
        "Comparison" not in Page(html(make.material(make.card(0, "a", make.result())))).texts["h2"]
    )


def test_those_who_do_not_see_the_plots_can_read_them(make: Any):
    page = Page(html(make.material(make.card(0, "a", make.result()))))
    ids = {attributes.get("id") for _, attributes in page.elements}
    plots = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(plots) == 4
    for plot in plots:
        assert set(plot["aria-labelledby"].split()) <= ids
    assert any(
        "1,024 tokens: 1.00 (0.90 to 1.00) from 48 questions" in d for d in page.texts["desc"]
    )
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert all(region["tabindex"] == "0" for region in page.all("div") if "aria-label" in region)


def test_a_model_that_was_not_tested_has_no_section(make: Any):
    page = Page(html(make.material(make.card(0, "new"))))
    assert page.texts["h2"] == ["Models"]
    assert page.all("svg") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"curve": ()},
        {"effective": Limit(verdict=Verdict.NOT_APPLICABLE), "curve": ()},
        {"loadable": Limit(verdict=Verdict.NONE), "processable": Limit(), "effective": Limit()},
    ],
)
def test_what_was_not_measured_leaves_no_hole(make: Any, fields: dict[str, Any]):
    page = Page(html(make.material(make.card(0, "a", make.result(**fields)))))
    assert page.open == []
    assert not any("None" in text for text in page.texts["td"])
