"""The context test through every provider there is, before real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Run

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
# llama.cpp's own server, as anybody may run it.
LLAMA = """
import asyncio, sys
from lmstrix.engine.process import Engine, EngineSpec

async def serve(name, path, context):
    spec = EngineSpec(model=name, path=path, context_tokens=int(context), embedding="embed" in name)
    engine = await Engine.start(spec)
    print(engine.client._host, engine.client._port, engine.client._key, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await engine.stop()

asyncio.run(serve(*sys.argv[1:]))
"""


@pytest.fixture
def gateway(home: Path) -> Iterator[str]:
    """The address of `lmstrix serve`, a process of another user of this machine."""
    theirs = home / "theirs"
    theirs.mkdir()
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=theirs,
        env={
            **os.environ,
            "LMSTRIX_HOME": str(theirs),
            "LMSTRIX_SHIPPED_MODELS": "true",
            "LMSTRIX_DISCOVER": "false",
            "LMSTRIX_EMBEDDED__THREADS": "1",
        },
    )
    yield process.stdout.readline().split(" at ")[1].split()[0]
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture
def llama(shipped: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """`llama("tiny-chat", 2048)`: the environment of a command that is to use such a server."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str, context_tokens: int) -> dict[str, str]:
        process = subprocess.Popen(
            [sys.executable, "-c", LLAMA, name, str(shipped / f"{name}.gguf"), str(context_tokens)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        host, port, key = process.stdout.readline().split()
        return {
            **server("openai", f"http://{host}:{port}"),
            "LMSTRIX_SERVERS__THERE__TOKEN_ENV": "TOKEN_OF_LLAMA",
            "TOKEN_OF_LLAMA": key,
        }

    yield start
    for process in running:
        process.communicate(timeout=60)


def server(kind: str, url: str) -> dict[str, str]:
    return {
        "LMSTRIX_SERVERS__THERE__URL": url,
        "LMSTRIX_SERVERS__THERE__PROVIDER": kind,
        "LMSTRIX_PROVIDER": kind,
        "LMSTRIX_DISCOVER": "false",
    }


def tested(run: Run, *arguments: str, **environ: str) -> dict[str, object]:
    done = run("test", *arguments, "--format", "json", **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("kind", ["embedded", "lmstudio", "lmstudio-openai", "ollama"])
def test_commands_are_the_same_where_sizes_can_be_chosen(
    run: Run, request: pytest.FixtureRequest, kind: str
):
    environ = {"LMSTRIX_SHIPPED_MODELS": "true", "LMSTRIX_DISCOVER": "false"}
    if kind != "embedded":
        environ = server(kind, request.getfixturevalue("gateway"))
    assert "3 models (3 new)" in run("scan", **environ).stdout
    listed = json.loads(run("list", "--show", "json", **environ).stdout)
    assert {model["key"].removesuffix(":latest") for model in listed} == {
        "tiny-chat",
        "tiny-chat-overclaimed",
        "tiny-embed",
    }
    result = tested(run, "tiny-chat", "--threshold", "1024", "--fast", **environ)
    assert result["loadable"]["tokens"] == result["processable"]["tokens"] == 1024
    assert result["loadable"]["verdict"] == "undecided, at least"
    said = " ".join(result["processable"]["evidence"])
    assert "All 3 markers" in said
    assert "A prompt that is too long is refused." in said
    assert result["tokens_per_s"] > 0
    embedder = tested(run, "tiny-embed", **environ)
    assert embedder["loadable"]["tokens"] == embedder["processable"]["tokens"] == 512
    assert embedder["effective"]["verdict"] == "not applicable"
    answer = run("infer", "What is the capital of Poland?", "tiny-chat", "--stream", **environ)
    assert (answer.returncode, answer.stdout) == (0, "Warsaw.\n")


def test_quality_is_measured_over_a_network_too(run: Run, gateway: str):
    environ = server("lmstudio", gateway)
    run("scan", **environ)
    result = tested(run, "tiny-chat", "--threshold", "1200", **environ)
    assert result["effective"]["tokens"] == 1200
    assert "keyed" in result["curve"][0]["by_family"]


def test_what_a_server_alone_decides_is_read_and_measured_there(
    run: Run, llama: Callable[..., dict[str, str]]
):
    environ = llama("tiny-chat", 1280)
    assert "1 model (1 new)" in run("scan", **environ).stdout
    shown = run("test", "tiny-chat", "--dry-run", **environ)
    assert "1,280 tokens, as its server has chosen" in shown.stdout
    result = tested(run, "tiny-chat", **environ)
    for name in ("loadable", "processable", "effective"):
        assert (result[name]["verdict"], result[name]["tokens"]) == ("found", 1280)
    assert "the server that decides" in result["loadable"]["evidence"][0]
    assert "loads" not in result
    again = tested(run, "tiny-chat", **environ)
    assert again["id"] == result["id"]
    answer = run("infer", "What is the capital of Poland?", "tiny-chat", "--stream", **environ)
    assert (answer.returncode, answer.stdout) == (0, "Warsaw.\n")
    above = run("test", "tiny-chat", "--ctx", "4096", **environ)
    assert above.returncode == 2
    assert "is served with 1,280 tokens" in above.stderr
    settings = run("test", "tiny-chat", "--kv-type", "q8_0", **environ)
    assert settings.returncode == 2
    assert "decided by its server" in settings.stderr


def test_a_server_that_was_started_anew_with_another_size_is_tested_anew(
    run: Run, llama: Callable[..., dict[str, str]]
):
    small = llama("tiny-chat", 512)
    run("scan", **small)
    first = tested(run, "tiny-chat", "--fast", **small)
    assert first["processable"]["tokens"] == 512
    large = llama("tiny-chat", 1024)
    run("scan", **large)
    name = "openai/tiny-chat"
    large["LMSTRIX_SERVER"] = "there"
    second = tested(run, name, "--fast", **large)
    assert (second["loadable"]["tokens"], second["processable"]["tokens"]) == (1024, 1024)
    assert second["id"] != first["id"]


def test_an_embedding_server_is_filled_to_what_it_serves(
    run: Run, llama: Callable[..., dict[str, str]]
):
    environ = llama("tiny-embed", 256)
    run("scan", **environ)
    result = tested(run, "tiny-embed", **environ)
    assert result["processable"]["tokens"] == 256
    assert result["effective"]["verdict"] == "not applicable"


def test_a_server_that_does_not_tell_its_context_is_filled_up_to_the_threshold(
    run: Run, gateway: str
):
    environ = server("openai", gateway)
    run("scan", **environ)
    result = tested(run, "tiny-chat", "--threshold", "1024", "--fast", **environ)
    assert result["loadable"]["verdict"] == "not applicable"
    assert "does not tell how much context" in result["loadable"]["evidence"][0]
    assert result["processable"]["tokens"] == 1024
    assert "too long" not in " ".join(result["processable"]["evidence"])
    embedder = run("test", "tiny-embed", **environ)
    assert embedder.returncode == 1
    assert "tells neither" in embedder.stderr
