"""Context tests beside those of LMStrix 1.0.83, on the same server, with limits that are known.

    python benchmarks/against_1x.py

The server is our gateway, which 1.0.83 finds as it finds LM Studio: through the official SDK. It
serves the two chat models that come with LMStrix, once with all the memory they want and then with
less. How much context loads within a limit on memory is found beforehand by loading every size
that the engine has (it rounds up to 256), largest first. What 1.0.83 says is what it says that a
user may have; what ours says is `processable`, and with the quality part `effective`.

1.0.83 has two ways: its command, which tries one size, and `ContextTester.test_model_by_id`,
which halves between 512 and 131,072 tokens. Loads are counted where the engine is started.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmstrix import AsyncLMStrix
from lmstrix.config import EmbeddedSettings, Places, Settings
from lmstrix.errors import LMStrixError
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.gguf import MemoryModel, read_header
from lmstrix.providers.embedded import EmbeddedProvider
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lmstrix.types import Instance, Model

PEER = "lmstrix==1.0.83"
OURS = str(Path(sys.executable).with_name("lmstrix"))
SHIPPED = Path(__file__).resolve().parents[1] / "src" / "lmstrix" / "shipped"
MODELS = ("tiny-chat", "tiny-chat-overclaimed")
STEP = 256
DECLARED = 8192
PARTS = (0.2, 0.45, 0.7)  # of the declared context, for which there is memory
BY_ID = """
import json, sys
from lmstrix.core.context_tester import ContextTester
found = ContextTester().test_model_by_id(sys.argv[1])
print(json.dumps(found["max_working_context"]))
"""


class Run(NamedTuple):
    """What one procedure said of one model, and what it took."""

    said: int | None
    true: int
    loads: int
    seconds: float


class Loads:
    """Counts what the engine is asked to load while a procedure runs."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        load = EmbeddedProvider.load

        async def counted(
            provider: EmbeddedProvider, model: Model, config: LoadConfig, **more: Any
        ) -> Instance:
            self.sizes.append(config.context_tokens or 0)
            return await load(provider, model, config, **more)

        setattr(EmbeddedProvider, "load", counted)  # noqa: B010  # mypy: a method is assigned


def main() -> None:
    """Measure and print a table."""
    loads = Loads()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder), loads))


async def compare(folder: Path, loads: Loads) -> None:
    """Every procedure in every world, one after another."""
    peer = peer_in(folder)
    procedures: dict[str, Callable[[str, str, Path], int | None]] = {
        "1.0.83 `test MODEL`": lambda _, model, home: command_of_1x(peer, model, home),
        "1.0.83 `test_model_by_id`": lambda _, model, home: halving_of_1x(peer, model, home),
        "ours, `test MODEL --fast`": lambda url, model, home: ours(url, model, home, "--fast"),
    }
    found: dict[str, list[Run]] = {name: [] for name in procedures}
    print("| memory for | model | really loads | procedure | says | loads | seconds |")
    print("|---|---|---:|---|---:|---:|---:|")
    for part in (1.0, *PARTS):
        limit = None if part == 1.0 else memory_for(int(part * DECLARED))
        for model in MODELS:
            true = DECLARED if limit is None else await largest(model, limit)
            for name, procedure in procedures.items():
                home = folder / f"{part}-{model}-{len(found[name])}-{name[:4].strip()}"
                home.mkdir(parents=True)
                async with gateway(folder / "behind.db", limit) as url:
                    loads.sizes.clear()
                    began = time.perf_counter()
                    said = await asyncio.to_thread(procedure, url, model, home)
                    run = Run(said, true, len(loads.sizes), time.perf_counter() - began)
                found[name].append(run)
                shown = "nothing" if said is None else f"{said:,}"
                memory = "all of it" if limit is None else f"{part:.0%} of it"
                print(
                    f"| {memory} | {model} | {true:,} | {name} | {shown} | {run.loads} "
                    f"| {run.seconds:.1f} |",
                    flush=True,
                )
                shutil.rmtree(home)
    print()
    summarize(found)


