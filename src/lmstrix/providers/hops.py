"""Through how many gateways a request has come, so that a circle of them has an end."""

from __future__ import annotations

from contextvars import ContextVar

HOPS_FIELD = "x-lmstrix-hops"

# Set by a gateway for the request it answers; whatever is asked of a server meanwhile says it.
hops: ContextVar[int] = ContextVar("lmstrix_hops", default=0)
