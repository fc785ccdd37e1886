"""The namespaces beside the models: system, files, repository, plugins, diagnostics."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from gateway.lmstudio_native.lines import GUEST, RefusalError, load, question

from lmstrix.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.conftest import Serve
    from gateway.lmstudio_native.lines import Connect, Line

    from lmstrix.gateway.server import Serving

OTHER = {**GUEST, "clientIdentifier": "guest:other"}
HELLO = "aGVsbG8="


async def test_downloaded_models_are_listed_with_what_clients_insist_on(connect_to: Connect):
    line = await connect_to("system")
    models = {one["modelKey"]: one for one in await line.call("listDownloadedModels")}
    assert set(models) == {"tiny-chat", "tiny-chat-overclaimed", "tiny-embed"}
    chat = models["tiny-chat"]
    assert chat["path"] == chat["indexedModelIdentifier"] == "lmstrix/shipped/tiny-chat.gguf"
    assert chat["deviceIdentifier"] is None
    assert isinstance(chat["sizeBytes"], int)
    assert models["tiny-embed"]["type"] == "embedding"
    assert "vision" not in models["tiny-embed"]
    variants = await line.call("listDownloadedModelVariants", {"modelKey": "tiny-chat"})
    assert variants == [chat]


async def test_the_server_says_who_it_is(connect_to: Connect):
    line = await connect_to("system")
    version = await line.call("version")
    assert version["version"].count(".") >= 1
    assert version["build"] == 0
    info = await line.call("info")
    assert info["pid"] == os.getpid()
    assert info["isDaemon"] is True
    assert await line.call("notify", {"title": "Hello"}) is None


async def test_what_runs_the_models_is_told(connect_to: Connect):
    (engine,) = await (await connect_to("runtime")).call("listEngines")
    assert engine["engine"] == "llama.cpp"
    assert engine["supportedModelFormatNames"] == ["GGUF"]
    assert engine["name"]
    assert engine["version"]
    assert engine["cpu"]["architecture"]


async def test_clients_do_not_end_the_server(connect_to: Connect):
    line = await connect_to("system")
    for endpoint in ("requestShutdown", "stopHttpServer"):
        with pytest.raises(RefusalError, match="Clients do not"):
            await line.call(endpoint)
    with pytest.raises(RefusalError, match="opens no port"):
        await line.call("startHttpServer", {"port": 4321})
    assert await line.call("startHttpServer", {}) is None


async def test_flags_are_remembered(connect_to: Connect):
    line = await connect_to("system")
    await line.call("setExperimentFlag", {"code": "x", "value": True})
    assert await line.call("getExperimentFlags") == ["x"]
    await line.call("setExperimentFlag", {"code": "x", "value": False})
    assert await line.call("getExperimentFlags") == []


async def test_the_channel_of_life_is_silent_and_stays(connect_to: Connect):
    line = await connect_to("system")
    await line.open("alive")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(line.socket.recv(), 0.2)
    await line.send({"type": "keepAlive"})
    assert (await line.read())["type"] == "keepAliveAck"


async def test_a_file_is_known_by_a_new_name_each_time_it_is_uploaded(connect_to: Connect):
    line = await connect_to("files")
    wish = {"name": "a.txt", "contentBase64": HELLO}
    first, second = [await line.call("uploadFileBase64", wish) for _ in range(2)]
    assert first["identifier"] != second["identifier"]
    assert (first["fileType"], first["sizeBytes"]) == ("text/plain", 5)
    with pytest.raises(RefusalError, match="base64"):
        await line.call("uploadFileBase64", {**wish, "contentBase64": "***"})


async def test_a_file_belongs_to_its_client_while_that_is_connected(connect_to: Connect):
    files, llm = await connect_to("files"), await connect_to("llm")
    await load(llm, "tiny-chat")
    kept = await files.call("uploadFileBase64", {"name": "a.txt", "contentBase64": HELLO})
    asked = question("What is it?")
    part = {"type": "file", "name": "a.txt", **kept}
    asked["history"]["messages"][0]["content"].append(part)

    async def refusal(line: Line) -> str:
        with pytest.raises(RefusalError) as refused:
            await line.told(await line.open("predict", asked))
        return str(refused.value)

    assert "is no picture" in await refusal(llm)  # it was found
    assert "has uploaded no file" in await refusal(await connect_to("llm", auth=OTHER))
    await files.socket.close()
    await llm.socket.close()
    again = await connect_to("llm")
    async with asyncio.timeout(5):
        while "has uploaded no file" not in await refusal(again):
            await asyncio.sleep(0.01)  # until the server has seen them leave
            await again.socket.close()
            again = await connect_to("llm")


@pytest.fixture
def offered(tmp_path: Path, shipped: Path) -> Path:
    """A folder in LM Studio's layout with one model in it."""
    repository = tmp_path / "offered" / "somebody" / "Small-Chat-GGUF"
    repository.mkdir(parents=True)
    shutil.copy(shipped / "tiny-chat.gguf", repository / "small-chat-Q8_0.gguf")
    return tmp_path / "offered"


