from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.config import Settings
from lmstrix.context.evidence import LENGTH_STEP
from lmstrix.context.options import Stage, TestEvent, TestOptions
from lmstrix.context.runner import test_model as run_test
from lmstrix.errors import OutOfMemoryError
from lmstrix.gguf import MemoryModel, describe, read_header
from lmstrix.providers.embedded import EmbeddedProvider
from lmstrix.results import FailureKind, ProbeKind, TestResult, TestStatus, Verdict
from lmstrix.store import Entry
from lmstrix.types import LoadConfig, Model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lmstrix.config import Places
    from lmstrix.store import Store

CAPPED_TOKENS = 5000  # what a limit that tests choose should leave room for

# What a user's `lmstrix test --ctx 2048` does, to be killed in the middle.
TOOL = """
import asyncio, sys
from pathlib import Path
from lmstrix.config import Places, Settings
from lmstrix.context.evidence import LENGTH_STEP
from lmstrix.context.options import Stage, TestOptions
from lmstrix.context.runner import test_model
from lmstrix.gguf import describe
from lmstrix.providers.embedded import EmbeddedProvider
from lmstrix.store import Entry, Store

async def main():
    path, places, settings = Path(sys.argv[1]), Places.locate(), Settings()
    model = describe(path, provider="embedded", server="embedded", folder=path.parent)
    told = set()
    def tell(event):
        if event.stage not in told:
            told.add(event.stage)
            print(event.stage.value, flush=True)
    with Store.open(places.database) as store:
        await test_model(
            Entry(model=model, added_at=0.0), EmbeddedProvider(settings, places), store,
            TestOptions(context_tokens=2048), settings=settings, places=places, on_event=tell)

asyncio.run(main())
"""


@pytest.fixture
async def provider(places: Places) -> AsyncIterator[EmbeddedProvider]:
    provider = EmbeddedProvider(Settings(), places)
    yield provider
    await provider.aclose()


@pytest.fixture
def model(shipped: Path) -> Callable[[str], Model]:
    def read(name: str) -> Model:
        path = shipped / f"{name}.gguf"
        return describe(path, provider="embedded", server="embedded", folder=shipped)

    return read


@pytest.fixture
def run(provider: EmbeddedProvider, store: Store, places: Places) -> Callable[..., Any]:
    async def go(model: Model, *, listen: Any = None, **options: Any) -> TestResult:
        return await run_test(
            Entry(model=model, added_at=0.0),
            provider,
            store,
            TestOptions(**options),
            settings=Settings(),
            places=places,
            on_event=listen,
        )

    return go


async def test_the_shipped_chat_model_loads_and_processes_all_that_it_declares(
    run: Any, model: Any, provider: EmbeddedProvider
) -> None:
    result = await run(model("tiny-chat"), fast=True)
    assert result.status is TestStatus.COMPLETED
    assert result.loadable.tokens == result.processable.tokens == 8192
    assert result.loads == 1, "the prediction knew"
    assert "A prompt that is too long is refused." in result.processable.evidence[-1]
    assert result.tokens_per_s > 0
    assert result.key.template
    assert not await provider.list_instances()


def limit_by_the_page(name: str, page: str) -> float:
    """Where the table of a shipped model, made without this search, falls below 0.85 of its base.

    Between two lengths of the table it is read off the straight line over the logarithm.
    """
    section = re.split(r"^## ", page, flags=re.MULTILINE)
    (own,) = (part for part in section if part.startswith(f"{name}\n"))
    table = own[own.index("| tokens |") :].split("\n\n")[0].splitlines()[2:]
    scores = {}
    for row in table:
        tokens, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        counts = [tuple(map(int, cell.split("/"))) for cell in cells]
        scores[int(tokens)] = sum(right for right, _ in counts) / sum(asked for _, asked in counts)
    base = [score for tokens, score in scores.items() if tokens <= 1024]
    wanted = 0.85 * sum(base) / len(base)
    for (short, held), (long, lost) in itertools.pairwise(sorted(scores.items())):
        if lost < wanted:
            return short * (long / short) ** ((held - wanted) / (held - lost))
    return 8192.0


