"""What every provider makes of servers that fail, on real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from servers.scripted import Asked, Scripted, Wire, free_port, scripted
from servers.speakers import SPEAKERS, Speaker, instance_of

from lmstrix.config import ServerSettings, Settings, Timeouts
from lmstrix.errors import (
    BusyError,
    ContextOverflowError,
    GenerationError,
    LMStrixError,
    ModelNotFoundError,
    NotFoundError,
    ProtocolError,
    StalledError,
    UnreachableError,
)
from lmstrix.session import Session
from lmstrix.types import Fragment, Instance, Message, Request, Role, Stats, StopReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from lmstrix.config import Places
    from lmstrix.providers import Provider

    Answer = Callable[[Asked, Wire], Awaitable[None]]
    Start = Callable[[Answer], AbstractAsyncContextManager["World"]]

SECRET = "a-secret-token"
PROMPT = "a question nobody may see in an error"
ASK = Request(messages=(Message(Role.USER, PROMPT),))


class World(NamedTuple):
    """A provider before a scripted server."""

    speaker: Speaker
    server: Scripted
    provider: Provider
    instance: Instance

    async def collect(self, request: Request = ASK) -> list[object]:
        return [item async for item in self.provider.stream(self.instance, request)]

    async def failing(self, request: Request = ASK) -> tuple[LMStrixError, str]:
        """The error a stream ends with, and the text before it."""
        came: list[str] = []
        try:
            async for item in self.provider.stream(self.instance, request):
                came += [item.text] if isinstance(item, Fragment) else []
        except LMStrixError as error:
            told = f"{error.message} {error.hint}"
            assert PROMPT not in told
            assert SECRET not in told
            return error, "".join(came)
        raise AssertionError("it did not fail")

    def generations(self) -> list[Asked]:
        """The requests for an answer."""
        facts = self.speaker.facts
        return [one for one in self.server.asked if one.method == "POST" and one.path not in facts]


@pytest.fixture(params=SPEAKERS, ids=lambda speaker: speaker.name)
def speaker(request: pytest.FixtureRequest) -> Speaker:
    return request.param


@pytest.fixture
def world(speaker: Speaker, places: Places, monkeypatch: pytest.MonkeyPatch):
    """`async with world(answer) as w`: `answer` plays the server where an answer is asked for."""
    monkeypatch.setenv("FAULTY", SECRET)

    @asynccontextmanager
    async def start(answer: Answer) -> AsyncIterator[World]:
        async def respond(asked: Asked, wire: Wire) -> None:
            if asked.path in speaker.facts:
                await wire.json(speaker.facts[asked.path])
            elif asked.method == "GET":
                await wire.json({"error": "unknown"}, 404)
            else:
                await answer(asked, wire)

        async with scripted(respond) as server:
            known = ServerSettings(url=server.url, provider=speaker.name, token_env="FAULTY")
            settings = Settings(servers={"faulty": known}, discover=False)
            provider = speaker.provider(server.url, settings, places)
            try:
                yield World(speaker, server, provider, instance_of(speaker, server.url))
            finally:
                await provider.aclose()

    return start


def text_of(items: list[object]) -> str:
    return "".join(item.text for item in items if isinstance(item, Fragment))


def streams(asked: Asked) -> bool:
    """Whether a request is for a stream; Ollama streams unless told otherwise."""
    return bool(asked.json.get("stream", asked.path.startswith("/api/")))


async def test_an_answer_is_read_from_what_the_server_sends(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=speaker.stream_type)
        await wire.raw(speaker.piece("Hel") + speaker.piece("lo"))
        await wire.raw(speaker.end({"prompt_tokens": 7, "completion_tokens": 2}))

    async with world(answer) as w:
        speaker = w.speaker
        items = await w.collect()
        assert [item.text for item in items if isinstance(item, Fragment)] == ["Hel", "lo"]
        assert isinstance(items[-1], Stats)
        assert (items[-1].stop_reason, items[-1].prompt_tokens) == (StopReason.END, 7)
        assert items[-1].predicted_tokens == 2


async def test_what_is_said_to_be_sent_is_what_the_socket_carries(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        await wire.raw(w.speaker.piece("x") + w.speaker.end())

    async with world(answer) as w:
        await w.collect()
        (asked,) = w.generations()
        wire = w.provider.wire_request(w.instance, ASK)
        assert (asked.method, asked.path, asked.body) == (wire.method, wire.path, wire.body)
        assert asked.fields["authorization"] == f"Bearer {SECRET}"
        assert SECRET.encode() not in wire.body


async def test_a_refused_connection_is_an_unreachable_server(speaker: Speaker, places: Places):
    url = f"http://127.0.0.1:{free_port()}"
    provider = speaker.provider(url, Settings(discover=False), places)
    instance = instance_of(speaker, url)
    at = time.monotonic()
    with pytest.raises(UnreachableError, match="refuses the connection") as caught:
        async for _ in provider.stream(instance, ASK):
            pass
    assert caught.value.server == url
    assert caught.value.exit_code == 4
    with pytest.raises(UnreachableError):
        await provider.list_models()
    assert time.monotonic() - at < 5
    await provider.aclose()


async def test_a_connection_reset_before_the_answer_is_an_unreachable_server(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        wire.reset()

    async with world(answer) as w:
        error, came = await w.failing()
        assert isinstance(error, UnreachableError)
        assert came == ""
        assert len(w.generations()) == 1  # nothing that may cost work is repeated


@pytest.mark.parametrize("fault", ["reset", "nothing", "garbage"])
async def test_a_stream_that_fails_before_its_first_piece_is_asked_for_in_one(
    world: Start, fault: str
):
    async def answer(asked: Asked, wire: Wire) -> None:
        if not streams(asked):
            await wire.json(w.speaker.whole("Hello"))
            return
        await wire.head(content_type=w.speaker.stream_type)
        if fault == "reset":
            wire.reset()
        elif fault == "garbage":
            await wire.raw(w.speaker.garbage())

    async with world(answer) as w:
        items = await w.collect()
        assert text_of(items) == "Hello"
        assert isinstance(items[-1], Stats)
        assert [streams(asked) for asked in w.generations()] == [True, False]


@pytest.mark.parametrize("fault", ["reset", "end", "garbage", "cut chunk"])
async def test_a_stream_that_fails_later_keeps_what_came(world: Start, fault: str):
    async def answer(asked: Asked, wire: Wire) -> None:
        piece = w.speaker.piece("so far")
        if fault == "cut chunk":
            await wire.raw(
                f"HTTP/1.1 200 OK\r\nContent-Type: {w.speaker.stream_type}\r\n"
                f"Transfer-Encoding: chunked\r\n\r\n{len(piece):x}\r\n".encode()
                + piece
                + b"\r\nff\r\n"
                + w.speaker.piece("lost")[:9]
            )
            return
        await wire.head(content_type=w.speaker.stream_type)
        await wire.raw(piece)
        if fault == "garbage":
            await wire.raw(w.speaker.garbage() + w.speaker.piece("more") + w.speaker.end())
        elif fault == "reset":
            await seen.wait()
            wire.reset()

    seen = asyncio.Event()
    async with world(answer) as w:
        came: list[str] = []
        with pytest.raises(GenerationError) as caught:  # noqa: PT012  # it fails in the middle
            async for item in w.provider.stream(w.instance, ASK):
                if isinstance(item, Fragment):
                    came.append(item.text)
                    seen.set()
        assert came == ["so far"]
        assert caught.value.partial == "so far"
        assert "broke off" in caught.value.message
        assert len(w.generations()) == 1


async def test_letters_that_arrive_in_pieces_are_whole(world: Start):
    text = "é日本🎉"

    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        for byte in w.speaker.piece(text) + w.speaker.end():
            await wire.raw(bytes([byte]))

    async with world(answer) as w:
        assert text_of(await w.collect()) == text


async def test_signs_of_life_are_no_answer(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        comment = w.speaker.comment
        await wire.head(content_type=w.speaker.stream_type)
        await wire.raw(comment * 3 + w.speaker.piece("Hi") + comment + w.speaker.end() + comment)

    async with world(answer) as w:
        assert text_of(await w.collect()) == "Hi"


@pytest.mark.parametrize("before", ["", "so far"])
async def test_an_error_in_the_stream_is_the_servers_word(world: Start, before: str):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        if before:
            await wire.raw(w.speaker.piece(before))
        await wire.raw(w.speaker.error("the model was unloaded"))

    async with world(answer) as w:
        error, came = await w.failing()
        assert isinstance(error, GenerationError)
        assert "the model was unloaded" in error.message
        assert (came, error.partial) == (before, before)
        assert len(w.generations()) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, GenerationError),
        (401, UnreachableError),
        (403, UnreachableError),
        (404, ModelNotFoundError),
        (413, GenerationError),
        (429, BusyError),
        (500, GenerationError),
        (503, BusyError),
    ],
)
async def test_a_refusal_is_told_with_its_reason_and_not_repeated(
    world: Start, status: int, kind: type[LMStrixError]
):
    reason = "model 'm' not found" if status == 404 else "the reason why"

    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.json(w.speaker.refusal(reason), status, Retry_After="7")

    async with world(answer) as w:
        error, came = await w.failing()
        assert type(error) is kind
        assert reason in error.message
        assert came == ""
        assert len(w.generations()) == 1
        if kind is BusyError:
            assert "7 s" in error.hint


@pytest.mark.parametrize("status", [400, 404, 500, 502])
async def test_a_refusal_without_a_reason_names_its_status(world: Start, status: int):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.json(b"<html>oops</html>", status)

    async with world(answer) as w:
        error, _ = await w.failing()
        assert str(status) in error.message


async def test_a_prompt_that_does_not_fit_is_known_in_every_dialect(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.json(w.speaker.overflow, 400)

    async with world(answer) as w:
        error, _ = await w.failing()
        assert isinstance(error, ContextOverflowError)
        assert error.context_tokens == 4096
        assert error.prompt_tokens >= 4990


async def test_headers_and_nothing_more_is_a_stall_that_ends_on_the_server(world: Start):
    gone = asyncio.Event()

    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        await wire.gone()
        gone.set()

    async with world(answer) as w:
        session = Session(w.provider, Timeouts(prompt_s=0.3, first_token_s=0.3))
        with pytest.raises(StalledError):
            async for _ in session.stream(w.instance, ASK):
                pass
        await asyncio.wait_for(gone.wait(), 1)


async def test_a_stream_without_an_end_is_left_and_ends_on_the_server(world: Start):
    gone = asyncio.Event()

    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        try:
            while True:
                await wire.raw(w.speaker.piece("on and on "))
        finally:
            gone.set()

    async with world(answer) as w:
        async with aclosing(w.provider.stream(w.instance, ASK)) as stream:
            for _ in range(2000):
                await anext(stream)
        await asyncio.wait_for(gone.wait(), 1)


async def test_a_line_of_ten_megabytes_is_read(world: Start):
    text = "0123456789" * 10**6

    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        await wire.raw(w.speaker.piece(text) + w.speaker.end())

    async with world(answer) as w:
        assert text_of(await w.collect()) == text


async def test_what_comes_after_the_end_does_not_count(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        await wire.raw(w.speaker.piece("Hi") + w.speaker.end() * 2 + w.speaker.piece("more"))

    async with world(answer) as w:
        items = await w.collect()
        assert text_of(items) == "Hi"
        assert sum(isinstance(item, Stats) for item in items) == 1


@pytest.mark.parametrize(
    "usage",
    [None, {"prompt_tokens": -5, "completion_tokens": 10**30}, {"prompt_tokens": "many"}, "none"],
)
async def test_counts_that_are_missing_or_absurd_are_not_told(world: Start, usage: object):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        await wire.raw(w.speaker.piece("Hi") + w.speaker.end(usage))

    async with world(answer) as w:
        items = await w.collect()
        assert text_of(items) == "Hi"
        assert isinstance(items[-1], Stats)
        assert (items[-1].prompt_tokens, items[-1].predicted_tokens) == (None, None)


@pytest.mark.parametrize("method", ["stream", "list_models"])
async def test_a_redirection_is_not_followed_and_the_token_stays(world: Start, method: str):
    async def elsewhere(asked: Asked, wire: Wire) -> None:
        await wire.json({})

    async with scripted(elsewhere) as other:

        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.json({}, 307, Location=f"{other.url}{asked.path}")

        async with world(answer) as w:
            if method == "list_models":
                w.server.respond = answer
                with pytest.raises(ProtocolError, match=other.url):
                    await w.provider.list_models()
            else:
                error, _ = await w.failing()
                assert isinstance(error, ProtocolError)
                assert other.url in error.message
            assert other.asked == []


async def test_what_takes_no_work_is_asked_again_when_it_fails_in_passing(world: Start):
    failures = {"left": 2}

    async def answer(asked: Asked, wire: Wire) -> None:
        raise AssertionError

    async with world(answer) as w:
        steady = w.server.respond

        async def respond(asked: Asked, wire: Wire) -> None:
            if (
                asked.method == "GET"
                and asked.path.endswith(("/models", "/tags"))
                and failures["left"]
            ):
                failures["left"] -= 1
                await wire.json({"error": "starting"}, 503)
            else:
                await steady(asked, wire)

        w.server.respond = respond
        if w.speaker.name == "openai":  # it is asked what it is first, which nobody insists on
            failures["left"] = 3
        listing = await w.provider.list_models()
        assert [model.key for model in listing.models] == ["m"]
        assert failures["left"] == 0


async def test_a_server_that_sends_one_piece_for_a_stream_is_understood(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.json(w.speaker.whole("Hello"))

    async with world(answer) as w:
        assert text_of(await w.collect()) == "Hello"
        assert len(w.generations()) == 1


async def test_the_pieces_joined_are_the_answer(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type=w.speaker.stream_type)
        await wire.raw(w.speaker.piece("<think>Hm.") + w.speaker.piece("</think>\n\nY"))
        await wire.raw(w.speaker.piece("es") + w.speaker.end())

    async with world(answer) as w:
        pieces = [piece async for piece in w.provider.chat_stream(w.instance, ASK)]
        assert pieces == ["Y", "es"]
        assert await w.provider.chat(w.instance, ASK) == "Yes"


async def test_an_instance_that_is_gone_is_not_found(world: Start):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.json(w.speaker.refusal("model 'm' not found"), 404)

    async with world(answer) as w:
        error, _ = await w.failing()
        assert isinstance(error, NotFoundError)


def test_every_network_provider_has_its_speaker():
    from importlib.metadata import entry_points

    network = {one.name for one in entry_points(group="lmstrix.providers")} - {"embedded"}
    elsewhere = {"lmstudio"}  # no HTTP: tests/lmstudio has its faults
    assert network - elsewhere == {speaker.name for speaker in SPEAKERS}
    assert json.dumps([speaker.facts for speaker in SPEAKERS])
