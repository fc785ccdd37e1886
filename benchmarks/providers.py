"""What a streamed fragment costs through our providers, beside the clients of OpenAI and Ollama.

    python benchmarks/providers.py [--rounds N] [--part fragments|imports]

The server is a script that sends a made-up answer as fast as it is taken (`burst`) or one piece
every half millisecond (`paced`): it is the client that is measured, not a model. Every client is a
process of its own, asked in turn, round after round, by the same server in the same run. A
figure is the median over rounds of the client's processor time per fragment, and for `burst` of
its wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

MODEL = "made-up"
BURST, PACED = 4000, 400
PACE_S = 0.0005
CLIENTS = (
    "openai async",
    "openai sync",
    "ollama async",
    "ollama sync",
    "OpenAIProvider",
    "OllamaProvider",
    "AsyncLMStrix openai",
    "LMStrix openai",
    "AsyncLMStrix ollama",
    "LMStrix ollama",
)
# What a program must import to stream an answer, by who it asks.
IMPORTS = {
    "openai": "import openai; openai.OpenAI(base_url='http://127.0.0.1:9/v1', api_key='x')",
    "ollama": "import ollama; ollama.Client()",
    "our provider": "import asyncio, lmstrix.providers.openai",
    "LMStrix": (
        "import lmstrix, lmstrix.sync_client, lmstrix.connections, lmstrix.asking, "
        "lmstrix.session, lmstrix.providers.openai, lmstrix.store"
    ),
}

Ask: TypeAlias = Callable[[int], int]  # asks for so many fragments, gives how many came


# The server


def openai_stream(count: int) -> Iterator[bytes]:
    """The events of a streamed chat completion."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    for number in range(count):
        choice = {"index": 0, "delta": {"content": f" w{number}"}, "finish_reason": None}
        yield b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": count + 5}
    yield b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
    yield b"data: " + json.dumps({**head, "choices": [], "usage": usage}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def ollama_stream(count: int) -> Iterator[bytes]:
    """The lines of a streamed chat."""
    head = {"model": MODEL, "created_at": "2026-01-01T00:00:00.000000Z"}
    for number in range(count):
        message = {"role": "assistant", "content": f" w{number}"}
        yield json.dumps({**head, "message": message, "done": False}).encode() + b"\n"
    last = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    counts = {"prompt_eval_count": 5, "eval_count": count, "total_duration": 1}
    yield json.dumps({**head, **last, **counts}).encode() + b"\n"


FACTS = {
    "/v1/models": {"object": "list", "data": [{"id": MODEL, "object": "model"}]},
    "/api/version": {"version": "0.12.0"},
    "/api/tags": {"models": [{"name": MODEL, "model": MODEL, "digest": "d", "size": 1}]},
    "/api/ps": {
        "models": [{"name": MODEL, "model": MODEL, "digest": "d", "context_length": 65536}]
    },
    "/api/show": {
        "capabilities": ["completion"],
        "details": {"family": "llama"},
        "model_info": {"general.architecture": "llama", "llama.context_length": 65536},
    },
}
STREAMS = {
    "/v1/chat/completions": ("text/event-stream", openai_stream),
    "/api/chat": ("application/x-ndjson", ollama_stream),
}


def chunked(pieces: Iterator[bytes]) -> list[bytes]:
    """Each piece as one chunk of HTTP."""
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


class Server:
    """Serves what is made before anybody asks. `kind` is `openai` or `ollama`, never both."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._made = {
            (path, count): chunked(make(count))
            for path, (_, make) in STREAMS.items()
            for count in (BURST, PACED)
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer whatever comes over one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        lines = head.decode().split("\r\n")
        path = lines[0].split()[1]
        fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        mine = path.startswith("/api/") == (self._kind == "ollama")
        if mine and path in STREAMS:
            count = PACED if b"paced" in body else BURST
            kind, _ = STREAMS[path]
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
                "Transfer-Encoding: chunked\r\n\r\n".encode()
            )
            await self._send(self._made[path, count], writer, paced=count == PACED)
            return
        told = json.dumps(FACTS[path] if mine and path in FACTS else {"error": "no"}).encode()
        status = "200 OK" if mine and path in FACTS else "404 Not Found"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(told)}\r\n\r\n".encode()
            + told
        )
        await writer.drain()

    async def _send(
        self, pieces: list[bytes], writer: asyncio.StreamWriter, *, paced: bool
    ) -> None:
        if paced:
            loop = asyncio.get_running_loop()
            due = loop.time()
            for piece in pieces:
                writer.write(piece)
                due += PACE_S
                await asyncio.sleep(max(0.0, due - loop.time()))
        else:
            for at in range(0, len(pieces), 100):
                writer.write(b"".join(pieces[at : at + 100]))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def serve_both() -> None:
    """Both servers, until this process is ended; their ports are printed."""
    servers = [await asyncio.start_server(Server(k).serve, "127.0.0.1", 0) for k in STREAM_KINDS]
    print(json.dumps([one.sockets[0].getsockname()[1] for one in servers]), flush=True)
    await asyncio.gather(*(one.serve_forever() for one in servers))


STREAM_KINDS = ("openai", "ollama")

# The clients


def words(count: int) -> str:
    """The prompt; the server knows by it how to send."""
    return "burst" if count == BURST else "paced"


def ask_openai_async(ports: list[int]) -> Ask:
    """`openai.AsyncOpenAI`."""
    import openai

    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{ports[0]}/v1", api_key="x")

    async def run(count: int) -> int:
        came = 0
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": words(count)}], stream=True
        )
        async for chunk in stream:
            came += bool(chunk.choices and chunk.choices[0].delta.content)
        return came

    return looped(run)


def ask_openai_sync(ports: list[int]) -> Ask:
    """`openai.OpenAI`."""
    import openai

    client = openai.OpenAI(base_url=f"http://127.0.0.1:{ports[0]}/v1", api_key="x")

    def run(count: int) -> int:
        stream = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": words(count)}], stream=True
        )
        return sum(bool(one.choices and one.choices[0].delta.content) for one in stream)

    return run


def ask_ollama_async(ports: list[int]) -> Ask:
    """`ollama.AsyncClient`."""
    import ollama

    client = ollama.AsyncClient(host=f"http://127.0.0.1:{ports[1]}")

    async def run(count: int) -> int:
        came = 0
        messages = [{"role": "user", "content": words(count)}]
        async for one in await client.chat(model=MODEL, messages=messages, stream=True):
            came += bool(one.message.content)
        return came

    return looped(run)


def ask_ollama_sync(ports: list[int]) -> Ask:
    """`ollama.Client`."""
    import ollama

    client = ollama.Client(host=f"http://127.0.0.1:{ports[1]}")

    def run(count: int) -> int:
        messages = [{"role": "user", "content": words(count)}]
        stream = client.chat(model=MODEL, messages=messages, stream=True)
        return sum(bool(one.message.content) for one in stream)

    return run


def ask_provider(ports: list[int], kind: str) -> Ask:
    """One of our providers, without what is around it."""
    from lmstrix.config import Places, Settings
    from lmstrix.providers.found import Kinds
    from lmstrix.types import Fragment, Instance, Message, Request, Role

    places, settings = Places.locate(), Settings(discover=False)
    server = f"http://127.0.0.1:{ports[STREAM_KINDS.index(kind)]}"
    provider = Kinds(settings, places).at(kind, server)
    assert provider is not None
    instance = Instance(
        id=MODEL, model_key=MODEL, provider=kind, server=server, context_tokens=65536
    )

    async def run(count: int) -> int:
        request = Request(messages=(Message(Role.USER, words(count)),))
        came = 0
        async for item in provider.stream(instance, request):
            came += type(item) is Fragment
        return came

    return looped(run)


def settings_for(ports: list[int], kind: str) -> object:
    """Settings with that server and nothing else."""
    from lmstrix.config import EmbeddedSettings, ServerSettings, Settings

    url = f"http://127.0.0.1:{ports[STREAM_KINDS.index(kind)]}"
    return Settings(
        servers={"made-up": ServerSettings(url=url, provider=kind)},
        discover=False,
        embedded=EmbeddedSettings(enabled=False),
    )


def ask_async(ports: list[int], kind: str) -> Ask:
    """`AsyncLMStrix.stream`."""
    from lmstrix import AsyncLMStrix

    client = AsyncLMStrix(settings=settings_for(ports, kind))  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.__aenter__())
    loop.run_until_complete(client.scan())

    async def run(count: int) -> int:
        came = 0
        async with client.stream(words(count), MODEL) as answer:
            async for _ in answer:
                came += 1
        return came

    return lambda count: loop.run_until_complete(run(count))


def ask_sync(ports: list[int], kind: str) -> Ask:
    """`LMStrix.stream`."""
    from lmstrix import LMStrix

    client = LMStrix(settings=settings_for(ports, kind))  # type: ignore[arg-type]
    client.scan()

    def run(count: int) -> int:
        with client.stream(words(count), MODEL) as answer:
            return sum(1 for _ in answer)

    return run


def looped(run: Callable[[int], object]) -> Ask:
    """A coroutine function as a plain one, on a loop of its own that stays."""
    loop = asyncio.new_event_loop()
    return lambda count: loop.run_until_complete(run(count))  # type: ignore[arg-type]


def made(client: str, ports: list[int]) -> Ask:
    """What asks as that client does."""
    kind = client.rsplit(maxsplit=1)[-1]
    if client.startswith("openai"):
        return ask_openai_async(ports) if kind == "async" else ask_openai_sync(ports)
    if client.startswith("ollama"):
        return ask_ollama_async(ports) if kind == "async" else ask_ollama_sync(ports)
    if client.endswith("Provider"):
        return ask_provider(ports, client.removesuffix("Provider").lower())
    return ask_async(ports, kind) if client.startswith("Async") else ask_sync(ports, kind)


def work(client: str, ports: list[int]) -> None:
    """Ask whenever told to, and tell what it took."""
    ask = made(client, ports)
    for line in sys.stdin:
        count = int(line)
        wall, cpu = time.perf_counter(), time.process_time()
        came = ask(count)
        spent = (time.perf_counter() - wall, time.process_time() - cpu)
        assert came == count, f"{client}: {came} of {count}"
        print(json.dumps(spent), flush=True)


# The run


def started(*arguments: str) -> subprocess.Popen[str]:
    """This script in another process and another part."""
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> list[float]:
    """What such a process says next."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())  # type: ignore[no-any-return]


def measure_fragments(rounds: int) -> None:
    """Print what a fragment costs each client."""
    server = started("--serve")
    ports = json.dumps(told(server))
    workers = {client: started("--work", client, "--ports", ports) for client in CLIENTS}
    spent: dict[tuple[str, int], list[tuple[float, float]]] = {}
    try:
        for number in range(rounds + 1):  # the first warms up
            for client in CLIENTS if number % 2 else CLIENTS[::-1]:
                worker = workers[client]
                assert worker.stdin is not None
                for count in (BURST, PACED):
                    worker.stdin.write(f"{count}\n")
                    worker.stdin.flush()
                    wall, cpu = told(worker)
                    if number:
                        spent.setdefault((client, count), []).append((wall / count, cpu / count))
    finally:
        for process in (*workers.values(), server):
            process.kill()
            process.wait()
    print("| client | burst, wall µs | burst, processor µs | paced, processor µs |")
    print("|---|--:|--:|--:|")
    for client in CLIENTS:
        wall, cpu = (statistics.median(x) * 1e6 for x in zip(*spent[client, BURST], strict=True))
        paced = statistics.median(cpu for _, cpu in spent[client, PACED]) * 1e6
        print(f"| {client} | {wall:.1f} | {cpu:.1f} | {paced:.1f} |")


def measure_imports(rounds: int) -> None:
    """Print what it costs to import each client."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds):
        for name, code in IMPORTS.items():
            script = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
            run = subprocess.run(
                [sys.executable, "-c", script], capture_output=True, text=True, check=True
            )
            times[name].append(float(run.stdout))
    usual = {name: statistics.median(found) * 1000 for name, found in times.items()}
    print("| what is imported to stream an answer | processor ms | x openai | x ollama |")
    print("|---|--:|--:|--:|")
    for name, ms in usual.items():
        print(f"| {name} | {ms:.0f} | {ms / usual['openai']:.2f} | {ms / usual['ollama']:.2f} |")


def main() -> None:
    """Play the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--part", choices=("fragments", "imports"))
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--work")
    parser.add_argument("--ports")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve_both())
    elif given.work:
        with tempfile.TemporaryDirectory() as home:
            import os

            os.environ["LMSTRIX_HOME"] = home
            work(given.work, json.loads(given.ports))
    else:
        if given.part != "imports":
            measure_fragments(given.rounds)
        if given.part is None:
            print()
        if given.part != "fragments":
            measure_imports(given.rounds)


if __name__ == "__main__":
    main()
