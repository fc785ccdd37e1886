"""Models with results, made up, for reports about them."""

from __future__ import annotations

from typing import Any

import pytest

from lmstrix.report.material import Card, Material, measured
from lmstrix.results import (
    LengthPoint,
    Limit,
    Probe,
    ProbeKind,
    ProbeOutcome,
    TestKey,
    TestResult,
    TestStatus,
    Verdict,
)
from lmstrix.store import Entry
from lmstrix.types import LoadConfig, MemoryUse, Model

HERE = "machine of this test"


class Make:
    """Parts of a report with sensible defaults."""

    @staticmethod
    def point(tokens: int, mean: float = 1.0) -> LengthPoint:
        return LengthPoint(
            tokens=tokens,
            samples=48,
            mean=mean,
            low=max(0.0, mean - 0.1),
            high=min(1.0, mean + 0.05),
            time_to_first_token_s=tokens / 4000,
            prompt_tokens_per_s=4000.0,
            tokens_per_s=200000 / tokens,
            by_family={"keyed": mean},
        )

    @classmethod
    def result(cls, number: int = 1, **fields: Any) -> TestResult:
        load = fields.pop("load", LoadConfig())
        fields.setdefault("status", TestStatus.COMPLETED)
        fields.setdefault("curve", (cls.point(1024), cls.point(2048, 0.95), cls.point(4096, 0.6)))
        fields.setdefault("loadable", Limit(verdict=Verdict.FOUND, tokens=8192))
        fields.setdefault("processable", Limit(verdict=Verdict.FOUND, tokens=8192))
        fields.setdefault(
            "effective",
            Limit(verdict=Verdict.FOUND, tokens=2048, below_tokens=2300, evidence=("It holds.",)),
        )
        return TestResult(
            id=number,
            key=TestKey(identity="x", provider="embedded", machine=HERE, load=load),
            model_key="tiny",
            started_at=1_767_000_000.0,
            engine="engine 1",
            **fields,
        )

    @staticmethod
    def probe(kind: ProbeKind, tokens: int, **outcome: Any) -> Probe:
        outcome.setdefault("ok", True)
        return Probe(
            id=1,
            test_id=1,
            kind=kind,
            tokens=tokens,
            started_at=1.0,
            finished_at=2.0,
            outcome=ProbeOutcome(**outcome),
        )

    @classmethod
    def loads(cls, *sizes: int) -> list[Probe]:
        return [
            cls.probe(
                ProbeKind.LOAD,
                size,
                load_s=0.5,
                memory=MemoryUse(weights_bytes=10**9, kv_bytes=size * 1000, compute_bytes=10**8),
            )
            for size in sizes
        ]

    @classmethod
    def card(
        cls, number: int = 0, key: str = "tiny", *results: TestResult, engine_now: str = ""
    ) -> Card:
        model = Model(
            key=key, provider="embedded", server="local", declared_context_tokens=8192 + number
        )
        return Card(
            number=number,
            entry=Entry(model=model, added_at=1.0, seen_at=1.0),
            tests=tuple(
                measured(result, cls.loads(2048, 8192), engine_now=engine_now) for result in results
            ),
        )

    @staticmethod
    def material(*cards: Card) -> Material:
        return Material(cards=cards, made_at=1_767_000_000.0, machine=HERE, version="2.0")


@pytest.fixture
def make() -> type[Make]:
    return Make
