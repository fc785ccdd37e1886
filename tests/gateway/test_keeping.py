"""Instances of the embedded engine: loaded on demand, making room, ended, borrowed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lmstrix import AsyncLMStrix
from lmstrix.errors import EngineDiedError, ModelNotFoundError, NotFoundError
from lmstrix.types import LoadConfig, Message, Request, Role, Sampling

if TYPE_CHECKING:
    from conftest import Serve

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.server import Serving
    from lmstrix.types import Instance

HI = Request(messages=(Message(Role.USER, "Hi"),), sampling=Sampling(max_tokens=2))


def ids(instances: list[Instance]) -> list[str]:
    return sorted(instance.id for instance in instances)


async def touch(gateway: Gateway, name: str, **options: object) -> Instance:
    async with gateway.hold(name, **options) as held:
        return held.instance


async def test_what_was_loaded_on_demand_makes_room_and_says_so(gateway: Serving):
    doors, evicted = gateway.gateway, []
    await touch(doors, "tiny-chat")
    await touch(doors, "tiny-chat-overclaimed", on_evict=lambda one: evicted.append(one.id))
    assert evicted == ["tiny-chat"]
    assert ids(await doors.instances()) == ["tiny-chat-overclaimed"]


async def test_more_stay_where_more_are_allowed(serve: Serve):
    doors = (await serve(max_loaded=2)).gateway
    await touch(doors, "tiny-chat")
    await touch(doors, "tiny-chat-overclaimed")
    assert ids(await doors.instances()) == ["tiny-chat", "tiny-chat-overclaimed"]


async def test_an_explicit_load_stays_and_its_copies_are_numbered(gateway: Serving):
    doors = gateway.gateway
    first = await doors.load("tiny-chat", LoadConfig(context_tokens=512))
    second = await doors.load("tiny-chat", LoadConfig(context_tokens=1024))
    assert (first.id, second.id) == ("tiny-chat", "tiny-chat:2")
    await touch(doors, "tiny-chat-overclaimed")
    await touch(doors, "tiny-embed")
    assert ids(await doors.instances()) == ["tiny-chat", "tiny-chat:2", "tiny-embed"]
    assert (await touch(doors, "tiny-chat:2")).pid == second.pid
    await doors.unload("tiny-chat:2")
    with pytest.raises(ModelNotFoundError):
        await touch(doors, "tiny-chat:2")
    with pytest.raises(NotFoundError):
        await doors.unload("tiny-chat:2")


async def test_questions_at_once_load_a_model_once(gateway: Serving):
    found = await asyncio.gather(*(touch(gateway.gateway, "tiny-chat") for _ in range(8)))
    assert len({instance.pid for instance in found}) == 1


async def test_an_instance_ends_after_its_time_without_use(serve: Serve):
    doors = (await serve(ttl_s=0.2)).gateway
    ended = asyncio.Event()
    unload = (await touch(doors, "tiny-chat")).id
    provider = doors._open.provider_of((await doors.find("tiny-chat")).model)
    original = provider.unload

    async def watched(instance_id: str) -> None:
        await original(instance_id)
        ended.set()

    provider.unload = watched
    async with asyncio.timeout(10):
        await ended.wait()
    assert unload not in ids(await doors.instances())


async def test_an_instance_in_use_outlives_its_time(serve: Serve):
    doors = (await serve(ttl_s=0.05)).gateway
    async with doors.hold("tiny-chat") as held:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.Event().wait()
        assert ids(await doors.instances()) == [held.instance.id]


async def test_a_size_that_is_named_is_loaded(gateway: Serving):
    doors = gateway.gateway
    assert (await touch(doors, "tiny-chat")).context_tokens > 512
    small = await touch(doors, "tiny-chat", config=LoadConfig(context_tokens=512))
    assert small.context_tokens == 512
    assert ids(await doors.instances()) == ["tiny-chat"]


async def test_without_loading_on_demand_only_what_is_loaded_answers(serve: Serve):
    doors = (await serve(jit=False)).gateway
    with pytest.raises(ModelNotFoundError, match="--no-jit"):
        await touch(doors, "tiny-chat")
    loaded = await doors.load("tiny-chat")
    assert (await touch(doors, "tiny-chat")).pid == loaded.pid


async def test_a_resident_instance_is_borrowed_and_left_alone(serve: Serve):
    doors = (await serve()).gateway
    async with AsyncLMStrix(settings=doors.client.settings) as other:
        resident = await other.load("tiny-chat", in_ctx=512, resident=True)
        try:
            assert (await touch(doors, "tiny-chat")).pid == resident.pid
            await touch(doors, "tiny-chat-overclaimed")
            assert (await touch(doors, "tiny-chat")).pid == resident.pid
            larger = await touch(doors, "tiny-chat", config=LoadConfig(context_tokens=1024))
            assert larger.pid != resident.pid
            assert resident.pid in [one.pid for one in await doors.instances()]
        finally:
            await other.unload(all=True)


async def test_a_load_that_nobody_waits_for_any_more_is_given_up(gateway: Serving):
    doors = gateway.gateway
    heard = [asyncio.Event(), asyncio.Event()]
    waiting = [
        asyncio.create_task(touch(doors, "tiny-chat", on_progress=lambda _, one=one: one.set()))
        for one in heard
    ]
    for one in heard:
        await one.wait()
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert doors.keeping._loads
    waiting[1].cancel()
    await asyncio.wait(waiting)
    assert not doors.keeping._loads
    assert await doors.instances() == []
    assert (await touch(doors, "tiny-chat")).model_key == "tiny-chat"


async def test_an_engine_that_died_while_idle_is_loaded_anew_unnoticed(gateway: Serving):
    doors = gateway.gateway
    first = await touch(doors, "tiny-chat")
    await die(doors, first)
    async with doors.answer("tiny-chat", HI) as answering:
        assert [_ async for _ in answering]
    assert answering.held.instance.pid != first.pid


async def test_an_engine_that_dies_over_an_answer_is_loaded_anew_for_the_next(gateway: Serving):
    doors = gateway.gateway

    async def ask_the_dying() -> None:
        async with doors.answer("tiny-chat", HI) as answering:
            await die(doors, answering.held.instance)
            [_ async for _ in answering]

    with pytest.raises(EngineDiedError):
        await ask_the_dying()
    async with doors.answer("tiny-chat", HI) as answering:
        assert [_ async for _ in answering]


async def die(doors: Gateway, instance: Instance) -> None:
    provider = doors._open.provider_of((await doors.find("tiny-chat")).model)
    engine = provider._owned[instance.id]._engine
    engine.kill()
    await asyncio.shield(engine.died)


async def test_questions_wait_for_their_turn_before_the_engine_and_not_within(gateway: Serving):
    doors, order = gateway.gateway, []

    async def ask(name: str) -> None:
        async with doors.answer("tiny-chat", HI) as answering:
            order.append(name)
            [_ async for _ in answering]

    async with doors.answer("tiny-chat", HI) as first:
        engine = first.held.provider._owned[first.held.instance.id]
        await anext(aiter(first))
        others = [asyncio.create_task(ask(name)) for name in ("second", "gone", "third")]
        while len(first.held.turn._waiters or ()) < 3:  # noqa: ASYNC110  # it only counts
            await asyncio.sleep(0)
        others[1].cancel()
        assert engine._active == 1
        assert order == []
    await asyncio.wait(others)
    assert order == ["second", "third"]
