"""Entries to choose from, made in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.results import Limit, TestKey, TestResult, TestStatus, Verdict
from lmstrix.store import Entry
from lmstrix.types import Model

if TYPE_CHECKING:
    from collections.abc import Callable


def _entry(
    key: str = "acme/one",
    *,
    ctx: int | None = None,
    status: TestStatus | None = None,
    tested_at: float = 1000.0,
    ttft: float | None = None,
    tps: float | None = None,
    limits: dict[str, Limit] | None = None,
    provider: str = "embedded",
    server: str = "this machine",
    seen_at: float | None = 1.0,
    missing_since: float | None = None,
    legacy: Any = None,
    **model: Any,
) -> Entry:
    result = None
    if ctx is not None or status is not None or limits is not None:
        found = {"processable": Limit(verdict=Verdict.FOUND, tokens=ctx)} if ctx else {}
        result = TestResult(
            key=TestKey(identity=key, provider=provider, machine="m"),
            model_key=key,
            status=status or TestStatus.COMPLETED,
            started_at=tested_at - 10,
            finished_at=tested_at,
            time_to_first_token_s=ttft,
            tokens_per_s=tps,
            **(limits or found),
        )
    return Entry(
        model=Model(key=key, provider=provider, server=server, **model),
        added_at=1.0,
        seen_at=seen_at,
        missing_since=missing_since,
        result=result,
        legacy=legacy,
    )


@pytest.fixture(scope="session")
def make_entry() -> Callable[..., Entry]:
    """A factory of entries; `ctx` or `status` gives one a test result."""
    return _entry
