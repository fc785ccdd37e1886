from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from servers.scripted import Asked, Wire, scripted

from lmstrix.config import ServerSettings, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from lmstrix.gateway.server import Serving

    Serve = Callable[..., Awaitable[Serving]]

CHAT = "tiny-chat"
HELLO = [{"role": "user", "content": "Capital of Poland?"}]


@pytest.fixture
async def client(gateway: Serving) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as one:
        yield one


@pytest.fixture
def translate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's own dialect is not used: every answer goes through ours."""
    from lmstrix.providers.embedded import EmbeddedProvider

    monkeypatch.setattr(EmbeddedProvider, "dialects", frozenset())


@pytest.fixture(params=["relayed", "translated"])
def way(request: pytest.FixtureRequest) -> str:
    """Both ways an answer can take."""
    if request.param == "translated":
        request.getfixturevalue("translate")
    return request.param


async def test_the_models_are_listed_and_shown(client: AsyncOpenAI):
    listed = {model.id: model async for model in client.models.list()}
    assert {"tiny-chat", "tiny-embed"} <= set(listed)
    one = await client.models.retrieve(CHAT)
    assert (one.id, one.object) == (CHAT, "model")
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


async def test_a_chat_is_answered_whole(way: str, client: AsyncOpenAI):
    answer = await client.chat.completions.create(model=CHAT, messages=HELLO, temperature=0)
    assert answer.object == "chat.completion"
    (choice,) = answer.choices
    assert "Warsaw" in choice.message.content
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


async def test_a_streamed_chat_is_the_whole_one_in_pieces(way: str, client: AsyncOpenAI):
    whole = await client.chat.completions.create(model=CHAT, messages=HELLO, temperature=0)
    stream = await client.chat.completions.create(
        model=CHAT,
        messages=HELLO,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 1
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] == "stop"
    assert set(reasons[:-1]) == {None}
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_stream_helper_of_the_client_works(translate: None, client: AsyncOpenAI):
    async with client.chat.completions.stream(model=CHAT, messages=HELLO, temperature=0) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert "Warsaw" in final.choices[0].message.content


async def test_usage_is_only_streamed_to_who_asks(translate: None, client: AsyncOpenAI):
    stream = await client.chat.completions.create(model=CHAT, messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_an_answer_ends_at_its_length_or_stop_string(way: str, client: AsyncOpenAI):
    counted = [{"role": "user", "content": "Count to 10."}]
    short = await client.chat.completions.create(
        model=CHAT, messages=counted, max_completion_tokens=4, temperature=0
    )
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 4
    stopped = await client.chat.completions.create(
        model=CHAT, messages=counted, stop=["6"], temperature=0
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert "5" in stopped.choices[0].message.content
    assert "6" not in stopped.choices[0].message.content


class Number(BaseModel):
    n: int


async def test_a_structured_answer_is_parsed(way: str, client: AsyncOpenAI):
    answer = await client.chat.completions.parse(
        model=CHAT, messages=[{"role": "user", "content": "n?"}], response_format=Number
    )
    assert isinstance(answer.choices[0].message.parsed, Number)


async def test_json_mode_gives_json(way: str, client: AsyncOpenAI):
    answer = await client.chat.completions.create(
        model=CHAT,
        messages=HELLO,
        response_format={"type": "json_object"},
        max_tokens=60,
        temperature=0,
    )
    assert answer.choices[0].message.content.lstrip().startswith("{")


async def test_log_probabilities_are_given(way: str, client: AsyncOpenAI):
    answer = await client.chat.completions.create(
        model=CHAT, messages=HELLO, logprobs=True, top_logprobs=2, temperature=0, max_tokens=3
    )
    chances = answer.choices[0].logprobs.content
    assert len(chances) >= 2
    assert all(one.logprob <= 0 and len(one.top_logprobs) == 2 for one in chances)
    text = b"".join(bytes(one.bytes) for one in chances).decode()
    assert text == answer.choices[0].message.content


async def test_a_developer_is_heard_as_the_system(client: AsyncOpenAI):
    answer = await client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "developer", "content": "Be brief."}, *HELLO],
        temperature=0,
    )
    assert "Warsaw" in answer.choices[0].message.content