async def options(line: Line, term: str) -> list[dict]:
    found = await line.call("searchModels", {"opts": {"searchTerm": term, "limit": 5}})
    if not found["results"]:
        return []
    wish = {"modelSearchResultIdentifier": found["results"][0]["identifier"]}
    return (await line.call("getModelDownloadOptions", wish))["results"]


async def test_a_model_is_found_in_a_folder_and_fetched(
    serve: Serve, connect_to: Connect, offered: Path
):
    serving = await serve(
        settings=Settings(discover=False), repositories=(str(offered), str(offered / "none"))
    )
    line = await connect_to("repository", at=serving)
    assert await options(line, "no such thing") == []
    (option,) = await options(line, "SMALL chat")
    assert option["quantization"] == "Q8_0"
    assert option["indexedModelIdentifier"] == "somebody/Small-Chat-GGUF/small-chat-Q8_0.gguf"
    assert option["fitEstimation"] == "fitWithoutGPU"
    wish = {"downloadIdentifier": option["downloadIdentifier"]}
    told = await line.told(await line.open("downloadModel", wish))
    assert [one["type"] for one in told][-2:] == ["startFinalizing", "success"]
    update = told[0]["update"]
    assert update["totalBytes"] == option["sizeBytes"]
    key = told[-1]["defaultIdentifier"]
    system = await connect_to("system", at=serving)
    (model,) = await system.call("listDownloadedModels")
    assert model["modelKey"] == key
    assert model["path"] == option["indexedModelIdentifier"]
    told = await line.told(await line.open("downloadModel", wish))
    assert [one["type"] for one in told] == ["startFinalizing", "success"]  # it is there
    with pytest.raises(RefusalError, match="can be fetched"):
        await line.told(await line.open("downloadModel", {"downloadIdentifier": "nothing"}))


async def test_a_model_is_fetched_from_another_gateway(
    serve: Serve, connect_to: Connect, gateway: Serving, home: Path
):
    from lmstrix import AsyncLMStrix
    from lmstrix.config import Places
    from lmstrix.gateway.options import GatewayOptions
    from lmstrix.gateway.server import serving as start

    places = Places.locate({"LMSTRIX_HOME": str(home / "second")})
    options_of_second = GatewayOptions(port=0, drain_s=1, repositories=(gateway.url,))
    async with (
        AsyncLMStrix(settings=Settings(discover=False), places=places) as client,
        start(client, options_of_second) as second,
    ):
        line = await connect_to("repository", at=second)
        (option,) = await options(line, "tiny-embed")
        wish = {"downloadIdentifier": option["downloadIdentifier"]}
        told = await line.told(await line.open("downloadModel", wish))
        assert told[-1] == {"type": "success", "defaultIdentifier": "tiny-embed"}
        assert (places.models / "tiny-embed.gguf").stat().st_size == option["sizeBytes"]


