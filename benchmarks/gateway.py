"""What the gateway adds to a request, to a relayed chunk and to the first token.

    python benchmarks/gateway.py [--rounds N] [--requests N] [--litellm VENV]
                                 [--part added|chunks|first|clients|memory]

For all but `first` the server behind is a script that answers at once: it is the gateway that is
measured, not a model. One client, a plain socket, asks the script directly, through `lmstrix
serve` and, where a virtual environment with it is named, through the `litellm` proxy, one after
the other in an order drawn anew each round; figures are medians, and differences are taken
within a round. `first` compares the engine asked directly with the same model behind the
gateway. Times of different processes are of one clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "lmstrix" / "shipped" / "tiny-chat.gguf"
MODEL = "scripted"
CHAT = "/v1/chat/completions"
CHUNKS = 200
PACE_S = 0.001
CLIENTS = 64
LITELLM = """\
model_list:
  - model_name: scripted
    litellm_params: {{model: openai/scripted, api_base: {url}/v1, api_key: any}}
litellm_settings: {{telemetry: false}}
"""
QUESTION = [{"role": "user", "content": "What is the capital of Poland?"}]


# The server behind


class Script(asyncio.Protocol):
    """Answers at once. A streamed answer has `n` pieces, one every `seed` microseconds."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, rest = self._buffer[:end].lower(), self._buffer[end + 4 :]
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            task = asyncio.create_task(self._answer(head, body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, head: bytes, body: bytes) -> None:
        close = b"connection: close" in head
        if head.startswith(b"get"):
            listed = {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
            known = head.startswith(b"get /v1/models")
            self._whole(listed if known else {"error": {"message": "no"}}, 200 if known else 404)
        else:
            asked = json.loads(body)
            if asked.get("stream"):
                await self._stream(asked.get("max_tokens", CHUNKS), asked.get("seed", 0) / 1e6)
            else:
                self._whole(answer("Warsaw."), 200)
        if close:
            self._transport.close()

    def _whole(self, content: object, status: int) -> None:
        body = json.dumps(content).encode()
        self._transport.write(
            b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )

    async def _stream(self, count: int, pace_s: float) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        due = time.perf_counter()
        for _ in range(count):
            # The piece carries the time at which it was sent.
            self._event(piece(f"{time.perf_counter():.9f} "))
            if pace_s:
                due += pace_s
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
        self._event(piece("", finish="stop"))
        self._chunk(b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")

    def _event(self, content: object) -> None:
        self._chunk(b"data: " + json.dumps(content).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))


def answer(text: str) -> dict[str, object]:
    """A whole chat completion."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }


def piece(text: str, finish: str | None = None) -> dict[str, object]:
    """One event of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return {**head, "choices": [choice]}


async def run_script() -> None:
    """Serve until killed; the first line printed is the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Script, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# The client


class Client:
    """One kept connection. It reads what it needs of HTTP/1.1 and no more."""

    def __init__(self, url: str) -> None:
        self._host, self._port = "127.0.0.1", int(url.rpartition(":")[2])
        self._reader: asyncio.StreamReader | None = None

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, *, model: str = MODEL, **fields: Any) -> list[tuple[float, bytes]]:
        """The pieces of an answer's body, each with the time of its arrival."""
        assert self._reader is not None
        body = json.dumps({"model": model, "messages": QUESTION, **fields}).encode()
        self._writer.write(
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer any\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (CHAT.encode(), self._port, len(body), body)
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(f"{self._port}: {head.decode()}{await self._reader.read(500)!r}")
        if (at := head.find(b"content-length:")) >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            whole = await self._reader.readexactly(length)
            return [(time.perf_counter(), whole)]
        pieces = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            data = await self._reader.readexactly(size + 2)
            pieces.append((time.perf_counter(), data[:-2]))
        await self._reader.readexactly(2)
        return pieces


# What is measured


async def added(urls: dict[str, str], rounds: int) -> None:
    """Time of a whole answer and of a streamed one, by who is asked."""
    head(f"one request after another, {rounds} rounds", "ms", "added, ms")
    for name, fields in (
        ("whole answer", {}),
        ("stream of 1", {"stream": True, "max_tokens": 1}),
    ):
        times = await in_turn(urls, rounds, partial(timed, fields=fields))
        show(name, times, unit=1e3, most=1.5)


async def timed(client: Client, fields: dict[str, Any]) -> float:
    """Seconds from a request to its end."""
    begun = time.perf_counter()
    await client.ask(**fields)
    return time.perf_counter() - begun


async def chunks(urls: dict[str, str], pids: dict[str, int], rounds: int) -> None:
    """What a chunk of a paced stream costs on its way: delay, and the gateway's own time."""
    rounds = max(3, rounds // 20)
    head(f"a chunk, one every {PACE_S * 1e3:g} ms, {rounds} x {CHUNKS}", "delay, µs", "added, µs")
    fields: dict[str, Any] = {
        "stream": True,
        "max_tokens": CHUNKS,
        "seed": round(PACE_S * 1e6),
    }
    spent = dict.fromkeys(pids, (0.0, 0.0))

    async def delay(client: Client, name: str) -> float:
        before = cpu_s(pids.get(name))
        pieces = await client.ask(**fields)
        if name in spent:
            after = cpu_s(pids[name])
            spent[name] = (
                spent[name][0] + after[0] - before[0],
                spent[name][1] + after[1] - before[1],
            )
        return statistics.median(delays(pieces))

    times: dict[str, list[float]] = {name: [] for name in urls}
    async with Connected(urls) as clients:
        for _ in range(rounds):
            for name in random.sample(sorted(urls), len(urls)):
                times[name].append(await delay(clients[name], name))
    show("delay", times, unit=1e6, most=50)
    print()
    print("| processor time a chunk | its own, µs | the system's, µs |\n|---|---:|---:|")
    for name, seconds in spent.items():
        own, system = (part / rounds / CHUNKS * 1e6 for part in seconds)
        print(f"| {name} | {own:.0f} | {system:.0f} |")


def delays(pieces: list[tuple[float, bytes]]) -> Iterator[float]:
    """Seconds each event was on its way, by the time that it carries."""
    for arrived, data in pieces:
        for line in data.split(b"\n\n"):
            if b'"content": "' in line or b'"content":"' in line:
                text = json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"]["content"]
                if text:
                    yield arrived - float(text)


async def first(rounds: int) -> None:
    """Time to the first token of the shipped model: its engine alone, and behind the gateway."""
    from lmstrix.engine.process import Engine, EngineSpec

    spec = EngineSpec(model="tiny-chat", path=str(SHIPPED), context_tokens=8192)
    engine = await Engine.start(spec)
    fields = {"messages": QUESTION, "stream": True, "max_tokens": 4, "cache_prompt": False}
    body = json.dumps(fields).encode()

    async def direct() -> float:
        begun = time.perf_counter()
        reply = await engine.client.open("POST", CHAT, body)
        data = b""
        while b'"content":"' not in data:
            data = await reply.read()
        took = time.perf_counter() - begun
        while await reply.read():
            pass
        reply.abort()
        return took

    async def through(client: Client) -> float:
        begun = time.perf_counter()
        pieces = await client.ask(model="tiny-chat", stream=True, max_tokens=4, cache_prompt=False)
        return next(at for at, data in pieces if b'"content":"' in data) - begun

    settings = {"LMSTRIX_SHIPPED_MODELS": "true"}
    with tempfile.TemporaryDirectory() as home, gateway(home, "", settings) as (url, _):
        times: dict[str, list[float]] = {"direct": [], "lmstrix": []}
        async with Client(url) as client:
            for number in range(rounds + 5):
                pairs = [("direct", await direct()), ("lmstrix", await through(client))]
                for name, seconds in pairs if number >= 5 else []:
                    times[name].append(seconds)
    await engine.stop()
    head(f"the shipped model, its engine asked directly, {rounds} rounds", "ms", "added, ms")
    show("first token", times, unit=1e3, most=2)


async def clients(urls: dict[str, str], requests: int) -> None:
    """Many clients at once: requests a second, and how long each takes."""
    print(f"\n| {CLIENTS} clients at once, streams of 20 | requests a second | p50, ms | p99, ms |")
    print("|---|---:|---:|---:|")
    for name, url in urls.items():
        count = requests if name != "litellm" else min(requests, 500)
        begun = time.perf_counter()
        times = await crowd(url, count, stream=True, max_tokens=20)
        took = time.perf_counter() - begun
        ranks = statistics.quantiles(times, n=100)
        middle, high = ranks[49] * 1e3, ranks[98] * 1e3
        print(f"| {name} | {len(times) / took:.0f} | {middle:.0f} | {high:.0f} |", flush=True)


async def crowd(url: str, requests: int, **fields: Any) -> list[float]:
    """`requests` by `CLIENTS` clients; how long each took."""
    times: list[float] = []
    left = iter(range(requests))

    async def work() -> None:
        async with Client(url) as client:
            for _ in left:
                times.append(await timed(client, fields))

    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return times


async def memory(url: str, pid: int, requests: int) -> None:
    """The gateway's memory over many requests, half of them streams."""
    print("\n| requests | memory of the gateway, MiB |\n|---:|---:|")
    process = psutil.Process(pid)
    await crowd(url, 2000, stream=True, max_tokens=20)
    parts = 10
    for number in range(parts + 1):
        held = process.memory_info().rss / 2**20
        print(f"| {number * requests // parts:,} | {held:.1f} |", flush=True)
        if number < parts:
            share = requests // parts // 2
            await crowd(url, share, stream=True, max_tokens=20)
            await crowd(url, requests // parts - share)


async def in_turn(
    urls: dict[str, str], rounds: int, measure: Callable[[Client], Awaitable[float]]
) -> dict[str, list[float]]:
    """Each measured once a round, in an order drawn anew; the first rounds do not count."""
    times: dict[str, list[float]] = {name: [] for name in urls}
    async with Connected(urls) as connected:
        for number in range(rounds + 10):
            for name in random.sample(sorted(urls), len(urls)):
                took = await measure(connected[name])
                if number >= 10:
                    times[name].append(took)
    return times


class Connected:
    """One client for each of `urls`."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._clients = {name: Client(url) for name, url in urls.items()}

    async def __aenter__(self) -> dict[str, Client]:
        for client in self._clients.values():
            await client.__aenter__()
        return self._clients

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.__aexit__()


def head(what: str, unit: str, more: str) -> None:
    """The head of a table for `show`."""
    print(f"\n| {what} | asked | median {unit} | {more} | |\n|---|---|---:|---:|---|")


def show(name: str, times: dict[str, list[float]], *, unit: float, most: float) -> None:
    """A row per target: its median, and that of its differences to `direct`, at most `most`."""
    more = {
        target: statistics.median(a - b for a, b in zip(seconds, times["direct"], strict=True))
        for target, seconds in times.items()
    }
    for target, seconds in times.items():
        verdict = ""
        if target == "lmstrix":
            met = "met" if more[target] * unit <= most else "missed"
            verdict = f"{met}: at most {most:g}"
            if "litellm" in more:
                share = more[target] / more["litellm"]
                verdict += f"; {share:.3f} x litellm's ({'met' if share <= 0.3 else 'missed'}: 0.3)"
        middle = statistics.median(seconds) * unit
        added_here = more[target] * unit
        print(f"| {name} | {target} | {middle:.2f} | {added_here:+.2f} | {verdict} |", flush=True)


def cpu_s(pid: int | None) -> tuple[float, float]:
    """Processor time of a process and its children, in seconds: its own, and the system's."""
    if pid is None:
        return 0.0, 0.0
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user for one in times), sum(one.system for one in times)


# The processes


@contextmanager
def script() -> Iterator[str]:
    """The scripted server; gives its address."""
    worker = [sys.executable, __file__, "--worker"]
    with subprocess.Popen(worker, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@contextmanager
def gateway(home: str, upstream: str, settings: dict[str, str]) -> Iterator[tuple[str, int]]:
    """`lmstrix serve` before `upstream`; gives its address and process."""
    config = Path(home) / "bench.toml"
    table = f'[servers.behind]\nurl = "{upstream}"\nprovider = "openai"\n' if upstream else ""
    config.write_text(f"discover = false\n{table}", encoding="utf-8")
    command = Path(sys.executable).with_name("lmstrix")
    options = ["serve", "--port", "0", "--config", str(config), "--max-requests", "1000"]
    with subprocess.Popen(
        [str(command), *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LMSTRIX_HOME": home, "HOME": home, **settings},
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split(" at ")[1].split()[0], process.pid
        finally:
            process.terminate()


@contextmanager
def litellm(venv: str, home: str, upstream: str) -> Iterator[tuple[str, int]]:
    """The `litellm` proxy before `upstream`; gives its address and process."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = Path(home) / "litellm.yaml"
    config.write_text(LITELLM.format(url=upstream), encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [f"{venv}/bin/litellm", "--config", str(config), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "HOME": home,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
    ) as process:
        try:
            while process.poll() is None:
                try:
                    urllib.request.urlopen(f"{url}/health/liveliness", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                raise SystemExit("litellm did not start")
            yield url, process.pid
        finally:
            process.terminate()


async def measure(options: argparse.Namespace) -> None:
    """Everything that was asked for."""
    wanted = {options.part} if options.part else {"added", "chunks", "first", "clients", "memory"}
    if "first" in wanted:
        await first(options.rounds)
    if wanted == {"first"}:
        return
    with tempfile.TemporaryDirectory() as home, script() as behind, ExitStack() as running:
        url, pid = running.enter_context(gateway(home, behind, {}))
        urls, pids = {"direct": behind, "lmstrix": url}, {"lmstrix": pid}
        if options.litellm:
            started = running.enter_context(litellm(options.litellm, home, behind))
            urls["litellm"], pids["litellm"] = started
        if "added" in wanted:
            await added(urls, options.rounds)
        if "chunks" in wanted:
            await chunks(urls, pids, options.rounds)
        if "clients" in wanted:
            await clients(urls, min(options.requests, 5000))
        if "memory" in wanted:
            await memory(url, pid, options.requests)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument(
        "--litellm",
        metavar="VENV",
        default=os.environ.get("LMSTRIX_BENCH_LITELLM"),
        help="a virtual environment that has litellm[proxy]",
    )
    parser.add_argument("--part", choices=("added", "chunks", "first", "clients", "memory"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(run_script())
        return
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    print(
        f"{os.cpu_count()} cores, load {load:.1f} before the run, Python {sys.version.split()[0]}."
    )
    asyncio.run(measure(options))


if __name__ == "__main__":
    main()
