"""Error objects: as the body of a response, and in the middle of a stream."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec

from lmstrix.errors import (
    ContextOverflowError,
    GenerationError,
    LMStrixError,
    ModelNotFoundError,
    ProtocolError,
)

# How servers word a prompt that does not fit, with the sizes where they tell them:
# vLLM "maximum context length is 4096 tokens. However, you requested 5000 tokens (4990 in the
# messages", LM Studio "Trying to keep the first 5000 tokens when context the overflows. However,
# the model is loaded with context length of only 4096 tokens".
# Compiled by the first refusal, which most programs never see.
_CONTEXT_SIZE = r"context length (?:is|of)(?: only)? (\d+)"
_OVERFLOW = r"context (?:size|window|length)"
_OVERFLOW_CODES = ("context_length_exceeded", "exceed_context_size")
_OVERFLOW_WORDS = (
    "exceed",
    "maximum",
    "overflow",
    "too long",
    "too large",
    "greater than",
    "requested",
    "only",
)
_PROMPT_SIZES = (  # the first that matches counts
    r"\((\d+) (?:in|tokens)",
    r"requested (\d+)",
    r"first (\d+)",
    r"prompt .*?(\d+)",
)


class ServerError(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a server says went wrong. The last two fields are llama.cpp's."""

    message: str = ""
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """An error response. Some servers send a mere text, FastAPI calls it `detail`."""

    error: ServerError | str | None = None
    detail: Any = None
    message: str | None = None


_errors = msgspec.json.Decoder(ErrorBody)
_encode = msgspec.json.Encoder().encode


def error_from(body: bytes, *, status: int) -> LMStrixError:
    """The error that an unsuccessful response stands for."""
    try:
        found = _errors.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = ErrorBody()
    error: ServerError | str | None = found.error or found.message
    if error is None and found.detail is not None:
        error = found.detail if isinstance(found.detail, str) else str(found.detail)
    if error is None:
        return ProtocolError(
            f"The server answered with status {status} and no reason.",
            hint="Its own log may say more.",
        )
    return raised(error, status=status)


def raised(
    error: ServerError | str, *, partial: str = "", status: int | None = None
) -> LMStrixError:
    """The error that an error object stands for; `partial` is the answer before it."""
    if isinstance(error, str):
        error = ServerError(error)
    prompt, context = error.n_prompt_tokens, error.n_ctx
    if (prompt is not None and context is not None) or _is_overflow(error):
        prompt = prompt if prompt is not None else _prompt_size(error.message)
        context = context if context is not None else _context_size(error.message)
        sizes = (
            f"The prompt has {prompt:,} tokens, the instance holds {context:,}."
            if prompt and context
            else f"The prompt does not fit: {error.message}"
        )
        return ContextOverflowError(
            sizes,
            prompt_tokens=prompt or 0,
            context_tokens=context or 0,
            hint="Load the model with a larger context, or shorten the prompt.",
        )
    if status == HTTPStatus.NOT_FOUND and "model" in error.message.lower():
        return ModelNotFoundError(
            f"The server has no such model: {error.message}",
            query="",
            hint="See what it has: lmstrix scan, then lmstrix list.",
        )
    return GenerationError(f"The server refused: {error.message}", partial=partial)


def _is_overflow(error: ServerError) -> bool:
    said = f"{error.code or ''} {error.type or ''} {error.message}".lower()
    if any(code in said for code in _OVERFLOW_CODES):
        return True
    return re.search(_OVERFLOW, said) is not None and any(word in said for word in _OVERFLOW_WORDS)


def _prompt_size(message: str) -> int | None:
    matches = (re.search(pattern, message, re.IGNORECASE) for pattern in _PROMPT_SIZES)
    return next((int(match[1]) for match in matches if match), None)


def _context_size(message: str) -> int | None:
    match = re.search(_CONTEXT_SIZE, message, re.IGNORECASE)
    return int(match[1]) if match else None
