"""Whose instance it is: reused, kept for who holds it, reloaded only where it must be."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from lmstrix import AsyncLMStrix, Message, Overflow, Role, Sampling
from lmstrix.config import Settings, Timeouts
from lmstrix.errors import ContextOverflowError, StalledError, UsageError
from lmstrix.session import TEST_INSTANCE_PREFIX, Session
from lmstrix.types import Instance, LoadConfig, Request, StopReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lmstrix.types import Model

GREEDY = Sampling(temperature=0, seed=1)
CAPITAL = "What is the capital of Poland?"
LONG = "The cat saw a dog. "


@pytest.fixture
async def client(shipped: Path) -> AsyncIterator[AsyncLMStrix]:
    async with AsyncLMStrix(settings=Settings(model_folders=(str(shipped),))) as client:
        await client.scan(provider="embedded")
        yield client


async def test_a_size_the_engine_rounds_up_is_reused_when_named_again(client: AsyncLMStrix):
    first = await client.infer(CAPITAL, "tiny-chat", in_ctx=1000)
    again = await client.infer(CAPITAL, "tiny-chat", in_ctx=1000)
    beyond = await client.infer(CAPITAL, "tiny-chat", in_ctx=1024)
    assert first.instance.pid == again.instance.pid == beyond.instance.pid


async def test_an_instance_that_will_do_is_found_behind_one_that_will_not(client: AsyncLMStrix):
    await client.load("tiny-chat", in_ctx=512)
    second = await client.load("tiny-chat", in_ctx=1024)
    completion = await client.infer(CAPITAL, "tiny-chat", in_ctx=1024)
    assert completion.instance.pid == second.pid
    assert len(await client.instances()) == 2


async def test_an_answer_under_way_ends_before_its_instance_is_replaced(
    client: AsyncLMStrix, slow_file: Path
):
    model = str(slow_file)
    limit, load = Sampling(max_tokens=40), LoadConfig(threads=1)
    async with client.stream(
        "one", model, in_ctx=256, raw=True, sampling=limit, load=load
    ) as answer:
        await anext(answer)
        other = await client.infer("two", model, in_ctx=512, raw=True, out_ctx=1, load=load)
        whole = await answer.completion()
    # Random weights may end by themselves; what counts is that nobody cut them off.
    assert whole.stats.stop_reason in (StopReason.END, StopReason.LENGTH)
    assert whole.instance.context_tokens == 256
    assert other.instance.context_tokens == 512


async def test_questions_too_long_for_a_small_instance_share_the_larger_one(client: AsyncLMStrix):
    await client.load("tiny-chat", in_ctx=512)
    both = await asyncio.gather(
        *(client.infer(LONG * 150 + CAPITAL, "tiny-chat", out_ctx=8) for _ in range(2))
    )
    assert both[0].instance.pid == both[1].instance.pid
    assert both[0].instance.context_tokens > 512


async def test_the_instance_of_a_context_test_is_neither_used_nor_ended(client: AsyncLMStrix):
    name = f"{TEST_INSTANCE_PREFIX}-abc"
    testing = await client.load("tiny-chat", in_ctx=512, instance_id=name)
    completion = await client.infer(CAPITAL, "tiny-chat", in_ctx=512)
    assert completion.instance.pid != testing.pid
    assert name in [instance.id for instance in await client.instances()]


async def test_the_providers_default_is_not_exchanged_for_more(client: AsyncLMStrix):
    await client.load("tiny-chat", in_ctx=512)
    with pytest.raises(ContextOverflowError, match="holds 512"):
        await client.infer(LONG * 150, "tiny-chat", in_ctx=0)


@pytest.mark.parametrize("out_ctx", ["max", "50%"])
async def test_the_room_for_an_answer_is_that_of_the_instance_that_answers(
    client: AsyncLMStrix, out_ctx: str
):
    await client.load("tiny-chat", in_ctx=512)
    short = await client.infer(LONG * 110 + CAPITAL, "tiny-chat", out_ctx=out_ctx, sampling=GREEDY)
    assert short.instance.context_tokens > 512
    assert short.stats.stop_reason is StopReason.END


@pytest.mark.parametrize("overflow", [Overflow.MIDDLE, Overflow.ROLLING])
async def test_a_cut_prompt_leaves_room_for_all_of_the_answer(
    client: AsyncLMStrix, overflow: Overflow
):
    completion = await client.infer(
        LONG * 400 + CAPITAL,
        "tiny-chat",
        in_ctx=512,
        out_ctx="max",
        overflow=overflow,
        sampling=GREEDY,
    )
    assert completion.stats.stop_reason is StopReason.END


class Silent:
    """A provider whose load never ends; its user gives up in the moment it is called stalled."""

    async def list_instances(self) -> list[Instance]:
        return []

    async def load(self, *_: object, **__: object) -> Instance:
        try:
            await asyncio.Event().wait()
        finally:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()


async def test_a_cancel_in_the_moment_of_a_stall_stays_a_cancel(client: AsyncLMStrix):
    session = Session(Silent(), Timeouts(load_s=0.01), client.places.locks)
    model = (await client.find("tiny-chat")).model
    task = asyncio.create_task(session.load(model, LoadConfig()))
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_load_in_which_nothing_happens_is_called_stalled(shipped: Path, slow_file: Path):
    impatient = Settings(model_folders=(str(shipped),), timeouts=Timeouts(load_s=0.0001))
    async with AsyncLMStrix(settings=impatient) as client:
        with pytest.raises(StalledError, match="Loading"):
            await client.load(str(slow_file))
        assert await client.instances() == []


async def test_vectors_are_made_before_their_instance_is_replaced(client: AsyncLMStrix):
    session = client._open.session_for((await client.find("tiny-embed")).model)
    embed, begun, go_on = session.provider.embed, asyncio.Event(), asyncio.Event()

    async def embed_late(instance: Instance, texts: list[str]) -> object:
        begun.set()
        await go_on.wait()
        return await embed(instance, texts)

    session.provider.embed = embed_late
    vectors = asyncio.create_task(client.embed(["a"], "tiny-embed"))
    await begun.wait()
    (before,) = await client.instances()
    waiting = asyncio.Event()
    entry = await client.find("tiny-embed")
    replaced = asyncio.create_task(
        replace(session, entry.model, on_progress=lambda _: waiting.set())
    )
    await waiting.wait()
    assert [one.pid for one in await client.instances()] == [before.pid]
    go_on.set()
    assert len(await vectors) == 1
    assert (await replaced).pid != before.pid


async def replace(session: Session, model: Model, **options: object) -> Instance:
    async with session.hold(model, LoadConfig(), reload=True, **options) as instance:
        return instance


async def test_a_long_conversation_loses_its_oldest_questions_with_their_answers(
    client: AsyncLMStrix,
):
    instance = await client.load("tiny-chat", in_ctx=512)
    session = client._open.session_for((await client.find("tiny-chat")).model)
    roles = (Role.USER, Role.ASSISTANT)
    turns = [Message(roles[n % 2], f"This is message number {n}.") for n in range(2001)]
    rules = Message(Role.SYSTEM, "Be kind.")
    begun = time.monotonic()
    cut, note = await session.shorten(instance, Request(messages=(rules, *turns)), Overflow.ROLLING)
    assert time.monotonic() - begun < 10  # one count a message would take minutes
    system, first, *_, last = cut.messages
    assert (system, last) == (rules, turns[-1])
    assert first.role is Role.USER
    assert list(cut.messages[1:]) == turns[-len(cut.messages) + 1 :]
    assert 250 < await session.count_prompt(instance, cut) <= 384
    assert "from the beginning" in note


@pytest.mark.parametrize("overflow", [Overflow.MIDDLE, Overflow.ROLLING])
@pytest.mark.parametrize("raw", [True, False])
async def test_no_letter_is_cut_in_half(client: AsyncLMStrix, overflow: Overflow, *, raw: bool):
    instance = await client.load("tiny-chat", in_ctx=512)
    session = client._open.session_for((await client.find("tiny-chat")).model)
    for shift in range(4):
        text = "x" * shift + "日本語🎉é" * 300
        request = Request(prompt=text) if raw else Request(messages=(Message(Role.USER, text),))
        cut, _ = await session.shorten(instance, request, overflow)
        assert "\ufffd" not in (cut.prompt or cut.messages[0].content)


async def test_a_prompt_that_is_no_text_is_refused_before_anything_is_loaded(
    client: AsyncLMStrix,
):
    for kind in ({"raw": True}, {}, {"system_prompt": "\udcff"}):
        with pytest.raises(UsageError, match="UTF-8"):
            await client.infer("caf\udce9", "tiny-chat", **kind)
    assert await client.instances() == []
