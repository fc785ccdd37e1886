"""How much context to load and how long an answer may be: what users write, made into numbers.

Pure: everything a decision needs is passed in.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import ContextOverflowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lmstrix.results import TestResult

# What an answer is taken to need where nobody says.
ANSWER_TOKENS = 512
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_COUNT = re.compile(r"\d+")


class LoadSize(msgspec.Struct, frozen=True, kw_only=True):
    """The context to load. `tokens` is `None` for the provider's default.

    `explicit` means the user named it, so an instance of another size will not do.
    """

    tokens: int | None
    explicit: bool = False
    note: str = ""


def load_size(
    wanted: int | str | None,
    *,
    declared_tokens: int | None,
    result: TestResult | None = None,
    safe_tokens: int | None = None,
) -> LoadSize:
    """The context size for `--in_ctx` as written: N, N%, 0, or `None` for the best known.

    Without a wish it is the tested limit, else `safe_tokens` (what the memory model calls
    safe), up to the declared context; `note` says so when that is less than declared. Raises
    `UsageError` for anything else.
    """
    if wanted is None:
        return _best_known(declared_tokens, result, safe_tokens)
    text = str(wanted).strip()
    if match := _PERCENT.fullmatch(text):
        share = float(match[1])
        if not 0 < share <= 100:
            raise UsageError(
                f"--in_ctx {text}: a percentage must be above 0 and at most 100.",
                hint="Write a number of tokens to load more than the model declares.",
            )
        if declared_tokens is None:
            raise UsageError(
                f"--in_ctx {text}: this model declares no context to take a percentage of.",
                hint="Write the context as a number of tokens.",
            )
        return LoadSize(tokens=max(1, int(declared_tokens * share / 100)), explicit=True)
    if _COUNT.fullmatch(text):
        tokens = int(text)
        if tokens == 0:
            return LoadSize(tokens=None)
        return LoadSize(tokens=tokens, explicit=True)
    raise UsageError(
        f"--in_ctx {text}: expected a number of tokens, a percentage or 0.",
        hint="For example --in_ctx 8192, --in_ctx 50%, or --in_ctx 0 for the provider's default.",
    )


def _best_known(
    declared: int | None, result: TestResult | None, safe_tokens: int | None
) -> LoadSize:
    tested = result.usable_tokens if result is not None else None
    if tested is not None:
        if declared is not None and tested < declared:
            note = f"Context {tested:,} of the declared {declared:,}: the tested limit."
            return LoadSize(tokens=tested, note=note)
        return LoadSize(tokens=tested)
    if safe_tokens is None:
        return LoadSize(tokens=declared)
    if declared is None or declared <= safe_tokens:
        return LoadSize(tokens=declared if declared is not None else safe_tokens)
    note = f"Context {safe_tokens:,} of the declared {declared:,}: what fits this machine's memory."
    return LoadSize(tokens=safe_tokens, note=note)


def answer_limit(
    wanted: int | str | None, *, context_tokens: int | None, prompt_tokens: int | None = None
) -> int | None:
    """The most tokens an answer may have for `--out_ctx` as written; `None` means no limit.

    N is taken as it is, N% is of the instance's context, `max` is all that the prompt leaves
    (needs `prompt_tokens`); absent, `auto` and -1 let the model stop by itself. Raises
    `UsageError` for anything else, and for a part of a context that is not known (`None`).
    """
    text = "auto" if wanted is None else str(wanted).strip().lower()
    if text in ("auto", "-1"):
        return None
    if text == "max":
        if prompt_tokens is None:
            return None
        return max(1, _known(context_tokens, text) - prompt_tokens)
    if match := _PERCENT.fullmatch(text):
        share = float(match[1])
        if not 0 < share <= 100:
            raise UsageError(
                f"--out_ctx {text}: a percentage must be above 0 and at most 100.",
                hint="The answer cannot be longer than the context that also holds the prompt.",
            )
        return max(1, int(_known(context_tokens, text) * share / 100))
    if _COUNT.fullmatch(text) and int(text) > 0:
        return int(text)
    raise UsageError(
        f"--out_ctx {text}: expected a number of tokens, a percentage, max or auto.",
        hint="For example --out_ctx 500, --out_ctx 25%, --out_ctx max, or leave it out.",
    )


def _known(context_tokens: int | None, wanted: str) -> int:
    if context_tokens is None:
        raise UsageError(
            f"--out_ctx {wanted}: the server does not tell how much context it has.",
            hint="Give a number of tokens, or leave it out.",
        )
    return context_tokens


def wants_prompt_count(wanted: int | str | None) -> bool:
    """Whether `answer_limit` needs the prompt's token count for this wish."""
    return wanted is not None and str(wanted).strip().lower() == "max"


