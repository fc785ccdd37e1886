"""Models fetched from files of this machine and from other gateways."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import ollama
import pytest
from models.making import make_llama

from lmstrix.config import Settings
from lmstrix.errors import (
    GGUFError,
    NotFoundError,
    UnreachableError,
    UnsupportedError,
    UsageError,
)
from lmstrix.gateway.fetching import (
    Fetching,
    FolderSource,
    PeerSource,
    content_digest,
    fetch,
    parse_source,
)
from lmstrix.gguf import file_identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conftest import Serve
    from models.fixtures import Maker

EMPTY = Settings(discover=False)


async def fetched(wanted: str, folder: Path, **options: object) -> list[Fetching]:
    source = parse_source(wanted)
    assert source is not None
    return [step async for step in fetch(source, folder, EMPTY, **options)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    ("wanted", "server", "model"),
    [
        ("http://peer:1234/tiny", "http://peer:1234", "tiny"),
        ("https://peer/pub/tiny:latest", "https://peer", "pub/tiny:latest"),
        ("192.168.1.5:1234/tiny", "http://192.168.1.5:1234", "tiny"),
        ("[::1]:1234/tiny", "http://[::1]:1234", "tiny"),
    ],
)
def test_a_gateways_model_is_named_by_its_address(wanted: str, server: str, model: str):
    assert parse_source(wanted) == PeerSource(server, model)


@pytest.mark.parametrize("wanted", ["llama3.2", "llama3.2:1b", "user/model:tag", "http://peer", ""])
def test_what_names_neither_a_file_nor_a_gateway_is_no_source(wanted: str):
    assert parse_source(wanted) is None


def test_a_path_is_a_file_of_this_machine(tmp_path: Path):
    assert parse_source(str(tmp_path)) == FolderSource(tmp_path)
    assert isinstance(parse_source("./model.gguf"), FolderSource)


async def test_a_file_is_copied_and_told_of_as_it_goes(tmp_path: Path, made: Maker):
    file = made(make_llama)
    steps = await fetched(str(file), tmp_path / "here")
    assert names(tmp_path / "here") == [file.name]
    assert (tmp_path / "here" / file.name).read_bytes() == file.read_bytes()
    assert steps[-1].done_bytes == steps[-1].total_bytes == file.stat().st_size
    assert steps[-1].digest == content_digest(file_identity(file))
    again = await fetched(str(file), tmp_path / "here")
    assert [step.path for step in again] == [tmp_path / "here" / file.name]


async def test_a_folder_with_one_model_names_it(tmp_path: Path, made: Maker):
    folder = tmp_path / "from"
    folder.mkdir()
    shutil.copy(made(make_llama), folder / "one.gguf")
    await fetched(str(folder), tmp_path / "here")
    assert names(tmp_path / "here") == ["one.gguf"]
    shutil.copy(made(make_llama, layers=3), folder / "two.gguf")
    with pytest.raises(UsageError, match="2 models"):
        await fetched(str(folder), tmp_path / "there")


async def test_what_is_known_is_not_fetched_again(tmp_path: Path, made: Maker):
    file = made(make_llama)
    known = {content_digest(file_identity(file))}
    assert await fetched(str(file), tmp_path / "here", known=known) == []
    assert names(tmp_path / "here") == []


async def test_what_is_no_model_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "x.gguf").write_bytes(b"no model")
    with pytest.raises(GGUFError):
        await fetched(str(tmp_path / "x.gguf"), tmp_path / "here")
    with pytest.raises(NotFoundError):
        await fetched(str(tmp_path / "y.gguf"), tmp_path / "here")
    assert names(tmp_path / "here") == []


async def test_a_fetch_given_up_leaves_nothing_behind(tmp_path: Path, made: Maker):
    source = FolderSource(made(make_llama))
    steps = fetch(source, tmp_path / "here", EMPTY)
    await anext(steps)
    assert len(names(tmp_path / "here")) == 1
    await steps.aclose()
    assert names(tmp_path / "here") == []


async def test_a_name_that_is_taken_by_another_model_is_refused(tmp_path: Path, made: Maker):
    file = made(make_llama)
    (tmp_path / file.name).write_bytes(b"another")
    with pytest.raises(UsageError, match="already"):
        await fetched(str(file), tmp_path)
    assert (tmp_path / file.name).read_bytes() == b"another"


async def test_a_model_is_pulled_from_another_gateway(serve: Serve, tmp_path: Path):
    peer = await serve(home="peer")
    empty = await serve(EMPTY, home="empty")
    async with ollama.AsyncClient(host=empty.url) as client:
        assert not (await client.list()).models
        wanted = f"127.0.0.1:{peer.port}/tiny-chat"
        steps = [step async for step in await client.pull(wanted, stream=True)]
        assert steps[-1].status == "success"
        told = [step for step in steps if step.total]
        assert told[-1].completed == told[-1].total
        assert [one.model for one in (await client.list()).models] == ["tiny-chat:latest"]
        said = [{"role": "user", "content": "What is the capital of Poland?"}]
        answer = await client.chat("tiny-chat", said, options={"temperature": 0})
        assert answer.message.content == "Warsaw."
        again = [step.status async for step in await client.pull(wanted, stream=True)]
        assert again[-1] == "success"
        assert names(tmp_path / "empty" / "models") == ["tiny-chat.gguf"]
        # What was pulled here may be deleted here.
        assert (await client.delete("tiny-chat")).status == "success"
        assert not (await client.list()).models
        assert names(tmp_path / "empty" / "models") == []


async def test_a_model_that_is_there_already_is_pulled_at_once(serve: Serve):
    gateway = await serve()
    async with ollama.AsyncClient(host=gateway.url) as client:
        assert (await client.pull("tiny-chat")).status == "success"
        with pytest.raises(ollama.ResponseError, match="nothing from the internet") as caught:
            await client.pull("not-here")
        assert caught.value.status_code == 400


async def test_a_gateway_says_what_it_has_where_a_model_is_missing(serve: Serve, tmp_path: Path):
    peer = await serve()
    with pytest.raises(NotFoundError, match="no model nope") as caught:
        await fetched(f"{peer.url}/nope", tmp_path)
    assert "tiny-chat" in caught.value.hint


async def test_a_server_that_is_no_gateway_is_not_asked_for_files(tmp_path: Path):
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        body = b'{"models":[{"model":"a","digest":"00"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UnsupportedError, match="no gateway"):
            await fetched(f"127.0.0.1:{port}/a", tmp_path)
    assert asked == [b"/api/tags"]
    with pytest.raises(UnreachableError):
        await fetched(f"127.0.0.1:{port}/a", tmp_path)


@asynccontextmanager
async def lying(*, name: str, sent: bytes, length: int | None = None) -> AsyncIterator[str]:
    """The address of a gateway that has a model `a`, and hands out `sent` for it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        tags = path == b"/api/tags"
        body = b'{"models":[{"model":"a","digest":"00"}]}' if tags else sent
        told = len(body) if tags or length is None else length
        writer.write(
            b"HTTP/1.1 200 OK\r\nx-lmstrix-gateway: 1\r\nx-lmstrix-parts: 1\r\n"
            b"x-lmstrix-file: %s\r\ncontent-length: %d\r\n\r\n" % (name.encode(), told) + body
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}/a"


@pytest.mark.parametrize("name", ["../evil.gguf", ".hidden.gguf", "x.sh", "a/b.gguf"])
async def test_a_gateway_that_lies_writes_nowhere(tmp_path: Path, name: str):
    async with lying(name=name, sent=b"GGUF") as address:
        with pytest.raises(UnsupportedError, match="no name"):
            await fetched(address, tmp_path / "here")
    assert names(tmp_path / "here") == []
    assert names(tmp_path) == ["here"]


async def test_what_is_not_the_model_that_was_told_of_is_not_kept(tmp_path: Path, made: Maker):
    for sent in (b"no model", made(make_llama).read_bytes()):
        async with lying(name="a.gguf", sent=sent) as address:
            with pytest.raises(GGUFError, match="not the model"):
                await fetched(address, tmp_path / "here")
        assert names(tmp_path / "here") == []


async def test_a_file_that_breaks_off_is_not_kept(tmp_path: Path):
    async with lying(name="a.gguf", sent=b"half", length=100) as address:
        with pytest.raises(UnreachableError, match="broke off"):
            await fetched(address, tmp_path / "here")
    assert names(tmp_path / "here") == []
