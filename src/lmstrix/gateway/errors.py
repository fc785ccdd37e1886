"""What an error is on the wire: status and kind, and its shape in each dialect."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from lmstrix import errors
from lmstrix.protocol.anthropic import messages as anthropic

if TYPE_CHECKING:
    from lmstrix.errors import LMStrixError


class Kind(StrEnum):
    """What went wrong, in the words of no dialect."""

    INVALID = "invalid request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not found"
    NO_SUCH_PATH = "no such path"
    TOO_LARGE = "too large"
    OVERFLOW = "context overflow"
    UNSUPPORTED = "unsupported"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    LOOP = "loop"
    FAILED = "failed"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it is told to a caller. `retry_after_s` is when to come again, if at all.

    The tokens are those of a prompt that does not fit, and of what it does not fit into.
    """

    status: int
    kind: Kind
    message: str
    retry_after_s: int | None = None
    prompt_tokens: int | None = None
    context_tokens: int | None = None


FAULT = Problem(
    status=500, kind=Kind.FAILED, message="This is a fault in LMStrix; its log says more."
)
_KNOWN: tuple[tuple[type[LMStrixError], int, Kind], ...] = (
    (errors.UsageError, 400, Kind.INVALID),
    (errors.NotFoundError, 404, Kind.NOT_FOUND),
    (errors.ContextOverflowError, 400, Kind.OVERFLOW),
    (errors.UnsupportedError, 400, Kind.UNSUPPORTED),
    (errors.BusyError, 503, Kind.BUSY),
    (errors.UnreachableError, 502, Kind.UNREACHABLE),
    (errors.ProtocolError, 502, Kind.UNREACHABLE),
    (errors.StalledError, 504, Kind.TIMEOUT),
)
_RETRY_AFTER_S = 5


def problem_of(error: LMStrixError) -> Problem:
    """Status and kind of an error; the hint is part of the message."""
    message = f"{error.message} {error.hint}".strip()
    for known, status, kind in _KNOWN:
        if isinstance(error, known):
            later = _RETRY_AFTER_S if kind is Kind.BUSY else None
            return Problem(
                status=status,
                kind=kind,
                message=message,
                retry_after_s=later,
                prompt_tokens=getattr(error, "prompt_tokens", None),
                context_tokens=getattr(error, "context_tokens", None),
            )
    return Problem(status=500, kind=Kind.FAILED, message=message)


def error_body(path: str, problem: Problem) -> bytes:
    """The problem as a JSON document in the dialect that `path` belongs to."""
    return msgspec.json.encode(error_object(path, problem))


def error_object(path: str, problem: Problem) -> object:
    """The problem in the shape of the dialect that `path` belongs to."""
    if path.startswith("/v1/messages"):
        return anthropic_error(problem)
    if path.startswith("/api/v1"):
        return lmstudio_error(problem)
    if path.startswith("/api/"):
        return ollama_error(problem)
    return openai_error(problem)


def ollama_error(problem: Problem) -> dict[str, object]:
    """As Ollama's API and LM Studio's REST v0 have it: `{"error": "…"}`.

    There is no kind in it, so programs look for Ollama's words for a prompt that does not fit.
    """
    if problem.kind is Kind.OVERFLOW:
        return {"error": f"the input length exceeds the context length: {problem.message}"}
    return {"error": problem.message}


_OPENAI_TYPES = {
    Kind.UNAUTHORIZED: "authentication_error",
    Kind.FORBIDDEN: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.BUSY: "rate_limit_error",
    Kind.UNREACHABLE: "server_error",
    Kind.TIMEOUT: "server_error",
    Kind.LOOP: "server_error",
    Kind.FAILED: "server_error",
}
_OPENAI_CODES = {
    Kind.NO_SUCH_PATH: "unknown_url",
    Kind.UNAUTHORIZED: "invalid_api_key",
    Kind.NOT_FOUND: "model_not_found",
    Kind.OVERFLOW: "context_length_exceeded",
    Kind.UNSUPPORTED: "unsupported",
    Kind.BUSY: "overloaded",
}


def openai_error(problem: Problem) -> dict[str, object]:
    """As OpenAI's API has it: `{"error": {"message", "type", "param", "code"}}`."""
    return {
        "error": {
            "message": problem.message,
            "type": _OPENAI_TYPES.get(problem.kind, "invalid_request_error"),
            "param": None,
            "code": _OPENAI_CODES.get(problem.kind),
        }
    }


_ANTHROPIC_TYPES = {
    Kind.NO_SUCH_PATH: "not_found_error",
    Kind.UNAUTHORIZED: "authentication_error",
    Kind.FORBIDDEN: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.TOO_LARGE: "request_too_large",
    Kind.BUSY: "overloaded_error",
    Kind.TIMEOUT: "timeout_error",
    Kind.UNREACHABLE: "api_error",
    Kind.LOOP: "api_error",
    Kind.FAILED: "api_error",
}


def anthropic_error(problem: Problem) -> anthropic.Failure:
    """As Anthropic's API has it: `{"type": "error", "error": {"type", "message"}}`.

    Agents know by its words that a prompt is too long, and shorten the conversation.
    """
    kind = _ANTHROPIC_TYPES.get(problem.kind, "invalid_request_error")
    message = problem.message
    if problem.kind is Kind.OVERFLOW:
        have, most = problem.prompt_tokens, problem.context_tokens
        message = f"prompt is too long: {have} tokens > {most} maximum. {message}"
    return anthropic.Failure(anthropic.Problem(kind, message))


_LMSTUDIO_TYPES = {
    Kind.NO_SUCH_PATH: "not_found",
    Kind.UNAUTHORIZED: "invalid_api_key",
    Kind.FORBIDDEN: "permission_denied",
    Kind.NOT_FOUND: "model_not_found",
    Kind.BUSY: "overloaded",
    Kind.UNREACHABLE: "internal_error",
    Kind.TIMEOUT: "internal_error",
    Kind.LOOP: "internal_error",
    Kind.FAILED: "internal_error",
}


def lmstudio_error(problem: Problem) -> dict[str, object]:
    """As LM Studio's REST v1 has it: `{"error": {"type", "message", "code"}}`."""
    kind = _LMSTUDIO_TYPES.get(problem.kind, "invalid_request")
    return {"error": {"type": kind, "message": problem.message, "code": kind}}
