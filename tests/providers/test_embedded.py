from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lmstrix.config import Places, Settings, Timeouts
from lmstrix.errors import (
    ContextOverflowError,
    EngineDiedError,
    LoadError,
    NotFoundError,
    OutOfMemoryError,
    StalledError,
    UnsupportedError,
)
from lmstrix.providers.embedded import EmbeddedProvider, with_unique_keys
from lmstrix.types import (
    Fragment,
    Instance,
    LoadConfig,
    Message,
    Model,
    ModelType,
    Progress,
    Request,
    Role,
    Sampling,
    Stats,
    StopReason,
    StreamItem,
)

MakeModel = Callable[..., Model]
Embedded = EmbeddedProvider


def ask(text: str, *, raw: bool = False, **sampling: object) -> Request:
    chosen = Sampling(**{"temperature": 0.0, **sampling})
    if raw:
        return Request(prompt=text, sampling=chosen, cache_prompt=False)
    return Request(messages=(Message(Role.USER, text),), sampling=chosen, cache_prompt=False)


async def collect(provider: Embedded, instance: Instance, request: Request) -> list[StreamItem]:
    return [item async for item in provider.stream(instance, request)]


def text_of(items: list[StreamItem]) -> str:
    return "".join(item.text for item in items if isinstance(item, Fragment))


async def busy(provider: Embedded, instance: Instance) -> bool:
    engine = provider._owned[instance.id]
    return bool(await engine._busy_slots())


async def test_an_answer_is_progress_then_fragments_then_statistics(
    provider: Embedded, model: MakeModel
) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=1024))
    items = await collect(provider, instance, ask("Capital of Poland?"))
    kinds = [type(item) for item in items]
    assert kinds == sorted(kinds, key=[Progress, Fragment, Stats].index)
    assert kinds.count(Stats) == 1
    assert "Warsaw" in text_of(items)
    stats = items[-1]
    assert isinstance(stats, Stats)
    assert stats.stop_reason is StopReason.END
    counted = sum(item.tokens for item in items if isinstance(item, Fragment))
    assert stats.predicted_tokens == counted + 1  # the token that ends the answer has no text
    assert stats.prompt_s is not None


@pytest.mark.parametrize(
    ("sampling", "reason"),
    [
        ({}, StopReason.END),
        ({"stop": ("zzz",)}, StopReason.END),
        ({"stop": ("6",)}, StopReason.STOP_STRING),
        ({"max_tokens": 5}, StopReason.LENGTH),
    ],
)
async def test_the_reason_for_the_end_is_told(
    provider: Embedded, model: MakeModel, sampling: dict[str, object], reason: StopReason
) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=1024))
    items = await collect(provider, instance, ask("Count to 10.", **sampling))
    stats = items[-1]
    assert isinstance(stats, Stats)
    assert stats.stop_reason is reason
    if reason is StopReason.LENGTH:
        assert stats.predicted_tokens == 5


async def test_a_full_context_ends_the_answer(provider: Embedded, model: MakeModel) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=256))
    prompt = await provider.detokenize(instance, [5] * 250)
    stats = (await collect(provider, instance, ask(prompt, raw=True, max_tokens=500)))[-1]
    assert isinstance(stats, Stats)
    assert stats.stop_reason is StopReason.CONTEXT


async def test_a_prompt_that_does_not_fit_is_refused_with_both_sizes(
    provider: Embedded, model: MakeModel
) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=256))
    with pytest.raises(ContextOverflowError) as caught:
        await collect(provider, instance, ask("cat " * 300))
    assert caught.value.prompt_tokens > 300
    assert caught.value.context_tokens == 256
    assert "Warsaw" in text_of(await collect(provider, instance, ask("Capital of Poland?")))


async def test_the_count_of_tokens_is_the_servers_own(provider: Embedded, model: MakeModel) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=1024))
    for text in ("Capital of Poland?", "<|im_start|>é日本", "", " x", "<|bos|>a", "a\n\n b"):
        for raw in (True, False):
            request = ask(text, raw=raw, max_tokens=1)
            rendered = await provider.render(instance, request)
            tokens = await provider.tokenize(instance, rendered)
            stats = (await collect(provider, instance, request))[-1]
            assert isinstance(stats, Stats)
            assert len(tokens) == stats.prompt_tokens
            assert await provider.detokenize(instance, tokens) == rendered


