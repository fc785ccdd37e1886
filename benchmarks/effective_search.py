"""How well the search of the effective limit does on noisy answers, in simulated worlds.

Run: python benchmarks/effective_search.py [--worlds 1000] [--seed N]

The response model: at base the chance of a right answer is b, at a length L it is b x kept(L).
b is 1 in half of the worlds, else even in 0.85..1. The true limit, where kept is 0.85, is log-even
from 1.5 K to 1.2 x the ceiling (beyond it, the ceiling is the limit); ceilings are 8 K .. 128 K.
How kept falls is, in equal parts,

- logistic: 1 / (1 + exp(slope x (ln L - ln middle))), relative to the base;
- normal: the same with the normal distribution function in place of the logistic;
- two falls: half of the tasks fall first, the others 1.3 to 4 times later, both as the first;
- a power: kept = 1 - 0.15 x ((L - base) / (limit - base)) ** power.

The search assumes none of these but for the logistic. The slope of the first three is log-even
within the range named: 12 is a drop from 0.85 to 0.5 over 16 % of the length, 4 over 54 %; the
power is half of the slope. Questions of one haystack succeed and fail together: its chance is drawn
from a beta distribution with a correlation even in 0..0.1.

Fixed-size testing asks 100 questions, ten haystacks of ten, at every length of a grid a step apart
from the base to the ceiling, and stops nowhere. Its limit is read twice: by each length's own
bounds (the longest length up to which every lower bound keeps the threshold; the interval ends at
the first length whose upper bound is below it), and by the very belief that the search has.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import secrets
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import Pool
from statistics import NormalDist

from lmstrix.context.clusters import LengthEvidence
from lmstrix.context.evidence import LENGTH_STEP, QUESTIONS, EffectiveSearch
from lmstrix.results import Score, Verdict

BASE_TOKENS = 1024
FIXED = 100
SHAPES = ("logistic", "normal", "two falls", "power")
SLOPES = ((12.0, 40.0), (6.0, 12.0), (3.0, 6.0))
_NORMAL = NormalDist()


@dataclass
class World:
    """One model: how often it is right at a length."""

    base: float
    limit: float
    shape: str
    slope: float
    later: float
    correlation: float
    ceiling: int

    @property
    def true(self) -> float:
        """The limit that can be found."""
        return min(self.limit, self.ceiling)

    def kept(self, length: float) -> float:
        """The part of the base score kept at a length."""
        if self.shape == "power":
            part = max(0.0, length - BASE_TOKENS) / (self.limit - BASE_TOKENS)
            return max(0.0, 1 - 0.15 * math.pow(part, self.slope / 2))
        return self._fall(length, self._middle) / self._fall(BASE_TOKENS, self._middle)

    @cached_property
    def _middle(self) -> float:
        """Where half is lost (of the first fall), as a logarithm; found by halving."""
        low, high = math.log(BASE_TOKENS) - 4 / self.slope, math.log(self.limit) + 6
        for _ in range(60):
            middle = (low + high) / 2
            kept = self._fall(self.limit, middle) / self._fall(BASE_TOKENS, middle)
            low, high = (middle, high) if kept < 0.85 else (low, middle)
        return high

    def _fall(self, length: float, middle: float) -> float:
        far = self.slope * (math.log(length) - middle)
        if self.shape == "two falls":
            later = far - self.slope * math.log(self.later)
            return (_logistic(far) + _logistic(later)) / 2
        return _NORMAL.cdf(-far / 1.7) if self.shape == "normal" else _logistic(far)

    def answers(self, length: int, questions: int, rng: random.Random) -> list[Score]:
        """Scores of `questions` on a fresh haystack."""
        chance, spread = self.base * self.kept(length), self.correlation
        if 0 < chance < 1 and spread > 0:
            size = 1 / spread - 1
            chance = rng.betavariate(chance * size, (1 - chance) * size)
        cluster = rng.getrandbits(60)
        return [
            Score(family="keyed", cluster=cluster, depth=0.5, score=float(rng.random() < chance))
            for _ in range(questions)
        ]


def _logistic(far: float) -> float:
    return 1 / (1 + math.exp(min(far, 500.0)))


def draw(rng: random.Random, slopes: tuple[float, float]) -> World:
    """One world."""
    ceiling = rng.choice([8, 16, 32, 64, 128]) * 1024
    return World(
        base=rng.choice([1.0, rng.uniform(0.85, 1.0)]),
        limit=math.exp(rng.uniform(math.log(1536), math.log(1.2 * ceiling))),
        shape=rng.choice(SHAPES),
        slope=math.exp(rng.uniform(*map(math.log, slopes))),
        later=rng.uniform(1.3, 4.0),
        correlation=rng.uniform(0, 0.1),
        ceiling=ceiling,
    )


def new_search(world: World) -> EffectiveSearch:
    """A search of one world, that has asked nothing yet."""
    return EffectiveSearch(
        base_tokens=BASE_TOKENS, ceiling_tokens=world.ceiling, groups=(("keyed",),)
    )


def judge(world: World, tokens: int, below: float, *, found: bool) -> Counter[str]:
    """What is true of a limit that was stated."""
    return Counter(
        {
            "worlds": 1,
            "near": world.true / LENGTH_STEP <= tokens <= world.true * LENGTH_STEP,
            "over": tokens > world.true,
            "over by a step": tokens > world.true * LENGTH_STEP,
            "covered": tokens <= world.true < below or tokens == world.ceiling == world.true,
            "found": found,
        }
    )


def adaptive(world: World, rng: random.Random) -> Counter[str]:
    """Search a world."""
    search = new_search(world)
    samples = tokens = 0
    while (ask := search.next()) is not None:
        scores = world.answers(ask.length_tokens, ask.questions, rng)
        search.record(ask.length_tokens, scores)
        samples += len(scores)
        tokens += ask.length_tokens
    limit = search.limit
    told = judge(
        world,
        limit.tokens or BASE_TOKENS,
        limit.below_tokens or math.inf,
        found=limit.verdict is Verdict.FOUND,
    )
    told.update(samples=samples, tokens=tokens)
    return told


def fixed(world: World, rng: random.Random) -> tuple[Counter[str], Counter[str]]:
    """Ask at every length; the limit by each length's own answers, and by belief."""
    steps = math.ceil(math.log(world.ceiling / BASE_TOKENS) / math.log(LENGTH_STEP) - 1e-9)
    ratio = (world.ceiling / BASE_TOKENS) ** (1 / steps)
    lengths = [*(round(BASE_TOKENS * ratio**step) for step in range(steps)), world.ceiling]
    search = new_search(world)
    known: dict[int, LengthEvidence] = {}
    for length in lengths:
        scores = [
            score
            for _ in range(FIXED // QUESTIONS)
            for score in world.answers(length, QUESTIONS, rng)
        ]
        search.record(length, scores)
        known[length] = LengthEvidence(scores)
    wanted = 0.85 * known[BASE_TOKENS].mean
    tokens, below = BASE_TOKENS, math.inf
    for length in lengths[1:]:
        if known[length].low < wanted:
            break
        tokens = length
    for length in reversed(lengths[1:]):
        if known[length].high < wanted:
            below = length
    plain = judge(world, tokens, below, found=tokens == world.ceiling or below < math.inf)
    limit = search.limit
    believed = judge(
        world,
        limit.tokens or BASE_TOKENS,
        limit.below_tokens or math.inf,
        found=limit.verdict is Verdict.FOUND,
    )
    for told in (plain, believed):
        told.update(samples=FIXED * len(lengths), tokens=FIXED // QUESTIONS * sum(lengths))
    return plain, believed


def run(seed: int, slopes: tuple[float, float], worlds: int) -> dict[str, Counter[str]]:
    """So many worlds, all procedures, counted together and by shape."""
    rng = random.Random(seed)
    counted: dict[str, Counter[str]] = {}
    for _ in range(worlds):
        world = draw(rng, slopes)
        told = adaptive(world, rng)
        plain, believed = fixed(world, rng)
        for name, one in (
            ("search", told),
            (f"search, {world.shape}", told),
            ("fixed, own bounds", plain),
            ("fixed, by belief", believed),
        ):
            counted.setdefault(name, Counter()).update(one)
    return counted


def _row(name: str, told: Counter[str], against: Counter[str]) -> str:
    def share(what: str) -> str:
        return f"{told[what] / told['worlds']:.1%}"

    def mean(what: str) -> float:
        return told[what] / told["worlds"]

    return (
        f"| {name} | {told['worlds']} | {share('near')} | {share('covered')} | {share('over')} "
        f"| {share('over by a step')} | {share('found')} | {mean('samples'):.0f} "
        f"| {mean('samples') / (against['samples'] / against['worlds']):.2f} "
        f"| {mean('tokens') / 1000:.0f} K "
        f"| {mean('tokens') / (against['tokens'] / against['worlds']):.2f} |"
    )


def table(counted: dict[str, Counter[str]]) -> str:
    """The rows of one range of slopes, or of all."""
    against = counted["fixed, own bounds"]
    return "\n".join(_row(name, counted[name], against) for name in sorted(counted, reverse=True))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    parts = (os.cpu_count() or 1) * 4
    rng = random.Random(options.seed)
    print(f"{options.worlds} worlds in each range of slopes, seed {options.seed}; a step is 19 %.")
    together: dict[str, Counter[str]] = {}
    with Pool() as pool:
        for slopes in SLOPES:
            sizes = [options.worlds // parts + (i < options.worlds % parts) for i in range(parts)]
            jobs = [(rng.getrandbits(64), slopes, size) for size in sizes]
            counted: dict[str, Counter[str]] = {}
            for one in pool.starmap(run, jobs):
                for name, told in one.items():
                    counted.setdefault(name, Counter()).update(told)
                    together.setdefault(name, Counter()).update(told)
            _print(f"Slopes {slopes[0]:g} to {slopes[1]:g}", table(counted))
    _print("All", table(together))


def _print(title: str, rows: str) -> None:
    print(
        f"\n**{title}**\n\n| procedure | worlds | limit within a step | interval covers "
        "| above the truth | above by a step | found | samples a world | x fixed "
        "| prompt tokens | x fixed |\n|---|---|---|---|---|---|---|---|---|---|---|\n" + rows
    )


if __name__ == "__main__":
    main()
