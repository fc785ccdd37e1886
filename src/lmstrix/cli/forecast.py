"""How long tests will take, by what those that are done have taken for what they cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

_CERTAIN = 5  # tests that are done, after which a test's own pace counts little


@dataclass
class Forecast:
    """Told of each finished test: its cost, in any unit, and its seconds.

    A test is taken to last `a + b * cost`, both fitted to what is known and neither below zero.
    The costs are compared as they are: what a model twice as large takes is about twice as long.
    """

    _known: list[tuple[float, float]] = field(default_factory=list)

    def record(self, cost: float, took_s: float) -> None:
        """A test of `cost` has taken so long."""
        self._known.append((cost, took_s))

    def expected_s(self, cost: float) -> float | None:
        """How long a test of `cost` should take; `None` before any is done."""
        if not self._known:
            return None
        fixed_s, per_cost_s = self._line()
        return fixed_s + per_cost_s * cost

    def left_s(self, cost: float, *, passed_s: float, own_s: float | None) -> float | None:
        """How long a running test still takes, by the others and by its own pace (`own_s`)."""
        whole = self.expected_s(cost)
        if whole is None:
            return own_s
        by_others = max(0.0, whole - passed_s)
        if own_s is None:
            return by_others
        trust = min(1.0, len(self._known) / _CERTAIN) / 2
        return trust * by_others + (1 - trust) * own_s

    def _line(self) -> tuple[float, float]:
        """Least squares, each test weighed by its relative error; through zero where one bends.

        A single test says nothing of what is fixed.
        """
        weights = [1 / max(took, 0.1) ** 2 for _, took in self._known]
        total = sum(weights)
        mean_cost = sum(w * c for w, (c, _) in zip(weights, self._known, strict=True)) / total
        mean_s = sum(w * s for w, (_, s) in zip(weights, self._known, strict=True)) / total
        spread = both = 0.0
        for weight, (cost, took) in zip(weights, self._known, strict=True):
            spread += weight * (cost - mean_cost) ** 2
            both += weight * (cost - mean_cost) * (took - mean_s)
        if spread <= 0:
            return (0.0, mean_s / mean_cost) if mean_cost > 0 else (mean_s, 0.0)
        slope = both / spread
        fixed = mean_s - slope * mean_cost
        if slope < 0:
            return mean_s, 0.0
        if fixed < 0:
            squares = sum(w * c * c for w, (c, _) in zip(weights, self._known, strict=True))
            products = sum(w * c * s for w, (c, s) in zip(weights, self._known, strict=True))
            return 0.0, products / squares
        return fixed, slope


def together_s(waiting: dict[str, float], running: dict[str, float], *, parallel: int) -> float:
    """How long until all is done: seconds left by server, of which one test runs at a time.

    Not before the longest server is done, nor before all the work is, shared by `parallel`.
    """
    servers = {server: waiting.get(server, 0.0) + running.get(server, 0.0)
               for server in {*waiting, *running}}  # fmt: skip
    if not servers:
        return 0.0
    at_once = max(1, min(parallel, len(servers)))
    return max(*servers.values(), sum(servers.values()) / at_once, 0.0)
