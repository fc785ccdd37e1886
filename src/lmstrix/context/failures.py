"""What an error during a probe says about the model."""

from __future__ import annotations

import asyncio

from lmstrix.errors import (
    ContextOverflowError,
    EmptyAnswerError,
    GenerationError,
    LoadError,
    OutOfMemoryError,
    StalledError,
    UnreachableError,
)
from lmstrix.results import FailureKind

_KINDS: tuple[tuple[type[BaseException], FailureKind], ...] = (
    (UnreachableError, FailureKind.UNREACHABLE),
    (OutOfMemoryError, FailureKind.OUT_OF_MEMORY),
    (LoadError, FailureKind.LOAD_REFUSED),
    (ContextOverflowError, FailureKind.CONTEXT_OVERFLOW),
    (StalledError, FailureKind.HANG),
    (EmptyAnswerError, FailureKind.EMPTY_ANSWER),
    (GenerationError, FailureKind.CRASH),
    (TimeoutError, FailureKind.TIMEOUT),
    (asyncio.CancelledError, FailureKind.INTERRUPTED),
    (KeyboardInterrupt, FailureKind.INTERRUPTED),
)


def failure_of(error: BaseException) -> FailureKind | None:
    """The kind of failure an error is, or `None` where it is no matter of model or server."""
    return next((kind for sort, kind in _KINDS if isinstance(error, sort)), None)


_SENTENCES = {
    FailureKind.OUT_OF_MEMORY: "There was not enough memory.",
    FailureKind.LOAD_REFUSED: "The server refused to load it.",
    FailureKind.CONTEXT_OVERFLOW: "The server says that the prompt does not fit.",
    FailureKind.SILENT_TRUNCATION: "The server cut the prompt without saying so.",
    FailureKind.TIMEOUT: "It took longer than a probe may take; see --timeout.",
    FailureKind.HANG: "Nothing happened any more.",
    FailureKind.EMPTY_ANSWER: "The model answered nothing.",
    FailureKind.WRONG_ANSWER: "The answers were wrong.",
    FailureKind.CRASH: "The engine, the tool or the machine ended meanwhile.",
    FailureKind.UNREACHABLE: "The server does not answer; that says nothing about the model.",
    FailureKind.INTERRUPTED: "The test was interrupted; that says nothing about the model.",
}


def sentence(kind: FailureKind) -> str:
    """What a failure means, for users."""
    return _SENTENCES[kind]
