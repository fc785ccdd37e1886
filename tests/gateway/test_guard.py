"""Who is let in, what is too much, and what is remembered of a request."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from lmstrix.errors import UsageError
from lmstrix.gateway.guard import Guard
from lmstrix.gateway.options import GatewayOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Serve
    from starlette.requests import Request

    from lmstrix.gateway.server import Serving

# One path of each dialect, and where its error says what is wrong.
SHAPES = {
    "/v1/chat/completions": lambda body: body["error"]["message"],
    "/v1/messages": lambda body: body["error"]["message"],
    "/api/chat": lambda body: body["error"],
    "/api/v1/chat": lambda body: body["error"]["message"],
}


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient() as client:
        yield client


async def test_no_address_of_others_is_served_without_a_token(serve: Serve):
    with pytest.raises(UsageError, match="token"):
        await serve(host="0.0.0.0")
    assert (await serve(host="0.0.0.0", tokens=("secret",))).port


@pytest.mark.parametrize("path", SHAPES)
async def test_a_wrong_token_is_refused_in_the_shape_of_the_dialect(
    serve: Serve, http: httpx2.AsyncClient, path: str
):
    url = (await serve(tokens=("right", "also-right"))).url + path
    for wrong in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "righ"}):
        answer = await http.post(url, headers=wrong, content=b"{")
        assert answer.status_code == 401
        assert "token" in SHAPES[path](answer.json())
        assert "right" not in answer.text
    for right in (
        {"authorization": "Bearer right"},
        {"authorization": "bearer also-right"},
        {"x-api-key": "right"},
    ):
        assert (await http.post(url, headers=right, content=b"{")).status_code != 401


async def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    from lmstrix.gateway import admission

    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr(admission.hmac, "compare_digest", compare)
    assert admission.is_token("a", ("a", "b", "c"))
    assert compared == [b"a", b"b", b"c"]


async def test_health_is_told_without_a_token(serve: Serve, http: httpx2.AsyncClient):
    answer = await http.get((await serve(tokens=("secret",))).url + "/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:1234", "127.0.0.1.evil.example", ""]
)
async def test_a_name_that_was_pointed_here_is_refused(
    gateway: Serving, http: httpx2.AsyncClient, host: str
):
    answer = await http.get(gateway.url + "/health", headers={"host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:99", "127.0.0.1", "127.9.9.9", "[::1]:80"]
)
async def test_every_name_of_this_machine_is_taken(
    gateway: Serving, http: httpx2.AsyncClient, host: str
):
    answer = await http.get(gateway.url + "/health", headers={"host": host})
    assert answer.status_code == 200


async def test_another_name_can_be_allowed(serve: Serve, http: httpx2.AsyncClient):
    url = (await serve(hosts=("host.docker.internal",))).url
    answer = await http.get(url + "/health", headers={"host": "host.docker.internal:1234"})
    assert answer.status_code == 200


async def test_web_pages_of_others_may_neither_ask_nor_read(
    gateway: Serving, http: httpx2.AsyncClient
):
    page = {"origin": "https://evil.example"}
    preflight = {**page, "access-control-request-method": "POST"}
    for answer in (
        await http.options(gateway.url + "/v1/messages", headers=preflight),
        await http.post(gateway.url + "/v1/messages", headers=page, content=b"{}"),
    ):
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    own = await http.get(gateway.url + "/health", headers={"origin": gateway.url})
    assert own.status_code == 200


async def test_a_web_page_can_be_allowed(serve: Serve, http: httpx2.AsyncClient):
    url = (await serve(origins=("https://my.example",), tokens=("secret",))).url
    page = {"origin": "https://my.example"}
    preflight = {
        **page,
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key, content-type",
    }
    answer = await http.options(url + "/v1/messages", headers=preflight)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == "x-api-key, content-type"
    asked = await http.get(url + "/health", headers=page)
    assert asked.headers["access-control-allow-origin"] == "https://my.example"


@pytest.mark.parametrize("path", SHAPES)
async def test_a_body_that_is_too_large_is_refused(
    serve: Serve, http: httpx2.AsyncClient, path: str
):
    url = (await serve(max_body_bytes=1000)).url

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b" " * 400

    answer = await http.post(url + path, content=b" " * 1001)
    assert answer.status_code == 413
    assert "1,000 bytes" in SHAPES[path](answer.json())
    async with guarded(max_body_bytes=1000) as wrapped:
        assert (await wrapped.post(path, content=unannounced())).status_code == 413
        assert (await wrapped.post(path, content=b" " * 1000)).status_code == 200


@asynccontextmanager
async def guarded(work: object = None, **options: object) -> AsyncIterator[httpx2.AsyncClient]:
    """A guard before an application that reads the body and does `work`, without sockets."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    from lmstrix.gateway.responding import RefusedError, answer_problem

    async def endpoint(request: Request) -> PlainTextResponse:
        await request.body()
        if work is not None:
            await work()
        return PlainTextResponse("done")

    routes = [Route("/{path:path}", endpoint, methods=["GET", "POST"])]
    inner = Starlette(routes=routes, exception_handlers={RefusedError: answer_problem})
    guard = Guard(inner, GatewayOptions(**options))
    transport = httpx2.ASGITransport(app=guard)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_more_at_once_than_is_allowed_is_sent_away_for_a_moment():
    inside, release = asyncio.Semaphore(0), asyncio.Event()

    async def work() -> None:
        inside.release()
        await release.wait()

    async with guarded(work, max_requests=2) as http:
        waiting = [asyncio.create_task(http.post("/v1/messages")) for _ in range(2)]
        for _ in waiting:
            await inside.acquire()
        answer = await http.post("/v1/messages")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["type"] == "overloaded_error"
        release.set()
        assert [(await one).status_code for one in waiting] == [200, 200]
        assert (await http.post("/v1/messages")).status_code == 200