async def test_what_is_said_to_be_sent_is_what_is_sent(
    provider: Embedded, model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmstrix.engine.client import EngineClient

    sent: list[tuple[str, str, bytes]] = []
    real = EngineClient.open

    async def spy(self: EngineClient, method: str, path: str, body: bytes = b"") -> object:
        sent.append((method, path, body))
        return await real(self, method, path, body)

    instance = await provider.load(model(), LoadConfig(context_tokens=512))
    request = ask("Capital of Poland?", stop=("x",), top_k=5)
    monkeypatch.setattr(EngineClient, "open", spy)
    await collect(provider, instance, request)
    wire = provider.wire_request(instance, request)
    assert sent == [(wire.method, wire.path, wire.body)]
    assert json.loads(wire.body)["top_k"] == 5
    assert "top_p" not in json.loads(wire.body)


async def test_the_engines_own_sampling_is_told(provider: Embedded, model: MakeModel) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=512))
    defaults = await provider.sampling_defaults(instance)
    assert defaults["temperature"] == 0.8
    assert defaults["top_k"] == 40


@pytest.mark.parametrize("when", ["prompt", "answer"])
async def test_a_cancelled_request_frees_the_caller_at_once_and_the_slot_soon(
    provider: Embedded, model: MakeModel, when: str
) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=8192))
    text = "cat river sun " * (1800 if when == "prompt" else 3)
    reached = asyncio.Event()

    async def read() -> None:
        async for item in provider.stream(instance, ask(text, raw=True, max_tokens=7000)):
            if isinstance(item, Fragment) or (when == "prompt" and item.processed_tokens):
                reached.set()

    task = asyncio.create_task(read())
    await reached.wait()
    at = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - at < 0.1
    one = provider._owned[instance.id]
    assert one._tidying is not None
    await one._tidying
    assert not await busy(provider, instance)
    assert one.instance.pid == instance.pid  # it let go by itself
    assert "Warsaw" in text_of(await collect(provider, instance, ask("Capital of Poland?")))


async def test_closing_the_stream_cancels(provider: Embedded, model: MakeModel) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=8192))
    stream = provider.stream(instance, ask("Count to 40.", raw=True, max_tokens=7000))
    async for item in stream:
        if isinstance(item, Fragment):
            break
    at = time.monotonic()
    await stream.aclose()
    assert time.monotonic() - at < 0.1
    await provider._owned[instance.id]._tidying  # type: ignore[misc]  # there is one
    assert not await busy(provider, instance)


async def test_answers_given_at_once_are_those_given_one_by_one(
    provider: Embedded, model: MakeModel
) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=512, parallel=4))
    assert instance.context_tokens == 512
    assert instance.parallel == 4
    requests = [
        ask(text) for text in ("Capital of Poland?", "Count to 10.", "Hello", "Capital of France?")
    ]
    serial = [text_of(await collect(provider, instance, request)) for request in requests]
    at_once = await asyncio.gather(*(collect(provider, instance, r) for r in requests * 2))
    assert [text_of(items) for items in at_once] == serial * 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
async def test_an_engine_that_dies_while_it_answers_is_an_error_with_what_came(
    provider: Embedded, model: MakeModel, number: int
) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=8192))
    came: list[str] = []

    async def read() -> None:
        request = ask("Count to 40.", raw=True, max_tokens=7000)
        async for item in provider.stream(instance, request):
            if isinstance(item, Fragment):
                if not came:
                    os.kill(instance.pid or 0, number)
                came.append(item.text)

    with pytest.raises(EngineDiedError) as caught:
        await read()
    assert caught.value.exit_status == -number
    assert caught.value.partial == "".join(came)
    assert caught.value.reason
    with pytest.raises(EngineDiedError):
        await collect(provider, instance, ask("Hello"))
    assert await provider.list_instances() == []
    again = await provider.load(model(), LoadConfig(context_tokens=512))
    assert again.id == instance.id
    assert "Warsaw" in text_of(await collect(provider, again, ask("Capital of Poland?")))


async def test_instances_have_ids_of_their_own(provider: Embedded, model: MakeModel) -> None:
    config = LoadConfig(context_tokens=256)
    loaded = await asyncio.gather(*(provider.load(model(), config) for _ in range(3)))
    assert sorted(one.id for one in loaded) == ["tiny-chat", "tiny-chat:2", "tiny-chat:3"]
    assert {one.id for one in await provider.list_instances()} == {one.id for one in loaded}
    with pytest.raises(LoadError, match="already"):
        await provider.load(model(), config, instance_id="tiny-chat")
    named = await provider.load(model(), config, instance_id="mine")
    assert named.id == "mine"
    await provider.unload("mine")
    with pytest.raises(NotFoundError):
        await collect(provider, named, ask("Hello"))
    with pytest.raises(NotFoundError):
        await provider.unload("mine")


