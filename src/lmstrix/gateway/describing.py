"""What an endpoint says of itself, for the OpenAPI description."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F")

_ATTRIBUTE = "_lmstrix_description"


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: a sentence, the types of body and answer, and what a stream consists of.

    `body` and `answer` are types that msgspec knows; absent, there is none, or any JSON. `kind` is
    the media type of the answer.
    `stream` is the media type of the streamed form, where there is one, and `event` the type of
    one event or line in it.
    """

    summary: str
    body: object | None = None
    answer: object | None = None
    kind: str = "application/json"
    stream: str | None = None
    event: object | None = None


def describe(
    summary: str,
    *,
    body: object | None = None,
    answer: object | None = None,
    kind: str = "application/json",
    stream: str | None = None,
    event: object | None = None,
) -> Callable[[F], F]:
    """Decorate an endpoint with its description."""
    description = Description(
        summary=summary, body=body, answer=answer, kind=kind, stream=stream, event=event
    )

    def decorate(endpoint: F) -> F:
        setattr(endpoint, _ATTRIBUTE, description)
        return endpoint

    return decorate


def description_of(endpoint: object) -> Description | None:
    """What `describe` was told of an endpoint."""
    found = getattr(endpoint, _ATTRIBUTE, None)
    return found if isinstance(found, Description) else None
