"""Anthropic's Messages API in front of any model, so that coding agents run on it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from starlette.routing import Match, Route

from lmstrix.errors import LMStrixError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.errors import anthropic_error, problem_of
from lmstrix.gateway.reading import read_body
from lmstrix.gateway.responding import EVENT_STREAM, Streaming, json_response, until_gone
from lmstrix.protocol.anthropic.encoding import AnswerEncoder, new_id, whole_message
from lmstrix.protocol.anthropic.messages import (
    AnswerMessage,
    ModelInfo,
    ModelPage,
    StreamEvent,
    TokenCount,
)
from lmstrix.protocol.anthropic.requests import (
    COUNT_TOKENS,
    MESSAGES,
    CountRequest,
    MessagesRequest,
)
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import Scope

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.store import Entry
    from lmstrix.types import Request as Question

_VERSION = b"anthropic-version"


def routes(gateway: Gateway) -> list[BaseRoute]:
    """The routes of this dialect."""

    @describe(
        "Answer a conversation.",
        body=MessagesRequest,
        answer=AnswerMessage,
        stream=EVENT_STREAM,
        event=StreamEvent,
    )
    async def messages(request: Request) -> Response:
        asked = await read_body(request, MessagesRequest)
        question = await _question(gateway, asked)
        if asked.stream:
            return Streaming(_events(gateway, asked, question), headers=_id())
        answer = await until_gone(request, _whole(gateway, asked, question))
        return json_response(answer, headers=_id())

    @describe("Count the tokens of a conversation.", body=CountRequest, answer=TokenCount)
    async def count_tokens(request: Request) -> Response:
        asked = await read_body(request, CountRequest)
        count = gateway.count_tokens(asked.model, asked.request())
        return json_response(TokenCount(await until_gone(request, count)), headers=_id())

    @describe("List the models, as Anthropic's clients ask for them.", answer=ModelPage)
    async def models(request: Request) -> Response:  # noqa: ARG001  # Starlette passes it
        listed = tuple(
            _info(entry)
            for entry in await gateway.models()
            if entry.model.type is not ModelType.EMBEDDING
        )
        first, last = (listed[0].id, listed[-1].id) if listed else (None, None)
        page = ModelPage(data=listed, first_id=first, last_id=last)
        return json_response(page, headers=_id())

    @describe("Describe one model, as Anthropic's clients ask for it.", answer=ModelInfo)
    async def model(request: Request) -> Response:
        entry = await gateway.find(request.path_params["name"])
        return json_response(_info(entry), headers=_id())

    return [
        Route(MESSAGES, messages, methods=["POST"]),
        Route(COUNT_TOKENS, count_tokens, methods=["POST"]),
        _AnthropicRoute("/v1/models", models, methods=["GET"]),
        _AnthropicRoute("/v1/models/{name:path}", model, methods=["GET"]),
    ]


class _AnthropicRoute(Route):
    """A route for clients that say which version of Anthropic's API they speak.

    OpenAI's dialect has the same paths for everybody else.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not any(name == _VERSION for name, _ in scope.get("headers", ())):
            return Match.NONE, {}
        return super().matches(scope)


async def _question(gateway: Gateway, asked: MessagesRequest) -> Question:
    """The question; agents ask every model to think, and one that cannot answers all the same."""
    question = asked.request()
    if question.think is not None:
        able = await gateway.capabilities_of(asked.model)
        if not able.supports_reasoning:
            question = msgspec.structs.replace(question, think=None)
    return question


async def _events(
    gateway: Gateway, asked: MessagesRequest, question: Question
) -> AsyncGenerator[bytes, None]:
    encoder = AnswerEncoder(asked.model, stops=asked.stop_sequences, thinking=asked.shows_thinking)
    begun = False
    try:
        async with gateway.answer(asked.model, question) as answering:
            async for item in answering:
                if piece := encoder.feed(item):
                    begun = True
                    yield piece
    except LMStrixError as error:
        if not begun:
            raise
        told = anthropic_error(problem_of(error)).error
        yield encoder.fail(told.type, told.message)


async def _whole(gateway: Gateway, asked: MessagesRequest, question: Question) -> AnswerMessage:
    async with gateway.answer(asked.model, question) as answering:
        items = [item async for item in answering]
    return whole_message(
        items, asked.model, stops=asked.stop_sequences, thinking=asked.shows_thinking
    )


def _info(entry: Entry) -> ModelInfo:
    model = entry.model
    known_since = datetime.fromtimestamp(model.modified_at or entry.added_at, UTC)
    tested = entry.result.usable_tokens if entry.result is not None else None
    return ModelInfo(
        id=model.key,
        display_name=model.name or model.key,
        created_at=known_since.isoformat().replace("+00:00", "Z"),
        max_input_tokens=tested or model.declared_context_tokens,
    )


def _id() -> dict[str, str]:
    return {"request-id": new_id("req")}
