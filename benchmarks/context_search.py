"""How many loads the context search needs, and how near it comes, in simulated worlds.

Run: python benchmarks/context_search.py [--worlds 1000] [--seed N]

Seeds are drawn anew at each run and printed. The worlds are described in `worlds.py`. Found
over true counts "no result" as 0; an over-claim is a result above the truth.
"""

from __future__ import annotations

import argparse
import random
import secrets
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from worlds import World, draw

from lmstrix.context.search import Estimate, LoadSearch, MemoryLine, Prior

FLOOR = 64


@dataclass
class Tally:
    """What one procedure did over all worlds."""

    ratios: list[float] = field(default_factory=list)
    loads: list[int] = field(default_factory=list)
    contexts: list[int] = field(default_factory=list)
    over: int = 0

    def add(self, world: World, found: int, asked: list[int]) -> None:
        """One world's outcome."""
        self.ratios.append(found / world.true)
        self.loads.append(len(asked))
        self.contexts.append(sum(asked))
        self.over += found > world.true


Procedure = Callable[[World, random.Random], tuple[int, list[int]]]


def plan(
    search: LoadSearch, world: World, tell: Callable[[int], int] | None = None
) -> tuple[int, list[int]]:
    """Run the planner in a world; `tell` is what a load of a size is said to take."""
    asked = []
    while (size := search.next()) is not None:
        asked.append(size)
        ok = world.loads(size)
        search.record(size, ok, memory_bytes=tell(size) if ok and tell else None)
    return search.bracket[0], asked


def no_prior(world: World, _: random.Random) -> tuple[int, list[int]]:
    """(a) nothing is known but the declared context."""
    return plan(LoadSearch(ceiling_tokens=world.declared, floor_tokens=FLOOR), world)


def estimated(*, economical: bool) -> Procedure:
    """(b) an estimate that is off by up to 20 %, evenly."""

    def run(world: World, rng: random.Random) -> tuple[int, list[int]]:
        prior = Estimate(world.true * rng.uniform(0.8, 1.2), 0.2)
        return plan(_search(world, prior, economical=economical), world)

    return run


def remembered(*, free_error: float, told_error: float, tolerance: float = 0.01) -> Procedure:
    """(c) header and free memory are known with errors, and each load tells its memory."""

    def run(world: World, rng: random.Random) -> tuple[int, list[int]]:
        per_token = world.per_token * rng.gauss(1, 0.03)
        prior = MemoryLine(
            fixed_bytes=world.weights * rng.gauss(1, 0.02),
            context_bytes=lambda tokens: tokens * per_token,
            budget_bytes=world.free * rng.gauss(1, free_error),
            fixed_error=0.02,
            context_error=0.03,
            budget_error=free_error,
            told_error=told_error,
        )
        search = _search(world, prior, tolerance=tolerance)
        return plan(search, world, lambda size: int(world.memory(size) * rng.gauss(1, told_error)))

    return run


def _search(
    world: World, prior: Prior, *, economical: bool = False, tolerance: float = 0.01
) -> LoadSearch:
    return LoadSearch(
        ceiling_tokens=world.declared,
        floor_tokens=FLOOR,
        prior=prior,
        economical=economical,
        tolerance=tolerance,
    )


def bisection(*, tolerance: float) -> Procedure:
    """The textbook: declared first, then halve until the bracket is within the tolerance."""

    def run(world: World, _: random.Random) -> tuple[int, list[int]]:
        asked = [world.declared]
        good, bad = (world.declared, 0) if world.loads(world.declared) else (0, world.declared)
        while bad - good > max(32 if tolerance else 1, tolerance * bad):
            middle = (good + bad) // 2
            asked.append(middle)
            good, bad = (middle, bad) if world.loads(middle) else (good, middle)
        return good, asked

    return run


def one_probe(world: World, _: random.Random) -> tuple[int, list[int]]:
    """LMStrix 1.0.84 `test MODEL`."""
    size = min(31744, world.declared)
    return (size if world.loads(size) else 0), [size]


def old_bisection(world: World, _: random.Random) -> tuple[int, list[int]]:
    """LMStrix 1.0.84 `ContextTester.test_model_by_id`: [512, 131072] to the token."""
    low, high, found = 512, 131072, 0
    asked = []
    while low <= high:
        middle = (low + high) // 2
        asked.append(middle)
        if world.loads(middle):
            found, low = middle, middle + 1
        else:
            high = middle - 1
    return found, asked


PROCEDURES: dict[str, Procedure] = {
    "(a) no prior": no_prior,
    "(b) estimate ±20 %, to 1 %": estimated(economical=False),
    "(b) estimate ±20 %, economical": estimated(economical=True),
    "(c) memory told ±0.5 %, free memory ±1 %": remembered(free_error=0.01, told_error=0.005),
    "(c) the same, to 0.5 %": remembered(free_error=0.01, told_error=0.005, tolerance=0.005),
    "(c) memory told ±0.5 %, free memory ±3 %": remembered(free_error=0.03, told_error=0.005),
    "plain bisection to 1 %": bisection(tolerance=0.01),
    "plain bisection to the token": bisection(tolerance=0.0),
    "1.0.84 `test MODEL`": one_probe,
    "1.0.84 `test_model_by_id`": old_bisection,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    tallies = {name: Tally() for name in PROCEDURES}
    for _ in range(options.worlds):
        world = draw(rng)
        for name, procedure in PROCEDURES.items():
            found, asked = procedure(world, rng)
            tallies[name].add(world, found, asked)
    plain = sum(tallies["plain bisection to 1 %"].contexts)
    token = sum(tallies["plain bisection to the token"].contexts)
    print(f"{options.worlds} worlds, seed {options.seed}\n")
    print(
        "| procedure | found/true mean | worst | loads mean | max "
        "| contexts, x bisection to 1 % | to the token | over-claims |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, tally in tallies.items():
        contexts = sum(tally.contexts)
        print(
            f"| {name} | {statistics.mean(tally.ratios):.4f} | {min(tally.ratios):.3f} "
            f"| {statistics.mean(tally.loads):.2f} | {max(tally.loads)} "
            f"| {contexts / plain:.2f} | {contexts / token:.2f} | {tally.over} |"
        )


if __name__ == "__main__":
    main()
