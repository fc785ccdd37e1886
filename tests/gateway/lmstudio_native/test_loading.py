"""Loads, instances and their names, and who makes room for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway.lmstudio_native.lines import RefusalError, by_name, load, question, stack

from lmstrix.config import EmbeddedSettings, Settings
from lmstrix.lmstudio.async_client import AsyncClient
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from gateway.conftest import Serve
    from gateway.lmstudio_native.lines import Connect

    from lmstrix.gateway.server import Serving


async def test_a_load_tells_what_how_far_and_which_instance(connect_to: Connect):
    line = await connect_to("llm")
    wish = {
        "modelKey": "tiny-chat",
        "ttlMs": 60_000,
        "loadConfigStack": stack(llm__load__contextLength=1024),
    }
    told = await line.told(await line.open("loadModel", wish))
    assert told[0]["type"] == "resolved"
    assert told[0]["info"]["modelKey"] == "tiny-chat"
    assert "identifier" not in told[0]["info"]
    steps = [one["progress"] for one in told if one["type"] == "progress"]
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    info = told[-1]["info"]
    assert (info["type"], info["identifier"]) == ("llm", "tiny-chat")
    assert info["contextLength"] == 1024
    assert info["ttlMs"] == 60_000
    assert info["deviceIdentifier"] is None
    assert info["instanceReference"]
    assert info["publisher"] == "lmstrix"
    assert info["quantization"] == {"name": "Q8_0", "bits": 8}
    assert info["trainedForToolUse"] is True
    assert info["vision"] is False


async def test_a_second_copy_is_numbered_and_a_taken_name_refused(connect_to: Connect):
    line = await connect_to("llm")
    assert (await load(line, "tiny-chat"))["identifier"] == "tiny-chat"
    assert (await load(line, "tiny-chat"))["identifier"] == "tiny-chat:2"
    assert (await load(line, "tiny-chat", identifier="mine"))["identifier"] == "mine"
    with pytest.raises(RefusalError, match="already exists") as refused:
        await load(line, "tiny-chat", identifier="mine")
    assert set(refused.value.error) == {"title"}  # clients show such a one in one line
    listed = await line.call("listLoaded")
    assert sorted(one["identifier"] for one in listed) == ["mine", "tiny-chat", "tiny-chat:2"]


async def test_an_unknown_model_is_not_found_by_its_path(connect_to: Connect):
    line = await connect_to("llm")
    with pytest.raises(RefusalError) as refused:
        await load(line, "no-such-model")
    assert refused.value.code == "generic.pathNotFound"


async def test_a_model_is_loaded_in_its_own_namespace_alone(connect_to: Connect):
    line = await connect_to("embedding")
    with pytest.raises(RefusalError) as refused:
        await load(line, "tiny-chat")
    assert refused.value.code == "generic.domainMismatch"
    await load(line, "tiny-embed")
    llm = await connect_to("llm")
    assert await llm.call("listLoaded") == []
    assert [one["type"] for one in await line.call("listLoaded")] == ["embedding"]


async def test_a_load_that_is_cancelled_leaves_nothing(connect_to: Connect):
    line = await connect_to("llm")
    channel = await line.open("loadModel", {"modelKey": "tiny-chat", "loadConfigStack": stack()})
    await line.say(channel, "cancel")
    kinds = [one["type"] for one in await line.told(channel)]
    assert "success" not in kinds
    assert await line.call("listLoaded") == []


async def test_an_instance_that_is_there_is_got_and_not_loaded(connect_to: Connect):
    line = await connect_to("llm")
    await load(line, "tiny-chat", identifier="mine")
    for name in ("mine", "tiny-chat", "lmstrix/shipped/TINY-chat.gguf"):
        wish = {"identifier": name, "loadConfigStack": stack(llm__load__contextLength=512)}
        (told,) = await line.told(await line.open("getOrLoad", wish))
        assert told["type"] == "alreadyLoaded"
        assert told["info"]["identifier"] == "mine"


async def test_what_is_loaded_on_demand_makes_room_and_says_so(connect_to: Connect):
    llm, embedding = await connect_to("llm"), await connect_to("embedding")
    kept = await load(llm, "tiny-chat-overclaimed")
    wish = {"identifier": "tiny-embed", "loadTtlMs": 300_000, "loadConfigStack": stack()}
    first = await embedding.told(await embedding.open("getOrLoad", wish))
    kinds = [one["type"] for one in first]
    assert kinds[0] == "startLoading"
    assert (first[0]["identifier"], first[0]["info"]["modelKey"]) == ("tiny-embed", "tiny-embed")
    assert set(kinds[1:-1]) == {"loadProgress"}
    assert kinds[-1] == "loadSuccess"
    assert first[-1]["info"]["ttlMs"] == 300_000
    wish = {"identifier": "tiny-chat", "loadConfigStack": stack()}
    second = await llm.told(await llm.open("getOrLoad", wish))
    assert [one["type"] for one in second][:2] == ["unloadingOtherJITModel", "startLoading"]
    assert second[0]["info"]["identifier"] == "tiny-embed"
    assert second[0]["info"]["type"] == "embedding"
    assert await embedding.call("listLoaded") == []
    listed = [one["instanceReference"] for one in await llm.call("listLoaded")]
    assert kept["instanceReference"] in listed


async def test_an_alias_names_the_instance_that_is_asked_for_by_it(
    serve: Serve, connect_to: Connect
):
    named = await serve(aliases={"llama-3.2-1b-instruct": "tiny-chat"})
    line = await connect_to("llm", at=named)
    info = await load(line, "llama-3.2-1b-instruct")
    assert (info["identifier"], info["modelKey"]) == ("llama-3.2-1b-instruct", "tiny-chat")
    for name in ("llama-3.2-1b-instruct", "tiny-chat"):
        wish = {"identifier": name, "loadConfigStack": stack()}
        (told,) = await line.told(await line.open("getOrLoad", wish))
        assert told["info"]["identifier"] == "llama-3.2-1b-instruct"


async def test_a_reference_never_means_a_successor_of_the_same_name(connect_to: Connect):
    line = await connect_to("llm")
    old = await load(line, "tiny-chat")
    await line.call("unloadModel", {"identifier": "tiny-chat"})
    new = await load(line, "tiny-chat")
    assert old["identifier"] == new["identifier"]

    async def info(reference: str) -> object:
        specifier = {"type": "instanceReference", "instanceReference": reference}
        return await line.call("getModelInfo", {"specifier": specifier, "throwIfNotFound": False})

    assert await info(new["instanceReference"]) is not None
    assert await info(old["instanceReference"]) is None


async def test_what_is_not_loaded_is_not_found_and_says_what_is(connect_to: Connect):
    line = await connect_to("llm")
    await load(line, "tiny-chat")
    for endpoint, parameter in (
        ("unloadModel", {"identifier": "nothing"}),
        ("getModelInfo", {"specifier": by_name("nothing"), "throwIfNotFound": True}),
        ("countTokens", {"specifier": by_name("nothing"), "inputString": "a"}),
    ):
        with pytest.raises(RefusalError) as refused:
            await line.call(endpoint, parameter)
        assert refused.value.code == "generic.noModelMatchingQuery"
        assert refused.value.error["displayData"]["loadedModelsSample"] == ["tiny-chat"]


async def test_any_model_is_one_of_the_namespace(connect_to: Connect):
    llm, embedding = await connect_to("llm"), await connect_to("embedding")
    await load(embedding, "tiny-embed")
    await load(llm, "tiny-chat")
    wish = {"specifier": by_name(), "throwIfNotFound": True}
    assert (await llm.call("getModelInfo", wish))["identifier"] == "tiny-chat"
    assert (await embedding.call("getModelInfo", wish))["identifier"] == "tiny-embed"


async def test_the_load_config_has_the_real_context(connect_to: Connect):
    line = await connect_to("llm")
    config = stack(llm__load__contextLength=700, llm__load__llama__flashAttention=True)
    info = await load(line, "tiny-chat", loadConfigStack=config)
    found = await line.call("getLoadConfig", {"specifier": by_name("tiny-chat")})
    values = {field["key"]: field["value"] for field in found["fields"]}
    assert values["llm.load.contextLength"] == info["contextLength"]
    assert values["llm.load.llama.flashAttention"] is True


async def test_what_holds_without_settings_can_be_asked(connect_to: Connect):
    line = await connect_to("llm")
    await load(line, "tiny-chat")
    found = await line.call("getBasePredictionConfig", {"specifier": by_name("tiny-chat")})
    values = {field["key"]: field["value"] for field in found["fields"]}
    assert values["llm.prediction.temperature"] == pytest.approx(0.8)
    assert values["llm.prediction.topKSampling"] == 40
    assert values["llm.prediction.minPSampling"]["checked"] is True


async def test_an_estimate_fits_what_the_engine_may_take(serve: Serve):
    for limit_bytes, fits in ((None, True), (2**20, False)):
        embedded = EmbeddedSettings(memory_limit_bytes=limit_bytes)
        settings = Settings(shipped_models=True, discover=False, embedded=embedded)
        running = await serve(settings)
        async with AsyncClient(running.url) as client:
            usage = await client.llm.estimate_resources("tiny-chat", config={"contextLength": 512})
        assert usage.passes_guardrails is fits


async def test_an_estimate_grows_with_the_context_and_counts_no_gpu(connect_to: Connect):
    line = await connect_to("llm")

    async def estimate(tokens: int) -> dict[str, float]:
        config = stack(llm__load__contextLength=tokens)
        wish = {"modelKey": "tiny-chat", "loadConfigStack": config}
        found = await line.call("estimateModelUsage", wish)
        assert found["passesGuardrails"] is True
        memory = found["memory"]
        assert isinstance(memory, dict)
        return memory

    small, large = await estimate(512), await estimate(8192)
    assert small["contextBytes"] < large["contextBytes"]
    assert large["totalBytes"] == large["modelBytes"] + large["contextBytes"]
    assert large["totalVramBytes"] == 0
    assert large["confidence"] == "high"
    assert await line.call("listLoaded") == []


async def test_an_instance_is_ended_when_nobody_used_it_for_its_time(
    connect_to: Connect, gateway: Serving
):
    import asyncio

    line = await connect_to("llm")
    await load(line, "tiny-chat", ttlMs=300)
    async with asyncio.timeout(10):
        while await line.call("listLoaded"):  # noqa: ASYNC110  # nobody tells when it has gone
            await asyncio.sleep(0.05)


async def test_an_instance_of_another_program_is_listed_and_used(
    connect_to: Connect, gateway: Serving
):
    from lmstrix import AsyncLMStrix

    async with AsyncLMStrix(settings=gateway.gateway.client.settings) as other:
        config = LoadConfig(context_tokens=768)
        resident = await other.load("tiny-chat", config=config, in_ctx=768, resident=True)
        try:
            line = await connect_to("llm")
            (info,) = await line.call("listLoaded")
            assert (info["identifier"], info["contextLength"]) == (resident.id, 768)
            told = await line.told(await line.open("predict", question("Hi", resident.id)))
            assert told[-1]["modelInfo"]["instanceReference"] == info["instanceReference"]
        finally:
            await other.unload(resident.id)
