"""LM Studio by its OpenAI endpoints; `test_parity` has it before a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.scripted import Asked, Wire, scripted

from lmstrix.config import Settings
from lmstrix.errors import (
    LoadError,
    NotFoundError,
    OutOfMemoryError,
    UnsupportedError,
)
from lmstrix.providers.lmstudio_openai import LMStudioProvider, parameter_count
from lmstrix.types import LoadConfig, Model, ModelType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lmstrix.config import Places

UNKNOWN = {"error": "Unexpected endpoint or method. (GET /api/v1/models)"}
V0 = {
    "data": [
        {
            "id": "granite",
            "type": "llm",
            "arch": "granite",
            "compatibility_type": "gguf",
            "quantization": "Q4_K_M",
            "state": "loaded",
            "max_context_length": 131072,
            "loaded_context_length": 4096,
            "capabilities": ["tool_use"],
        },
        {"id": "nomic", "type": "embeddings", "state": "not-loaded", "max_context_length": 2048},
        {"id": "seer", "type": "vlm", "state": "not-loaded", "max_context_length": 8192},
    ]
}
V1 = {
    "models": [
        {
            "type": "llm",
            "publisher": "ibm",
            "key": "ibm/granite",
            "display_name": "Granite",
            "architecture": "granite",
            "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
            "size_bytes": 5,
            "params_string": "7B",
            "loaded_instances": [
                {"id": "ibm/granite:2", "config": {"context_length": 4096, "parallel": 2}}
            ],
            "max_context_length": 131072,
            "format": "gguf",
            "capabilities": {"vision": True, "trained_for_tool_use": True},
        }
    ]
}


def studio(answers: dict[str, tuple[int, object]]) -> Callable[[Asked, Wire], Awaitable[None]]:
    async def respond(asked: Asked, wire: Wire) -> None:
        status, body = answers.get(asked.path, (200, UNKNOWN))
        await wire.json(body, status)

    return respond


def model(key: str = "ibm/granite") -> Model:
    return Model(key=key, provider="lmstudio-openai", server="x")


def at(url: str, places: Places) -> LMStudioProvider:
    return LMStudioProvider.at(url, Settings(discover=False), places)


async def test_models_and_instances_are_those_of_version_1(places: Places):
    async with scripted(studio({"/api/v1/models": (200, V1)})) as server:
        provider = at(server.url, places)
        (one,) = (await provider.list_models()).models
        assert (one.key, one.type, one.parameters) == ("ibm/granite", ModelType.VLM, 7 * 10**9)
        assert (one.vision, one.tools, one.reasoning) == (True, True, False)
        assert (one.quantization, one.declared_context_tokens) == ("Q4_K_M", 131072)
        able = await provider.capabilities_of(one)
        assert able.supports_vision
        assert not able.supports_reasoning
        (instance,) = await provider.list_instances()
        assert (instance.id, instance.model_key) == ("ibm/granite:2", "ibm/granite")
        assert (instance.context_tokens, instance.parallel) == (4096, 2)


async def test_an_older_one_is_asked_by_version_0(places: Places):
    async with scripted(studio({"/api/v0/models": (200, V0)})) as server:
        provider = at(server.url, places)
        models = {one.key: one for one in (await provider.list_models()).models}
        assert [one.type for one in models.values()] == [
            ModelType.LLM,
            ModelType.EMBEDDING,
            ModelType.VLM,
        ]
        assert models["granite"].tools
        (instance,) = await provider.list_instances()
        assert (instance.id, instance.context_tokens) == ("granite", 4096)
        with pytest.raises(UnsupportedError, match="told what to load"):
            await provider.load(models["granite"], LoadConfig(context_tokens=4096))


async def test_the_oldest_tells_names_alone(places: Places):
    listed = {"data": [{"id": "granite"}]}
    async with scripted(studio({"/v1/models": (200, listed)})) as server:
        provider = at(server.url, places)
        assert [one.key for one in (await provider.list_models()).models] == ["granite"]


async def test_what_is_loaded_is_read_back(places: Places):
    loaded = {"type": "llm", "instance_id": "ibm/granite:2", "load_time_seconds": 1.5}
    answers = {"/api/v1/models": (200, V1), "/api/v1/models/load": (200, loaded)}
    async with scripted(studio(answers)) as server:
        provider = at(server.url, places)
        instance = await provider.load(model(), LoadConfig(context_tokens=9999))
        assert (instance.id, instance.context_tokens, instance.load_s) == (
            "ibm/granite:2",
            4096,
            1.5,
        )
        (asked,) = [one for one in server.asked if one.method == "POST"]
        assert asked.json == {
            "model": "ibm/granite",
            "context_length": 9999,
            "echo_load_config": True,
        }


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (500, "insufficient system memory", OutOfMemoryError),
        (500, "something broke", LoadError),
        (404, "model 'x' not found", NotFoundError),
    ],
)
async def test_a_load_that_fails_says_why(
    places: Places, status: int, message: str, kind: type[Exception]
):
    refusal = {"error": {"type": "x", "message": message}}
    async with scripted(studio({"/api/v1/models/load": (status, refusal)})) as server:
        with pytest.raises(kind, match=message):
            await at(server.url, places).load(model(), LoadConfig(context_tokens=64))


async def test_what_its_rest_interface_has_no_word_for_is_refused_before_any_work(places: Places):
    async with scripted(studio({})) as server:
        provider = at(server.url, places)
        with pytest.raises(UnsupportedError, match="kv_type_k"):
            await provider.load(model(), LoadConfig(kv_type_k="q8_0"))
        with pytest.raises(UnsupportedError, match="name for the instance"):
            await provider.load(model(), LoadConfig(), instance_id="mine")
        assert server.asked == []


async def test_what_is_not_loaded_is_not_unloaded(places: Places):
    async with scripted(studio({"/api/v1/models": (200, V1)})) as server:
        with pytest.raises(NotFoundError):
            await at(server.url, places).unload("nothing")
        assert server.paths() == []


async def test_it_is_known_by_its_greeting(places: Places):
    answers = {"/lmstudio-greeting": (200, {"lmstudio": True}), "/api/v1/models": (200, V1)}
    async with scripted(studio(answers)) as server:
        settings = Settings(server=server.url, discover=False)
        (found,) = await LMStudioProvider.discover(settings, places)
        assert (found.server, found.engine) == (server.url, "LM Studio")
    async with scripted(studio({})) as other:
        settings = Settings(server=other.url, discover=False)
        assert await LMStudioProvider.discover(settings, places) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [("7B", 7 * 10**9), ("270M", 270 * 10**6), ("1.5B", 15 * 10**8), ("", None), ("8x7B", None)],
)
def test_the_number_of_parameters_is_read(text: str, count: int | None):
    assert parameter_count(text) == count
