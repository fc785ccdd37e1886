"""What Ollama says when it has no answer: a body `{"error": "…"}`, or such a line in a stream."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import (
    ContextOverflowError,
    GenerationError,
    ModelNotFoundError,
    ProtocolError,
    UnsupportedError,
)
from lmstrix.protocol.ollama.messages import Reply

if TYPE_CHECKING:
    from lmstrix.errors import LMStrixError

# As its scheduler, its runners and llama.cpp below it word it.
_OVERFLOW = re.compile(
    r"(?:exceed|longer than)\S* (?:the )?(?:model's |available |maximum )*context"
    r"|input length .*exceed|exceed_context_size",
    re.IGNORECASE,
)
_COUNT = re.compile(r"(\d[\d,]*) tokens")
_NO_MODEL = re.compile(r"model\b.* not found", re.IGNORECASE | re.DOTALL)
_LACKS = re.compile(r"does not support ([\w ]+)", re.IGNORECASE)

_replies = msgspec.json.Decoder(Reply)


def error_from(body: bytes, *, status: int, model: str = "") -> LMStrixError:
    """The error that an unsuccessful response stands for; `model` is the one that was asked."""
    try:
        error = _replies.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = None
    if error is None:
        return ProtocolError(
            f"The server answered with status {status} and no reason.",
            hint="Its own log may say more.",
        )
    said = error_text(error)
    if status == HTTPStatus.NOT_FOUND and _NO_MODEL.search(said):
        return ModelNotFoundError(
            f"The server has no such model: {said}",
            query=model,
            hint="See what it has: lmstrix scan, then lmstrix list.",
        )
    if status == HTTPStatus.BAD_REQUEST and (lacks := _LACKS.search(said)):
        return UnsupportedError(
            f"{model or 'The model'} does not support {lacks[1].strip()}.",
            hint="`lmstrix list --columns id,capabilities` shows what models can do.",
        )
    return raised(said)


def raised(said: str, *, partial: str = "") -> GenerationError:
    """The error for what a server says instead of an answer, or where it breaks one off."""
    if _OVERFLOW.search(said):
        prompt, context = (
            [int(count.replace(",", "")) for count in _COUNT.findall(said)] + [0, 0]
        )[:2]
        return ContextOverflowError(
            f"The prompt does not fit: {said}",
            prompt_tokens=prompt,
            context_tokens=context,
            hint="Load the model with a larger context, or shorten the prompt.",
        )
    return GenerationError(f"The server refused: {said}", partial=partial)


def error_text(error: str | dict[str, object]) -> str:
    """What is said, in either of the shapes there are."""
    return error if isinstance(error, str) else str(error.get("message", error))
