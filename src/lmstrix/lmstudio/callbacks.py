"""Calling back: what the caller's own code raises must not end what it only listens to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger("lmstrix.lmstudio")


def call_back(callback: Callable[..., Any] | None, *arguments: Any, what: str) -> None:
    """Call a listener; what it raises is logged, with its traceback, and goes no further."""
    if callback is None:
        return
    try:
        callback(*arguments)
    except Exception:  # noqa: BLE001  # the caller's code; it is named
        _LOG.exception("%s callback failed", what)
