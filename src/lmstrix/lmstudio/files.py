"""Local files on their way to the server."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from lmstrix.lmstudio.errors import LMStudioOSError, LMStudioValueError
from lmstrix.protocol.lmstudio.chats import FileHandle
from lmstrix.protocol.lmstudio.parameters import UploadParameter

if TYPE_CHECKING:
    from lmstrix.protocol.lmstudio.parameters import Uploaded

LocalFileInput: TypeAlias = BinaryIO | bytes | bytearray | memoryview | str | os.PathLike[str]


class LocalFile:
    """The bytes of a file with the name the server is told."""

    def __init__(self, src: LocalFileInput, name: str | None = None) -> None:
        default_name, self.data = _read(src)
        self.name = name or default_name

    def parameter(self) -> UploadParameter:
        """What is sent."""
        content = b64encode(self.data).decode("ascii")
        return UploadParameter(name=self.name, content_base64=content)

    def handle(self, uploaded: Uploaded) -> FileHandle:
        """The handle for what the server made of it."""
        return FileHandle(
            name=self.name,
            identifier=uploaded.identifier,
            size_bytes=uploaded.size_bytes,
            file_type=uploaded.file_type,
        )


def _read(src: LocalFileInput) -> tuple[str, bytes]:
    if not isinstance(src, str | os.PathLike) and not hasattr(src, "read"):
        try:
            return _unnamed(), bytes(memoryview(src))
        except TypeError:
            raise LMStudioValueError(
                f"Expected file-like object, filesystem path, or data buffer, not {type(src)!r}"
            ) from None
    try:
        from pathlib import Path  # noqa: PLC0415  # few send files

        if isinstance(src, str | os.PathLike):
            path = Path(src)
            return path.name, path.read_bytes()
        name = getattr(src, "name", None)
        data = src.read()
    except OSError as problem:
        raise LMStudioOSError(f"Error while reading {str(src)!r} ({problem!r})") from None
    return str(Path(name).name) if isinstance(name, str) else _unnamed(), bytes(data)


def _unnamed() -> str:
    import uuid  # noqa: PLC0415  # few files have no name

    return str(uuid.uuid4())
