"""What the live table of running tests shows."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lmstrix.cli.live_tests import LiveTests
from lmstrix.cli.terminal import Terminal
from lmstrix.context.options import Stage, TestEvent
from lmstrix.registry.layout import display_width
from lmstrix.results import TestKey, TestResult, TestStatus
from lmstrix.store import Entry
from lmstrix.types import Model

RESULT = TestResult(
    key=TestKey(identity="i", provider="embedded", machine="m"),
    model_key="model",
    status=TestStatus.COMPLETED,
    started_at=100.0,
)


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def entry(key: str) -> Entry:
    return Entry(
        model=Model(key=key, provider="embedded", server="embedded", size_bytes=10**9),
        added_at=0,
    )


@pytest.mark.parametrize("columns", [60, 80])
def test_the_live_table_fits_and_shows_the_model_at_work(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    live = LiveTests(Terminal(Screen(), Screen()), [entry(f"model-{n:03}") for n in range(200)])
    for number in range(150):
        live.on_event(TestEvent(model_key=f"model-{number:03}", stage=Stage.DONE, result=RESULT))
    live.on_event(TestEvent(model_key="model-150", stage=Stage.ANSWER, tokens=131072, probe=9))
    out = io.StringIO()
    console = Console(file=out, width=columns, height=24)
    console.print(live._table())
    lines = out.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(display_width, lines)) <= columns
    [at_work] = [line for line in lines if "model-150" in line]
    assert "answering" in at_work
    assert "131,072" in at_work
    assert "35%" in at_work
    assert "150 of 200 done" in lines[-1]
