"""Pictures of a request on their way to LM Studio."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from lmstrix.protocol.lmstudio.chats import FileHandle

if TYPE_CHECKING:
    from lmstrix.lmstudio.async_client import AsyncClient
    from lmstrix.types import Image, Request


async def upload(client: AsyncClient, request: Request) -> dict[str, FileHandle]:
    """Send every picture once; what the server calls each, by its digest."""
    images = {digest(image): image for message in request.messages for image in message.images}
    handles = await asyncio.gather(
        *(client.files.prepare_image(image.data, _name(image)) for image in images.values())
    )
    return dict(zip(images, handles, strict=True))


def named(request: Request) -> dict[str, FileHandle]:
    """What each picture is called before it is sent: by its digest."""
    return {
        digest(image): handle(image, f"sha256:{digest(image)}")
        for message in request.messages
        for image in message.images
    }


def digest(image: Image) -> str:
    """What tells a picture from any other."""
    return hashlib.sha256(image.data).hexdigest()


def handle(image: Image, identifier: str) -> FileHandle:
    """A picture as a part of a message."""
    return FileHandle(
        name=_name(image), identifier=identifier, size_bytes=len(image.data), file_type="image"
    )


def _name(image: Image) -> str:
    return f"picture.{image.media_type.rpartition('/')[2]}"
