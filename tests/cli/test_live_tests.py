"""What the live table of running tests shows."""

from __future__ import annotations

import io
from typing import Any

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


def event(number: int, stage: Stage, **more: Any) -> TestEvent:
    return TestEvent(model_key=f"model-{number:03}", server="embedded", stage=stage, **more)


@pytest.mark.parametrize("columns", [60, 80])
def test_the_live_table_fits_and_shows_the_model_at_work(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    live = LiveTests(Terminal(Screen(), Screen()), [entry(f"model-{n:03}") for n in range(200)])
    for number in range(150):
        live.on_event(
            TestEvent(
                model_key=f"model-{number:03}", server="embedded", stage=Stage.DONE, result=RESULT
            )
        )
    live.on_event(
        TestEvent(
            model_key="model-150", server="embedded", stage=Stage.ANSWER, tokens=131072, probe=9
        )
    )
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


def test_what_is_left_of_all_is_told_once_a_test_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    now = 1000.0
    monkeypatch.setattr("lmstrix.cli.live_tests.time.monotonic", lambda: now)
    live = LiveTests(Terminal(Screen(), Screen()), [entry(f"model-{n:03}") for n in range(4)])

    def shown() -> list[str]:
        out = io.StringIO()
        Console(file=out, width=80, height=24).print(live._table())
        return out.getvalue().splitlines()

    live.on_event(event(0, Stage.LOAD, probe=1))
    assert "left" not in shown()[-1]
    now += 240
    live.on_event(event(0, Stage.DONE, result=RESULT))
    assert "1 of 4 done, ~12 min left." in shown()[-1]
    [waiting] = [line for line in shown() if "model-003" in line]
    assert "~4 min" in waiting
    live.on_event(event(1, Stage.DONE, result=RESULT))  # it was tested before
    assert "~8 min left." in shown()[-1]


def test_the_same_model_on_two_servers_has_a_row_for_each() -> None:
    entries = [
        Entry(
            model=Model(key="m", provider="lmstudio", server=f"http://10.0.0.{n}:1234"),
            added_at=0,
        )
        for n in (1, 2)
    ]
    live = LiveTests(Terminal(Screen(), Screen()), entries)
    done = TestEvent(model_key="m", server="http://10.0.0.2:1234", stage=Stage.DONE, result=RESULT)
    live.on_event(done)
    out = io.StringIO()
    Console(file=out, width=100, height=24).print(live._table())
    first, second = [line for line in out.getvalue().splitlines() if "m (10" in line]
    assert "waiting" in first
    assert "completed" in second
