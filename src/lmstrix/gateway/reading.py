"""The body of a request as a struct, or an error that says what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")


async def read_body(request: Request, kind: type[T]) -> T:
    """The JSON body as `kind`. Raises `UsageError` for what is no JSON or does not fit."""
    return decode_body(await request.body(), kind)


def decode_body(body: bytes, kind: type[T]) -> T:
    """The JSON document as `kind`. Raises `UsageError` for what is no JSON or does not fit."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as problem:
        raise UsageError(f"The request is not as it should be: {problem}.") from None
    except msgspec.DecodeError as problem:
        raise UsageError(f"The request is no JSON: {problem}.") from None
    except UnicodeDecodeError:
        raise UsageError("The request is no text (UTF-8).") from None