async def test_an_answer_that_takes_longer_than_is_allowed_is_ended():
    async with guarded(asyncio.Event().wait, request_timeout_s=0.05) as http:
        answer = await http.post("/v1/chat/completions")
    assert answer.status_code == 504
    assert "0.05 s" in answer.json()["error"]["message"]


async def test_a_body_that_never_ends_is_not_waited_for(serve: Serve):
    at = urlsplit((await serve(body_timeout_s=0.1)).url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(
        b"POST /api/v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nslow"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 408")


async def test_a_head_that_never_ends_is_refused(gateway: Serving):
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /health HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(20_000)))
    with suppress(ConnectionResetError):  # what was not read any more may cut the answer off
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    with suppress(ConnectionResetError):
        await writer.wait_closed()


async def test_a_request_that_goes_round_in_circles_is_ended(
    gateway: Serving, http: httpx2.AsyncClient
):
    for hops, status in ((3, 200), (4, 508)):
        answer = await http.get(gateway.url + "/health", headers={"x-lmstrix-hops": str(hops)})
        assert answer.status_code == status


async def test_what_asks_another_server_for_a_request_says_how_far_it_has_come():
    from lmstrix.hops import hop_fields

    told: list[dict[str, str]] = []

    async def ask() -> None:
        told.append(await asyncio.create_task(asking()))

    async def asking() -> dict[str, str]:
        return hop_fields()

    async with guarded(ask) as http:
        await http.post("/v1/messages", headers={"x-lmstrix-hops": "2"})
        await http.post("/v1/messages")
    assert told == [{"x-lmstrix-hops": "3"}, {"x-lmstrix-hops": "1"}]
    assert hop_fields() == {}


async def test_the_log_has_no_word_of_what_is_asked(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="lmstrix.gateway")

    async def fail() -> None:
        raise ValueError("the words of an exception")

    async with guarded(fail) as http:
        answer = await http.post("/v1/messages?key=SECRET", json={"content": "SECRET"})
    assert answer.status_code == 500
    assert "SECRET" not in answer.text
    assert "POST /v1/messages 500" in caplog.text
    assert "ValueError" in caplog.text
    assert "SECRET" not in caplog.text
    assert "ValueError: the words" not in caplog.text


@pytest.mark.parametrize("fields", [{"origin": "https://evil.example"}, {"host": "evil.example"}])
async def test_sockets_are_refused_to_web_pages_of_others(
    gateway: Serving, http: httpx2.AsyncClient, fields: dict[str, str]
):
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = await http.get(f"{gateway.url}/llm", headers={**upgrade, **fields})
    assert answer.status_code == 403
    async with http.stream("GET", f"{gateway.url}/llm", headers=upgrade) as accepted:
        assert accepted.status_code == 101
