"""What is sent is what the user said and nothing else, and `explain` shows these very bytes.

A prompt that went through a chat template in one program and not in another, or a sampling that
one of them sent unasked, makes the same model answer differently. On real models: llama.cpp's own
server stands behind `openai`, our gateway behind the other kinds.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest
from servers.recording import Recording, recording

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings
from lmstrix.errors import ContextOverflowError
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.types import Sampling, Tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from lmstrix.explain import Explanation
    from lmstrix.types import WireRequest

KINDS = ("embedded", "openai", "lmstudio-openai", "ollama", "lmstudio")
CONTEXT_TOKENS = 1024
CAPITAL = "Capital of Poland?"
# What a request has besides what the user said: where it goes, and how the answer is to come.
# Ollama loads a model anew unless it is told the size that is loaded; it and LM Studio cut a
# prompt that does not fit unless they are told not to.
LLAMA = {"return_progress", "timings_per_token"}  # what it tells beside the answer
HOUSEKEEPING = {
    "embedded": {"messages", "stream", "stream_options", *LLAMA},
    "openai": {"model", "messages", "stream", "stream_options", *LLAMA},
    "lmstudio-openai": {"model", "messages", "stream", "stream_options"},
    "ollama": {"model", "messages", "stream", "options.num_ctx", "truncate"},
    "lmstudio": {"modelSpecifier", "history", "llm.prediction.contextOverflowPolicy"},
}
EVERYTHING = Sampling(
    temperature=0.25,
    top_k=7,
    top_p=0.5,
    min_p=0.125,
    repeat_penalty=1.5,
    seed=11,
    stop=("Berlin",),
    max_tokens=9,
)


class Place(NamedTuple):
    """A client whose only models are of one kind, and what it sends."""

    kind: str
    client: AsyncLMStrix
    wire: Recording
    model: str

    def sent(self, shown: WireRequest) -> list[bytes]:
        """What went to where `shown` goes."""
        if self.kind == "lmstudio":
            opened = [frame for frame in self.wire.frames() if b'"channelCreate"' in frame]
            return [frame for frame in opened if f'"{shown.method}"'.encode() in frame]
        asked = [one for one in self.wire.requests() if one[:2] == (shown.method, shown.path)]
        # Ollama loads and renders where it is asked for an answer: without a prompt, with a field.
        said = [(one.body, json.loads(one.body)) for one in asked]
        return [
            body
            for body, fields in said
            if fields.keys() & {"messages", "prompt"} and "_debug_render_only" not in fields
        ]

    def fields(self, body: bytes) -> dict[str, object]:
        """What a request says, one level deep."""
        said = json.loads(body)
        if self.kind == "lmstudio":
            (layer, *_) = said.pop("predictionConfigStack")["layers"]
            return said | {field["key"]: field["value"] for field in layer["config"]["fields"]}
        options = said.pop("options", {})
        return said | {f"options.{name}": value for name, value in options.items()}


@pytest.fixture(params=KINDS)
async def place(
    request: pytest.FixtureRequest,
    start_llama: Callable[..., Awaitable[object]],
    tmp_path: Path,
) -> AsyncIterator[Place]:
    """A client that talks to a server of the kind through a proxy that records."""
    kind = request.param
    async with AsyncExitStack() as running:

        async def before(url: str) -> Recording:
            port = urlsplit(url).port
            assert port is not None
            return await running.enter_async_context(recording(port))

        if kind == "embedded":
            client = AsyncLMStrix(settings=Settings(shipped_models=True, discover=False))
            await running.enter_async_context(client)
            await client.scan()
            instance = await client.load("tiny-chat", in_ctx=CONTEXT_TOKENS)
            provider = client._open.provider_of((await client.find("tiny-chat")).model)
            engine = provider._owned[instance.id]._engine
            wire = await before(engine.url)
            engine.url = wire.url
            yield Place(kind, client, wire, "tiny-chat")
            return
        if kind == "openai":
            server = await start_llama(context_tokens=CONTEXT_TOKENS)
            wire = await before(server.url)
            known = ServerSettings(url=wire.url, provider=kind, token_env="LLAMA_TOKEN")
        else:
            behind = AsyncLMStrix(
                settings=Settings(shipped_models=True, discover=False),
                store_path=tmp_path / "behind.db",
            )
            await running.enter_async_context(behind)
            gateway = await running.enter_async_context(
                serving(behind, GatewayOptions(port=0, drain_s=1))
            )
            wire = await before(gateway.url)
            known = ServerSettings(url=wire.url, provider=kind)
        settings = Settings(servers={"office": known}, discover=False, embedded={"enabled": False})
        client = AsyncLMStrix(settings=settings)
        await running.enter_async_context(client)
        await client.scan()
        keys = [entry.model.key for entry in await client.list_models()]
        model = next(key for key in keys if "tiny-chat" in key and "over" not in key)
        if kind != "openai":
            await client.load(model, in_ctx=CONTEXT_TOKENS)
        yield Place(kind, client, wire, model)


async def test_nothing_is_sent_that_the_user_did_not_set(place: Place):
    await place.client.infer(CAPITAL, place.model)
    shown = (await place.client.explain(CAPITAL, place.model)).wire
    assert set(place.fields(shown.body)) <= HOUSEKEEPING[place.kind]
    [body] = place.sent(shown)
    assert shown.body in body


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("said", ["nothing", "everything"])
async def test_explain_shows_the_very_bytes_that_are_sent(place: Place, said: str, *, raw: bool):
    options = {"raw": raw}
    if said == "everything":
        options["sampling"] = EVERYTHING
        if not raw:
            options |= {"tools": (Tool(name="add"),), "system_prompt": "Be brief."}
    shown = (await place.client.explain(CAPITAL, place.model, **options)).wire
    assert place.sent(shown) == []  # it sends nothing by itself
    await place.client.infer(CAPITAL, place.model, **options)
    [body] = place.sent(shown)
    if place.kind == "lmstudio":
        assert body.count(shown.body) == 1
        frame = json.loads(body)
        assert frame["creationParameter"] == json.loads(shown.body)
    else:
        assert body == shown.body


async def test_all_that_was_set_is_sent_and_told_from_the_servers_own(place: Place):
    shown = await place.client.explain(CAPITAL, place.model, sampling=EVERYTHING)
    values = json.dumps(place.fields(shown.wire.body))
    for value in ("0.25", "7", "0.5", "0.125", "1.5", "11", "Berlin", "9"):
        assert value in values
    chosen = {one.name: one.value for one in shown.parameters if one.origin == "you"}
    assert chosen == {
        name: list(value) if isinstance(value, tuple) else value
        for name in Sampling.__struct_fields__
        if (value := getattr(EVERYTHING, name)) is not None
    }
    provider = place.client._open.provider_of((await place.client.find(place.model)).model)
    defaults = await provider.sampling_defaults(shown.instance)
    for one in shown.parameters:
        assert one.default == defaults.get(one.name)
        assert one.differs == (one.origin == "you" and one.value != defaults.get(one.name))


def told(explanation: Explanation) -> str:
    return " ".join(explanation.notes)


async def test_a_prompt_answers_differently_raw_and_through_the_template_and_it_shows_why(
    place: Place,
):
    greedy = {"sampling": Sampling(temperature=0.0, max_tokens=24)}
    asked = await place.client.infer(CAPITAL, place.model, **greedy)
    raw = await place.client.infer(CAPITAL, place.model, raw=True, **greedy)
    assert asked.text == "Warsaw."
    assert raw.text != asked.text
    # Why: the model sees more than the prompt, and other tokens are counted.
    shown = await place.client.explain(CAPITAL, place.model, **greedy)
    bare = await place.client.explain(CAPITAL, place.model, raw=True, **greedy)
    assert shown.wire.body != bare.wire.body
    assert bare.rendered == CAPITAL
    assert asked.stats.prompt_tokens is not None
    assert raw.stats.prompt_tokens is not None
    assert asked.stats.prompt_tokens > raw.stats.prompt_tokens
    if shown.rendered:
        assert CAPITAL in shown.rendered != CAPITAL
        again = await place.client.infer(shown.rendered, place.model, raw=True, **greedy)
        assert again.text == asked.text
    else:
        assert "chat template" in told(shown)
    for one, answer in ((shown, asked), (bare, raw)):
        if one.prompt_tokens is None:
            assert "cannot" in told(one)
        else:
            assert one.prompt_tokens == answer.stats.prompt_tokens


@pytest.mark.parametrize("raw", [False, True])
async def test_a_prompt_that_does_not_fit_is_refused_and_never_cut_in_silence(
    place: Place, *, raw: bool
):
    with pytest.raises(ContextOverflowError) as caught:
        await place.client.infer("cat " * 3000, place.model, raw=raw, in_ctx=CONTEXT_TOKENS)
    assert caught.value.hint
