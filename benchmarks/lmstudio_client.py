"""What our client of LM Studio's protocol costs, and what the official one does.

    python benchmarks/lmstudio_client.py [--rounds N] [--part all|time|streams]

One server that writes what it has ready made as fast as it can, in a process of its own, and four
workers, each a process of its own: `lmstrix.lmstudio` and `lmstudio`, for threads and for asyncio.
The same work is put to them in turn, round after round; figures are medians over rounds, ratios are
taken within a round. `bare` asks the same of the server with nothing but a socket: what is the
server's and the system's share. A second part opens 1,000 streams at once on one of our clients
and counts every fragment.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

HERE = Path(__file__).resolve()
FRAGMENTS = 5000
CALLS = 300
TEXTS = 200
DIMENSIONS = 768
STREAMS = 1000
TARGETS = {"stream": 0.35, "call": 0.5, "embed": 0.35, "import": 0.35}  # of the official client's
WORKERS = ("ours-sync", "theirs-sync", "ours-async", "theirs-async", "bare")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

INFO = {
    "type": "llm",
    "modelKey": "tiny",
    "format": "gguf",
    "displayName": "Tiny",
    "path": "us/tiny/tiny.gguf",
    "sizeBytes": 1000,
    "vision": False,
    "trainedForToolUse": False,
    "maxContextLength": 4096,
    "identifier": "tiny",
    "instanceReference": "ref",
    "contextLength": 2048,
}


def frame(message: Any) -> bytes:
    """A server's WebSocket frame of a message."""
    return packed(json.dumps(message, separators=(",", ":")).encode())


def packed(data: bytes) -> bytes:
    """A server's WebSocket frame of a text."""
    if len(data) < 126:
        return bytes((0x81, len(data))) + data
    if len(data) < 65536:
        return b"\x81\x7e" + len(data).to_bytes(2, "big") + data
    return b"\x81\x7f" + len(data).to_bytes(8, "big") + data


def channel(number: int, message: Any) -> bytes:
    """A message on a channel."""
    return frame({"type": "channelSend", "channelId": number, "message": message})


def answer(number: int, count: int) -> bytes:
    """All frames of an answer of so many fragments."""
    fragment = {
        "type": "fragment",
        "fragment": {
            "content": " word",
            "tokensCount": 1,
            "containsDrafted": False,
            "reasoningType": "none",
            "isStructural": False,
        },
    }
    success = {
        "type": "success",
        "stats": {"stopReason": "eosFound"},
        "modelInfo": INFO,
        "loadModelConfig": {"fields": []},
        "predictionConfig": {"fields": []},
    }
    close = frame({"type": "channelClose", "channelId": number})
    return channel(number, fragment) * count + channel(number, success) + close