async def test_a_resident_instance_is_there_for_the_next_command(
    provider: Embedded, model: MakeModel, places: Places
) -> None:
    config = LoadConfig(context_tokens=8192, ttl_s=600)
    loaded = await provider.load(model(), config, resident=True)
    assert not loaded.owned
    await provider.aclose()
    later = EmbeddedProvider(Settings(), places)
    (found,) = await later.list_instances()
    assert (found.id, found.config, found.context_tokens) == ("tiny-chat", config, 8192)
    assert "Warsaw" in text_of(await collect(later, found, ask("Capital of Poland?")))

    async def read() -> None:
        async for item in later.stream(found, ask("Count to 40.", raw=True)):
            if isinstance(item, Fragment):
                os.kill(found.pid or 0, signal.SIGKILL)

    with pytest.raises(EngineDiedError) as caught:
        await read()
    assert caught.value.partial
    assert await later.list_instances() == []


async def test_two_processes_that_load_at_once_name_their_instances_apart(
    provider: Embedded, model: MakeModel, places: Places
) -> None:
    other = EmbeddedProvider(Settings(), places)  # shares no more than another process would
    config = LoadConfig(context_tokens=256)
    both = await asyncio.gather(
        *(one.load(model(), config, resident=True) for one in (provider, other))
    )
    listed = await provider.list_instances()
    assert {one.id for one in both} == {one.id for one in listed} == {"tiny-chat", "tiny-chat:2"}


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot stop a process")
async def test_an_engine_that_takes_a_question_and_hangs_is_a_stall(
    places: Places, model: MakeModel
) -> None:
    provider = EmbeddedProvider(Settings(timeouts=Timeouts(prompt_s=0.2)), places)
    instance = await provider.load(model(), LoadConfig(context_tokens=256))

    async def ask_on() -> None:
        while True:  # a stop takes a moment to reach every thread
            await provider.tokenize(instance, "a")

    os.kill(instance.pid or 0, signal.SIGSTOP)
    try:
        with pytest.raises(StalledError, match="has not answered"):
            await ask_on()
    finally:
        os.kill(instance.pid or 0, signal.SIGCONT)
        await provider.aclose()


async def test_closing_ends_what_is_owned(provider: Embedded, model: MakeModel) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=256))
    await provider.aclose()
    assert not psutil.pid_exists(instance.pid or 0)


async def test_texts_become_unit_vectors(provider: Embedded, model: MakeModel) -> None:
    instance = await provider.load(
        model("tiny-embed", type=ModelType.EMBEDDING), LoadConfig(context_tokens=256)
    )
    vectors = await provider.embed(instance, ["the cat", "a river", "the cat"])
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)
    assert vectors[0] != pytest.approx(vectors[1], abs=1e-3)
    assert sum(x * x for x in vectors[0]) == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(ContextOverflowError) as caught:
        await provider.embed(instance, ["cat " * 1000])
    assert caught.value.prompt_tokens > 1000
    assert caught.value.context_tokens == 256
    with pytest.raises(UnsupportedError):
        await collect(provider, instance, ask("Hello"))


async def test_a_language_model_makes_no_embeddings(provider: Embedded, model: MakeModel) -> None:
    instance = await provider.load(model(), LoadConfig(context_tokens=256))
    with pytest.raises(UnsupportedError):
        await provider.embed(instance, ["Hello"])


async def test_what_can_never_fit_is_refused_before_anything_starts(
    provider: Embedded, model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstrix.engine.process._spawn", lambda: pytest.fail("it was started"))
    with pytest.raises(OutOfMemoryError, match="this machine has"):
        await provider.load(model(), LoadConfig(context_tokens=10**12))
    config = LoadConfig(context_tokens=10**5, memory_limit_bytes=50 * 2**20)
    with pytest.raises(OutOfMemoryError, match="memory limit"):
        await provider.load(model(), config)


async def test_a_file_that_cannot_be_read_is_for_the_engine_to_explain(
    provider: Embedded, model: MakeModel, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_text("no model")
    with pytest.raises(LoadError, match="magic"):
        await provider.load(model(path=str(bad)), LoadConfig())


async def test_the_shipped_models_are_listed(provider: Embedded) -> None:
    listing = await provider.list_models()
    assert listing.complete
    found = {model.key: model for model in listing.models}
    assert {"tiny-chat", "tiny-chat-overclaimed", "tiny-embed"} <= set(found)
    assert found["tiny-embed"].type is ModelType.EMBEDDING


def test_models_of_one_name_are_told_apart_by_their_folders() -> None:
    def at(path: str) -> Model:
        return Model(key=Path(path).stem, provider="embedded", server="embedded", path=path)

    models = [at("/a/x/m.gguf"), at("/a/y/m.gguf"), at("/b/y/m.gguf"), at("/a/other.gguf")]
    keys = [model.key for model in with_unique_keys(models)]
    assert keys == ["x/m", "/a/y/m.gguf", "/b/y/m.gguf", "other"]
