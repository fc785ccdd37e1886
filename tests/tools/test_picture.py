"""The picture of the terminal: every word is where the terminal had it."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it needs a pseudo-terminal")
_SCRIPT = Path(__file__).parents[2] / "tools" / "make" / "picture.py"


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = spec_from_file_location("picture", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(drawing: str) -> dict[str, tuple[float, float]]:
    """The texts that are drawn, with their column and width in letters."""
    found = {}
    for text in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text"):
        if "textLength" in text.attrib:
            place = (float(text.attrib["x"]) / 12.2, float(text.attrib["textLength"]) / 12.2)
            found[(text.text or "").replace("\xa0", " ")] = tuple(round(n, 3) for n in place)
    return found


def test_spaces_at_the_beginning_and_in_a_row_are_room_not_letters(picture: ModuleType) -> None:
    lines = ["    far in  and   apart", "one space", "", "\x1b[1m  bold\x1b[0m   plain <&>"]
    drawn = texts(picture.draw(lines, columns=40, title="x"))
    assert drawn == {
        "far in": (4, 6),
        "and": (12, 3),
        "apart": (18, 5),
        "one space": (0, 9),
        "bold": (2, 4),
        "plain <&>": (9, 9),
    }


def test_wide_letters_take_two_columns(picture: ModuleType) -> None:
    drawn = texts(picture.draw(["日本  x"], columns=40, title="x"))
    assert drawn == {"日本": (0, 4), "x": (6, 1)}


def test_what_a_command_prints_is_what_is_recorded(picture: ModuleType) -> None:
    says = "print('first'); print('  second', end=''); print('\\r  third ')"
    recorded = picture.record([sys.executable, "-c", says], 40)
    assert picture.settle(recorded) == ["first", "  third "]
