"""LM Studio's REST interface: who listens, the models of versions 0 and 1, loading and unloading.

Beside it are `lmstudio_chat` with `/api/v1/chat`, `lmstudio_downloads`, and `lmstudio_v0` with the
answers of version 0. LM Studio's own programs tell it from others by `/lmstudio-greeting`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import UNSET
from starlette.routing import Route

from lmstrix import __version__
from lmstrix.errors import ModelNotFoundError
from lmstrix.gateway import lmstudio_chat, lmstudio_downloads, lmstudio_v0
from lmstrix.gateway.describing import describe
from lmstrix.gateway.lmstudio_facts import (
    bits_of,
    context_of,
    display_name,
    domain_of,
    is_embedding,
    params_string,
    publisher_of,
)
from lmstrix.gateway.reading import read_body
from lmstrix.gateway.responding import json_response, until_gone
from lmstrix.protocol.lmstudio import rest
from lmstrix.types import LoadConfig, ModelType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.types import Instance, Model

_V0_TYPES = {ModelType.LLM: "llm", ModelType.VLM: "vlm", ModelType.EMBEDDING: "embeddings"}


def routes(gateway: Gateway) -> list[BaseRoute]:
    """The routes of models; those of answers are in the modules beside."""
    rooms = Rooms(gateway)
    return [
        Route(rest.GREETING, rooms.greet, methods=["GET"]),
        Route(rest.STATUS, rooms.status, methods=["GET"]),
        Route(rest.V0_MODELS, rooms.models_v0, methods=["GET"]),
        Route(rest.V0_MODELS + "/{name:path}", rooms.model_v0, methods=["GET"]),
        *lmstudio_v0.routes(gateway),
        Route(rest.V1_MODELS, rooms.models_v1, methods=["GET"]),
        Route(rest.V1_LOAD, rooms.load, methods=["POST"]),
        Route(rest.V1_UNLOAD, rooms.unload, methods=["POST"]),
        *lmstudio_downloads.routes(gateway),
        *lmstudio_chat.routes(gateway),
    ]


class Rooms:
    """The endpoints, on one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @describe("Whether LM Studio's protocols are spoken here", answer=rest.Greeting)
    async def greet(self, request: Request) -> Response:  # noqa: ARG002  # Starlette passes it
        """`GET /lmstudio-greeting`."""
        return json_response(rest.Greeting())

    @describe("Which program listens", answer=rest.Status)
    async def status(self, request: Request) -> Response:  # noqa: ARG002  # Starlette passes it
        """`GET /lms-status`."""
        return json_response(rest.Status(package="lmstrix", version=__version__))

    @describe("The models, loaded or not (version 0)", answer=rest.ModelListV0)
    async def models_v0(self, request: Request) -> Response:  # noqa: ARG002  # Starlette passes it
        """`GET /api/v0/models`."""
        entries = await self._gateway.models()
        loaded = await self._gateway.instances()
        found = tuple(_model_v0(entry.model, loaded) for entry in entries)
        return json_response(rest.ModelListV0(data=found))

    @describe("One model (version 0)", answer=rest.ModelV0)
    async def model_v0(self, request: Request) -> Response:
        """`GET /api/v0/models/{name}`."""
        entry = await self._gateway.find(request.path_params["name"])
        return json_response(_model_v0(entry.model, await self._gateway.instances()))

    @describe("The models with their loaded instances", answer=rest.ModelListV1)
    async def models_v1(self, request: Request) -> Response:  # noqa: ARG002  # Starlette passes it
        """`GET /api/v1/models`."""
        entries = await self._gateway.models()
        loaded = await self._gateway.instances()
        found = tuple(_model_v1(entry.model, loaded) for entry in entries)
        return json_response(rest.ModelListV1(models=found))

    @describe("Load a model", body=rest.LoadRequest, answer=rest.LoadAnswer)
    async def load(self, request: Request) -> Response:
        """`POST /api/v1/models/load`."""
        wish = await read_body(request, rest.LoadRequest)
        config = LoadConfig(
            context_tokens=wish.context_length or None,
            batch_tokens=wish.eval_batch_size or None,
            flash_attention=None if wish.flash_attention is UNSET else wish.flash_attention,
        )
        entry = await self._gateway.find(wish.model)
        started_s = asyncio.get_running_loop().time()
        instance = await until_gone(request, self._gateway.load(wish.model, config))
        took_s = asyncio.get_running_loop().time() - started_s
        answer = rest.LoadAnswer(
            type=domain_of(entry.model),
            instance_id=instance.id,
            load_time_seconds=round(took_s, 3),
            load_config=settings_of(instance, entry.model) if wish.echo_load_config else UNSET,
        )
        return json_response(answer)

    @describe("Unload an instance", body=rest.UnloadRequest, answer=rest.UnloadAnswer)
    async def unload(self, request: Request) -> Response:
        """`POST /api/v1/models/unload`."""
        wish = await read_body(request, rest.UnloadRequest)
        loaded = await self._gateway.instances()
        if all(instance.id != wish.instance_id for instance in loaded):
            raise ModelNotFoundError(
                f"No instance is called {wish.instance_id!r}.",
                query=wish.instance_id,
                nearest=[instance.id for instance in loaded],
                hint="See what is loaded: GET /api/v1/models",
            )
        await self._gateway.unload(wish.instance_id)
        return json_response(rest.UnloadAnswer(wish.instance_id))


