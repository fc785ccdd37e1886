"""The handshake, and what a connection makes of frames that are none."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from gateway.lmstudio_native.lines import (
    GUEST,
    Line,
    RefusalError,
    load,
    question,
    text_of,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lmstrix.gateway.lmstudio_native import connection
from lmstrix.protocol.lmstudio import NAMESPACES

if TYPE_CHECKING:
    from gateway.conftest import Serve
    from gateway.lmstudio_native.lines import Connect

    from lmstrix.gateway.server import Serving

TOKEN = "sk-lm-abcdEFGH:abcdefghijklmnopqrst"


def socket_url(serving: Serving, namespace: str = "system") -> str:
    return f"{serving.url.replace('http', 'ws', 1)}/{namespace}"


async def test_every_namespace_has_a_socket(connect_to: Connect):
    for namespace in NAMESPACES:
        await connect_to(namespace)


async def test_what_comes_before_the_handshake_is_passed_over(gateway: Serving):
    async with connect(socket_url(gateway)) as socket:
        line = Line(socket)
        await socket.send("what is this")
        await line.send({"type": "rpcCall", "endpoint": "version", "callId": 1})
        await line.send(GUEST)
        assert await line.read() == {"success": True}


async def test_who_says_nothing_is_shown_out(gateway: Serving, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "_HANDSHAKE_S", 0.05)
    async with connect(socket_url(gateway)) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_the_time_of_the_handshake_is_no_time_of_the_connection(
    connect_to: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "_HANDSHAKE_S", 0.5)
    line = await connect_to("system")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(line.socket.recv(), 0.7)
    assert await line.call("version")


async def test_a_passkey_holds_while_its_client_is_connected(gateway: Serving, connect_to: Connect):
    await connect_to("files")
    async with connect(socket_url(gateway, "llm")) as socket:
        line = Line(socket)
        await line.send({**GUEST, "clientPasskey": "another"})
        answer = await line.read()
        assert answer["success"] is False
        assert "passkey" in answer["error"]
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_without_a_token_nobody_comes_in_where_one_is_needed(
    serve: Serve, connect_to: Connect
):
    guarded = await serve(tokens=(TOKEN,))
    wrong = {**GUEST, "clientIdentifier": "abcdEFGH", "clientPasskey": "z" * 20}
    for auth in (GUEST, wrong):
        async with connect(socket_url(guarded)) as socket:
            line = Line(socket)
            await line.send(auth)
            answer = await line.read()
            assert answer["success"] is False
            assert TOKEN not in answer["error"]
    halves = {"clientIdentifier": "abcdEFGH", "clientPasskey": "abcdefghijklmnopqrst"}
    line = await connect_to("system", at=guarded, auth={"authVersion": 1, **halves})
    assert await line.call("listDownloadedModels")


async def test_a_token_may_also_come_in_the_header(serve: Serve):
    guarded = await serve(tokens=("any-token",))
    fields = {"Authorization": "Bearer any-token"}
    async with connect(socket_url(guarded), additional_headers=fields) as socket:
        line = Line(socket)
        await line.send(GUEST)
        assert await line.read() == {"success": True}


async def test_a_web_page_of_another_origin_gets_no_socket(gateway: Serving):
    with pytest.raises(InvalidStatus) as refused:
        async with connect(socket_url(gateway), origin="https://evil.example"):  # type: ignore[arg-type]
            pass
    assert refused.value.response.status_code == 403


async def test_an_unknown_endpoint_is_warned_of_and_nothing_else(connect_to: Connect):
    line = await connect_to("llm")
    await line.open("noSuchEndpoint", {})
    warning = await line.read()
    assert warning["type"] == "communicationWarning"
    assert "noSuchEndpoint" in warning["warning"]
    assert await line.call("listLoaded") == []  # the next frame is this answer


async def test_a_bad_parameter_is_warned_of_by_what_is_wrong(connect_to: Connect):
    line = await connect_to("llm")
    await line.send(
        {"type": "rpcCall", "endpoint": "unloadModel", "callId": 1, "parameter": {"identifier": 7}}
    )
    warning = await line.read()
    assert warning["type"] == "communicationWarning"
    assert "identifier" in warning["warning"]


async def test_no_more_than_five_warnings_are_given(connect_to: Connect):
    line = await connect_to("llm")
    for _ in range(20):
        await line.socket.send("{malformed")
    await line.send({"type": "keepAlive"})
    frames = [await line.read() for _ in range(6)]
    assert [frame["type"] for frame in frames] == ["communicationWarning"] * 5 + ["keepAliveAck"]


async def test_a_keep_alive_is_answered_and_nothing_comes_unasked(connect_to: Connect):
    line = await connect_to("system")
    await line.send({"type": "keepAlive"})
    assert await line.read() == {"type": "keepAliveAck"}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(line.socket.recv(), 0.3)


async def test_a_frame_beyond_the_limit_ends_its_connection_alone(
    serve: Serve, connect_to: Connect
):
    small = await serve(max_body_bytes=100_000)
    line = await connect_to("system", at=small)
    other = await connect_to("system", at=small)
    padded = json.dumps({"type": "keepAlive", "padding": "x" * 10_000_000})
    with suppress(ConnectionClosed):  # it may be closed before all of it is sent
        await line.socket.send(padded)
    with pytest.raises(ConnectionClosed):
        await line.read()
    assert await other.call("version")


async def test_a_channel_of_one_number_is_opened_once(connect_to: Connect):
    line = await connect_to("system")
    number = await line.open("alive")
    await line.send({"type": "channelCreate", "endpoint": "alive", "channelId": number})
    assert "open already" in (await line.read())["warning"]


async def test_what_is_not_offered_is_an_error_not_a_silence(connect_to: Connect):
    line = await connect_to("runtime")
    with pytest.raises(RefusalError, match="not offered"):
        await line.call("surveyHardware", {})


async def test_calls_do_not_wait_for_each_other(connect_to: Connect):
    line = await connect_to("llm")
    await load(line, "tiny-chat")
    await line.open("predict", question("word " * 1500))
    await line.send({"type": "rpcCall", "endpoint": "listLoaded", "callId": 900})
    kinds = []
    while True:
        frame = await line.read()
        kinds.append(frame["type"])
        if frame["type"] == "channelClose":
            break
    assert "rpcResult" in kinds


async def test_forty_connections_answer_side_by_side(connect_to: Connect):
    first = await connect_to("llm")
    await load(first, "tiny-chat")
    lines = [await connect_to("llm") for _ in range(40)]

    async def ask(line: Line) -> str:
        wish = question("What is the capital of Poland?")
        return text_of(await line.told(await line.open("predict", wish)))

    assert set(await asyncio.gather(*map(ask, lines))) == {"Warsaw."}
