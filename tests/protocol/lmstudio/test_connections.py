"""Both state machines, talking to each other in memory and to what others send."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import ProtocolError
from lmstrix.protocol.lmstudio import client, server
from lmstrix.protocol.lmstudio.endpoints import PREDICT, TABLE, TOKENIZE, find_endpoint
from lmstrix.protocol.lmstudio.envelopes import Auth
from lmstrix.protocol.lmstudio.models import ModelQuery, ModelSpecifierQuery
from lmstrix.protocol.lmstudio.parameters import CANCEL, TextParameter, Tokens

_AUTH = Auth(auth_version=1, client_identifier="guest:1", client_passkey="key")
_SPECIFIER = ModelSpecifierQuery(query=ModelQuery(identifier="tiny"))
_QUESTION = TextParameter(specifier=_SPECIFIER, input_string="hello")


def connected(namespace: str = "llm") -> tuple[client.ClientConnection, server.ServerConnection]:
    ours, theirs = client.ClientConnection(_AUTH), server.ServerConnection(namespace)
    hello = theirs.receive(ours.hello())
    assert hello == server.Hello(_AUTH)
    assert isinstance(ours.receive(theirs.accept()), client.Accepted)
    return ours, theirs


def predict_parameter() -> dict[str, Any]:
    return {
        "modelSpecifier": _SPECIFIER,
        "history": {"messages": []},
        "predictionConfigStack": {"layers": []},
    }


def test_a_call_is_asked_and_answered() -> None:
    ours, theirs = connected()
    number, frame = ours.call("tokenize", _QUESTION)
    assert theirs.receive(frame) == server.Called(number, TOKENIZE, _QUESTION)
    answer = ours.receive(theirs.result(number, Tokens(tokens=[1, 2])))
    assert isinstance(answer, client.Answered)
    assert msgspec.json.decode(answer.result, type=Tokens).tokens == [1, 2]


def test_a_void_call_has_an_empty_result_and_no_parameter() -> None:
    ours, theirs = connected()
    number, frame = ours.call("listLoaded")
    assert b"parameter" not in frame
    called = theirs.receive(frame)
    assert isinstance(called, server.Called)
    frame = theirs.result(number)
    assert b"result" not in frame
    assert ours.receive(frame) == client.Answered(number, msgspec.Raw())


def test_a_call_that_fails_carries_the_servers_error() -> None:
    ours, theirs = connected()
    number, frame = ours.call("listLoaded")
    theirs.receive(frame)
    failed = ours.receive(theirs.fail(number, {"title": "No"}))
    assert isinstance(failed, client.Failed)
    assert bytes(failed.error) == b'{"title":"No"}'


def test_a_channel_is_opened_talked_on_cancelled_and_closed() -> None:
    ours, theirs = connected()
    number, frame = ours.open("predict", predict_parameter())
    opened = theirs.receive(frame)
    assert isinstance(opened, server.Opened)
    assert opened.endpoint is PREDICT
    assert opened.parameter.model_specifier == _SPECIFIER
    sent = ours.receive(theirs.send(number, {"type": "fragment"}))
    assert sent == client.Sent(number, msgspec.Raw(b'{"type":"fragment"}'))
    assert theirs.receive(ours.send(number, CANCEL)) == server.Received(number, {"type": "cancel"})
    assert ours.receive(theirs.close(number)) == client.Closed(number, msgspec.Raw())


def test_a_channel_may_end_in_an_error() -> None:
    ours, theirs = connected()
    number, frame = ours.open("predict", predict_parameter())
    theirs.receive(frame)
    closed = ours.receive(theirs.close_with(number, {"title": "No"}))
    assert closed == client.Closed(number, msgspec.Raw(b'{"title":"No"}'))


def test_numbers_of_calls_and_channels_are_apart_and_never_used_twice() -> None:
    ours, _ = connected()
    assert [ours.call("a")[0], ours.open("b")[0], ours.call("c")[0]] == [1, 1, 2]


def test_a_client_that_is_refused_is_told_why() -> None:
    ours, theirs = client.ClientConnection(_AUTH), server.ServerConnection("llm")
    theirs.receive(ours.hello())
    assert ours.receive(theirs.refuse("wrong token")) == client.Refused("wrong token")


def test_answers_that_come_twice_or_to_nothing_are_passed_over() -> None:
    ours, theirs = connected()
    number, _ = ours.call("listLoaded")
    channel, _ = ours.open("predict")
    result = theirs.result(number, [])
    assert isinstance(ours.receive(result), client.Answered)
    ours.release_channel(channel)
    for late in (
        result,
        theirs.result(99),
        theirs.fail(99, {}),
        theirs.send(channel, {}),
        theirs.close(channel),
        theirs.send(77, {}),
        b'{"type":"keepAliveAck"}',
        b'{"type":"brandNew","channelId":1}',
        b"{}",
    ):
        assert isinstance(ours.receive(late), client.PassedOver)


@pytest.mark.parametrize("frame", [b"", b"{", b"nonsense", b"[]", b'{"type":5}', b"\xff\xfe"])
def test_what_is_no_frame_is_an_error_to_a_client(frame: bytes) -> None:
    ours, _ = connected()
    with pytest.raises(ProtocolError):
        ours.receive(frame)
    with pytest.raises(ProtocolError):
        client.ClientConnection(_AUTH).receive(frame)


def test_unknown_endpoints_and_wrong_parameters_are_warned_of_five_times() -> None:
    ours, theirs = connected()
    wrong = [
        ours.open("noSuchEndpoint")[1],
        ours.call("noSuchEndpoint")[1],
        ours.call("tokenize", {"specifier": 5})[1],
        ours.call("predict")[1],
        b"{",
        b'{"type":"new"}',
    ]
    replies = [theirs.receive(frame) for frame in wrong]
    for reply, frame in zip(replies[:2], wrong[:2], strict=True):
        assert b"noSuchEndpoint" in frame
        assert isinstance(reply, server.Reply)
        warned = ours.receive(reply.frame)
        assert isinstance(warned, client.Warned)
        assert "noSuchEndpoint" in warned.text
    assert [type(reply) for reply in replies] == [server.Reply] * 5 + [server.Ignored]


def test_a_channel_number_in_use_is_refused() -> None:
    ours, theirs = connected()
    frame = ours.open("predict", predict_parameter())[1]
    assert isinstance(theirs.receive(frame), server.Opened)
    assert isinstance(theirs.receive(frame), server.Reply)


def test_what_comes_before_the_handshake_is_ignored() -> None:
    theirs = server.ServerConnection("llm")
    assert isinstance(theirs.receive(b'{"type":"rpcCall"}'), server.Ignored)
    long = Auth(auth_version=1, client_identifier="x" * 300, client_passkey="k")
    assert isinstance(theirs.receive(client.ClientConnection(long).hello()), server.Ignored)
    assert theirs.receive(client.ClientConnection(_AUTH).hello()) == server.Hello(_AUTH)


def test_keep_alive_is_answered_and_nothing_else_is_unasked() -> None:
    _, theirs = connected()
    assert theirs.receive(b'{"type":"keepAlive"}') == server.Reply(b'{"type":"keepAliveAck"}')
    assert isinstance(theirs.receive(b'{"type":"channelAck","ackId":1}'), server.Ignored)
    assert isinstance(theirs.receive(b'{"type":"channelSend","channelId":9}'), server.Ignored)


@given(st.binary(max_size=60))
def test_a_server_never_breaks_on_what_a_client_sends(frame: bytes) -> None:
    theirs = server.ServerConnection("llm")
    theirs.receive(frame)
    theirs.receive(client.ClientConnection(_AUTH).hello())
    theirs.accept()
    theirs.receive(frame)


def test_every_endpoint_is_found_by_namespace_and_name() -> None:
    assert find_endpoint("llm", "tokenize") is TOKENIZE
    assert find_endpoint("embedding", "predict") is None
    assert len(TABLE) > 50


def test_a_token_is_taken_apart_and_never_shown() -> None:
    auth = Auth.from_token(" sk-lm-abcDEF78:abcDEF7890abcDEF7890 ")
    assert (auth.client_identifier, auth.client_passkey) == ("abcDEF78", "abcDEF7890abcDEF7890")
    assert auth.token == "sk-lm-abcDEF78:abcDEF7890abcDEF7890"
    assert "abcDEF7890" not in f"{auth} {auth!r}"
    for wrong in ("x", "sk-lm-a:b", "sk-lm-idtoolong:abcDEF7890abcDEF7890"):
        with pytest.raises(ValueError, match="sk-lm-"):
            Auth.from_token(wrong)
