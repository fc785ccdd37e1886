"""Files that clients upload, each known to its client alone."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from lmstrix.errors import NotFoundError, UnsupportedError, UsageError
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.parameters import Uploaded
from lmstrix.types import Image

if TYPE_CHECKING:
    from lmstrix.gateway.lmstudio_native.connection import Handlers
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.parameters import FileNameParameter, UploadParameter

_MOST_BYTES = 256 * 2**20  # of all files of one client
_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
_TEXT_ENDINGS = (".md", ".csv", ".json", ".xml", ".html", ".py", ".yaml", ".yml", ".toml", ".log")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded file. `type` is LM Studio's word for it; `media_type` is set for images."""

    name: str
    data: bytes
    type: str
    media_type: str = ""


class Files:
    """The files of all connected clients; one with too many loses its oldest."""

    def __init__(self, *, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._files: dict[str, OrderedDict[str, File]] = {}

    def register(self, handlers: Handlers) -> None:
        """Answer the calls of the namespace `files`."""
        handlers.answer(endpoints.UPLOAD_FILE, self._upload)
        handlers.answer(endpoints.GET_LOCAL_FILE_PATH, self._local_path)

    def keep(self, client: str, name: str, data: bytes) -> str:
        """Keep a file of a client; gives its identifier, a new one each time."""
        if len(data) > self._most_bytes:
            raise UsageError(
                f"{name} has {len(data):,} bytes; {self._most_bytes:,} are kept at most."
            )
        kept = self._files.setdefault(client, OrderedDict())
        kind, media_type = kind_of(name, data)
        identifier = f"{uuid4().hex}-{name}"
        kept[identifier] = File(name=name, data=data, type=kind, media_type=media_type)
        while sum(len(file.data) for file in kept.values()) > self._most_bytes:
            kept.popitem(last=False)
        return identifier

    def find(self, client: str, identifier: str) -> File:
        """A file of that client. Raises `NotFoundError`."""
        kept = self._files.get(client)
        file = None if kept is None else kept.get(identifier)
        if file is None:
            raise NotFoundError(
                f"This client has uploaded no file {identifier!r}.",
                hint="Upload it on the same client, and use it while that is connected.",
            )
        return file

    def image(self, client: str, identifier: str) -> Image:
        """A picture of that client. Raises `NotFoundError`, `UnsupportedError` for another kind."""
        file = self.find(client, identifier)
        if file.type != "image":
            raise UnsupportedError(
                f"{file.name} is no picture ({file.type}).", hint="Put its text into the message."
            )
        return Image(file.data, file.media_type)

    def forget(self, client: str) -> None:
        """That client has left."""
        self._files.pop(client, None)

    async def _upload(self, auth: Auth, parameter: UploadParameter) -> Uploaded:
        try:
            data = base64.b64decode(parameter.content_base64, validate=True)
        except (binascii.Error, ValueError):
            raise UsageError(f"{parameter.name} is no valid base64.") from None
        identifier = self.keep(auth.client_identifier, parameter.name, data)
        kind = self.find(auth.client_identifier, identifier).type
        return Uploaded(identifier=identifier, file_type=kind, size_bytes=len(data))

    async def _local_path(self, auth: Auth, parameter: FileNameParameter) -> None:
        raise UnsupportedError(
            "Uploaded files are kept in memory: none has a path here.",
            hint="Use the identifier that the upload gave.",
        )


def kind_of(name: str, data: bytes) -> tuple[str, str]:
    """LM Studio's word for a file, and the media type of an image."""
    for beginning, media_type in _IMAGES.items():
        if data.startswith(beginning) and (beginning != b"RIFF" or data[8:12] == b"WEBP"):
            return "image", media_type
    low = name.lower()
    if low.endswith(".txt"):
        return "text/plain", ""
    if low.endswith(".pdf"):
        return "application/pdf", ""
    if low.endswith((".doc", ".docx")):
        return "application/word", ""
    return ("text/other", "") if low.endswith(_TEXT_ENDINGS) else ("unknown", "")
