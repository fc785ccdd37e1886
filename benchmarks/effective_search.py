"""How well the search of the effective limit does on noisy answers, in simulated worlds.

Run: python benchmarks/effective_search.py [--worlds 1000] [--seed N]

The response model: the chance of a right answer falls with the length as
    p(L) = base / (1 + exp(slope * (ln L - ln middle))),
base 0.85..1.0 or exactly 1 (half of the worlds), the length at which p is 0.85 of the base
(the true limit) log-even from 1.5 K to 1.2 x the ceiling (beyond it, the ceiling is the limit),
ceilings 8 K .. 128 K. Every haystack moves the logit by its own normal draw (sd 0.5). The
slope is even in its logarithm between the two named bounds: 12 is a drop from 0.85 to 0.5 of
the base over 16 % of the length, 4 over 54 %.

Fixed-size testing asks 100 questions (haystacks of six as well) at the base, at every doubling
up to the first beyond the true limit, and at every step of 12 % in that last doubling; its
limit is read by the same rule.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import secrets
from dataclasses import dataclass, field

from lmstrix.context.evidence import LENGTH_STEP, QUESTIONS, EffectiveSearch, LengthEvidence
from lmstrix.results import Score, Verdict

BASE_TOKENS = 1024
FIXED = 100


@dataclass
class World:
    """One model: how often it is right at a length."""

    base: float
    true: float
    slope: float
    ceiling: int

    def score(self, length: int, moved: float, rng: random.Random) -> float:
        """One answer, 1.0 or 0.0, of a haystack that moves the logit by `moved`."""
        middle = math.log(self.true) + math.log(0.85 / 0.15) / self.slope
        fall = self.slope * (math.log(length) - middle)
        kept = 1 / (1 + math.exp(min(50.0, fall) - moved)) if fall > -8 else 1.0
        return float(rng.random() < self.base * kept)

    def answers(
        self, length: int, haystacks: int, questions: int, rng: random.Random
    ) -> list[Score]:
        """Scores of `questions` on each of so many fresh haystacks."""
        scores = []
        for _ in range(haystacks):
            cluster, moved = rng.getrandbits(60), rng.gauss(0, 0.5)
            for _ in range(questions):
                score = self.score(length, moved, rng)
                scores.append(Score(family="keyed", cluster=cluster, depth=0.5, score=score))
        return scores


def draw(rng: random.Random, slopes: tuple[float, float]) -> World:
    """One world."""
    ceiling = rng.choice([8, 16, 32, 64, 128]) * 1024
    true = math.exp(rng.uniform(math.log(1536), math.log(1.2 * ceiling)))
    base = rng.choice([1.0, rng.uniform(0.85, 1.0)])
    return World(base, true, math.exp(rng.uniform(*map(math.log, slopes))), ceiling)


def fixed_lengths(world: World) -> list[int]:
    """The lengths that fixed-size testing asks."""
    lengths = [BASE_TOKENS]
    while lengths[-1] <= world.true and lengths[-1] < world.ceiling:
        lengths.append(min(2 * lengths[-1], world.ceiling))
    if lengths[-1] > world.true:
        length = lengths[-2] * (1 + LENGTH_STEP)
        while length < lengths[-1] / (1 + LENGTH_STEP / 2):
            lengths.append(int(length))
            length *= 1 + LENGTH_STEP
    return lengths


@dataclass
class Tally:
    """What happened over all worlds."""

    near: list[bool] = field(default_factory=list)
    fixed_near: list[bool] = field(default_factory=list)
    over: list[bool] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    samples: int = 0
    tokens: int = 0
    fixed_samples: int = 0
    fixed_tokens: int = 0

    def add(self, world: World, rng: random.Random) -> None:
        """Search one world."""
        search = EffectiveSearch(base_tokens=BASE_TOKENS, ceiling_tokens=world.ceiling)
        while (ask := search.next()) is not None:
            scores = world.answers(ask.length_tokens, ask.haystacks, ask.questions, rng)
            search.record(ask.length_tokens, scores)
            self.samples += len(scores)
            self.tokens += ask.haystacks * ask.length_tokens
        fixed = fixed_lengths(world)
        self.fixed_samples += FIXED * len(fixed)
        self.fixed_tokens += math.ceil(FIXED / QUESTIONS) * sum(fixed)
        haystacks = math.ceil(FIXED / QUESTIONS)
        plain = [LengthEvidence(world.answers(n, haystacks, QUESTIONS, rng)) for n in sorted(fixed)]
        holding = itertools.takewhile(
            lambda pair: pair[0] == BASE_TOKENS or pair[1].low >= 0.85 * plain[0].mean,
            zip(sorted(fixed), plain, strict=True),
        )
        fixed_limit = max(length for length, _ in holding)
        limit = search.limit
        true = min(world.true, world.ceiling)
        tokens = limit.tokens or 0
        wide = max(1 + LENGTH_STEP, 1 + 256 / tokens)
        self.near.append(true / wide <= tokens <= true * wide)
        self.fixed_near.append(true / wide <= fixed_limit <= true * wide)
        self.over.append(tokens > true * wide)
        self.covered.append(tokens <= true < (limit.below_tokens or math.inf))
        self.found.append(limit.verdict is Verdict.FOUND)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    print(f"{options.worlds} worlds each, seed {options.seed}\n")
    print(
        "| slope | within a step | fixed within a step | above by more | interval covers "
        "| verdict found | samples a world | x fixed | prompt tokens, x fixed |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for slopes in ((12.0, 40.0), (6.0, 12.0), (3.0, 6.0)):
        tally = Tally()
        for _ in range(options.worlds):
            tally.add(draw(rng, slopes), rng)

        def share(hits: list[bool]) -> str:
            return f"{sum(hits) / len(hits):.1%}"

        print(
            f"| {slopes[0]:g}..{slopes[1]:g} | {share(tally.near)} | {share(tally.fixed_near)} "
            f"| {share(tally.over)} | {share(tally.covered)} | {share(tally.found)} "
            f"| {tally.samples / options.worlds:.0f} "
            f"| {tally.samples / tally.fixed_samples:.2f} "
            f"| {tally.tokens / tally.fixed_tokens:.2f} |"
        )


if __name__ == "__main__":
    main()