async def test_a_text_is_completed(way: str, client: AsyncOpenAI):
    whole = await client.completions.create(
        model=CHAT, prompt="Count to 10.", max_tokens=6, temperature=0
    )
    assert whole.object == "text_completion"
    assert whole.choices[0].finish_reason == "length"
    stream = await client.completions.create(
        model=CHAT, prompt="Count to 10.", max_tokens=6, temperature=0, stream=True
    )
    pieces = [c.choices[0].text async for c in stream if c.choices]
    assert "".join(pieces) == whole.choices[0].text


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_texts_are_embedded_in_both_encodings(client: AsyncOpenAI, encoding: str):
    answer = await client.embeddings.create(
        model="tiny-embed", input=["cat", "river"], encoding_format=encoding
    )
    assert [one.index for one in answer.data] == [0, 1]
    plain = await client.embeddings.create(model="tiny-embed", input="cat")
    assert isinstance(plain.data[0].embedding, list)
    if encoding == "float":
        assert answer.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-5)


async def test_a_response_goes_on_where_the_last_one_ended(client: AsyncOpenAI):
    first = await client.responses.create(model=CHAT, input="Capital of Poland?", temperature=0)
    assert first.status == "completed"
    assert "Warsaw" in first.output_text
    assert first.usage.input_tokens > 0
    again = await client.responses.retrieve(first.id)
    assert again.output_text == first.output_text
    second = await client.responses.create(
        model=CHAT, input="Capital of France?", previous_response_id=first.id, temperature=0
    )
    assert second.usage.input_tokens > 2 * first.usage.input_tokens
    assert second.previous_response_id == first.id
    await client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model=CHAT, input="x", previous_response_id=first.id)


async def test_what_is_not_to_be_stored_is_not(client: AsyncOpenAI):
    one = await client.responses.create(model=CHAT, input="Hello", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(one.id)


async def test_a_response_is_streamed_in_typed_events(client: AsyncOpenAI):
    stream = await client.responses.create(
        model=CHAT, input="Capital of Poland?", temperature=0, stream=True
    )
    events = [event async for event in stream]
    names = [event.type for event in events]
    assert names[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert names[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text
    assert "Warsaw" in text
    kept = await client.responses.retrieve(events[-1].response.id)
    assert kept.output_text == text


async def test_the_response_helpers_of_the_client_work(client: AsyncOpenAI):
    async with client.responses.stream(model=CHAT, input="Hello", temperature=0) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    assert final.status == "completed"
    parsed = await client.responses.parse(model=CHAT, input="n?", text_format=Number)
    assert isinstance(parsed.output_parsed, Number)


async def test_a_response_that_is_cut_says_so(client: AsyncOpenAI):
    one = await client.responses.create(
        model=CHAT, input="Count to 10.", max_output_tokens=4, temperature=0
    )
    assert one.status == "incomplete"
    assert one.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_is_not_there_is_not_found(client: AsyncOpenAI, *, stream: bool):
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="nothing", messages=HELLO, stream=stream)
    assert caught.value.code == "model_not_found"
    assert caught.value.type == "not_found_error"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_does_not_fit_is_an_error_of_the_request(
    translate: None, client: AsyncOpenAI, *, stream: bool
):
    long = [{"role": "user", "content": "cat " * 9000}]
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=CHAT, messages=long, stream=stream)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"messages": []}',
        b'{"model": "tiny-chat", "messages": 5}',
        b'{"model": 5}',
        b"\xff\xfe",
    ],
)
@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings", "responses"])
async def test_what_cannot_be_read_is_a_bad_request(
    translate: None, gateway: Serving, body: bytes, path: str
):
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{gateway.url}/v1/{path}", content=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_images_and_tools_of_the_network_are_not_fetched(
    translate: None, client: AsyncOpenAI
):
    part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
    with pytest.raises(openai.BadRequestError, match="in the request itself"):
        await client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": [part]}]
        )


