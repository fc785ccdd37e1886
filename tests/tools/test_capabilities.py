"""The table of capabilities in `docs/providers.md` is the code's own."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lmstrix.providers import Capabilities

if TYPE_CHECKING:
    from types import ModuleType

_SCRIPT = Path(__file__).parents[2] / "tools" / "make" / "capabilities.py"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = spec_from_file_location("make_capabilities", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_code_declares(maker: ModuleType):
    text = maker.PAGE.read_text(encoding="utf-8")
    assert maker.page(text) == text, "run: python tools/make/capabilities.py"
    for kind in maker.kinds():
        assert f"| `{kind.name}` |" in text


def test_every_capability_has_words(maker: ModuleType):
    assert set(maker.WORDS) == set(Capabilities.__struct_fields__)


def test_a_changed_capability_changes_the_page(maker: ModuleType, monkeypatch: pytest.MonkeyPatch):
    before = maker.table()
    for kind in maker.kinds():
        if kind.name == "openai":
            monkeypatch.setattr(kind, "capabilities", Capabilities())
    assert maker.table() != before
