"""What a provider says it can do, it does; what it says it cannot, it refuses. On real models.

llama.cpp's own server stands behind `openai`; our gateway plays the servers of the other kinds.
Nothing is skipped: a feature is either declared and works, or not declared and refused.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from lmstrix import AsyncLMStrix
from lmstrix.config import Settings
from lmstrix.errors import ContextOverflowError, UnsupportedError
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.providers.embedded import EmbeddedProvider
from lmstrix.providers.found import Kinds
from lmstrix.types import (
    Fragment,
    FragmentKind,
    Image,
    Instance,
    LoadConfig,
    Message,
    Model,
    Progress,
    Request,
    Role,
    Sampling,
    Stats,
    StopReason,
    Tool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from lmstrix.config import Places
    from lmstrix.providers import Capabilities, Provider

CONTEXT_TOKENS = 1024
GREEDY = Sampling(temperature=0.0)
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
TOOL = Tool(name="add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})


class Place(NamedTuple):
    """A provider with a loaded model, and what it says that it can do with it."""

    provider: Provider
    model: Model
    instance: Instance
    able: Capabilities

    async def collect(self, request: Request) -> list[object]:
        return [item async for item in self.provider.stream(self.instance, request)]

    async def text(self, request: Request) -> str:
        items = await self.collect(request)
        return "".join(
            item.text
            for item in items
            if isinstance(item, Fragment) and item.kind is FragmentKind.ANSWER
        )


def ask(text: str = "Capital of Poland?", **fields: object) -> Request:
    message = Message(Role.USER, text, images=fields.pop("images", ()))
    return Request(messages=(message,), **{"sampling": GREEDY, **fields})


KINDS = ("embedded", "openai", "lmstudio-openai", "ollama", "lmstudio")


@pytest.fixture(params=KINDS)
async def start(
    request: pytest.FixtureRequest, places: Places, start_llama: Callable[..., Awaitable[object]]
) -> AsyncIterator[Callable[[str], Awaitable[Place]]]:
    """`await start("tiny-chat")`: that model, loaded, at a server of the kind."""
    kind = request.param
    async with AsyncExitStack() as running:

        async def begin(name: str = "tiny-chat") -> Place:
            if kind == "openai":
                server = await start_llama(name, context_tokens=CONTEXT_TOKENS)
                (provider,) = Kinds(server.settings, places).connect()[-1:]
            elif kind == "embedded":
                provider = EmbeddedProvider(Settings(shipped_models=True), places)
            else:
                url = await running.enter_async_context(gateway())
                found = Kinds(Settings(discover=False), places).at(kind, url)
                assert found is not None
                provider = found
            running.push_async_callback(provider.aclose)
            listing = await provider.list_models()
            model = next(one for one in listing.models if name in one.key and "over" not in one.key)
            able = await provider.capabilities_of(model)
            if provider.capabilities.supports_load:
                instance = await provider.load(model, LoadConfig(context_tokens=CONTEXT_TOKENS))
            else:
                (instance,) = await provider.list_instances()
            return Place(provider, model, instance, able)

        yield begin


@asynccontextmanager
async def gateway() -> AsyncIterator[str]:
    settings = Settings(shipped_models=True, discover=False)
    async with (
        AsyncLMStrix(settings=settings) as client,
        serving(client, GatewayOptions(port=0, drain_s=1, max_loaded=4)) as one,
    ):
        yield one.url


@pytest.fixture
async def place(start: Callable[..., Awaitable[Place]]) -> Place:
    return await start()


def test_every_provider_is_held_to_it():
    from importlib.metadata import entry_points

    assert {one.name for one in entry_points(group="lmstrix.providers")} == set(KINDS)


async def test_the_answer_of_one_model_is_the_same_everywhere(place: Place):
    assert await place.text(ask()) == "Warsaw."
    assert await place.provider.chat(place.instance, ask()) == "Warsaw."
    pieces = [piece async for piece in place.provider.chat_stream(place.instance, ask())]
    assert "".join(pieces) == "Warsaw."
    assert (len(pieces) > 1) == place.able.supports_streaming


async def test_statistics_are_the_last_item_and_count_alike(place: Place):
    items = await place.collect(ask("Count to 10."))
    assert [type(item) for item in items].count(Stats) == 1
    stats = items[-1]
    assert isinstance(stats, Stats)
    assert stats.stop_reason is StopReason.END
    assert stats.prompt_tokens is not None
    assert stats.predicted_tokens is not None
    few = Sampling(temperature=0.0, max_tokens=4)
    short = (await place.collect(ask("Count to 10.", sampling=few)))[-1]
    assert (short.stop_reason, short.predicted_tokens) == (StopReason.LENGTH, 4)


async def test_the_real_context_is_known(place: Place):
    assert place.instance.context_tokens == CONTEXT_TOKENS
    assert place.model.declared_context_tokens == 8192


async def test_a_prompt_that_does_not_fit_is_never_cut_silently(place: Place):
    with pytest.raises(ContextOverflowError) as caught:
        await place.collect(ask("cat " * 2000))
    assert caught.value.context_tokens in (0, CONTEXT_TOKENS)


def features(able: Capabilities) -> dict[str, tuple[bool, Request]]:
    picture = Image(b"\x89PNG\r\n\x1a\n" + bytes(20))
    short = Sampling(temperature=0.0, max_tokens=8)
    raw = Request(prompt="Capital of Poland?", sampling=short)
    return {
        "raw": (able.supports_raw, raw),
        "tools": (able.supports_tools, ask(tools=(TOOL,), sampling=short)),
        "vision": (able.supports_vision, ask(images=(picture,))),
        "reasoning": (able.supports_reasoning, ask(think=True, sampling=short)),
        "schema": (able.supports_schema, ask("n?", schema=SCHEMA)),
        "grammar": (able.supports_grammar, ask(grammar='root ::= "yes" | "no"')),
        "logprobs": (able.supports_logprobs, ask(logprobs=2)),
    }


@pytest.mark.parametrize(
    "feature", ["raw", "tools", "vision", "reasoning", "schema", "grammar", "logprobs"]
)
async def test_a_feature_works_or_is_refused_before_any_work(place: Place, feature: str):
    declared, request = features(place.able)[feature]
    if not declared:
        with pytest.raises(UnsupportedError):
            await place.collect(request)
        return
    items = await place.collect(request)
    text = "".join(item.text for item in items if isinstance(item, Fragment))
    if feature == "schema":
        assert list(json.loads(text)) == ["n"]
    elif feature == "grammar":
        assert text in ("yes", "no")
    elif feature == "logprobs":
        chances = [one for item in items if isinstance(item, Fragment) for one in item.logprobs]
        assert len(chances) >= 2
        assert all(one.logprob <= 0 and len(one.top) == 2 for one in chances)
    else:
        assert text


async def test_a_raw_prompt_goes_as_it_is_and_a_templated_one_as_rendered(place: Place):
    if not place.able.supports_templates:
        with pytest.raises(UnsupportedError):
            await place.provider.render(place.instance, ask("Hello"))
        return
    shown = await place.provider.render(place.instance, ask("Hello"))
    assert "Hello" in shown != "Hello"
    raw = Request(prompt=shown, sampling=GREEDY)
    assert await place.text(raw) == await place.text(ask("Hello"))
    assert await place.text(Request(prompt="Hello", sampling=GREEDY)) != await place.text(raw)


async def test_tokens_are_those_the_server_counts(place: Place):
    if not place.able.supports_tokenization:
        with pytest.raises(UnsupportedError):
            await place.provider.tokenize(place.instance, "Hello")
        return
    text = await place.provider.render(place.instance, ask("Hello"))
    tokens = await place.provider.tokenize(place.instance, text)
    if place.able.supports_detokenization:
        assert await place.provider.detokenize(place.instance, tokens) == text
    else:
        with pytest.raises(UnsupportedError):
            await place.provider.detokenize(place.instance, tokens)
    assert (await place.collect(ask("Hello")))[-1].prompt_tokens == len(tokens)


async def test_sampling_defaults_are_told_where_that_is_declared(place: Place):
    defaults = await place.provider.sampling_defaults(place.instance)
    assert place.able.supports_sampling_defaults or not defaults


async def test_progress_of_the_prompt_is_told_where_that_is_declared(place: Place):
    items = await place.collect(ask("cat " * 700, sampling=Sampling(temperature=0.0, max_tokens=1)))
    told = [item for item in items if isinstance(item, Progress) and item.processed_tokens]
    assert bool(told) == place.able.supports_prompt_progress


async def test_a_left_answer_leaves_the_model_free(place: Place):
    request = Request(prompt="1 2 3", sampling=Sampling(temperature=0.0, max_tokens=900))
    stream = place.provider.stream(place.instance, request)
    async for item in stream:
        if isinstance(item, Fragment):
            break
    await stream.aclose()
    assert await asyncio.wait_for(place.text(ask()), 10) == "Warsaw."


async def test_loading_works_or_is_refused(place: Place):
    if not place.able.supports_load:
        with pytest.raises(UnsupportedError):
            await place.provider.load(place.model, LoadConfig())
        with pytest.raises(UnsupportedError):
            await place.provider.unload(place.instance.id)
        return
    ids = {one.id for one in await place.provider.list_instances()}
    assert place.instance.id in ids
    await place.provider.unload(place.instance.id)
    assert place.instance.id not in {one.id for one in await place.provider.list_instances()}


async def test_a_load_beside_others_has_the_name_it_was_given(place: Place):
    if not place.able.supports_load or not place.able.supports_instance_names:
        return
    beside = await place.provider.load(
        place.model, LoadConfig(context_tokens=512), instance_id="by-another-name"
    )
    try:
        assert beside.id == "by-another-name"
        loaded = {one.id: one.context_tokens for one in await place.provider.list_instances()}
        assert loaded[beside.id] == 512
        assert loaded[place.instance.id] == place.instance.context_tokens
    finally:
        await place.provider.unload(beside.id)


async def test_embeddings_are_made_by_those_who_say_so(start: Callable[..., Awaitable[Place]]):
    place = await start("tiny-embed")
    assert place.able.supports_embeddings
    one, two, again = await place.provider.embed(place.instance, ["cat", "river", "cat"])
    assert one == pytest.approx(again, abs=1e-4)
    assert one != pytest.approx(two, abs=1e-3)
