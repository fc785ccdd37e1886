"""Ports and addresses."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import httpx2
import pytest

from lmstrix.errors import BusyError
from lmstrix.gateway import server
from lmstrix.gateway.options import GatewayOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Serve

    from lmstrix.gateway.server import Serving


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody has."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one.getsockname()[1]


def bound(options: GatewayOptions) -> list[int]:
    sockets = server.bind(options)
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(taken: int):
    with pytest.raises(BusyError, match=str(taken)):
        bound(GatewayOptions(port=taken))


def test_the_usual_port_is_left_for_another_where_it_is_taken(
    taken: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "DEFAULT_PORT", taken)
    (port,) = bound(GatewayOptions())
    assert port != taken


def test_a_port_on_which_lm_studio_is_looked_for_is_taken_on_this_machine_alone(
    taken: int, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as one:
        free = one.getsockname()[1]
    monkeypatch.setattr(server, "LMSTUDIO_PORTS", (taken, free))
    assert bound(GatewayOptions(port=0, as_lmstudio=True))[1] == free
    monkeypatch.setattr(server, "LMSTUDIO_PORTS", (taken,))
    with pytest.raises(BusyError, match="LM Studio"):
        bound(GatewayOptions(port=0, as_lmstudio=True))


async def test_small_pieces_are_sent_at_once(gateway: Serving):
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    loop, slowest = asyncio.get_running_loop(), []
    for _ in range(20):  # with delayed acknowledgements a pair of small writes takes 40 ms
        begun = loop.time()
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b'"}')
        slowest.append(loop.time() - begun)
    writer.close()
    await writer.wait_closed()
    assert sorted(slowest)[10] < 0.035


async def test_the_gateway_is_there_on_ipv6_too(serve: Serve):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        serving = await serve(host="::1")
    except BusyError:
        pytest.skip("no IPv6 loopback")
    assert serving.url.startswith("http://[::1]:")
    async with httpx2.AsyncClient() as http:
        assert (await http.get(f"{serving.url}/health")).status_code == 200
