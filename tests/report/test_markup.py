"""Elements whose texts cannot become markup."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as some

from lmstrix.report.markup import Markup, joined, tag, text


class Reader(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said += data


@given(some.text(), some.text())
def test_no_text_becomes_an_element_or_an_attribute(one: str, other: str):
    read = Reader(tag("p", one, title=other))
    (seen,) = read.seen
    assert seen[0] == "p"
    assert set(seen[1]) == {"title"}
    assert read.said == "".join(char if char.isprintable() else "?" for char in one)


def test_what_is_left_out_is_not_written():
    assert tag("p", None, class_=None, hidden=False) == "<p></p>"
    assert tag("input", checked=True, data_model=3) == '<input checked data-model="3">'


def test_numbers_are_short():
    assert tag("line", x1=1.0, y1=2.345678) == '<line x1="1" y1="2.35"/>'


def test_markup_is_not_escaped_again():
    assert joined(tag("b", "<"), "<") == "<b>&lt;</b>&lt;"
    assert text(Markup("<br>")) == "<br>"
    assert tag("g", data_a='"') == '<g data-a="&quot;"></g>'
