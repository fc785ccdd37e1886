"""Faults that a gateway has on purpose, so that tests can see whether they are found.

They are those of real servers: less is loaded than was asked for, and what does not fit is cut
without a word. Nothing sets them but a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lmstrix.types import Overflow

if TYPE_CHECKING:
    from lmstrix.session import Session
    from lmstrix.types import Instance, LoadConfig, Request


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong; nothing by default.

    No instance gets more context than `load_at_most_tokens`. A prompt of more than
    `cut_above_tokens` loses its middle, whatever its sender wants done with one that is too long.
    """

    load_at_most_tokens: int | None = None
    cut_above_tokens: int | None = None

    def limit(self, config: LoadConfig) -> LoadConfig:
        """How a model is really loaded that `config` is asked for."""
        most = self.load_at_most_tokens
        if most is None or config.context_tokens is None or config.context_tokens <= most:
            return config
        return msgspec.structs.replace(config, context_tokens=most)

    async def cut(self, session: Session, instance: Instance, request: Request) -> Request:
        """What the model really gets to see of `request`."""
        most = self.cut_above_tokens
        if most is None or await session.count_prompt(instance, request) <= most:
            return request
        smaller = msgspec.structs.replace(instance, context_tokens=most)
        return (await session.shorten(smaller, request, Overflow.MIDDLE))[0]
