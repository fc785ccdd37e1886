"""Embeddings: `POST /v1/embeddings`, both ends."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import TYPE_CHECKING, Literal

import msgspec

from lmstrix.errors import ProtocolError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

EMBEDDINGS = "/v1/embeddings"


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client sends. Token ids in `input` are read, and refused."""

    input: str | tuple[str | int | tuple[int, ...], ...]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None
    ttl: float | None = None

    def texts(self) -> list[str]:
        """The texts. Raises `UsageError` where there are none, or token ids."""
        found = [self.input] if isinstance(self.input, str) else list(self.input)
        texts = [text for text in found if isinstance(text, str)]
        if not found or len(texts) < len(found):
            raise UsageError("An embedding needs texts.", hint="Send `input` as a text or a list.")
        return texts


class Vector(msgspec.Struct, frozen=True):
    """One vector: numbers, or 32-bit floats in base64."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """What it took."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class EmbeddingAnswer(msgspec.Struct, frozen=True):
    """What a server sends."""

    data: tuple[Vector, ...]
    model: str = ""
    object: str = "list"
    usage: EmbeddingUsage = EmbeddingUsage()


_decoder = msgspec.json.Decoder(EmbeddingAnswer)


def decode_vectors(body: bytes, *, count: int) -> list[list[float]]:
    """The vectors of an answer, in the order of the texts; `count` is how many those were.

    Raises `ProtocolError` for anything else.
    """
    try:
        found = sorted(_decoder.decode(body).data, key=lambda vector: vector.index)
        vectors = [_numbers(vector.embedding) for vector in found]
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, struct.error) as problem:
        raise ProtocolError(f"The server sent unreadable embeddings: {problem}.") from None
    if [vector.index for vector in found] != list(range(count)):
        raise ProtocolError(f"The server sent {len(found)} embeddings for {count} texts.")
    return vectors


def encode_vectors(
    vectors: Sequence[Sequence[float]], *, model: str, as_base64: bool, tokens: int = 0
) -> bytes:
    """A server's answer."""
    data = tuple(
        Vector(index, _packed(vector) if as_base64 else list(vector))
        for index, vector in enumerate(vectors)
    )
    usage = EmbeddingUsage(tokens, tokens)
    return msgspec.json.encode(EmbeddingAnswer(data, model, usage=usage))


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _numbers(embedding: list[float] | str) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    data = base64.b64decode(embedding, validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))
