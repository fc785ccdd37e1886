"""Which limit holds while an answer is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmstrix.lmstudio.timeouts import Timeouts


def limit_of(timeouts: Timeouts, *, started: bool) -> float | None:
    """Seconds the server may say nothing now."""
    return timeouts.tokens_s if started else timeouts.prompt_s
