"""Models fetched into LMStrix's own folder: from this machine's files, or from another gateway.

Nothing is ever fetched from anywhere else: what is not named as a file or as a gateway's model
is not looked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self
from urllib.parse import urlsplit

import msgspec

from lmstrix.errors import GGUFError, LMStrixError, NotFoundError, UnsupportedError, UsageError
from lmstrix.gguf import file_identity, find_models, read_header
from lmstrix.protocol.ollama.models import Tags
from lmstrix.providers.http import GATEWAY_FIELD, HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container, Sequence

    from lmstrix.config import Settings
    from lmstrix.providers.http import Incoming

FILE_FIELD = "x-lmstrix-file"
PARTS_FIELD = "x-lmstrix-parts"
BLOBS = "/api/blobs/sha256:"

_PIECE_BYTES = 4 * 2**20
_AT_HOST = re.compile(r"((?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d+)/(.+)")
_SAFE_NAME = re.compile(r"[\w.+-]+\.gguf", re.IGNORECASE)


class FolderSource(msgspec.Struct, frozen=True):
    """A model file of this machine, or a folder in which there is one."""

    path: Path


class PeerSource(msgspec.Struct, frozen=True):
    """A model of another gateway: its address and the model's name there."""

    server: str
    model: str


class Fetching(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is: which file, how much of it; all of it and its `path` at the end of each."""

    name: str
    digest: str
    total_bytes: int
    done_bytes: int
    path: Path | None = None


def parse_source(wanted: str) -> FolderSource | PeerSource | None:
    """Where a model is to come from; `None` for what names neither a file nor a gateway.

    A file is named by its path from the root, the home or the present folder; a gateway's model
    as `http://host:port/MODEL` or `host:port/MODEL`.
    """
    if wanted.startswith(("http://", "https://")):
        parts = urlsplit(wanted)
        model = parts.path.strip("/")
        return PeerSource(f"{parts.scheme}://{parts.netloc}", model) if model else None
    if wanted.startswith((".", "~")) or os.path.isabs(wanted):  # noqa: PTH117  # text in, text out
        return FolderSource(Path(wanted).expanduser())
    if found := _AT_HOST.fullmatch(wanted):
        return PeerSource(f"http://{found[1]}", found[2])
    return None


def content_digest(identity: str) -> str:
    """Sixty-four hexadecimal digits that stand for a model's content.

    They are no hash of the file, which would have to be read whole for it.
    """
    return hashlib.sha256(identity.encode()).hexdigest()


def fetch(
    source: FolderSource | PeerSource,
    folder: Path,
    settings: Settings,
    *,
    known: Container[str] = frozenset(),
) -> AsyncGenerator[Fetching, None]:
    """Bring a model into `folder`, telling how far it is; nothing of one whose digest is `known`.

    What is not whole in the end leaves nothing behind. Raises `NotFoundError` where there is no
    such model, `UsageError` where the name is taken by another, `UnsupportedError` for a server
    that is no gateway of LMStrix, and what the way to it raises.
    """
    if isinstance(source, FolderSource):
        return _copy(source, folder, known)
    return _download(source, folder, HttpServer.known(source.server, settings), known)


async def _copy(
    source: FolderSource, folder: Path, known: Container[str]
) -> AsyncGenerator[Fetching, None]:
    parts = await asyncio.to_thread(_files_of, source.path)
    digest = content_digest(await asyncio.to_thread(file_identity, parts[0]))
    if digest in known:
        return
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    for part in parts:
        size = part.stat().st_size
        target = _free_target(folder, part.name, size)
        if target is None:
            yield _whole(folder / part.name, digest, size)
            continue
        with _Unfinished(target) as file, part.open("rb") as old:
            done = 0
            while piece := await asyncio.to_thread(old.read, _PIECE_BYTES):
                await asyncio.to_thread(file.write, piece)
                done += len(piece)
                yield Fetching(name=part.name, digest=digest, total_bytes=size, done_bytes=done)
            await asyncio.to_thread(file.keep)
        yield _whole(target, digest, size)


def _files_of(path: Path) -> Sequence[Path]:
    """The files of the one model at `path`."""
    if path.is_dir():
        found = find_models([path]).paths
        if len(found) != 1:
            names = ", ".join(one.name for one in found[:5]) or "none"
            raise UsageError(
                f"{path} has {len(found)} models, not one: {names}.", hint="Name the file."
            )
        path = found[0]
    if not path.is_file():
        raise NotFoundError(
            f"There is no file {path} on this machine.", hint="Name a GGUF file that is there."
        )
    return [part.path for part in read_header(path).parts]


async def _download(
    source: PeerSource, folder: Path, server: HttpServer, known: Container[str]
) -> AsyncGenerator[Fetching, None]:
    digest = await _digest_at(source, server)
    if digest in known:
        return
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    targets: list[Path] = []
    number, count = 0, 1
    while number < count:
        async with server.open("GET", f"{BLOBS}{digest}?part={number}") as incoming:
            if incoming.status != HTTPStatus.OK:
                raise NotFoundError(
                    f"{source.server} does not hand out {source.model}.",
                    hint="It hands out models with a file of their own only.",
                )
            name = _safe_name(incoming.fields.get(FILE_FIELD, ""))
            count = int(incoming.fields.get(PARTS_FIELD, "1"))
            size = int(incoming.fields.get("content-length", "0"))
            target = _free_target(folder, name, size)
            if target is None:
                yield _whole(folder / name, digest, size)
            else:
                with _Unfinished(target) as file:
                    done = 0
                    while piece := await _read(incoming, server):
                        await asyncio.to_thread(file.write, piece)
                        done += len(piece)
                        yield Fetching(name=name, digest=digest, total_bytes=size, done_bytes=done)
                    await asyncio.to_thread(file.keep)
                targets.append(target)
                yield _whole(target, digest, size)
        number += 1
    if targets:
        await asyncio.to_thread(_verify, targets, digest, source)


async def _read(incoming: Incoming, server: HttpServer) -> bytes:
    try:
        return await incoming.read()
    except OSError as problem:
        raise server.unreachable(f"broke off the file ({problem})") from None


async def _digest_at(source: PeerSource, server: HttpServer) -> str:
    answer = await server.get("/api/tags")
    if not answer.ok or GATEWAY_FIELD not in answer.fields:
        raise UnsupportedError(
            f"{source.server} is no gateway of LMStrix, and nothing else hands out its models.",
            hint="Fetch the file with its own program, then pull it from its folder.",
        )
    try:
        models = msgspec.json.decode(answer.body, type=Tags).models or ()
    except (msgspec.DecodeError, UnicodeDecodeError):
        models = ()
    names = {source.model, f"{source.model}:latest"}
    for one in models:
        if one.digest and one.model in names:
            return one.digest
    raise NotFoundError(
        f"{source.server} has no model {source.model}.",
        hint=f"It has: {', '.join(one.model or '' for one in models) or 'none'}.",
    )


def _verify(targets: Sequence[Path], digest: str, source: PeerSource) -> None:
    """Delete what is not the model that was told of. Raises `GGUFError`."""
    try:
        sound = content_digest(file_identity(targets[0])) == digest
    except GGUFError:
        sound = False
    if not sound:
        for target in targets:
            target.unlink(missing_ok=True)
        raise GGUFError(f"What {source.server} sent is not the model it told of.", path=targets[0])


def _safe_name(name: str) -> str:
    """The name of a file, and no path. Raises `UnsupportedError`."""
    if not _SAFE_NAME.fullmatch(name) or name.startswith("."):
        raise UnsupportedError(f"{name!r} is no name for a model's file.")
    return name


def _free_target(folder: Path, name: str, size: int) -> Path | None:
    """Where a file of that name goes; `None` where it is already."""
    target = folder / name
    if not target.exists():
        return target
    if target.stat().st_size == size:
        return None
    raise UsageError(
        f"Another model is called {name} already.", hint=f"Delete or rename it: {target}"
    )


def _whole(path: Path, digest: str, size: int) -> Fetching:
    return Fetching(name=path.name, digest=digest, total_bytes=size, done_bytes=size, path=path)


class _Unfinished:
    """A file that is there once it is whole, and leaves nothing otherwise.

    Until then its name begins with a dot, which keeps it out of the listing of models.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name}.{os.getpid()}.part")
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises `LMStrixError` when the disk is full."""
        assert self._file is not None
        try:
            self._file.write(piece)
        except OSError as problem:
            raise LMStrixError(
                f"{self._target} cannot be written: {problem.strerror or problem}.",
                hint="Make room on the disk, then pull again.",
            ) from None

    def keep(self) -> None:
        """It is whole."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.replace(self._target)

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)
