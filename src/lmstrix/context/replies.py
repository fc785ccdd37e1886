"""One question of a probe: sent, timed, and its answer as far as probes need it."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.errors import EmptyAnswerError
from lmstrix.results import ProbeOutcome
from lmstrix.types import Fragment, FragmentKind, Progress, Sampling, Stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.session import Session
    from lmstrix.types import Instance, Request


@dataclass(frozen=True)
class Reply:
    """One answer and what it took; times in seconds from sending."""

    text: str
    stats: Stats
    first_token_s: float | None

    @property
    def silent(self) -> bool:
        """Whether nothing came at all, not even a thought."""
        return self.first_token_s is None

    def outcome(self, *, detail: str = "", prompt_tokens: int | None = None) -> ProbeOutcome:
        """What a probe that worked says of its speed, by this answer."""
        return ProbeOutcome(
            ok=True,
            detail=detail,
            prompt_tokens=prompt_tokens or self.stats.prompt_tokens,
            time_to_first_token_s=_rounded(self.first_token_s),
            prompt_tokens_per_s=_rounded(self.stats.prompt_tokens_per_s),
            tokens_per_s=_rounded(self.stats.tokens_per_s),
        )


@dataclass(frozen=True)
class Asker:
    """Asks with the sampling of probes: always the likeliest token, and a seed."""

    session: Session
    seed: int
    on_progress: Callable[[Progress], None]

    async def ask(self, instance: Instance, request: Request, most_tokens: int) -> Reply:
        """The whole answer of at most so many tokens.

        Raises `EmptyAnswerError` where the stream ends without statistics, and what `stream` of
        the session raises.
        """
        request = replace(
            request,
            sampling=Sampling(temperature=0.0, seed=self.seed, max_tokens=most_tokens),
            cache_prompt=True,
        )
        parts: list[str] = []
        sent, first, stats = time.perf_counter(), None, None
        async with aclosing(self.session.stream(instance, request)) as items:
            async for item in items:
                if isinstance(item, Fragment):
                    if item.text:
                        first = first or time.perf_counter() - sent
                    if item.kind is FragmentKind.ANSWER:
                        parts.append(item.text)
                elif isinstance(item, Progress):
                    self.on_progress(item)
                else:
                    stats = item
        if stats is None:
            raise EmptyAnswerError("The server ended the answer without a word about it.")
        return Reply("".join(parts), stats, first)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