def estimate_tokens(texts: Iterable[str]) -> int:
    """Tokens of `texts`, rather too many than too few, where no tokenizer is at hand.

    Two bytes a token, but never fewer than the words. Measured tokenizers take 3 to 5 bytes of
    prose and 2 to 3 of code per token.
    """
    return sum(max(len(text.split()), -(-len(text.encode()) // 2)) for text in texts)


def needed_context(prompt_tokens: int, out_ctx: int | str | None) -> int:
    """The context that holds a prompt and the answer that `--out_ctx` as written asks for.

    N% of a context leaves the rest to the prompt; without a number the answer is taken to need
    `ANSWER_TOKENS`. Raises `UsageError` as `answer_limit` does.
    """
    limit = answer_limit(out_ctx, context_tokens=1)
    match = _PERCENT.fullmatch(str(out_ctx).strip())
    if match is None:
        return prompt_tokens + (limit or ANSWER_TOKENS)
    share = float(match[1]) / 100
    return math.ceil(prompt_tokens / (1 - share)) if share < 1 else prompt_tokens + ANSWER_TOKENS


class Strategy(StrEnum):
    """How boldly a context is filled: the shares of prompt, answer and reserve."""

    CONSERVATIVE = "conservative"  # 50 %, 30 %, 20 %
    BALANCED = "balanced"  # 65 %, 25 %, 10 %
    AGGRESSIVE = "aggressive"  # 80 %, 15 %, 5 %


_SHARES = {  # percent of the context: the most for the prompt, what stays free
    Strategy.CONSERVATIVE: (50, 20),
    Strategy.BALANCED: (65, 10),
    Strategy.AGGRESSIVE: (80, 5),
}


class ContextPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A context divided; prompt, answer and reserve together are all of it.

    `prompt_limit_tokens` is the longest prompt of this strategy. What the prompt leaves of that
    is the answer's. The reserve is for what nobody counted: a longer chat template, a tool's
    result, the next question.
    """

    strategy: Strategy
    context_tokens: int
    prompt_tokens: int
    prompt_limit_tokens: int
    answer_tokens: int
    reserve_tokens: int


def parse_strategy(name: str) -> Strategy:
    """The strategy of that name. Raises `UsageError`."""
    try:
        return Strategy(name)
    except ValueError:
        raise UsageError(
            f"There is no strategy {name!r}.", hint=f"There is: {', '.join(Strategy)}."
        ) from None


def divide_context(strategy: Strategy, *, context_tokens: int, prompt_tokens: int) -> ContextPlan:
    """Divide a context for a prompt by the shares of `strategy`.

    Raises `ContextOverflowError` when the prompt is longer than its share.
    """
    most, free = (context_tokens * percent // 100 for percent in _SHARES[strategy])
    if prompt_tokens > most:
        bolder = [
            other
            for other, (percent, _) in _SHARES.items()
            if prompt_tokens <= context_tokens * percent // 100
        ]
        raise ContextOverflowError(
            f"The prompt has {prompt_tokens:,} tokens; {strategy} leaves it {most:,} of "
            f"{context_tokens:,}.",
            prompt_tokens=prompt_tokens,
            context_tokens=context_tokens,
            hint=f"It fits with the strategy {bolder[0]}."
            if bolder
            else "Shorten the prompt or load a larger context.",
        )
    return ContextPlan(
        strategy=strategy,
        context_tokens=context_tokens,
        prompt_tokens=prompt_tokens,
        prompt_limit_tokens=most,
        answer_tokens=context_tokens - prompt_tokens - free,
        reserve_tokens=free,
    )