@pytest.mark.parametrize("name", ["tiny-chat", "tiny-chat-overclaimed"])
async def test_the_effective_limit_of_a_shipped_model_is_that_of_its_page_within_a_step(
    run: Any, model: Any, name: str
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    true = limit_by_the_page(name, page)
    limit = (await run(model(name))).effective
    assert limit.verdict is Verdict.FOUND
    assert true / LENGTH_STEP <= limit.tokens <= true * LENGTH_STEP
    if true == 8192:
        assert limit.tokens == 8192
    else:
        assert limit.below_tokens <= limit.tokens * LENGTH_STEP * 1.01


async def test_the_shipped_embedding_model_takes_a_text_that_fills_it(run: Any, model: Any) -> None:
    embedder = model("tiny-embed")
    result = await run(embedder)
    assert result.loadable.tokens == embedder.declared_context_tokens
    assert result.processable.tokens == embedder.declared_context_tokens
    assert result.effective.verdict is Verdict.NOT_APPLICABLE
    read = int(result.processable.evidence[-1].split()[0].replace(",", ""))
    assert read > 0.98 * result.processable.tokens
    assert "is refused" in result.processable.evidence[-1]


async def test_loadable_under_a_memory_limit_agrees_with_trying_every_size(
    run: Any, model: Any, provider: EmbeddedProvider
) -> None:
    chat = model("tiny-chat")
    need = MemoryModel(read_header(chat.path)).need(LoadConfig(context_tokens=CAPPED_TOKENS))
    cap = need.weights_bytes + need.kv_bytes + need.compute_bytes
    load = LoadConfig(memory_limit_bytes=cap)
    result = await run(chat, load=load, fast=True)
    best = 0
    for tokens in range(4096, 6144, 256):
        try:
            instance = await provider.load(
                chat, LoadConfig(context_tokens=tokens, memory_limit_bytes=cap)
            )
        except OutOfMemoryError:
            break
        best = instance.context_tokens
        await provider.unload(instance.id)
    assert 4096 < best < 6144
    assert best * 0.99 <= result.loadable.tokens <= best
    assert result.loads <= 6, "halving from 8,192 to 1 % takes seven or more"
    assert result.loadable.failure is FailureKind.OUT_OF_MEMORY


async def test_an_engine_killed_while_it_reads_is_a_crash_at_that_size(
    run: Any, model: Any, provider: EmbeddedProvider, store: Store
) -> None:
    pids: list[int] = []

    def kill(event: TestEvent) -> None:
        if event.stage is Stage.PROCESS and not pids:
            pids.extend(o.instance.pid for o in provider._owned.values())
            os.kill(pids[0], signal.SIGTERM if os.name == "nt" else signal.SIGKILL)

    result = await run(model("tiny-chat"), listen=kill, context_tokens=2048)
    assert pids
    assert result.loadable.tokens == 2048
    assert result.processable.failure is FailureKind.CRASH
    assert result.status is TestStatus.FAILED
    again = await run(model("tiny-chat"), context_tokens=2048, force=True)
    assert again.processable.tokens == 2048


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
async def test_a_tool_killed_in_the_middle_leaves_no_engine_and_is_not_repeated(
    run: Any, model: Any, store: Store, shipped: Path, provider: EmbeddedProvider
) -> None:
    tool = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        TOOL,
        str(shipped / "tiny-chat.gguf"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert tool.stdout is not None
    try:
        while (line := (await tool.stdout.readline()).strip()) != b"processing":
            assert line, "the tool ended by itself"
    finally:
        tool.kill()
    await tool.wait()
    await tool.stdout.read()  # ends when no child of it holds the pipe any more
    result = await run(model("tiny-chat"), context_tokens=2048)
    probes = store.probes(result.id)
    assert [probe.kind for probe in probes] == [ProbeKind.LOAD, ProbeKind.PROCESS]
    assert probes[0].outcome is not None
    assert probes[0].outcome.ok
    assert probes[1].outcome is not None
    assert probes[1].outcome.failure is FailureKind.CRASH
    assert result.loadable.tokens == 2048
    assert result.processable.failure is FailureKind.CRASH
