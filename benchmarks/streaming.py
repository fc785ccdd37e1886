"""What LMStrix adds to each token of a stream, over the binding's own callback used raw.

    python benchmarks/streaming.py [--rounds N] [--part overhead|rates]

Three workers, each a process of its own that loads the model once: the binding in a plain script
(`raw`), `LMStrix.stream` and `AsyncLMStrix.stream`. The same question is put to them in turn,
round after round; the figures are medians over rounds, the differences are taken within a round.
Engines have the same number of threads everywhere: one for the shipped model, which is what
LMStrix chooses for files that small, and one per core for the slower model. The second table does
the same on a slower model (generated, random weights), with one request and with four in
parallel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "src" / "lmstrix" / "shipped" / "tiny-chat.gguf"
KINDS = ("raw", "sync", "async")
CORES = os.cpu_count() or 1
CONTEXT = 2048

# Asks all prompts at once; per prompt the time it was sent, then that of each fragment.
Together: TypeAlias = Callable[[list[str], int], list[list[float]]]
Worked: TypeAlias = tuple[Together, Callable[[], object]]


def ask_raw(path: str, parallel: int, threads: int) -> Worked:
    """Answers from the binding's streaming callback, in this process."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = CONTEXT * parallel
    params.n_parallel = parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    params.cache_ram_mib = 0
    params.fit_params = False
    params.ui = False
    server = xllamacpp.Server(params)

    def ask(prompt: str, tokens: int) -> list[float]:
        times = [time.perf_counter()]

        def arrived(chunk: object) -> None:
            for one in chunk if isinstance(chunk, list) else [chunk]:
                choices = one.get("choices") if isinstance(one, dict) else None
                if choices and choices[0].get("delta", {}).get("content"):
                    times.append(time.perf_counter())

        body = {
            "messages": [{"role": "user", "content": prompt}],
            "stream": True,
            "temperature": 0,
            "seed": 1,
            "max_tokens": tokens,
            "cache_prompt": False,
        }
        server.handle_chat_completions(body, arrived)
        return times

    return in_threads(ask), lambda: os._exit(0)


def ask_async(path: str, parallel: int, threads: int) -> Worked:
    """Answers from `AsyncLMStrix.stream`."""
    from lmstrix import AsyncLMStrix

    loop = asyncio.new_event_loop()
    client = AsyncLMStrix()

    async def ask(prompt: str, tokens: int) -> list[float]:
        times = [time.perf_counter()]
        async with client.stream(prompt, path, **options(tokens, parallel, threads)) as answer:
            async for _ in answer:
                times.append(time.perf_counter())
        return times

    async def gather(prompts: list[str], tokens: int) -> list[list[float]]:
        return await asyncio.gather(*(ask(prompt, tokens) for prompt in prompts))

    def together(prompts: list[str], tokens: int) -> list[list[float]]:
        return loop.run_until_complete(gather(prompts, tokens))

    return together, lambda: loop.run_until_complete(client.aclose())


def ask_sync(path: str, parallel: int, threads: int) -> Worked:
    """Answers from `LMStrix.stream`, one thread a request."""
    from lmstrix import LMStrix

    client = LMStrix()

    def ask(prompt: str, tokens: int) -> list[float]:
        times = [time.perf_counter()]
        with client.stream(prompt, path, **options(tokens, parallel, threads)) as answer:
            for _ in answer:
                times.append(time.perf_counter())
        return times

    return in_threads(ask), client.close


def in_threads(ask: Callable[[str, int], list[float]]) -> Together:
    """Ask all at once, one thread a request."""

    def together(prompts: list[str], tokens: int) -> list[list[float]]:
        with ThreadPoolExecutor(len(prompts)) as pool:
            return list(pool.map(ask, prompts, [tokens] * len(prompts)))

    return together


def options(tokens: int, parallel: int, threads: int) -> dict[str, Any]:
    """The same settings the raw worker uses."""
    from lmstrix import LoadConfig, Sampling

    return {
        "in_ctx": CONTEXT,
        "load": LoadConfig(threads=threads, parallel=parallel),
        "sampling": Sampling(temperature=0, seed=1, max_tokens=tokens),
    }


