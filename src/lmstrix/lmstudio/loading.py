"""One load or download, sans I/O: what the server's messages make of it."""

from __future__ import annotations

import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.lmstudio.callbacks import call_back
from lmstrix.lmstudio.errors import (
    LMStudioCancelledError,
    LMStudioChannelClosedError,
    LMStudioUnknownMessageWarning,
)
from lmstrix.lmstudio.results import ModelLoadResult
from lmstrix.protocol.lmstudio.parameters import DownloadMessage, LoadMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.protocol.lmstudio.models import DownloadProgressUpdate

_LOG = logging.getLogger("lmstrix.lmstudio")
_LOAD = msgspec.json.Decoder(LoadMessage)
_DOWNLOAD = msgspec.json.Decoder(DownloadMessage)
_HOW_NOT_TO_EVICT = (
    "You can disable this behavior by going to "
    "LM Studio -> Settings -> Developer -> Turn OFF JIT models auto-evict"
)


class _Work:
    """Something that takes long, reports how far it is, and comes to `result`."""

    def __init__(self, notice: str, failure: str) -> None:
        self.notice = notice
        self.finished = False
        self.cancelled = False
        self._failure = failure

    def closed(self) -> Exception:
        """The error for a channel that was closed before the end."""
        if self.cancelled:
            return LMStudioCancelledError(f"{self.notice} was cancelled.")
        return LMStudioChannelClosedError(self._failure)

    def _not_understood(self, what: str) -> None:
        warnings.warn(
            f"{self.notice}: passed over {what}; the server may be newer than this client.",
            LMStudioUnknownMessageWarning,
            stacklevel=2,
        )


class Loading(_Work):
    """A load, or the use of what is loaded. `info` is the server's own word of the instance."""

    def __init__(
        self, model_key: str, notice: str, on_progress: Callable[[float], Any] | None
    ) -> None:
        super().__init__(notice, "Server failed to load requested model.")
        self.result: ModelLoadResult | None = None
        self.info: Any = None
        self._model_key = model_key
        self._on_progress = on_progress
        self._progress = -1.0

    def take(self, raw: msgspec.Raw) -> None:
        """Take a message of the server."""
        try:
            message = _LOAD.decode(raw)
        except msgspec.DecodeError as problem:
            self._not_understood(str(problem))
            return
        info = message.info if isinstance(message.info, dict) else {}
        if message.type in ("progress", "loadProgress"):
            self._report(message.progress or 0.0)
        elif message.type == "startLoading":
            self._report(0.0)
        elif message.type == "resolved":
            if message.ambiguous:
                _LOG.warning(
                    "%r could be several models: %s", self._model_key, ", ".join(message.ambiguous)
                )
        elif message.type == "unloadingOtherJITModel":
            self._note_eviction(info)
        elif message.type in ("success", "alreadyLoaded", "loadSuccess") and "identifier" in info:
            self._report(1.0)
            self.info = info
            self.result = ModelLoadResult(
                identifier=info["identifier"],
                instance_reference=info.get("instanceReference", ""),
                path=info.get("path", ""),
            )
            self.finished = True
        else:
            self._not_understood(f"a message of the type {message.type!r}")

    def _report(self, progress: float) -> None:
        if progress > self._progress:  # never backwards, never twice
            self._progress = progress
            call_back(self._on_progress, progress, what="Load progress")

    def _note_eviction(self, info: dict[str, Any]) -> None:
        event = {
            "event": "Unloading other JIT model",
            "model_key": self._model_key,
            "unloaded_model_key": info.get("modelKey", ""),
        }
        _LOG.info(json.dumps({**event, "suggestion": _HOW_NOT_TO_EVICT}))
        _LOG.debug(json.dumps({**event, "unloaded_model": info}))


class Downloading(_Work):
    """A download. `result` is what the model is called afterwards."""

    def __init__(
        self,
        on_progress: Callable[[DownloadProgressUpdate], Any] | None,
        on_finalize: Callable[[], Any] | None,
    ) -> None:
        super().__init__("Model download", "Server failed to complete model download.")
        self.result: str | None = None
        self._on_progress = on_progress
        self._on_finalize = on_finalize

    def take(self, raw: msgspec.Raw) -> None:
        """Take a message of the server."""
        try:
            message = _DOWNLOAD.decode(raw)
        except msgspec.DecodeError as problem:
            self._not_understood(str(problem))
            return
        if message.type == "downloadProgress" and message.update is not None:
            call_back(self._on_progress, message.update, what="Download progress")
        elif message.type == "startFinalizing":
            call_back(self._on_finalize, what="Download finalization")
        elif message.type == "success" and message.default_identifier is not None:
            self.result = message.default_identifier
            self.finished = True
        else:
            self._not_understood(f"a message of the type {message.type!r}")
