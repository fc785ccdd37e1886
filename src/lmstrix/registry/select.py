"""Choose the model for a prompt by what was measured of each, and say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import NotFoundError
from lmstrix.registry.facts import is_present, usable_tokens
from lmstrix.results import TestStatus
from lmstrix.store import Entry  # noqa: TC001  # msgspec resolves it at run time
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from lmstrix.types import Instance

# Scores of some tens of questions do not tell models apart that are closer than this.
_AS_GOOD = 0.02


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was not considered. `reason` follows its name in a sentence."""

    model_key: str
    reason: str


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The model to ask. `reasons` are sentences; `score` is 0..1 at the length needed."""

    entry: Entry
    need_tokens: int
    score: float | None = None
    tokens_per_s: float | None = None
    loaded: bool = False
    reasons: tuple[str, ...] = ()
    rejected: tuple[Rejection, ...] = ()


def select(
    entries: Iterable[Entry], *, need_tokens: int, loaded: Collection[Instance] = ()
) -> Selection:
    """The best of the models that were tested and hold `need_tokens`, prompt and answer.

    Best is the score of answers at that length, read off the curve; among those within 0.02 of
    it, one that is loaded with room enough, then the fastest, then the one with the most
    parameters. Raises `NotFoundError` where no tested model will do.
    """
    entries = list(entries)
    candidates: list[Selection] = []
    rejected: list[Rejection] = []
    for entry in entries:
        reason = _why_not(entry, need_tokens)
        if reason:
            rejected.append(Rejection(model_key=entry.model.key, reason=reason))
        else:
            candidates.append(_measured(entry, need_tokens, loaded))
    if not candidates:
        raise _nothing([e for e in entries if not _why_not(e, 0)], need_tokens)
    scored = [one for one in candidates if one.score is not None] or candidates
    best = max(one.score or 0.0 for one in scored)
    good = [one for one in scored if (one.score or 0.0) >= best - _AS_GOOD]
    chosen = min(good, key=_order)
    return msgspec.structs.replace(
        chosen,
        reasons=_reasons(chosen, len(candidates), len(good)),
        rejected=tuple(rejected),
    )


def value_at(curve: Iterable[tuple[int, float | None]], tokens: int) -> float | None:
    """A measure at a length: straight between the measured ones, level beyond them."""
    points = sorted((at, value) for at, value in curve if value is not None)
    if not points:
        return None
    left, low = max((point for point in points if point[0] <= tokens), default=points[0])
    right, high = min((point for point in points if point[0] >= tokens), default=points[-1])
    return low if left == right else low + (high - low) * (tokens - left) / (right - left)


def _why_not(entry: Entry, need_tokens: int) -> str:
    result, usable = entry.result, usable_tokens(entry)
    if entry.model.type is ModelType.EMBEDDING:
        return "makes embeddings, no text"
    if not is_present(entry):
        return "is missing"
    if result is None or result.status is not TestStatus.COMPLETED:
        return "was not tested" if result is None else f"has no completed test ({result.status})"
    if usable is None:
        return "has no context that its test found usable"
    return f"holds {usable:,} tokens" if usable < need_tokens else ""


def _measured(entry: Entry, need_tokens: int, loaded: Collection[Instance]) -> Selection:
    model, result = entry.model, entry.result
    assert result is not None
    speed = value_at(((p.tokens, p.tokens_per_s) for p in result.curve), need_tokens)
    return Selection(
        entry=entry,
        need_tokens=need_tokens,
        score=value_at(((p.tokens, p.mean) for p in result.curve), need_tokens),
        tokens_per_s=result.tokens_per_s if speed is None else speed,
        loaded=any(
            (instance.provider, instance.server, instance.model_key)
            == (model.provider, model.server, model.key)
            and (instance.context_tokens or 0) >= need_tokens
            for instance in loaded
        ),
    )


def _order(one: Selection) -> tuple[bool, float, int, str]:
    return (
        not one.loaded,
        -(one.tokens_per_s or 0.0),
        -(one.entry.model.parameters or 0),
        one.entry.model.key,
    )


def _reasons(chosen: Selection, candidates: int, good: int) -> tuple[str, ...]:
    usable = usable_tokens(chosen.entry)
    key = chosen.entry.model.key
    found = [f"{key} was tested to hold {usable:,} tokens; {chosen.need_tokens:,} are needed."]
    if candidates == 1:
        found.append("No other tested model holds as many.")
    if chosen.score is None:
        found.append("Its answers were not scored at any length (test it without --fast).")
    elif candidates > 1:
        equals = f", within {_AS_GOOD:.0%} of the best like {good - 1} more" if good > 1 else ""
        found.append(
            f"Its answers scored {chosen.score:.0%} at that length{equals},"
            f" of {candidates} models that hold it."
        )
    else:
        found.append(f"Its answers scored {chosen.score:.0%} at that length.")
    if chosen.loaded:
        found.append("It is loaded already.")
    if chosen.tokens_per_s is not None:
        found.append(f"It writes {chosen.tokens_per_s:,.1f} tokens/s.")
    return tuple(found)


def _nothing(tested: Sequence[Entry], need_tokens: int) -> NotFoundError:
    """Why none of the models that have a limit, if any, will do."""
    if not tested:
        return NotFoundError(
            "No model was tested, so none can be chosen.",
            hint="Measure them first: lmstrix test --all",
        )
    largest = max(tested, key=lambda entry: usable_tokens(entry) or 0)
    return NotFoundError(
        f"No tested model holds the {need_tokens:,} tokens of prompt and answer; the most is"
        f" {usable_tokens(largest):,} ({largest.model.key}).",
        hint="Shorten the prompt, or test more models: lmstrix test --all",
    )