async def test_a_tool_call_comes_back_as_the_client_knows_it(
    translate: None, gateway: Serving, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
):
    """The shipped model calls no tools, so its answer is put in place of it."""
    from lmstrix.providers.embedded import EmbeddedProvider
    from lmstrix.types import CallPart, Fragment, FragmentKind, Stats, StopReason

    asked = []

    async def stream(self: object, instance: object, request: object) -> AsyncIterator[object]:
        asked.append(request)
        call = FragmentKind.TOOL_CALL
        yield Fragment("Hm.", 1, FragmentKind.REASONING)
        yield Fragment("", 1, call, CallPart(0, "c1", "add"))
        yield Fragment('{"a":', 1, call, CallPart(0))
        yield Fragment(" 1}", 1, call, CallPart(0))
        yield Fragment("{}", 1, call, CallPart(1, "", "now"))
        yield Stats(stop_reason=StopReason.TOOL_CALLS, prompt_tokens=5, predicted_tokens=5)

    monkeypatch.setattr(EmbeddedProvider, "stream", stream)
    tool = {
        "type": "function",
        "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
    }
    options = {"model": CHAT, "messages": HELLO, "tools": [tool], "tool_choice": "required"}
    whole = await client.chat.completions.create(**options)
    first, second = whole.choices[0].message.tool_calls
    assert (first.id, first.function.name, first.function.arguments) == ("c1", "add", '{"a": 1}')
    assert second.function.name == "now"
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.reasoning_content == "Hm."
    async with client.chat.completions.stream(**options) as streamed:
        async for _ in streamed:
            pass
        final = await streamed.get_final_completion()
    assert [call.function.name for call in final.choices[0].message.tool_calls] == ["add", "now"]
    assert asked[0].tool_choice == "required"
    assert asked[0].tools[0].name == "add"

    response = await client.responses.create(
        model=CHAT, input="x", tools=[{"type": "function", "name": "add", "parameters": {}}]
    )
    thought, one, two = response.output
    assert thought.content[0].text == "Hm."
    assert (one.call_id, one.name, one.arguments) == ("c1", "add", '{"a": 1}')
    await client.responses.create(
        model=CHAT,
        previous_response_id=response.id,
        input=[{"type": "function_call_output", "call_id": "c1", "output": "1"}],
    )
    assert [call.id for call in asked[-1].messages[1].tool_calls] == ["c1", two.call_id]
    assert asked[-1].messages[2].tool_call_id == "c1"


async def test_an_error_in_the_middle_reaches_the_client(
    translate: None, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
):
    from lmstrix.errors import GenerationError
    from lmstrix.providers.embedded import EmbeddedProvider
    from lmstrix.types import Fragment

    async def stream(self: object, instance: object, request: object) -> AsyncIterator[object]:
        yield Fragment("so far")
        raise GenerationError("The engine is gone.")

    monkeypatch.setattr(EmbeddedProvider, "stream", stream)
    chat = await client.chat.completions.create(model=CHAT, messages=HELLO, stream=True)
    assert (await anext(chat)).choices[0].delta.role == "assistant"
    assert (await anext(chat)).choices[0].delta.content == "so far"
    with pytest.raises(openai.APIError, match="engine is gone"):
        await anext(chat)
    events = [
        event async for event in await client.responses.create(model=CHAT, input="x", stream=True)
    ]
    assert events[-1].type == "response.failed"
    assert "engine is gone" in events[-1].response.error.message


async def test_who_leaves_frees_the_model_within_a_second(way: str, client: AsyncOpenAI):
    stream = await client.completions.create(
        model=CHAT, prompt="1 2 3", max_tokens=7000, stream=True
    )
    async for _ in stream:
        break
    await stream.close()
    at = time.monotonic()
    await client.chat.completions.create(model=CHAT, messages=HELLO)
    assert time.monotonic() - at < 1.5


async def test_the_blocking_client_works_too(gateway: Serving):
    def use() -> str:
        with OpenAI(base_url=f"{gateway.url}/v1", api_key="any") as one:
            answer = one.chat.completions.create(model=CHAT, messages=HELLO, temperature=0)
            return answer.choices[0].message.content

    assert "Warsaw" in await asyncio.to_thread(use)