class Server(asyncio.Protocol):
    """One connection; answers without looking at more than it must."""

    vector = tuple(0.123456789 + index for index in range(DIMENSIONS))
    # Each answer in two halves, between which the number of the call belongs.
    results: ClassVar[dict[str, tuple[bytes, bytes]]] = {
        endpoint: (
            b'{"type":"rpcResult","callId":',
            b',"result":' + json.dumps(result, separators=(",", ":")).encode() + b"}",
        )
        for endpoint, result in (
            ("embedString", {"embedding": vector}),
            ("listLoaded", [INFO]),
            ("getModelInfo", INFO),
            ("countTokens", {"tokenCount": 3}),
        )
    }

    def __init__(self) -> None:
        self.buffer = b""
        self.upgraded = False
        self.first = True
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self.buffer += data
        if not self.upgraded:
            self.upgrade()
        while self.upgraded and (message := self.take()) is not None:
            if message:
                self.reply(json.loads(message))

    def write(self, data: bytes) -> None:
        """Send bytes."""
        assert self.transport is not None
        self.transport.write(data)

    def upgrade(self) -> None:
        """Answer the greeting, or become a WebSocket."""
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        self.buffer = rest
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        if b"sec-websocket-key" not in fields:
            body = b'{"lmstudio":true}'
            self.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                + str(len(body)).encode()
                + b"\r\nConnection: close\r\n\r\n"
                + body
            )
            assert self.transport is not None
            self.transport.close()
            return
        digest = hashlib.sha1(fields[b"sec-websocket-key"] + _GUID).digest()
        self.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        self.upgraded = True

    def take(self) -> bytes | None:
        """The next text; empty for a frame of another kind."""
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        length, at = buffer[1] & 0x7F, 2
        if length == 126:
            length, at = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            length, at = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < at + 4 + length:
            return None
        mask, data = buffer[at : at + 4], buffer[at + 4 : at + 4 + length]
        self.buffer = buffer[at + 4 + length :]
        whole = (mask * (length // 4 + 1))[:length]
        text = (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(length, "big")
        if buffer[0] & 0x0F != 1:
            if buffer[0] & 0x0F == 8:
                self.write(b"\x88\x00")
            return b""
        return text

    def reply(self, message: dict[str, Any]) -> None:
        """Answer a message."""
        if self.first:
            self.first = False
            self.write(frame({"success": True}))
        elif message["type"] == "rpcCall":
            number = str(message["callId"]).encode()
            self.write(packed(number.join(self.results[message["endpoint"]])))
        elif message["type"] == "channelCreate":
            text = message["creationParameter"]["history"]["messages"][0]["content"][0]["text"]
            self.write(answer(message["channelId"], int(text)))


async def serve() -> None:
    """Be the server until the parent goes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def work_sync(lms: Any, host: str) -> None:
    """Work put to a client for threads, one request a line."""
    with lms.Client(host) as client:
        model = client.llm.handle("tiny") if hasattr(client.llm, "handle") else None
        model = model or client.llm._create_handle("tiny")  # noqa: SLF001  # without a load
        embedding = client.embedding
        vectors = (
            embedding.handle("tiny")
            if hasattr(embedding, "handle")
            else embedding._create_handle("tiny")  # noqa: SLF001
        )

        def stream() -> None:
            got = sum(1 for _ in model.respond_stream(str(FRAGMENTS)))
            assert got == FRAGMENTS

        def call() -> None:
            for _ in range(CALLS):
                model.count_tokens("abc")

        def embed() -> None:
            assert len(vectors.embed(["text"] * TEXTS)) == TEXTS

        answer_lines({"stream": stream, "call": call, "embed": embed})


async def work_async(lms: Any, host: str) -> None:
    """Work put to a client for asyncio, one request a line."""
    async with lms.AsyncClient(host) as client:
        is_ours = hasattr(client.llm, "handle")
        make = "handle" if is_ours else "_create_handle"
        model = getattr(client.llm, make)("tiny")
        vectors = getattr(client.embedding, make)("tiny")

        async def stream() -> None:
            got = 0
            async for _ in await model.respond_stream(str(FRAGMENTS)):
                got += 1
            assert got == FRAGMENTS

        async def call() -> None:
            for _ in range(CALLS):
                await model.count_tokens("abc")

        async def embed() -> None:
            assert len(await vectors.embed(["text"] * TEXTS)) == TEXTS

        works = {"stream": stream, "call": call, "embed": embed}
        for work in works.values():
            await work()
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            began, used = time.perf_counter(), time.process_time()
            await works[line]()
            print(time.perf_counter() - began, time.process_time() - used, flush=True)


def answer_lines(works: dict[str, Any]) -> None:
    """Do what each line of the input names, and tell how long it took."""
    for work in works.values():
        work()
    print("ready", flush=True)
    while line := sys.stdin.readline().strip():
        began, used = time.perf_counter(), time.process_time()
        works[line]()
        print(time.perf_counter() - began, time.process_time() - used, flush=True)


def work_bare(host: str) -> None:
    """The same bytes over a plain socket: the share of the server and of the system."""
    import socket

    def connect(namespace: str) -> socket.socket:
        name, _, port = host.rpartition(":")
        sock = socket.create_connection((name, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(
            f"GET /{namespace} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(b'0' * 16).decode()}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        sock.recv(65536)
        send(sock, {"authVersion": 1})
        sock.recv(65536)
        return sock

    def send(sock: socket.socket, message: Any) -> None:
        data = json.dumps(message).encode()
        length = (
            bytes((0x80 | len(data),))
            if len(data) < 126
            else b"\xfe" + len(data).to_bytes(2, "big")
        )
        sock.sendall(b"\x81" + length + b"\0\0\0\0" + data)

    def read(sock: socket.socket, size: int) -> None:
        while size > 0:
            size -= len(sock.recv(262144))

    llm = connect("llm")
    text = {"messages": [{"content": [{"text": str(FRAGMENTS)}]}]}
    whole = len(answer(1, FRAGMENTS))
    counted = len(frame({"type": "rpcResult", "callId": 1, "result": {"tokenCount": 3}}))
    vector = len(frame({"type": "rpcResult", "callId": 1, "result": {"embedding": Server.vector}}))

    def stream() -> None:
        created = {"type": "channelCreate", "channelId": 1, "creationParameter": {"history": text}}
        send(llm, created)
        read(llm, whole)

    def call() -> None:
        for _ in range(CALLS):
            send(llm, {"type": "rpcCall", "endpoint": "countTokens", "callId": 1})
            read(llm, counted)

    def embed() -> None:
        for _ in range(TEXTS):
            send(llm, {"type": "rpcCall", "endpoint": "embedString", "callId": 1})
        read(llm, vector * TEXTS)

    answer_lines({"stream": stream, "call": call, "embed": embed})


def work(kind: str, host: str) -> None:
    """Be a worker."""
    if kind == "bare":
        work_bare(host)
        return
    if kind.startswith("ours"):
        import lmstrix.lmstudio as lms
    else:
        import lmstudio as lms  # type: ignore[no-redef]
    if kind.endswith("async"):
        asyncio.run(work_async(lms, host))
    else:
        work_sync(lms, host)


def many_streams(host: str) -> None:
    """Open so many streams at once on one client; nothing may be lost, memory must not grow."""
    import psutil

    import lmstrix.lmstudio as lms

    each = 50

    async def read(model: lms.AsyncLLM) -> int:
        got = 0
        async for _ in await model.respond_stream(str(each)):
            got += 1
        return got

    async def run() -> None:
        async with lms.AsyncClient(host) as client:
            model = client.llm.handle("tiny")
            me = psutil.Process()
            print("| streams at once | fragments, none lost | µs a fragment | MiB resident |")
            print("|---:|---:|---:|---:|")
            for _ in range(6):
                began = time.perf_counter()
                counts = await asyncio.gather(*(read(model) for _ in range(STREAMS)))
                took = time.perf_counter() - began
                assert counts == [each] * STREAMS, "fragments were lost"
                print(
                    f"| {STREAMS:,} | {STREAMS * each:,} | {took / STREAMS / each * 1e6:.1f} | "
                    f"{me.memory_info().rss / 2**20:.1f} |",
                    flush=True,
                )

    asyncio.run(run())


def spawn(*arguments: str) -> subprocess.Popen[str]:
    """This script in another role."""
    return subprocess.Popen(
        [sys.executable, str(HERE), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(worker: subprocess.Popen[str], line: str) -> tuple[float, float]:
    """Put work to a worker: seconds it took, and seconds of its processor time."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()
    took, used = worker.stdout.readline().split()
    return float(took), float(used)


def import_seconds(code: str) -> float:
    """Processor time a fresh interpreter takes for an import, over one that imports nothing."""

    def run(what: str) -> float:
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", what], check=True)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (ended.ru_utime - began.ru_utime) + (ended.ru_stime - began.ru_stime)

    return run(code) - run("pass")


def measure(host: str, rounds: int) -> None:
    """Print the tables of times."""
    workers = {kind: spawn("--work", kind, "--host", host) for kind in WORKERS}
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        for worker in workers.values():
            assert worker.stdout is not None
            assert worker.stdout.readline().strip() == "ready"
        for _ in range(rounds):
            for what in ("stream", "call", "embed"):
                for kind, worker in workers.items():
                    times.setdefault((what, kind), []).append(ask(worker, what))
    finally:
        for worker in workers.values():
            worker.communicate("\n", timeout=30)
    units = {
        "stream": (FRAGMENTS, "a streamed fragment"),
        "call": (CALLS, "a call and its answer"),
        "embed": (TEXTS, f"a text of a list of {TEXTS}"),
    }
    print("| µs for | ours | official | ratio | ours, CPU | official, CPU | nothing but a socket |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for what, (count, name) in units.items():
        for flavour in ("sync", "async"):
            ours, theirs = times[what, f"ours-{flavour}"], times[what, f"theirs-{flavour}"]
            ratio = middle([one[0] / two[0] for one, two in zip(ours, theirs, strict=True)])
            columns = [
                middle([one[part] for one in some]) / count * 1e6
                for part in (0, 1)
                for some in (ours, theirs)
            ]
            bare = middle([one[0] for one in times[what, "bare"]]) / count * 1e6
            limit = TARGETS[what]
            met = "met" if ratio <= limit else "NOT MET"
            print(
                f"| {name}, {flavour} | {columns[0]:.1f} | {columns[1]:.1f} | "
                f"{ratio:.2f} ({met}: at most {limit}) | {columns[2]:.1f} | {columns[3]:.1f} | "
                f"{bare:.1f} |"
            )
    names = "import lmstrix.lmstudio as l; l.Client, l.AsyncClient, l.LLM, l.Chat, l.BaseModel"
    theirs_ = "import lmstudio"
    codes = {
        "official": theirs_,
        "ours, every class imported": names,
        "ours, and what a connection needs": f"{names}; import lmstrix.lmstudio.async_socket",
    }
    imports = {name: [import_seconds(code) for _ in range(rounds)] for name, code in codes.items()}
    print("\n| import | ms of CPU | ratio |\n|---|---:|---:|")
    base = middle(imports["official"])
    for name, seconds in imports.items():
        ratio = middle(seconds) / base
        verdict = ""
        if name == "ours, every class imported":
            limit = TARGETS["import"]
            verdict = f" ({'met' if ratio <= limit else 'NOT MET'}: at most {limit})"
        print(f"| {name} | {middle(seconds) * 1e3:.0f} | {ratio:.2f}{verdict} |")


def middle(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def main() -> None:
    """Start the server, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--part", choices=("all", "time", "streams"), default="all")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--host", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    if options.work:
        work(options.work, options.host)
        return
    server = spawn("--serve")
    assert server.stdout is not None
    host = f"127.0.0.1:{server.stdout.readline().strip()}"
    try:
        if options.part in ("all", "time"):
            measure(host, options.rounds)
        if options.part in ("all", "streams"):
            print()
            many_streams(host)
    finally:
        server.communicate("", timeout=30)


if __name__ == "__main__":
    main()
