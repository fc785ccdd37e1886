"""The façade on the real engine: find, load, reuse, ask, stream, cancel, explain."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from lmstrix import AsyncLMStrix, LMStrix, LoadConfig, Message, Overflow, Role, Sampling
from lmstrix.config import Settings
from lmstrix.context.options import TestOptions
from lmstrix.errors import (
    ContextOverflowError,
    ModelNotFoundError,
    NotFoundError,
    UnsupportedError,
    UsageError,
)
from lmstrix.types import Phase, Progress, StopReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

CAPITAL = "What is the capital of Poland?"
COUNT = "Count to 40."
GREEDY = Sampling(temperature=0, seed=1)


@pytest.fixture
async def client(shipped: Path) -> AsyncIterator[AsyncLMStrix]:
    async with AsyncLMStrix(settings=Settings(model_folders=(str(shipped),))) as client:
        await client.scan(provider="embedded")
        yield client


@pytest.fixture
def sync_client(shipped: Path) -> Iterator[LMStrix]:
    with LMStrix(settings=Settings(model_folders=(str(shipped),))) as client:
        client.scan(provider="embedded")
        yield client


async def test_a_question_gets_its_answer_with_figures(client: AsyncLMStrix):
    completion = await client.infer(CAPITAL, "tiny-chat", sampling=GREEDY)
    assert "Warsaw" in completion.text
    stats = completion.stats
    assert stats.stop_reason is StopReason.END
    assert stats.prompt_tokens
    assert stats.predicted_tokens
    line = stats.timeline
    assert line is not None
    assert line.first_token_s is not None
    assert 0 < line.sent_s <= line.first_token_s <= line.finished_s
    assert list(line.fragments_s) == sorted(line.fragments_s)


async def test_the_stream_joined_is_the_answer(client: AsyncLMStrix):
    whole = await client.infer(COUNT, "tiny-chat", sampling=GREEDY)
    async with client.stream(COUNT, "tiny-chat", sampling=GREEDY) as answer:
        pieces = [fragment.text async for fragment in answer]
    assert "".join(pieces) == whole.text == answer.text
    assert len(pieces) > 10


def test_the_sync_twin_gives_the_same_stream(sync_client: LMStrix):
    whole = sync_client.infer(COUNT, "tiny-chat", sampling=GREEDY)
    with sync_client.stream(COUNT, "tiny-chat", sampling=GREEDY) as answer:
        pieces = [fragment.text for fragment in answer]
    assert "".join(pieces) == whole.text
    assert answer.stats is not None
    assert answer.stats.predicted_tokens == whole.stats.predicted_tokens


async def test_the_model_used_last_answers_when_none_is_named(client: AsyncLMStrix):
    with pytest.raises(ModelNotFoundError, match="No model was named"):
        await client.infer(CAPITAL)
    await client.infer(CAPITAL, "tiny-chat", sampling=GREEDY)
    again = await client.infer(CAPITAL, sampling=GREEDY)
    assert again.model == "tiny-chat"


async def test_a_loaded_instance_is_reused_until_another_size_is_named(client: AsyncLMStrix):
    first = await client.infer(CAPITAL, "tiny-chat", in_ctx=1024)
    second = await client.infer(CAPITAL, "tiny-chat")
    same = await client.infer(CAPITAL, "tiny-chat", in_ctx=1024)
    assert first.instance.pid == second.instance.pid == same.instance.pid
    larger = await client.infer(CAPITAL, "tiny-chat", in_ctx=2048)
    assert larger.instance.context_tokens == 2048
    assert larger.instance.pid != first.instance.pid
    assert len(await client.instances()) == 1
    anew = await client.infer(CAPITAL, "tiny-chat", reload=True)
    assert anew.instance.pid != larger.instance.pid


async def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(client: AsyncLMStrix):
    with pytest.raises(ContextOverflowError) as caught:
        await client.infer("The cat saw a dog. " * 400, "tiny-chat", in_ctx=512)
    assert caught.value.context_tokens == 512
    assert caught.value.prompt_tokens > 512
    assert "--overflow" in caught.value.hint


async def test_a_prompt_too_long_for_a_small_instance_loads_the_size_known_best(
    client: AsyncLMStrix,
):
    await client.load("tiny-chat", in_ctx=512)
    completion = await client.infer("The cat saw a dog. " * 300 + CAPITAL, "tiny-chat")
    assert completion.instance.context_tokens > 512
    assert any("512" in note for note in completion.notes)


@pytest.mark.parametrize("overflow", [Overflow.MIDDLE, Overflow.ROLLING])
async def test_a_prompt_is_cut_when_asked_and_the_cut_is_said(
    client: AsyncLMStrix, overflow: Overflow
):
    long = "The cat saw a dog. " * 400
    completion = await client.infer(
        f"{long}\n{CAPITAL}", "tiny-chat", in_ctx=512, overflow=overflow, sampling=GREEDY
    )
    assert any("Cut" in note for note in completion.notes)
    assert completion.stats.prompt_tokens is not None
    assert completion.stats.prompt_tokens < 512


async def test_cancelling_frees_the_caller_at_once_and_the_engine_soon(client: AsyncLMStrix):
    long = "The cat saw a dog. " * 1100
    reading = asyncio.Event()

    def listen(progress: Progress) -> None:
        if progress.phase is Phase.PROMPT:
            reading.set()

    async with client.stream(long, "tiny-chat", in_ctx=8192, on_progress=listen):
        await reading.wait()
        begin = time.perf_counter()
    assert time.perf_counter() - begin < 0.5  # 0.1 s on a quiet machine
    after = await client.infer(CAPITAL, "tiny-chat", sampling=GREEDY)
    assert "Warsaw" in after.text


async def test_what_came_before_a_cancel_is_kept(client: AsyncLMStrix):
    async with client.stream(COUNT, "tiny-chat", sampling=GREEDY) as answer:
        async for _ in answer:
            break
    assert answer.text
    assert answer.stats is not None
    assert answer.stats.stop_reason in (StopReason.CANCELLED, StopReason.END)


async def test_explain_shows_the_very_request_and_who_chose_each_value(client: AsyncLMStrix):
    sampling = Sampling(temperature=0.3)
    explanation = await client.explain(CAPITAL, "tiny-chat", sampling=sampling)
    assert CAPITAL in explanation.rendered
    assert "<|im_start|>user" in explanation.rendered
    origins = {parameter.name: parameter.origin for parameter in explanation.parameters}
    assert origins["temperature"] == "you"
    assert origins["top_k"] == "server default"
    assert b"top_k" not in explanation.wire.body
    completion = await client.infer(CAPITAL, "tiny-chat", sampling=sampling)
    assert completion.stats.prompt_tokens == explanation.prompt_tokens


async def test_a_conversation_is_answered(client: AsyncLMStrix):
    talk = [Message(Role.USER, "Hello"), Message(Role.ASSISTANT, "Hello!")]
    completion = await client.chat(
        [*talk, Message(Role.USER, CAPITAL)], "tiny-chat", sampling=GREEDY
    )
    assert "Warsaw" in completion.text


async def test_an_answer_ends_where_the_limit_says(client: AsyncLMStrix):
    completion = await client.infer(COUNT, "tiny-chat", out_ctx=5, sampling=GREEDY)
    assert completion.stats.stop_reason is StopReason.LENGTH
    assert completion.stats.predicted_tokens == 5


async def test_several_answers_come_from_one_instance_side_by_side(client: AsyncLMStrix):
    await client.load("tiny-chat", config=LoadConfig(parallel=3))
    alone = await client.infer(COUNT, "tiny-chat", sampling=GREEDY)
    three = await asyncio.gather(
        *(client.infer(COUNT, "tiny-chat", sampling=GREEDY) for _ in range(3))
    )
    assert {one.text for one in three} == {alone.text}
    assert {one.instance.pid for one in three} == {alone.instance.pid}


async def test_two_questions_at_once_load_the_model_once(client: AsyncLMStrix):
    both = await asyncio.gather(*(client.infer(CAPITAL, "tiny-chat") for _ in range(2)))
    assert len({one.instance.pid for one in both}) == 1


async def test_a_file_need_not_be_scanned(client: AsyncLMStrix, shipped: Path):
    completion = await client.infer(CAPITAL, str(shipped / "tiny-chat.gguf"), sampling=GREEDY)
    assert "Warsaw" in completion.text


async def test_texts_become_vectors_and_a_chat_model_refuses(client: AsyncLMStrix):
    vectors = await client.embed(["the cat saw a river", "the dog saw a lake"], "tiny-embed")
    assert len(vectors) == 2
    assert len(vectors[0]) == len(vectors[1]) > 8
    with pytest.raises(UnsupportedError, match="not an embedding model"):
        await client.embed(["x"], "tiny-chat")


async def test_unloading_names_what_it_ended(client: AsyncLMStrix):
    instance = await client.load("tiny-chat")
    assert await client.unload(instance.id) == [instance.id]
    assert await client.instances() == []
    with pytest.raises(NotFoundError, match="Nothing is loaded"):
        await client.unload(instance.id)
    with pytest.raises(UsageError):
        await client.unload()


@pytest.mark.parametrize("prompt", ["", "  \n "])
async def test_an_empty_prompt_is_refused_before_anything_is_loaded(
    client: AsyncLMStrix, prompt: str
):
    with pytest.raises(UsageError, match="empty"):
        await client.infer(prompt, "tiny-chat")
    assert await client.instances() == []


async def test_a_model_by_no_known_name_suggests_the_nearest(client: AsyncLMStrix):
    with pytest.raises(ModelNotFoundError) as caught:
        await client.infer(CAPITAL, "tiny-chta")
    assert "tiny-chat" in caught.value.nearest


async def test_a_model_is_chosen_by_what_was_measured_of_it(client: AsyncLMStrix):
    with pytest.raises(NotFoundError, match="No model was tested"):
        await client.select(CAPITAL)
    await client.test_model("tiny-chat", options=TestOptions(context_tokens=1024, fast=True))
    chosen = await client.select(CAPITAL, out_ctx=100)
    assert chosen.entry.model.key == "tiny-chat"
    assert chosen.need_tokens == len(CAPITAL) // 2 + 100
    assert "estimate" in chosen.reasons[0]
    assert {one.model_key for one in chosen.rejected} == {"tiny-chat-overclaimed", "tiny-embed"}
    with pytest.raises(NotFoundError, match="the most is"):
        await client.select(CAPITAL, out_ctx=100_000)


async def test_a_context_is_divided_by_the_tokenizer_of_the_model(client: AsyncLMStrix):
    plan = await client.plan_context(CAPITAL, "tiny-chat", strategy="conservative", in_ctx=1024)
    explained = await client.explain(CAPITAL, "tiny-chat", in_ctx=1024)
    assert plan.prompt_tokens == explained.prompt_tokens
    assert (plan.context_tokens, plan.prompt_limit_tokens) == (1024, 512)
    assert plan.prompt_tokens + plan.answer_tokens + plan.reserve_tokens == 1024
    with pytest.raises(ContextOverflowError, match="aggressive leaves it 819"):
        await client.plan_context("word " * 900, "tiny-chat", strategy="aggressive", in_ctx=1024)


async def test_an_unknown_strategy_is_refused_before_anything_is_loaded(client: AsyncLMStrix):
    with pytest.raises(UsageError, match="bold"):
        await client.plan_context(CAPITAL, "tiny-chat", strategy="bold")
    assert await client.instances() == []


async def test_a_provider_that_is_set_is_the_only_one_whose_models_are_known(
    client: AsyncLMStrix, shipped: Path
):
    assert await client.list_models()
    elsewhere = Settings(model_folders=(str(shipped),), provider="elsewhere")
    async with AsyncLMStrix(places=client.places, settings=elsewhere) as other:
        assert await other.list_models() == []
        with pytest.raises(ModelNotFoundError):
            await other.find("tiny-chat")


USES = {
    "scan": (),
    "list_models": (),
    "find": ("tiny-chat",),
    "fit": ("tiny-chat",),
    "plan_test": ("tiny-chat",),
    "test_model": ("tiny-chat",),
    "test_models": (["tiny-chat"],),
    "map_curve": ("tiny-chat",),
    "tune": ("tiny-chat",),
    "save": ("tiny-chat",),
    "report": (["tiny-chat"],),
    "interrupted_tests": (),
    "infer": (CAPITAL, "tiny-chat"),
    "chat": ([Message(Role.USER, CAPITAL)], "tiny-chat"),
    "stream": (CAPITAL, "tiny-chat"),
    "explain": (CAPITAL, "tiny-chat"),
    "select": (CAPITAL,),
    "plan_context": (CAPITAL, "tiny-chat"),
    "embed": (["a"], "tiny-embed"),
    "embedding_model": ("tiny-embed",),
    "load": ("tiny-chat",),
    "unload": ("tiny-chat",),
    "instances": (),
}


@pytest.mark.parametrize("name", sorted(USES))
async def test_a_closed_client_says_that_it_was_closed(client: AsyncLMStrix, name: str):
    async def call() -> None:
        under_way = getattr(client, name)(*USES[name])
        if name != "stream":
            await under_way

    await client.aclose()
    await client.aclose()
    with pytest.raises(UsageError, match="was closed"):
        await call()
    assert client._open._store is None


@pytest.mark.parametrize("name", sorted(USES))
def test_so_does_its_twin(sync_client: LMStrix, name: str):
    sync_client.close()
    sync_client.close()
    with pytest.raises(UsageError, match="was closed"):
        getattr(sync_client, name)(*USES[name])


def test_closing_tries_every_method():
    others = {"close", "places", "settings", "problems"}
    public = {name for name in dir(LMStrix) if not name.startswith("_")}
    assert public - others == set(USES)


def test_a_call_under_way_ends_when_another_thread_closes_the_client(sync_client: LMStrix):
    reached = threading.Event()
    errors: list[BaseException] = []

    async def wait_for_ever() -> None:
        reached.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            sync_client._run(wait_for_ever())
        except UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    reached.wait()
    sync_client.close()
    thread.join(5)
    assert not thread.is_alive()
    assert "was closed" in str(errors[0])
