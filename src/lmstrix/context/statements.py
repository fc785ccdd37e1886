"""What is said about an effective limit, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.context.response import KEPT, LOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmstrix.context.clusters import LengthEvidence

ABSOLUTE = 0.856  # RULER's threshold, what Llama-2-7B scores at 4 K (arXiv 2404.06654)


def interval(holds: int, fails: int | None, *, ceiling_tokens: int, confidence: str) -> str:
    """Where the limit is."""
    if fails is not None:
        return (
            f"Answers stay right up to a length between {holds:,} and {fails:,} tokens, "
            f"with {confidence} confidence."
        )
    if holds == ceiling_tokens:
        return f"Answers stay right up to {holds:,} tokens, the longest prompt there is."
    return f"Answers stay right up to {holds:,} tokens or more."


def nothing(families: Sequence[str], base_tokens: int) -> str:
    """Why there is no limit: the model does none of the tasks."""
    return (
        f"The model can do none of the tasks ({', '.join(families)}) at "
        f"{base_tokens:,} tokens, so no length can be compared with that."
    )


def base_sentence(base_tokens: int, base: LengthEvidence) -> str:
    """What the model can do at all, and what is asked of a length."""
    return (
        f"At {base_tokens:,} tokens the model scores {base.mean:.2f} "
        f"({len(base.samples)} questions); a length holds when it keeps {KEPT:.0%} of it."
    )


def length_sentence(
    length: int, known: LengthEvidence, *, says: str, kept: tuple[float, float] | None
) -> str:
    """How one length did; `kept` are the bounds of the part of the base kept there."""
    own = f"{known.mean:.2f} from {len(known.samples)} questions"
    if kept is None:
        return f"{length:,} tokens: {own}."
    low, high = kept
    part = f"between {low:.0%} and {high:.0%}" if low else f"at most {max(high, LOST):.0%}"
    return f"{length:,} tokens {says}: {own}; by all lengths together {part} of the base is kept."


def absolute(by_length: Mapping[int, LengthEvidence]) -> str:
    """How far a fixed part of the whole task set is right, whatever the base is.

    `by_length` is empty where the model cannot do the whole task set.
    """
    if not by_length:
        return "No absolute, RULER-style length: that takes the whole task set."
    length = 0
    for tokens in sorted(by_length):
        by_family = by_length[tokens].by_family()
        if sum(by_family.values()) < ABSOLUTE * len(by_family):
            break
        length = tokens
    if not length:
        return f"RULER-style, {ABSOLUTE:.1%} of the whole task set is right at no length."
    return f"RULER-style, {ABSOLUTE:.1%} of the whole task set is right up to {length:,} tokens."
