"""The page in a browser, where there is one: its script runs under its policy and sorts."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.report.page import html

if TYPE_CHECKING:
    from pathlib import Path

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Chromium")


def seen(page: str, tmp_path: Path) -> str:
    """The document after its script ran."""
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    done = subprocess.run(
        [BROWSER, *flags, "--dump-dom", file.as_uri()],
        capture_output=True,
        timeout=90,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    return done.stdout.decode()


def order(document: str) -> list[str]:
    return re.findall(r'<th scope="row" data-value="(\w+)">', document)


def test_the_policy_lets_the_script_show_six_models_at_first(make: Any, tmp_path: Path):
    cards = [make.card(n, f"m{n}", make.result()) for n in range(8)]
    document = seen(html(make.material(*cards)), tmp_path)
    hidden = set(re.findall(r'<g data-model="(\d)" hidden', document))
    assert hidden == {"6", "7"}


def test_a_heading_sorts_by_its_column_and_again_the_other_way(make: Any, tmp_path: Path):
    cards = [make.card(n, f"m{n}", make.result()) for n in (1, 0, 2)]
    cards.insert(1, make.card(3, "none"))
    page = re.sub(
        r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html(make.material(*cards))
    )
    click = "document.querySelectorAll('table.sortable button')[{}].click();"

    def after(*columns: int) -> str:
        script = "".join(click.format(column) for column in columns)
        return seen(page.replace("</body>", f"<script>{script}</script></body>"), tmp_path)

    assert order(after()) == ["m1", "none", "m0", "m2"]
    assert order(after(0)) == ["m0", "m1", "m2", "none"]
    twice = after(1, 1)
    assert order(twice) == ["m0", "m1", "m2", "none"]
    assert re.search(r'<th[^>]*aria-sort="ascending"[^>]*><button type="button">Declared', twice)
    assert "Sorted by Declared, ascending." in twice
    assert order(after(4))[-1] == "none"  # what has no value comes last either way
    assert order(after(4, 4))[-1] == "none"