def settings_of(instance: Instance, model: Model) -> rest.LoadSettings:
    """How an instance is loaded, as version 1 says it. What is not known is left out."""
    config = instance.config
    return rest.LoadSettings(
        context_length=context_of(instance, model),
        eval_batch_size=config.batch_tokens or UNSET,
        parallel=instance.parallel,
        flash_attention=UNSET if config.flash_attention is None else config.flash_attention,
    )


def instances_of(model: Model, loaded: Sequence[Instance]) -> list[Instance]:
    """The instances of `model` among those that are loaded."""
    return [one for one in loaded if (one.model_key, one.server) == (model.key, model.server)]


def _model_v0(model: Model, loaded: Sequence[Instance]) -> rest.ModelV0:
    mine = instances_of(model, loaded)
    return rest.ModelV0(
        id=model.key,
        type=_V0_TYPES[model.type],
        publisher=publisher_of(model),
        arch=model.architecture or "",
        compatibility_type=model.format,
        quantization=model.quantization or "",
        state="loaded" if mine else "not-loaded",
        max_context_length=model.declared_context_tokens or 0,
        loaded_context_length=context_of(mine[0], model) if mine else UNSET,
        capabilities=("tool_use",) if model.tools else UNSET,
    )


def _model_v1(model: Model, loaded: Sequence[Instance]) -> rest.ModelV1:
    embedding = is_embedding(model)
    quantization = rest.Quantization(
        name=model.quantization, bits_per_weight=bits_of(model.quantization)
    )
    return rest.ModelV1(
        type=domain_of(model),
        publisher=publisher_of(model),
        key=model.key,
        display_name=display_name(model),
        architecture=UNSET if embedding else model.architecture,
        quantization=quantization if model.quantization else None,
        size_bytes=model.size_bytes,
        params_string=params_string(model.parameters),
        loaded_instances=tuple(
            rest.LoadedInstance(id=one.id, config=settings_of(one, model))
            for one in instances_of(model, loaded)
        ),
        max_context_length=model.declared_context_tokens or 0,
        format=model.format,
        capabilities=UNSET if embedding else _capabilities(model),
        description=UNSET if embedding else model.description,
    )


def _capabilities(model: Model) -> rest.ModelCapabilities:
    options = rest.ReasoningOptions(allowed_options=("off", "on"), default="on")
    return rest.ModelCapabilities(
        vision=model.vision,
        trained_for_tool_use=model.tools,
        reasoning=options if model.reasoning else UNSET,
    )
