"""`--auto-model`: the model is chosen by what was measured, and the reasons are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.results import LengthPoint, Limit, TestKey, TestResult, TestStatus, Verdict
from lmstrix.store import Store, machine_id
from lmstrix.store.models import subject

if TYPE_CHECKING:
    from conftest import Run

    from lmstrix.config import Places


def _record_tests(places: Places, scores: dict[str, float]) -> None:
    """Let the store know the chat models as tested, with these scores at 1,000 tokens."""
    with Store.open(places.database) as store:
        for entry in store.entries():
            if entry.model.key in scores:
                result = TestResult(
                    key=TestKey(
                        identity=subject(entry.model),
                        provider=entry.model.provider,
                        machine=machine_id(),
                    ),
                    model_key=entry.model.key,
                    status=TestStatus.COMPLETED,
                    started_at=1.0,
                    effective=Limit(verdict=Verdict.FOUND, tokens=1024),
                    curve=(LengthPoint(tokens=1000, mean=scores[entry.model.key]),),
                )
                store.begin_test(result)


def test_the_best_tested_model_is_asked_and_why_is_on_standard_error(
    lmstrix: Run, places: Places
) -> None:
    lmstrix("scan")
    _record_tests(places, {"tiny-chat": 0.9, "tiny-chat-overclaimed": 0.4})
    asked = lmstrix("infer", "Hello", "--auto-model", "--out-ctx", "8")
    assert asked.returncode == 0
    assert asked.stdout.strip()
    assert "note: tiny-chat was tested to hold 1,024 tokens" in asked.stderr
    assert "scored 90%" in asked.stderr
    assert "tiny-chat " in lmstrix("ps").stdout
    quiet = lmstrix("infer", "Hello", "--auto-model", "--out-ctx", "8", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_it_cannot_choose_where_a_model_is_named_or_nothing_was_measured(lmstrix: Run) -> None:
    both = lmstrix("infer", "Hello", "tiny-chat", "--auto-model")
    assert both.returncode == 2
    assert "'tiny-chat' is named" in both.stderr
    lmstrix("scan")
    unmeasured = lmstrix("infer", "Hello", "--auto-model")
    assert (unmeasured.returncode, unmeasured.stdout) == (3, "")
    assert "lmstrix test --all" in unmeasured.stderr
