"""Answers that break off, on either side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING

import httpx2
import pytest

from lmstrix.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Serve

    from lmstrix.gateway.server import Serving

LONG = {"num_predict": 4000, "num_ctx": 4096}


@pytest.fixture
async def slow(serve: Serve, slow_file: Path) -> Serving:
    """A gateway before a model that takes some milliseconds for a token."""
    settings = Settings(model_folders=(str(slow_file.parent),), discover=False)
    return await serve(settings, aliases={"slow": slow_file.stem})


async def until_users(gateway: Serving, http: httpx2.AsyncClient, *, any_left: bool) -> None:
    """Return once somebody, or nobody, answers from the instance: before it would be done."""
    (instance,) = await gateway.gateway.instances()
    stay = gateway.gateway.keeping._residency.named(instance.id)
    async with asyncio.timeout(15):
        while bool(stay.users) is not any_left:
            await http.get("/health")


async def test_a_client_that_goes_ends_its_answer(slow: Serving):
    body = {"model": "slow", "prompt": "x", "raw": True, "options": LONG}
    async with httpx2.AsyncClient(base_url=slow.url, timeout=60) as http:
        async with http.stream("POST", "/api/generate", json=body) as response:
            lines = response.aiter_lines()
            assert json.loads(await anext(lines))["done"] is False
        await until_users(slow, http, any_left=False)


async def test_a_client_that_waits_for_a_whole_answer_and_goes_ends_it_too(slow: Serving):
    body = {"model": "slow", "prompt": "x", "raw": True, "stream": False, "options": LONG}
    async with httpx2.AsyncClient(base_url=slow.url, timeout=60) as http:
        await http.post("/api/generate", json={"model": "slow", "options": {"num_ctx": 4096}})
        asking = asyncio.create_task(http.post("/api/generate", json=body))
        await until_users(slow, http, any_left=True)
        asking.cancel()
        await until_users(slow, http, any_left=False)


async def test_an_engine_that_dies_is_told_in_the_last_line(slow: Serving):
    body = {"model": "slow", "prompt": "x", "raw": True, "options": LONG}
    async with (
        httpx2.AsyncClient(base_url=slow.url, timeout=60) as http,
        http.stream("POST", "/api/generate", json=body) as response,
    ):
        lines = response.aiter_lines()
        assert json.loads(await anext(lines))["done"] is False
        (instance,) = await slow.gateway.instances()
        os.kill(instance.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        last = [json.loads(line) async for line in lines][-1]
        assert set(last) == {"error"}
        assert "ended" in last["error"] or "died" in last["error"] or "killed" in last["error"]