async def test_a_download_that_is_cancelled_leaves_nothing(
    serve: Serve, connect_to: Connect, offered: Path, home: Path
):
    serving = await serve(settings=Settings(discover=False), repositories=(str(offered),))
    line = await connect_to("repository", at=serving)
    (option,) = await options(line, "small")
    wish = {"downloadIdentifier": option["downloadIdentifier"]}
    channel = await line.open("downloadModel", wish)
    await line.say(channel, "cancel")
    assert "success" not in [one["type"] for one in await line.told(channel)]
    assert not list(serving.gateway.client.places.models.rglob("*.*"))


async def test_a_plugin_registers_and_stays_until_it_ends(connect_to: Connect):
    runner = await connect_to("plugins")
    wish = {"manifest": {"type": "plugin", "runner": "node", "owner": "o", "name": "n"}}
    channel = await runner.open("registerDevelopmentPlugin", wish)
    ready = (await runner.read())["message"]
    assert ready["type"] == "ready"
    auth = {
        "authVersion": 1,
        "clientIdentifier": ready["clientIdentifier"],
        "clientPasskey": ready["clientPasskey"],
    }
    plugin = await connect_to("plugins", auth=auth)
    await plugin.open("setToolsProvider")
    assert await plugin.call("pluginInitCompleted") is None
    await runner.say(channel, "end")
    assert await runner.told(channel) == []


async def test_a_plugins_credentials_hold_where_tokens_are_needed(
    serve: Serve, connect_to: Connect
):
    token = "sk-lm-abcdEFGH:abcdefghijklmnopqrst"
    guarded = await serve(tokens=(token,))
    halves = {"clientIdentifier": "abcdEFGH", "clientPasskey": "abcdefghijklmnopqrst"}
    runner = await connect_to("plugins", at=guarded, auth={"authVersion": 1, **halves})
    await runner.open("registerDevelopmentPlugin", {"manifest": {}})
    ready = (await runner.read())["message"]
    auth = {
        "authVersion": 1,
        "clientIdentifier": ready["clientIdentifier"],
        "clientPasskey": ready["clientPasskey"],
    }
    assert await (await connect_to("system", at=guarded, auth=auth)).call("version")


async def test_who_follows_the_log_sees_prompts_and_answers_until_he_stops(connect_to: Connect):
    llm, log = await connect_to("llm"), await connect_to("diagnostics")
    await load(llm, "tiny-chat")
    channel = await log.open("streamLogs")
    await log.send({"type": "keepAlive"})  # its answer says that the channel is open
    assert (await log.read())["type"] == "keepAliveAck"
    asked = question("What is the capital of Poland?")
    await llm.told(await llm.open("predict", asked))
    asked_line, answered_line = [(await log.read())["message"]["log"]["data"] for _ in range(2)]
    assert asked_line["type"] == "llm.prediction.input"
    assert "Poland" in asked_line["input"]
    assert asked_line["modelIdentifier"] == "tiny-chat"
    assert answered_line["type"] == "llm.prediction.output"
    assert answered_line["output"] == "Warsaw."
    await log.say(channel, "stop")
    assert await log.told(channel) == []


async def test_who_came_by_another_token_does_not_see_it(serve: Serve, connect_to: Connect):
    tokens = ("sk-lm-aaaaaaaa:aaaaaaaaaaaaaaaaaaaa", "sk-lm-bbbbbbbb:bbbbbbbbbbbbbbbbbbbb")
    guarded = await serve(tokens=tokens)

    def auth(letter: str) -> dict[str, object]:
        return {
            "authVersion": 1,
            "clientIdentifier": letter * 8,
            "clientPasskey": letter * 20,
        }

    llm = await connect_to("llm", at=guarded, auth=auth("a"))
    log = await connect_to("diagnostics", at=guarded, auth=auth("b"))
    await load(llm, "tiny-chat")
    await log.open("streamLogs")
    await log.send({"type": "keepAlive"})
    await log.read()
    await llm.told(await llm.open("predict", question("Hi")))
    await log.send({"type": "keepAlive"})
    assert (await log.read())["type"] == "keepAliveAck"
