"""The way to a server: certificates, proxies, addresses."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from servers.scripted import Asked, Wire, free_port, scripted

from lmstrix.config import ServerSettings, Settings
from lmstrix.errors import SettingsError, UnreachableError
from lmstrix.providers.http import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def hello(asked: Asked, wire: Wire) -> None:
    await wire.json({"path": asked.path, "host": asked.fields["host"]})


@asynccontextmanager
async def proxying() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that tells what it was asked and answers everything itself."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of our own for this machine, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", key, "-out", cert),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl is not installed")
    return cert, key


@pytest.fixture
async def secure(certificate: tuple[Path, Path]) -> AsyncIterator[str]:
    """A server that speaks TLS with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsafe")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_certificate_of_ones_own_is_trusted_when_it_is_named(
    secure: str, certificate: tuple[Path, Path]
):
    known = HttpServer(secure, ServerSettings(url=secure, ca_file=str(certificate[0])))
    assert (await known.call("GET", "/")).body == b"safe"
    with pytest.raises(UnreachableError, match="certificate"):
        await HttpServer(secure).call("GET", "/")


async def test_certificates_that_cannot_be_read_are_named(tmp_path: Path):
    missing = str(tmp_path / "none.pem")
    server = HttpServer("https://127.0.0.1:1", ServerSettings(url="https://h", ca_file=missing))
    with pytest.raises(SettingsError, match=r"none\.pem"):
        await server.call("GET", "/")


async def test_a_proxy_is_used_where_it_is_set():
    async with proxying() as (proxy, heads):
        settings = ServerSettings(url="http://far.example/base", proxy=proxy, headers={"X-A": "b"})
        server = HttpServer("http://far.example/base", settings)
        assert (await server.call("POST", "/v1/x", b"{}")).body == b"proxy"
        assert heads[0].startswith(b"POST http://far.example/base/v1/x HTTP/1.1\r\n")
        assert b"x-a: b" in heads[0].lower()


async def test_the_environments_proxy_is_used_for_others_than_this_machine(
    monkeypatch: pytest.MonkeyPatch,
):
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with proxying() as (proxy, heads), scripted(hello) as here:
        monkeypatch.setenv("http_proxy", proxy)
        assert (await HttpServer("http://far.example").call("GET", "/")).body == b"proxy"
        assert (await HttpServer(here.url).call("GET", "/")).ok
        assert len(heads) == len(here.asked) == 1


async def test_a_proxy_that_is_not_there_is_told():
    proxy = f"http://127.0.0.1:{free_port()}"
    server = HttpServer("http://far.example", ServerSettings(url="http://far.example", proxy=proxy))
    with pytest.raises(UnreachableError, match="proxy"):
        await server.call("GET", "/")


async def test_a_name_and_a_password_in_the_address_are_sent_and_not_shown():
    async with scripted(hello) as here:
        url = here.url.replace("http://", "http://ann:pass@")
        server = HttpServer(url, ServerSettings(url=url))
        await server.call("GET", "/")
        assert here.asked[0].fields["authorization"] == "Basic YW5uOnBhc3M="
        assert "pass" not in server.root


async def test_what_the_settings_say_of_an_address_holds_however_it_is_written():
    async with scripted(hello) as here:
        port = here.url.rpartition(":")[2]
        office = ServerSettings(url=f"http://localhost:{port}/v1/", headers={"X-A": "b"})
        known = HttpServer.known(here.url, Settings(servers={"office": office}))
        await known.call("GET", "/x")
        assert here.asked[0].path == "/x"
        assert here.asked[0].fields["x-a"] == "b"


async def test_a_server_that_takes_a_question_and_says_nothing_is_unreachable():
    async def silent(asked: Asked, wire: Wire) -> None:
        await wire.gone()

    async with scripted(silent) as here:
        with pytest.raises(UnreachableError, match=r"within 0\.2 s"):
            await HttpServer(here.url).get("/", within_s=0.2)


async def test_what_is_no_http_is_no_server_of_ours():
    from lmstrix.errors import ProtocolError

    async def ssh(asked: Asked, wire: Wire) -> None:
        await wire.raw(b"SSH-2.0-OpenSSH\r\n\r\n")

    async with scripted(ssh) as here:
        with pytest.raises(ProtocolError, match="HTTP"):
            await HttpServer(here.url).call("GET", "/")


async def test_a_server_has_to_wait_for_a_slow_reader():
    waits = asyncio.Event()

    async def flood(asked: Asked, wire: Wire) -> None:
        await wire.head()
        while True:
            sending = asyncio.ensure_future(wire.raw(bytes(2**20)))
            done, _ = await asyncio.wait([sending], timeout=0.5)
            if not done:
                waits.set()
            await sending

    async with scripted(flood) as here, HttpServer(here.url).open("GET", "/") as incoming:
        await asyncio.wait_for(waits.wait(), 20)
        assert len(await incoming.read()) < 16 * 2**20
        read = 0
        while read < 32 * 2**20:  # and goes on once it is read
            read += len(await incoming.read())
