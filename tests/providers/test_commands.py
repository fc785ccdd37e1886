"""`scan`, `list`, `infer` and `test` behave the same whoever runs the model."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from lmstrix import AsyncLMStrix
from lmstrix.config import Settings
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
NETWORK = ("openai", "lmstudio-openai", "ollama", "lmstudio")


class Told(NamedTuple):
    """What a command said."""

    code: int
    out: str
    problem: str


@asynccontextmanager
async def gateway() -> AsyncIterator[str]:
    settings = Settings(shipped_models=True, discover=False)
    async with (
        AsyncLMStrix(settings=settings, store_path=Path(os.environ["HOME"]) / "behind.db") as one,
        serving(one, GatewayOptions(port=0, drain_s=1)) as served,
    ):
        yield served.url


@pytest.fixture(params=NETWORK)
async def lmstrix(
    request: pytest.FixtureRequest, start_llama: Callable[..., Awaitable[object]]
) -> AsyncIterator[Callable[..., Awaitable[Told]]]:
    """Runs the installed command with a server of each kind as the only place of models."""
    async with AsyncExitStack() as running:
        environ = {
            **os.environ,
            "LMSTRIX_DISCOVER": "false",
            "LMSTRIX_EMBEDDED__ENABLED": "false",
            "LMSTRIX_SERVERS__OFFICE__PROVIDER": request.param,
            "COLUMNS": "80",
        }
        if request.param == "openai":
            server = await start_llama(context_tokens=1024)
            environ["LMSTRIX_SERVERS__OFFICE__TOKEN_ENV"] = "LLAMA_TOKEN"
            environ["LLAMA_TOKEN"] = os.environ["LLAMA_TOKEN"]
            environ["LMSTRIX_SERVERS__OFFICE__URL"] = server.url
        else:
            url = await running.enter_async_context(gateway())
            environ["LMSTRIX_SERVERS__OFFICE__URL"] = url

        async def run(*arguments: str) -> Told:
            process = await asyncio.create_subprocess_exec(
                *(COMMAND, "--server", "office", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environ,
            )
            out, problem = await process.communicate()
            assert process.returncode is not None
            return Told(process.returncode, out.decode(), problem.decode())

        yield run


async def test_commands_do_what_they_do_everywhere(
    lmstrix: Callable[..., Awaitable[Told]], request: pytest.FixtureRequest
):
    scanned = await lmstrix("scan")
    assert scanned.code == 0, scanned.problem
    listed = await lmstrix("list", "--show", "id")
    name = next(line for line in listed.out.splitlines() if line.startswith("tiny-chat"))
    for extra in ((), ("--stream",)):
        told = await lmstrix("infer", "Capital of Poland?", name, "--temperature", "0", *extra)
        assert (told.code, told.out) == (0, "Warsaw.\n"), told.problem
    shown = await lmstrix("infer", "Hello", name, "--explain", "--format", "json")
    assert shown.code == 0, shown.problem
    body = json.loads(json.loads(shown.out)["wire"]["body"])
    assert "Hello" in json.dumps(body)
    assert "temperature" not in json.dumps(body).lower()
    missing = await lmstrix("infer", "Hello", "no-such-model")
    assert missing.code == 3
    long = await lmstrix("infer", "cat " * 9000, name)
    assert long.code == 1
    assert "tokens" in long.problem


async def test_a_server_that_went_away_is_no_fault_of_its_models(
    start_llama: Callable[..., Awaitable[object]], monkeypatch: pytest.MonkeyPatch
):
    server = await start_llama()
    async with AsyncLMStrix(settings=server.settings) as client:
        await client.scan()
        before = [entry.model.key for entry in await client.list_models()]
        (name,) = [key for key in before if key.startswith("tiny-chat")]
    port_of_nobody = server.url.rpartition(":")[0] + ":9"
    moved = Settings(
        servers={
            "llama": server.settings.servers["llama"],
            "gone": type(server.settings.servers["llama"])(url=port_of_nobody, provider="openai"),
        },
        discover=False,
    )
    async with AsyncLMStrix(settings=moved) as client:
        report = await client.scan()
        assert [one.server for one in report.servers if one.unreachable] == [port_of_nobody]
        assert [entry.model.key for entry in await client.list_models()] == before
        assert "Warsaw" in (await client.infer("Capital of Poland?", name)).text
