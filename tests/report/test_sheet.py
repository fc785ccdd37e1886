"""The same plots as one picture."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from lmstrix.errors import UnsupportedError
from lmstrix.report import sheet

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_well_formed_and_has_a_plot_of_each_sort(make: Any):
    root = ET.fromstring(sheet.svg(make.material(make.card(0, "a <b>", make.result()))))
    titles = [one.text for plot in root.findall(f"{SVG}svg") for one in plot.findall(f"{SVG}title")]
    assert len(titles) == 4
    assert any(text.text == "a <b>" for text in root.iter(f"{SVG}text"))


def test_plots_do_not_lie_on_each_other(make: Any):
    cards = [make.card(n, f"m{n}", make.result()) for n in range(3)]
    root = ET.fromstring(sheet.svg(make.material(*cards)))
    places = [(one.get("x"), one.get("y")) for one in root.findall(f"{SVG}svg")]
    assert len(places) == len(set(places)) == 2 + 3 * 4
    bottom = max(float(y or 0) for _, y in places) + 280
    assert bottom <= float(root.get("height") or 0)


def test_every_colour_is_written_out_for_programs_that_know_no_variables(make: Any):
    drawn = sheet.svg(make.material(make.card(0, "a", make.result())))
    assert "var(" not in drawn
    assert "prefers-color-scheme: dark" in drawn


def test_pixels_are_twice_as_many_as_units(make: Any):
    pytest.importorskip("resvg_py")
    material = make.material(make.card(0, "a", make.result()))
    made = sheet.png(material)
    root = ET.fromstring(sheet.svg(material))
    assert made.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", made[16:24])
    assert (width, height) == (960 * 2, float(root.get("height") or 0) * 2)


def test_without_the_package_it_says_what_to_install(make: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sheet, "find_spec", lambda _: None)
    with pytest.raises(UnsupportedError, match="resvg-py") as caught:
        sheet.png(make.material(make.card(0, "a", make.result())))
    assert "lmstrix[report]" in caught.value.hint
