"""What tests look like in lines."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace

from lmstrix.cli.limits_report import EventLines, limit_text, report_lines
from lmstrix.cli.terminal import Terminal
from lmstrix.context.options import Stage, TestEvent
from lmstrix.registry.layout import display_width
from lmstrix.results import FailureKind, Limit, TestKey, TestResult, TestStatus, Verdict

RESULT = TestResult(
    key=TestKey(identity="i", provider="embedded", machine="m"),
    model_key="tiny/chat-model",
    status=TestStatus.COMPLETED,
    started_at=100.0,
    finished_at=112.5,
    declared_tokens=8192,
    loadable=Limit(verdict=Verdict.FOUND, tokens=8192, evidence=("It loaded at 8,192.", "More.")),
    processable=Limit(
        verdict=Verdict.FOUND,
        tokens=8100,
        below_tokens=8192,
        failure=FailureKind.TIMEOUT,
        evidence=("A long sentence of evidence. " * 4,),
    ),
    effective=Limit(verdict=Verdict.AT_LEAST, tokens=4096, evidence=("39 of 40 were right.",)),
    tokens_per_s=1234.5,
    time_to_first_token_s=0.25,
    probes=7,
)


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_each_limit_has_its_size_and_one_line_of_evidence() -> None:
    lines = list(report_lines([RESULT], Terminal(io.StringIO(), io.StringIO())))
    assert lines[0] == "tiny/chat-model  (declared 8,192, completed, 7 probes in 12 s)"
    assert lines[1] == "  loadable         8,192  It loaded at 8,192."
    assert lines[3] == "  effective     >= 4,096  39 of 40 were right."
    assert lines[4] == "  speed        1,234.5 tokens/s, first token after 0.2 s"
    assert len(lines) == 5


def test_a_test_that_could_not_run_says_only_why() -> None:
    key = RESULT.key
    failed = TestResult(
        key=key, model_key="m", status=TestStatus.FAILED, started_at=1.0, notes=("It is busy.",)
    )
    lines = list(report_lines([failed], Terminal(io.StringIO(), io.StringIO())))
    assert lines == ["m  (declared -, failed)", "  note         It is busy."]


@pytest.mark.parametrize("columns", [60, 80])
def test_a_report_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = list(report_lines([RESULT, RESULT], Terminal(Screen(), Screen())))
    assert max(map(display_width, lines)) <= columns


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (Limit(), "untested"),
        (Limit(verdict=Verdict.NONE), "none"),
        (Limit(verdict=Verdict.NOT_APPLICABLE), "n/a"),
        (Limit(verdict=Verdict.AT_LEAST, tokens=1000), ">= 1,000"),
        (Limit(verdict=Verdict.FOUND, tokens=1000), "1,000"),
    ],
)
def test_a_limit_is_told_by_its_verdict(limit: Limit, text: str) -> None:
    assert limit_text(limit) == text


def test_without_a_terminal_each_stage_of_a_size_is_one_line() -> None:
    err = io.StringIO()
    lines = EventLines(Terminal(io.StringIO(), err))
    step = TestEvent(model_key="m", stage=Stage.LOAD, tokens=4096, message="loading 4,096")
    lines.on_event(step)
    lines.on_event(replace(step, message="reading weights", fraction=0.1))
    lines.on_event(replace(step, message="reading weights", fraction=0.9))
    for message in ("", "prompt processing", ""):
        lines.on_event(TestEvent(model_key="m", stage=Stage.ANSWER, tokens=1024, message=message))
    lines.on_event(TestEvent(model_key="m", stage=Stage.DONE, message="completed"))
    assert err.getvalue().splitlines() == [
        "m: loading 4,096 tokens",
        "m: answering 1,024 tokens",
        "m: done (completed)",
    ]
