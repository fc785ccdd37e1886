"""Which limit becomes a default: the test it is taken from, and how much of it. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import UsageError
from lmstrix.results import TestStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lmstrix.results import TestResult
    from lmstrix.types import LoadConfig, Model

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_COUNT = re.compile(r"[+-]?\d+")
SETTLED = (TestStatus.COMPLETED, TestStatus.FAILED)
DEFAULT_KV_TYPE = "f16"  # of LM Studio, Ollama and llama.cpp


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a tested limit is saved: at most `most_tokens` of it, or `percent`.

    A percentage is taken only of limits above `above_tokens`; smaller ones are saved whole.
    """

    percent: float = 100.0
    most_tokens: int | None = None
    above_tokens: int = 0

    def of(self, tested_tokens: int) -> int:
        """The context to save for a tested limit; 0 where the percentage leaves nothing."""
        if self.most_tokens is not None:
            return min(tested_tokens, self.most_tokens)
        if tested_tokens <= self.above_tokens:
            return tested_tokens
        return int(tested_tokens * self.percent / 100)


def parse_share(limit: int | str | None, *, above_tokens: int | None = None) -> Share:
    """What `--limit` as written and `--above` ask for. Raises `UsageError`."""
    text = "100%" if limit is None else str(limit).strip()
    if match := _PERCENT.fullmatch(text):
        percent = float(match[1])
        if not 0 < percent <= 100:
            raise UsageError(
                f"--limit {text}: a percentage must be above 0 and at most 100.",
                hint="The tested limit itself is 100%.",
            )
        return Share(percent=percent, above_tokens=above_tokens or 0)
    if _COUNT.fullmatch(text):
        if int(text) < 1:
            raise UsageError(
                f"--limit {text}: a context must have at least 1 token.",
                hint="For example --limit 8192 or --limit 80%.",
            )
        if above_tokens is not None:
            raise UsageError(
                f"--above says for which models a percentage holds; --limit {text} is none.",
                hint="Leave --above out, or write --limit as a percentage.",
            )
        return Share(most_tokens=int(text))
    raise UsageError(
        f"--limit {text}: expected a number of tokens or a percentage.",
        hint="For example --limit 8192 or --limit 80%.",
    )


def result_to_save(
    results: Iterable[TestResult], model: Model, *, kv_type: str | None = None
) -> TestResult | None:
    """The test whose limit holds when `model` is loaded with that KV cache type.

    Of tests that found something, one by the model's own provider comes before others, one that
    ran to its end before one that did not, a newer one before an older.
    """
    wanted = kv_type or DEFAULT_KV_TYPE
    found = [
        result
        for result in results
        if result.usable_tokens is not None and kv_types(result.key.load) == (wanted, wanted)
    ]
    return max(
        found,
        key=lambda r: (r.key.provider == model.provider, r.status in SETTLED, r.id),
        default=None,
    )


def kv_types(load: LoadConfig) -> tuple[str, str]:
    """The types of the KV cache, where none is named the default."""
    return load.kv_type_k or DEFAULT_KV_TYPE, load.kv_type_v or DEFAULT_KV_TYPE
