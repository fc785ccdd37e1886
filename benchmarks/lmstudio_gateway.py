"""What the gateway adds to LM Studio's native protocol, and what many clients at once do to it.

    python benchmarks/lmstudio_gateway.py [--rounds N] [--clients N] [--minutes M]

The engine asked directly and the same loaded instance asked over a WebSocket take turns, in an
order drawn anew each round; the client is a plain socket that reads JSON. Each asks for one token
after a prompt that the engine has cached, so that hardly more than the way is measured. Then many
clients ask without a pause, and memory is read after a warm-up and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from websockets.asyncio.client import connect

from lmstrix import AsyncLMStrix
from lmstrix.config import Places, Settings
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.types import Fragment, Message, Request, Role, Sampling

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from lmstrix.gateway.gateway import Held
    from lmstrix.gateway.server import Serving

TEXT = "What is the capital of Poland?"
WARM = 20
ONE = Request(messages=(Message(Role.USER, TEXT),), sampling=Sampling(temperature=0, max_tokens=1))


def wish(most: int) -> dict[str, Any]:
    """What opens a `predict` channel."""
    values = {
        "llm.prediction.temperature": 0,
        "llm.prediction.maxPredictedTokens": {"checked": True, "value": most},
    }
    fields = [{"key": key, "value": value} for key, value in values.items()]
    return {
        "modelSpecifier": {"type": "query", "query": {"identifier": "tiny-chat"}},
        "history": {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]},
        "predictionConfigStack": {
            "layers": [{"layerName": "apiOverride", "config": {"fields": fields}}]
        },
    }


class Client:
    """One connection of the namespace `llm`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    async def greet(self, name: str) -> None:
        """The handshake."""
        hello = {"authVersion": 1, "clientIdentifier": f"guest:{name}", "clientPasskey": "x"}
        await self._socket.send(json.dumps(hello))
        await self._socket.recv()

    async def ask(self, most: int) -> float:
        """Seconds from asking to the first fragment of an answer of `most` tokens."""
        self._number += 1
        frame = {
            "type": "channelCreate",
            "endpoint": "predict",
            "channelId": self._number,
            "creationParameter": wish(most),
        }
        begun, first = time.perf_counter(), None
        await self._socket.send(json.dumps(frame))
        while (told := json.loads(await self._socket.recv()))["type"] != "channelClose":
            if told["type"] == "channelError":
                raise RuntimeError(told["error"]["title"])
            if first is None and told["message"]["type"] == "fragment":
                first = time.perf_counter() - begun
        assert first is not None
        return first


async def ask_directly(held: Held) -> float:
    """The same of the engine itself."""
    begun, first = time.perf_counter(), None
    async with aclosing(held.provider.stream(held.instance, ONE)) as items:
        async for item in items:
            if first is None and isinstance(item, Fragment):
                first = time.perf_counter() - begun
    assert first is not None
    return first


async def measure_added(server: Serving, client: Client, rounds: int) -> None:
    """Print the time to the first token, directly and through the gateway."""
    times: dict[str, list[float]] = {"directly": [], "through": []}
    dice = random.Random(1)
    async with server.gateway.hold("tiny-chat") as held:
        for number in range(rounds + WARM):
            both = ["directly", "through"]
            dice.shuffle(both)
            for way in both:
                took = await (client.ask(1) if way == "through" else ask_directly(held))
                if number >= WARM:
                    times[way].append(took * 1000)
    added = [there - here for here, there in zip(times["directly"], times["through"], strict=True)]
    print("| time to first token | median, ms | 95 % below, ms |")
    print("|---|---:|---:|")
    for name, values in (*times.items(), ("added by the gateway", added)):
        high = statistics.quantiles(values, n=20)[-1]
        print(f"| {name} | {statistics.median(values):.2f} | {high:.2f} |")


async def soak(clients: list[Client], minutes: float) -> None:
    """Print how many answers many clients got, and what happened to the memory.

    An answer that is refused or breaks off ends the run.
    """
    process = psutil.Process()
    until = time.monotonic() + minutes * 60
    answers = 0

    async def ask_on(client: Client) -> None:
        nonlocal answers
        while time.monotonic() < until:
            await client.ask(8)
            answers += 1

    asking = [asyncio.create_task(ask_on(client)) for client in clients]
    await asyncio.sleep(minutes * 60 / 4)  # the warm-up
    warm = process.memory_info().rss
    await asyncio.gather(*asking)
    grown = (process.memory_info().rss - warm) / 2**20
    print()
    print("| clients at once | minutes | answers, none lost | memory grown after warm-up, MiB |")
    print("|---:|---:|---:|---:|")
    print(f"| {len(clients)} | {minutes:g} | {answers:,} | {grown:.1f} |")


async def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=1.0)
    chosen = parser.parse_args()
    async with AsyncExitStack() as running:
        home = running.enter_context(tempfile.TemporaryDirectory())
        settings = Settings(shipped_models=True, discover=False)
        places = Places.locate({"LMSTRIX_HOME": str(Path(home))})
        client = await running.enter_async_context(AsyncLMStrix(settings=settings, places=places))
        options = GatewayOptions(port=0, drain_s=1)
        server = await running.enter_async_context(serving(client, options))
        await server.gateway.load("tiny-chat")
        url = server.url.replace("http", "ws", 1) + "/llm"
        clients = []
        for number in range(chosen.clients):
            one = Client(await running.enter_async_context(connect(url, compression=None)))
            await one.greet(str(number))
            clients.append(one)
        await measure_added(server, clients[0], chosen.rounds)
        await soak(clients, chosen.minutes)


if __name__ == "__main__":
    asyncio.run(main())
