"""The application: every dialect's routes behind one guard."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from lmstrix import __version__
from lmstrix.errors import LMStrixError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.guard import Guard
from lmstrix.gateway.openapi import described
from lmstrix.gateway.responding import (
    RefusedError,
    answer_http_problem,
    answer_problem,
    json_response,
)

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from lmstrix.gateway.gateway import Gateway

# One module each, with `routes(gateway)`; of two that match, the first answers.
DIALECTS: tuple[str, ...] = (
    "anthropic",
    "openai",
    "lmstudio_rest",
    "lmstudio_native",
    "ollama",
)  # fmt: skip


def application(gateway: Gateway) -> ASGIApp:
    """The ASGI application that serves `gateway`."""
    routes: list[BaseRoute] = [Route("/health", _health, methods=["GET"])]
    for name in DIALECTS:
        routes += import_module(f"lmstrix.gateway.{name}").routes(gateway)
    routes.append(described(routes))
    handlers = {
        LMStrixError: answer_problem,
        RefusedError: answer_problem,
        HTTPException: answer_http_problem,
        Exception: answer_problem,
    }
    inner = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(inner, gateway.options)


class Health(msgspec.Struct, frozen=True):
    """That the gateway is there, and which version of it."""

    status: str
    version: str


@describe("Whether the gateway is there.", answer=Health)
async def _health(request: Request) -> Response:  # noqa: ARG001  # Starlette passes it
    return json_response(Health("ok", __version__))
