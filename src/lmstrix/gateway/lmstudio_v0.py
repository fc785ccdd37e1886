"""Answers of LM Studio's REST version 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from lmstrix.gateway.gateway import Gateway


def routes(gateway: Gateway) -> list[BaseRoute]:
    """None yet."""
    return []
