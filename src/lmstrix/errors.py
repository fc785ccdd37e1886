"""Every error LMStrix raises on purpose.

Each says what happened, why, and what to do next, and carries what it is about as attributes.

    LMStrixError                      exit 1
    ├── UsageError                    exit 2   the call itself is wrong
    │   ├── SettingsError                      a settings file or variable is wrong
    │   └── FilterError                        a --filter or --sort cannot be read
    ├── NotFoundError                 exit 3   nothing there by that name
    │   ├── ModelNotFoundError
    │   └── AmbiguousModelError                several models answer to it
    ├── UnreachableError              exit 4   no server answers; never the model's fault
    ├── StoreError                             the database cannot be used
    │   ├── StoreVersionError                  written by a newer LMStrix
    │   └── StoreFullError                     no room left on the disk
    ├── DefaultsError                          a server's own defaults cannot be read or changed
    ├── BusyError                              another process is at it
    ├── GGUFError                              a model file cannot be read
    │   └── TruncatedFileError
    ├── LoadError                              a model did not load
    │   └── OutOfMemoryError
    ├── GenerationError                        an answer broke off
    │   ├── ContextOverflowError               the prompt does not fit
    │   ├── StalledError                       no progress within a phase's time
    │   ├── EmptyAnswerError
    │   └── EngineDiedError                    the engine process ended by itself
    ├── ProtocolError                          a server sent what cannot be understood
    └── UnsupportedError                       this provider cannot do that

`lmstrix.lmstudio.errors` adds those of LM Studio's SDK, by its names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lmstrix.types import Phase


class LMStrixError(Exception):
    """Base of all. `hint` is the next step for the user, a whole sentence or empty."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LMStrixError):
    """The call itself is wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is wrong. `source` is the file or variable; `line` is 1-based where known."""

    def __init__(
        self, message: str, *, source: str, key: str = "", line: int | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.key = key
        self.line = line


class FilterError(UsageError):
    """A filter or sort expression cannot be read. `piece` is the part at fault."""

    def __init__(self, message: str, *, piece: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.piece = piece


class NotFoundError(LMStrixError):
    """Nothing there by that name."""

    exit_code = 3


class ModelNotFoundError(NotFoundError):
    """No model answers to `query`; `nearest` are the closest names."""

    def __init__(
        self, message: str, *, query: str, nearest: Sequence[str] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.query = query
        self.nearest = tuple(nearest)


class AmbiguousModelError(NotFoundError):
    """Several models answer to `query`."""

    def __init__(
        self, message: str, *, query: str, candidates: Sequence[str], hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.query = query
        self.candidates = tuple(candidates)


class UnreachableError(LMStrixError):
    """No server answers at `server`."""

    exit_code = 4

    def __init__(self, message: str, *, server: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.server = server


class StoreError(LMStrixError):
    """The database at `path` cannot be used."""

    def __init__(self, message: str, *, path: Path, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class StoreVersionError(StoreError):
    """The database was written by a newer LMStrix: schema `found`, this one knows `known`."""

    def __init__(self, message: str, *, path: Path, found: int, known: int, hint: str = "") -> None:
        super().__init__(message, path=path, hint=hint)
        self.found = found
        self.known = known


class StoreFullError(StoreError):
    """No room left for a write; what was there before is intact."""


class DefaultsError(LMStrixError):
    """The file at `path`, in which a server keeps its defaults, cannot be read or changed."""

    def __init__(self, message: str, *, path: Path, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class BusyError(LMStrixError):
    """Another process holds what is needed. `pid` is that process where known."""

    def __init__(self, message: str, *, pid: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class GGUFError(LMStrixError):
    """The model file at `path` cannot be read."""

    def __init__(self, message: str, *, path: Path, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class TruncatedFileError(GGUFError):
    """The file is shorter than its header says."""


class LoadError(LMStrixError):
    """A model did not load. `context_tokens` is what was asked; `log` the engine's own lines."""

    def __init__(
        self,
        message: str,
        *,
        model: str,
        context_tokens: int | None = None,
        log: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.model = model
        self.context_tokens = context_tokens
        self.log = tuple(log)


class OutOfMemoryError(LoadError):
    """A model did not load, or its engine died, for lack of memory."""


class GenerationError(LMStrixError):
    """An answer broke off. `partial` is what came before."""

    def __init__(self, message: str, *, partial: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.partial = partial


class ContextOverflowError(GenerationError):
    """The prompt has `prompt_tokens`, the instance holds `context_tokens`."""

    def __init__(
        self, message: str, *, prompt_tokens: int, context_tokens: int, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class StalledError(GenerationError):
    """Nothing happened for `after_s` in `phase`."""

    def __init__(
        self, message: str, *, phase: Phase, after_s: float, partial: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, partial=partial, hint=hint)
        self.phase = phase
        self.after_s = after_s


class EmptyAnswerError(GenerationError):
    """The model ended without a word."""


class EngineDiedError(GenerationError):
    """The engine process ended. `reason` is read from its own log and exit status."""

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        exit_status: int | None,
        log: Sequence[str] = (),
        partial: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, partial=partial, hint=hint)
        self.reason = reason
        self.exit_status = exit_status
        self.log = tuple(log)


class ProtocolError(LMStrixError):
    """A server sent what cannot be understood."""


class UnsupportedError(LMStrixError):
    """This provider cannot do that; said before any work is done."""