def work(kind: str, path: str, parallel: int, threads: int) -> None:
    """A worker: one line of JSON in, one line of JSON out, per round."""
    together, close = {"raw": ask_raw, "sync": ask_sync, "async": ask_async}[kind](
        path, parallel, threads
    )
    together(["Hello"] * parallel, 4)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(together(job["prompts"], job["tokens"])), flush=True)
    close()


class Worker:
    """A worker process of one kind."""

    def __init__(self, kind: str, path: Path, parallel: int, threads: int, home: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", kind, str(path), str(parallel), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "LMSTRIX_HOME": home},
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the {kind} worker did not start")

    def ask(self, prompts: list[str], tokens: int) -> list[list[float]]:
        """One round."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"prompts": prompts, "tokens": tokens}) + "\n")
        self.process.stdin.flush()
        answers: list[list[float]] = json.loads(self.process.stdout.readline())
        return answers

    def close(self) -> None:
        """Let the worker end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def overhead(path: Path, rounds: int, home: str) -> list[str]:
    """Microseconds a token and milliseconds to the first, on the shipped model."""
    workers = {kind: Worker(kind, path, 1, 1, home) for kind in KINDS}
    per_token: dict[str, list[float]] = {kind: [] for kind in KINDS}
    first: dict[str, list[float]] = {kind: [] for kind in KINDS}
    counts: dict[str, int] = {}
    for turn in range(rounds):
        for kind in KINDS[turn % 3 :] + KINDS[: turn % 3]:
            (times,) = workers[kind].ask(["Count from 1 to 40."], 120)
            counts[kind] = len(times) - 1
            first[kind].append((times[1] - times[0]) * 1e3)
            per_token[kind].append((times[-1] - times[1]) / (len(times) - 2) * 1e6)
    for worker in workers.values():
        worker.close()
    rows = [
        "| stream | fragments | µs a token | over raw | ms to first token | over raw |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind in KINDS:
        more = paired(per_token[kind], per_token["raw"])
        later = paired(first[kind], first["raw"])
        rows.append(
            f"| {kind} | {counts[kind]} | {statistics.median(per_token[kind]):.0f} | {more:+.0f} | "
            f"{statistics.median(first[kind]):.1f} | {later:+.1f} |"
        )
    return rows


def rates(path: Path, rounds: int, home: str) -> list[str]:
    """Tokens per second on the slower model, alone and four at once, as a ratio to raw."""
    rows = ["| requests | stream | tokens/s | ratio to raw |", "|---:|---|---:|---:|"]
    for parallel in (1, 4):
        workers = {kind: Worker(kind, path, parallel, CORES, home) for kind in KINDS}
        speed: dict[str, list[float]] = {kind: [] for kind in KINDS}
        prompts = [f"Say something about item {i}." for i in range(parallel)]
        for turn in range(rounds):
            for kind in KINDS[turn % 3 :] + KINDS[: turn % 3]:
                answers = workers[kind].ask(prompts, 64)
                begin = min(times[0] for times in answers)
                end = max(times[-1] for times in answers)
                speed[kind].append(sum(len(times) - 1 for times in answers) / (end - begin))
        for worker in workers.values():
            worker.close()
        for kind in KINDS:
            ratios = [a / b for a, b in zip(speed[kind], speed["raw"], strict=True)]
            rows.append(
                f"| {parallel} | {kind} | {statistics.median(speed[kind]):.1f} | "
                f"{statistics.median(ratios):.3f} |"
            )
    return rows


def paired(ours: list[float], raw: list[float]) -> float:
    """The median difference within a round."""
    return statistics.median(a - b for a, b in zip(ours, raw, strict=True))


def main() -> None:
    """Run both tables and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", nargs=4, metavar=("KIND", "MODEL", "PARALLEL", "THREADS"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--part", choices=("overhead", "rates", "both"), default="both")
    arguments = parser.parse_args()
    if arguments.worker:
        kind, path, parallel, threads = arguments.worker
        work(kind, path, int(parallel), int(threads))
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.part != "rates":
            print("\n".join(overhead(SHIPPED, arguments.rounds, folder)), "\n")
        if arguments.part == "overhead":
            return
        slow = Path(folder) / "slow.gguf"
        sys.path.insert(0, str(ROOT / "tests"))
        from models.making import make_slow

        make_slow(slow)
        print("\n".join(rates(slow, max(5, arguments.rounds // 2), folder)))


if __name__ == "__main__":
    main()
