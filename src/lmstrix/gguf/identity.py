"""Which content a model file has, without reading all of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lmstrix.errors import GGUFError
from lmstrix.gguf.header import Header, read_header

if TYPE_CHECKING:
    import os

_TAIL_BYTES = 1 << 16


def file_identity(model: str | os.PathLike[str] | Header) -> str:
    """Name the content of a model: `SIZE-HEADER-TAIL`, in hexadecimal.

    SIZE is the bytes of all parts together; HEADER hashes every part's whole header (so another
    chat template is another model), TAIL the last 64 KiB of every part (so other weights below
    the same header are another model). The hashes are 64 bits of BLAKE2b. The name and the
    time of a file do not matter. Raises what `read_header` raises.
    """
    header = model if isinstance(model, Header) else read_header(model)
    heads, tails = hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)
    for part in header.parts:
        try:
            with part.path.open("rb") as file:
                heads.update(file.read(part.header_bytes))
                file.seek(max(part.size_bytes - _TAIL_BYTES, 0))
                tails.update(file.read(_TAIL_BYTES))
        except OSError as problem:
            raise GGUFError(
                f"{part.path.name} cannot be read: {problem.strerror or problem}", path=part.path
            ) from problem
    return f"{header.size_bytes:x}-{heads.hexdigest()}-{tails.hexdigest()}"
