"""When is a stream stalled? A pure clock, told of events and times, with one limit per phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.types import Fragment, Phase, Progress, Stats

if TYPE_CHECKING:
    from lmstrix.config import Timeouts
    from lmstrix.types import StreamItem


class StallClock:
    """Knows the phase a request is in and until when it may stay silent.

    Times are seconds on any one monotonic clock. A sign of life within a phase restarts that
    phase's limit; the sum over all phases has none.
    """

    __slots__ = ("_limits", "_since", "phase")

    def __init__(self, timeouts: Timeouts, *, now: float, phase: Phase = Phase.PROMPT) -> None:
        self._limits = {
            Phase.LOAD: timeouts.load_s,
            Phase.PROMPT: timeouts.prompt_s,
            Phase.FIRST_TOKEN: timeouts.first_token_s,
            Phase.TOKENS: timeouts.tokens_s,
        }
        self.phase = phase
        self._since = now

    @property
    def limit_s(self) -> float:
        """How long the present phase may be silent, in seconds."""
        return self._limits[self.phase]

    @property
    def deadline(self) -> float:
        """The time at which the stream counts as stalled."""
        return self._since + self.limit_s

    def resume(self, now: float) -> None:
        """Restart the present phase's limit: the reader was away, which is not the server's."""
        self._since = now

    def saw(self, item: StreamItem, now: float) -> None:
        """Take note of an item that arrived at `now`."""
        self._since = now
        if isinstance(item, Fragment):
            self.phase = Phase.TOKENS
        elif isinstance(item, Progress):
            done = item.phase is Phase.PROMPT and item.fraction is not None and item.fraction >= 1
            self.phase = Phase.FIRST_TOKEN if done else item.phase
        elif isinstance(item, Stats):
            self.phase = Phase.TOKENS
