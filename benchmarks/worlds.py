"""Simulated models on simulated machines, for the benchmarks of the context search.

A world is a declared context and the largest context that really loads. Declared contexts are
powers of two from 4,096 to 1,048,576; the true part of it is one of fifteen from 0.03 to 1.0
(the grid on which LMStrix 1.x was measured), each moved at random within half the way to its
neighbours so that no procedure can be lucky with round numbers. In one world of fifteen the
model loads whole.

In memory worlds the weights take 20 % to 80 % of the memory that is really free, and the limit
is where weights and KV cache fill it (a world that loads whole has room to spare).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

PARTS = (0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
DECLARED = tuple(4096 << step for step in range(9))


@dataclass(frozen=True)
class World:
    """One model on one machine. `weights`, `per_token` and `free` are bytes."""

    declared: int
    true: int
    weights: float
    per_token: float
    free: float

    def loads(self, tokens: int) -> bool:
        """Whether a context of `tokens` comes up."""
        return tokens <= self.true

    def memory(self, tokens: int) -> float:
        """Bytes a loaded instance of `tokens` really takes."""
        return self.weights + self.per_token * tokens


def draw(rng: random.Random) -> World:
    """One world."""
    declared = rng.choice(DECLARED)
    place = rng.randrange(len(PARTS))
    part = PARTS[place]
    if part < 1:
        under = PARTS[place - 1] if place else part
        part = rng.uniform((under + part) / 2, (part + PARTS[place + 1]) / 2)
    true = max(1, int(declared * part))
    per_token = rng.uniform(8e3, 5e5)
    room = per_token * (true + rng.random())  # what the contexts fill
    if part == 1:
        room *= rng.uniform(1.0, 4.0)
    share = rng.uniform(0.2, 0.8)
    free = room / (1 - share)
    return World(declared, true, free - room, per_token, free)
