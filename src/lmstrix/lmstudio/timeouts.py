"""How long a server may say nothing."""

from __future__ import annotations

import msgspec


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds a server may say nothing in each phase; `None` is forever.

    `connect_s`: opening a connection, the handshakes included. `call_s`: a call that has no phases,
    such as a list or a count. `load_s`: between two reports of a load or a download. `prompt_s`:
    until the first piece of an answer, after each report of prompt processing anew. `tokens_s`:
    between two pieces.
    """

    connect_s: float | None = 5.0
    call_s: float | None = None
    load_s: float | None = None
    prompt_s: float | None = None
    tokens_s: float | None = None

    @classmethod
    def same(cls, limit_s: float | None) -> Timeouts:
        """The same limit in every phase but the first."""
        return cls(call_s=limit_s, load_s=limit_s, prompt_s=limit_s, tokens_s=limit_s)
