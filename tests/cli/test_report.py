"""`lmstrix report`, run as a user runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.cli.commands.report import form_of
from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_tested_is_in_the_page(lmstrix: Any, home: Path):
    assert lmstrix("report").returncode == 3
    lmstrix("scan")
    lmstrix("test", "tiny-chat", "--fast")
    made = lmstrix("report")
    assert made.returncode == 0, made.stderr
    assert made.stdout == "lmstrix-report.html\n"
    page = (home / "lmstrix-report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "tiny-chat-overclaimed" in page  # known, though not tested
    assert ">Memory</title>" in page

    one = lmstrix("report", "tiny-chat", "--out", "limits.svg")
    assert one.returncode == 0
    assert "tiny-chat-overclaimed" not in (home / "limits.svg").read_text(encoding="utf-8")

    printed = lmstrix("report", "tiny-chat", "-o", "-", "--format", "svg")
    assert printed.stdout.startswith("<?xml")
    assert printed.stdout.rstrip().endswith("</svg>")

    untested = lmstrix("report", "tiny-embed", "--format", "svg")
    assert untested.returncode == 3
    assert "lmstrix test" in untested.stderr


def test_what_cannot_be_made_is_said_before_anything_is_written(lmstrix: Any, home: Path):
    lmstrix("scan")
    for words in (["report", "--out", "report.pdf"], ["report", "--open", "--out", "-"]):
        assert lmstrix(*words).returncode == 2
    assert lmstrix("report", "nothing").returncode == 3
    assert not list(home.glob("*report*.*"))


def test_the_form_is_the_one_asked_for_else_that_of_the_ending():
    assert form_of(None, None) == "html"
    assert form_of(None, "-") == "html"
    assert form_of(None, "a/b.SVG") == "svg"
    assert form_of(None, "page.htm") == "html"
    assert form_of("svg", "any.name") == "svg"
    with pytest.raises(UsageError, match="pdf"):
        form_of(None, "x.pdf")
