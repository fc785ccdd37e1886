"""The errors of the SDK, by the SDK's names, each an `LMStrixError` too.

LMStudioError
├── LMStudioOSError                     (OSError)       the local system refused
├── LMStudioFileNotFoundError           (FileNotFoundError)
├── LMStudioRuntimeError                (RuntimeError)  calls in an order that makes no sense
├── LMStudioValueError                  (ValueError)    a value that makes no sense
├── LMStudioTimeoutError                (TimeoutError)  the server said nothing for too long
├── LMStudioServerError                                 the server said no
│   ├── LMStudioModelNotFoundError
│   ├── LMStudioPresetNotFoundError
│   ├── LMStudioChannelClosedError                      it ended a channel without an answer
│   └── LMStudioPredictionError                         an answer broke off
└── LMStudioClientError                                 found on this side
    ├── LMStudioCancelledError
    ├── LMStudioUnknownMessageWarning   (UserWarning)   a message that is not understood
    └── LMStudioWebsocketError                          no connection, or one that was lost
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.errors import LMStrixError, UnreachableError, UsageError
from lmstrix.protocol.lmstudio.errors import (
    NO_MODEL,
    PATH_NOT_FOUND,
    PRESET_NOT_FOUND,
    read_error,
)

if TYPE_CHECKING:
    from lmstrix.protocol.lmstudio.errors import SerializedLMSExtendedError


class LMStudioError(LMStrixError):
    """Base of all errors of this client."""


class LMStudioOSError(LMStudioError, OSError):
    """The local system refused something."""


class LMStudioFileNotFoundError(LMStudioError, FileNotFoundError):
    """A local file is not there."""

    exit_code = 3


class LMStudioRuntimeError(LMStudioError, RuntimeError):
    """Calls in an order that makes no sense."""

    exit_code = UsageError.exit_code


class LMStudioValueError(LMStudioError, ValueError):
    """A value that makes no sense."""

    exit_code = UsageError.exit_code


class LMStudioTimeoutError(LMStudioError, TimeoutError):
    """The server said nothing for as long as it may."""


class LMStudioServerError(LMStudioError):
    """The server said no. `server_error` is what it said; `None` where it said nothing."""

    def __init__(self, message: str, details: object = None) -> None:
        self.server_error: SerializedLMSExtendedError | None = None
        if details is not None:
            self.server_error = read_error(details)
            message = f"{message}: {self.server_error.text()}"
        super().__init__(message)


class LMStudioModelNotFoundError(LMStudioServerError):
    """The server has no model like that."""

    exit_code = 3


class LMStudioPresetNotFoundError(LMStudioServerError):
    """The server has no preset of that name."""

    exit_code = 3


class LMStudioChannelClosedError(LMStudioServerError):
    """The server ended a channel without an answer."""


class LMStudioPredictionError(LMStudioServerError):
    """An answer broke off, or asked for a tool in a way that cannot be followed."""


class LMStudioClientError(LMStudioError):
    """Found on this side of the connection."""


class LMStudioUnknownMessageWarning(LMStudioClientError, UserWarning):  # noqa: N818  # the SDK's
    """A message that is not understood; the server may be newer than this client."""


class LMStudioCancelledError(LMStudioClientError):
    """Ended by this side before it was done."""


class LMStudioWebsocketError(LMStudioClientError):
    """There is no connection to `server`, or it was lost on the way."""

    exit_code = UnreachableError.exit_code

    def __init__(self, message: str, *, server: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.server = server


_BY_CODE: dict[str, type[LMStudioServerError]] = {
    NO_MODEL: LMStudioModelNotFoundError,
    PATH_NOT_FOUND: LMStudioModelNotFoundError,
    PRESET_NOT_FOUND: LMStudioPresetNotFoundError,
}


def server_error(message: str, details: object) -> LMStudioServerError:
    """The error for what a server sent, of the class that its code has."""
    return _BY_CODE.get(read_error(details).code, LMStudioServerError)(message, details)
