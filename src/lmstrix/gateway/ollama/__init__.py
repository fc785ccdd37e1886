"""The gateway as Ollama: programs written for it run on whatever LMStrix has.

`answers` has chats and completions, `vectors` embeddings, `facts` what is told of models,
`library` what is done with them; `shelf` holds the models that clients have made of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse
from starlette.routing import Route

from lmstrix.gateway.describing import describe

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from lmstrix.gateway.gateway import Gateway


def routes(gateway: Gateway) -> list[BaseRoute]:
    """The routes below `/api`, and the greeting at the root."""
    from lmstrix.gateway.ollama.answers import Answers  # noqa: PLC0415  # they import this package
    from lmstrix.gateway.ollama.facts import Facts  # noqa: PLC0415
    from lmstrix.gateway.ollama.library import Library  # noqa: PLC0415
    from lmstrix.gateway.ollama.shelf import Shelf  # noqa: PLC0415
    from lmstrix.gateway.ollama.vectors import Vectors  # noqa: PLC0415

    shelf = Shelf(gateway)
    answers, vectors = Answers(gateway, shelf), Vectors(gateway, shelf)
    facts, library = Facts(gateway, shelf), Library(gateway, shelf)
    return [
        Route("/", _greet, methods=["GET"]),
        Route("/api/chat", answers.chat, methods=["POST"]),
        Route("/api/generate", answers.generate, methods=["POST"]),
        Route("/api/embed", vectors.embed, methods=["POST"]),
        Route("/api/embeddings", vectors.embeddings, methods=["POST"]),
        Route("/api/tags", facts.tags, methods=["GET"]),
        Route("/api/show", facts.show, methods=["POST"]),
        Route("/api/ps", facts.ps, methods=["GET"]),
        Route("/api/version", facts.version, methods=["GET"]),
        Route("/api/copy", library.copy, methods=["POST"]),
        Route("/api/create", library.create, methods=["POST"]),
        Route("/api/delete", library.delete, methods=["DELETE"]),
        Route("/api/pull", library.pull, methods=["POST"]),
        Route("/api/blobs/{digest}", library.blob, methods=["GET"]),
        Route("/api/push", library.push, methods=["POST"]),
    ]


@describe("Who listens, in the words that Ollama's programs look for", kind="text/plain")
async def _greet(request: Request) -> Response:  # noqa: ARG001  # Starlette passes it
    """`GET /` and `HEAD /`."""
    return PlainTextResponse("Ollama is running")