async def test_the_examples_of_the_documentation_work_as_plain_http(gateway: Serving):
    """As OpenAI's API reference shows them for curl, but for the model's name."""
    fields = {"Content-Type": "application/json", "Authorization": "Bearer any"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=fields, timeout=30) as http:
        chat = await http.post(
            "/v1/chat/completions",
            content=json.dumps(
                {
                    "model": CHAT,
                    "messages": [
                        {"role": "developer", "content": "You are a helpful assistant."},
                        {"role": "user", "content": "Hello!"},
                    ],
                }
            ),
        )
        assert chat.json()["choices"][0]["message"]["role"] == "assistant"
        stream = await http.post(
            "/v1/chat/completions",
            content=json.dumps({"model": CHAT, "messages": HELLO, "stream": True}),
        )
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.text.endswith("data: [DONE]\n\n")
        response = await http.post(
            "/v1/responses", content=json.dumps({"model": CHAT, "input": "Tell me a story."})
        )
        assert response.json()["object"] == "response"
        embedding = await http.post(
            "/v1/embeddings",
            content=json.dumps(
                {
                    "input": "The food was delicious and the waiter...",
                    "model": "tiny-embed",
                    "encoding_format": "float",
                }
            ),
        )
        assert embedding.json()["data"][0]["object"] == "embedding"
        listed = (await http.get("/v1/models")).json()
        assert listed["object"] == "list"
        for answer in (chat, stream, response, embedding):
            assert answer.headers["x-lmstrix-gateway"]


async def test_the_program_llm_runs_on_it(gateway: Serving, tmp_path: Path):
    """https://llm.datasette.io: a prompt, one without streaming, one with a schema."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        "- model_id: tiny\n"
        "  model_name: tiny-chat\n"
        f'  api_base: "{gateway.url}/v1"\n'
        "  supports_schema: true\n"
    )

    async def llm(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llm", "prompt", "-m", "tiny", "--key", "any", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LLM_USER_PATH": str(tmp_path)},
        )
        out, problem = await process.communicate()
        assert process.returncode == 0, problem.decode()
        return out.decode()

    asked = ("Capital of Poland?", "-o", "temperature", "0")
    assert "Warsaw" in await llm(*asked)
    assert "Warsaw" in await llm("--no-stream", *asked)
    assert list(json.loads(await llm("n?", "--schema", "n int"))) == ["n"]


UPSTREAM = b"""data: {"choices":[{"delta":{"content":"Hi"}}],"own":{"kept":[1, 2]}}

: ping

data: [DONE]

"""


async def test_between_two_servers_of_one_dialect_bytes_are_passed_on(serve: Serve):
    async def upstream(asked: Asked, wire: Wire) -> None:
        if asked.path == "/v1/models":
            await wire.json({"data": [{"id": "far/model"}]})
        elif asked.method == "POST" and asked.path == "/v1/chat/completions":
            await wire.head()
            await wire.raw(UPSTREAM)
        else:
            await wire.json({"error": "unknown"}, 404)

    async with scripted(upstream) as far:
        known = {"far": ServerSettings(url=far.url, provider="openai")}
        gateway = await serve(settings=Settings(servers=known, discover=False))
        body = b'{"model": "far/model", "stream": true, "messages": [ ], "own": {"field":  1}}'
        async with httpx2.AsyncClient(base_url=gateway.url) as http:
            answer = await http.post("/v1/chat/completions", content=body)
            renamed = body.replace(b"far/model", b"FAR")
            await http.post("/v1/chat/completions", content=renamed)
        assert answer.content == UPSTREAM
        exact, named = [one for one in far.asked if one.method == "POST"]
        assert exact.body == body
        assert named.json == exact.json  # only the name is set right
        assert exact.fields["x-lmstrix-hops"] == "1"


async def test_who_leaves_a_passed_on_answer_ends_it_where_it_is_made(serve: Serve):
    gone = asyncio.Event()

    async def upstream(asked: Asked, wire: Wire) -> None:
        if asked.path == "/v1/models":
            await wire.json({"data": [{"id": "far"}]})
        elif asked.method == "POST":
            await wire.head()
            await wire.raw(UPSTREAM.partition(b": ping")[0])
            await wire.gone()
            gone.set()
        else:
            await wire.json({"error": "unknown"}, 404)

    async with scripted(upstream) as far:
        known = {"far": ServerSettings(url=far.url, provider="openai")}
        gateway = await serve(settings=Settings(servers=known, discover=False))
        body = {"model": "far", "stream": True, "messages": HELLO}
        async with (
            httpx2.AsyncClient(base_url=gateway.url) as http,
            http.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            await anext(answer.aiter_raw())
        await asyncio.wait_for(gone.wait(), 1)
