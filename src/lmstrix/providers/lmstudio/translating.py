"""What the client raises, as what providers raise."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lmstrix.errors import GenerationError, NotFoundError, UnreachableError
from lmstrix.lmstudio.errors import (
    LMStudioClientError,
    LMStudioModelNotFoundError,
    LMStudioServerError,
    LMStudioTimeoutError,
    LMStudioWebsocketError,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from lmstrix.providers.lmstudio.answering import Answer


@contextmanager
def translated(server: str, answer: Answer | None = None) -> Generator[None, None, None]:
    """Within the block, the client's errors become ours.

    `answer` knows what an error means that ends it. No connection, no token and no word are no
    matter of a model: `UnreachableError`.
    """
    try:
        yield
    except LMStudioModelNotFoundError as problem:
        raise NotFoundError(problem.message, hint="See what is loaded: lmstrix ps") from None
    except (LMStudioWebsocketError, LMStudioTimeoutError) as problem:
        raise UnreachableError(problem.message, server=server, hint=problem.hint) from None
    except LMStudioServerError as problem:
        message = " ".join(problem.message.split())  # it comes laid out in lines
        if problem.message.startswith("Authentication failed"):
            raise UnreachableError(
                f"The server {server} lets nobody in without the right token: {message}",
                server=server,
                hint="Name the variable that holds it: servers.NAME.token_env in the settings.",
            ) from None
        if answer is not None and problem.server_error is not None:
            answer.fail(problem.server_error)
        raise GenerationError(message) from None
    except LMStudioClientError as problem:
        raise GenerationError(problem.message, hint=problem.hint) from None