def summarize(found: dict[str, list[Run]]) -> None:
    """One line for each procedure, over all worlds."""
    print("| procedure | said/true mean | worst | says nothing | too much | loads | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, runs in found.items():
        shares = [(run.said or 0) / run.true for run in runs]
        print(
            f"| {name} | {statistics.mean(shares):.3f} | {min(shares):.3f} "
            f"| {sum(run.said is None for run in runs)} of {len(runs)} "
            f"| {sum(share > 1 for share in shares)} of {len(runs)} "
            f"| {statistics.mean(run.loads for run in runs):.1f} "
            f"| {statistics.mean(run.seconds for run in runs):.1f} |"
        )


@asynccontextmanager
async def gateway(store: Path, limit_bytes: int | None) -> AsyncIterator[str]:
    """The address of a gateway whose engine may take so much."""
    settings = Settings(
        shipped_models=True,
        discover=False,
        embedded=EmbeddedSettings(memory_limit_bytes=limit_bytes),
    )
    async with (
        AsyncLMStrix(settings=settings, places=places_in(store.parent), store_path=store) as client,
        serving(client, GatewayOptions(port=0, as_lmstudio=True, drain_s=1)) as served,
    ):
        yield served.url


def places_in(folder: Path) -> Places:
    """Places of the server's own."""
    return Places.locate({"LMSTRIX_HOME": str(folder / "server")})


def memory_for(tokens: int) -> int:
    """About the bytes that the chat model takes with so much context."""
    need = MemoryModel(read_header(SHIPPED / "tiny-chat.gguf")).need(
        LoadConfig(context_tokens=tokens)
    )
    return need.weights_bytes + need.kv_bytes + need.compute_bytes


async def largest(name: str, limit_bytes: int) -> int:
    """The largest context that loads, by loading them all from the largest down."""
    settings = Settings(shipped_models=True, discover=False)
    with tempfile.TemporaryDirectory() as folder:
        provider = EmbeddedProvider(settings, places_in(Path(folder)))
        listing = await provider.list_models()
        (model,) = [one for one in listing.models if one.key == name]
        for tokens in range(DECLARED, 0, -STEP):
            config = LoadConfig(context_tokens=tokens, memory_limit_bytes=limit_bytes)
            try:
                instance = await provider.load(model, config)
            except LMStrixError:
                continue
            held = instance.context_tokens or 0
            await provider.aclose()
            return held
    return 0


def ours(url: str, model: str, home: Path, *words: str) -> int | None:
    """What our command says."""
    environ = {
        **os.environ,
        "LMSTRIX_HOME": str(home),
        "LMSTRIX_DISCOVER": "false",
        "LMSTRIX_PROVIDER": "lmstudio",
        "LMSTRIX_SERVERS__THERE__URL": url,
        "LMSTRIX_SERVERS__THERE__PROVIDER": "lmstudio",
    }
    subprocess.run([OURS, "scan"], env=environ, check=True, capture_output=True)
    done = subprocess.run(
        [OURS, "test", model, "--format", "json", *words],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    (result,) = json.loads(done.stdout)
    tokens = result["processable"].get("tokens")
    return None if tokens is None else int(tokens)


def peer_in(folder: Path) -> Path:
    """The environment of 1.0.83: the one that LMSTRIX_BENCH_1X names, else a new one."""
    if (named := os.environ.get("LMSTRIX_BENCH_1X")) is not None:
        return Path(named) / "bin"
    place = folder / "peer"
    venv.create(place, with_pip=True)
    subprocess.run([place / "bin" / "pip", "install", "-q", PEER], check=True)
    return place / "bin"


def home_of_1x(home: Path) -> dict[str, str]:
    """An environment in which 1.0.83 finds LM Studio's folder."""
    (home / "root" / "models").mkdir(parents=True)
    (home / ".lmstudio-home-pointer").write_text(str(home / "root"))
    return {**os.environ, "HOME": str(home)}


def command_of_1x(peer: Path, model: str, home: Path) -> int | None:
    """What its command keeps of the model in its registry."""
    environ = home_of_1x(home)
    for words in (("scan",), ("test", model)):
        subprocess.run([peer / "lmstrix", *words], env=environ, check=True, capture_output=True)
    known = json.loads((home / "root" / "lmstrix.json").read_text())["llms"].values()
    (tested,) = [one["tested_max_context"] for one in known if one["id"] == model]
    return None if tested is None else int(tested)


def halving_of_1x(peer: Path, model: str, home: Path) -> int | None:
    """What its halving says, of which the command makes no use."""
    done = subprocess.run(
        [peer / "python", "-c", BY_ID, model],
        env=home_of_1x(home),
        check=True,
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return None if said is None else int(said)


if __name__ == "__main__":
    main()
