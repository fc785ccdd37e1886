"""Requests of other programs that the embedded engine answers itself, byte for byte."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from lmstrix.errors import EngineDiedError
from lmstrix.types import LoadConfig, WireRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmstrix.providers.embedded import EmbeddedProvider
    from lmstrix.types import Instance, Model

QUESTION = [{"role": "user", "content": "What is the capital of Poland?"}]


def chat(**fields: object) -> WireRequest:
    body = json.dumps({"messages": QUESTION, "temperature": 0, **fields}).encode()
    return WireRequest(method="POST", path="/v1/chat/completions", body=body)


async def test_an_answer_passes_as_it_is_with_status_and_type(
    provider: EmbeddedProvider, model: Callable[..., Model]
):
    instance = await provider.load(model(), LoadConfig(context_tokens=1024))
    async with provider.relay(instance, "openai", chat(stream=True)) as relayed:
        assert (relayed.status, relayed.content_type) == (200, "text/event-stream")
        whole = b"".join([piece async for piece in relayed.chunks()])
    assert whole.startswith(b"data: {")
    assert whole.endswith(b"data: [DONE]\n\n")
    async with provider.relay(instance, "openai", chat(messages="?")) as relayed:
        assert relayed.status == 400
        assert "error" in json.loads(b"".join([piece async for piece in relayed.chunks()]))


async def test_an_answer_names_the_model_and_not_its_file(
    provider: EmbeddedProvider, model: Callable[..., Model]
):
    instance = await provider.load(model(), LoadConfig(context_tokens=1024))
    async with provider.relay(instance, "openai", chat()) as relayed:
        answer = json.loads(b"".join([piece async for piece in relayed.chunks()]))
    assert answer["model"] == "tiny-chat"


async def test_leaving_early_frees_the_engine(
    provider: EmbeddedProvider, model: Callable[..., Model], slow_file: Path
):
    slow = model(path=str(slow_file))
    instance = await provider.load(slow, LoadConfig(context_tokens=1024, threads=1))
    endless = chat(stream=True, max_tokens=900, ignore_eos=True)
    async with provider.relay(instance, "openai", endless) as relayed:
        await anext(relayed.chunks())
        assert await busy(provider, instance)
    async with asyncio.timeout(5):
        await provider._owned[instance.id]._tidying
    assert not await busy(provider, instance)


async def test_an_engine_that_dies_breaks_the_answer_off(
    provider: EmbeddedProvider, model: Callable[..., Model], slow_file: Path
):
    slow = model(path=str(slow_file))
    instance = await provider.load(slow, LoadConfig(context_tokens=1024, threads=1))
    endless = chat(stream=True, max_tokens=900, ignore_eos=True)
    async with provider.relay(instance, "openai", endless) as relayed:
        pieces = relayed.chunks()
        await anext(pieces)
        provider._owned[instance.id]._engine.kill()
        with pytest.raises(EngineDiedError):
            [_ async for _ in pieces]


async def busy(provider: EmbeddedProvider, instance: Instance) -> bool:
    return bool(await provider._owned[instance.id]._busy_slots())
