"""How far a context test is, guessed from its steps: nobody knows how many probes it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.context.options import Stage

if TYPE_CHECKING:
    from lmstrix.context.options import TestEvent

# Where each stage begins and ends, as a share of the whole, and how much of what is left of it
# one probe is taken to do.
_SPANS = {
    Stage.WAIT: (0.0, 0.0, 0.0),
    Stage.PLAN: (0.0, 0.02, 0.5),
    Stage.LOAD: (0.02, 0.2, 0.3),
    Stage.PROCESS: (0.2, 0.35, 0.6),
    Stage.ANSWER: (0.35, 0.98, 0.06),
    Stage.DONE: (1.0, 1.0, 1.0),
}


class Pace:
    """Told of a model's events with their times (seconds on any clock)."""

    def __init__(self) -> None:
        self.event: TestEvent | None = None
        self.share = 0.0
        self.began: float | None = None
        self.ended: float | None = None
        self._probes_before = 0

    def saw(self, event: TestEvent, now: float) -> None:
        """Take note of an event; `share` never falls."""
        if self.event is None or event.stage is not self.event.stage:
            self._probes_before = max(0, event.probe - 1)
        self.event = event
        if self.began is None and event.stage is not Stage.WAIT:
            self.began = now
        if event.stage is Stage.DONE:
            self.ended = now
        low, high, step = _SPANS[event.stage]
        probes = max(0, event.probe - self._probes_before - 1) + (event.fraction or 0.0)
        self.share = max(self.share, low + (high - low) * (1 - (1 - step) ** probes))

    def left_s(self, now: float) -> float | None:
        """Seconds left at the pace so far; `None` where that would be a wild guess."""
        if self.began is None or self.ended is not None or self.share < 0.05:
            return None
        return (now - self.began) * (1 - self.share) / self.share

    @property
    def took_s(self) -> float | None:
        """Seconds it took, once it is done."""
        if self.began is None or self.ended is None:
            return None
        return self.ended - self.began
