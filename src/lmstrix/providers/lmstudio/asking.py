"""A request in LM Studio's words. Pure: pictures are named by what they were uploaded as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.errors import UnsupportedError, UsageError
from lmstrix.protocol.lmstudio.chats import (
    AssistantResponse,
    ChatHistoryData,
    FileHandle,
    LlmTool,
    LlmToolFunction,
    SystemPrompt,
    TextData,
    ToolCallRequest,
    ToolCallRequestData,
    ToolCallResultData,
    ToolResultMessage,
    UserMessage,
)
from lmstrix.protocol.lmstudio.config import COMPLETION_LAYER, ConfigStack, Field, override
from lmstrix.protocol.lmstudio.models import ModelQuery, ModelSpecifierQuery
from lmstrix.protocol.lmstudio.predictions import PredictRequest
from lmstrix.protocol.lmstudio.settings import sampling_fields
from lmstrix.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.protocol.lmstudio.chats import AnyChatMessage
    from lmstrix.types import Image, Message, Request, Tool

    Pictures = Callable[[Image], FileHandle]

_PREDICTION = "llm.prediction."
_CHOICES = frozenset({"auto", "none", "required"})


def specifier(instance_id: str) -> ModelSpecifierQuery:
    """The loaded instance of that name."""
    return ModelSpecifierQuery(query=ModelQuery(identifier=instance_id))


def predict_request(instance_id: str, request: Request, *, pictures: Pictures) -> PredictRequest:
    """What opens the channel of an answer.

    A prompt that does not fit is to be refused: LM Studio's own default is to cut it silently.
    """
    layers = [override(_fields(request))]
    if request.prompt is not None:
        layers.append(COMPLETION_LAYER)
    return PredictRequest(
        model_specifier=specifier(instance_id),
        history=history(request, pictures=pictures),
        prediction_config_stack=ConfigStack(layers=layers),
    )


def history(request: Request, *, pictures: Pictures) -> ChatHistoryData:
    """The conversation; a plain completion is a user's message in one."""
    if request.prompt is not None:
        return ChatHistoryData(messages=[UserMessage(content=[TextData(text=request.prompt)])])
    return ChatHistoryData(messages=[_message(message, pictures) for message in request.messages])


def tool_definitions(tools: tuple[Tool, ...]) -> list[LlmTool]:
    """What the model is told of its tools."""
    return [
        LlmTool(
            type="function",
            function=LlmToolFunction(
                name=tool.name,
                description=tool.description or None,
                parameters=tool.parameters or {"type": "object", "properties": {}},
            ),
        )
        for tool in tools
    ]


def _fields(request: Request) -> list[Field]:
    fields = sampling_fields(request.sampling)

    def put(name: str, value: Any) -> None:
        fields.append(Field(key=_PREDICTION + name, value=value))

    put("contextOverflowPolicy", "stopAtLimit")
    if request.schema is not None:
        put("structured", {"type": "json", "jsonSchema": request.schema})
    elif request.grammar is not None:
        put("structured", {"type": "gbnf", "gbnfGrammar": request.grammar})
    if request.tools:
        tools = [tool.to_dict() for tool in tool_definitions(request.tools)]
        put("tools", {"type": "toolArray", "tools": tools})
    if request.tool_choice is not None:
        put("toolChoice", {"type": "generic", "mode": _choice(request.tool_choice)})
    if request.think is not None:
        put("reasoning.enableThinking", _thinking(request.think))
    if request.logprobs is not None:
        put("logProbs", {"checked": True, "value": request.logprobs})
    known = {field.key for field in fields}
    fields += (
        Field(key=key, value=value) for key, value in request.extra.items() if key not in known
    )
    return fields


def _choice(choice: str) -> str:
    if choice in _CHOICES:
        return choice
    raise UnsupportedError(
        f"LM Studio cannot be told to call one certain tool ({choice}).",
        hint="Offer that tool alone, and require one.",
    )


def _thinking(think: bool | str) -> bool:  # noqa: FBT001  # a value that is passed on
    if isinstance(think, bool):
        return think
    raise UnsupportedError(
        f"LM Studio's native protocol cannot be told how much to reason ({think}).",
        hint="Turn reasoning on or off, or use --provider lmstudio-openai.",
    )


def _message(message: Message, pictures: Pictures) -> AnyChatMessage:
    if message.role is Role.TOOL:
        result = ToolCallResultData(
            content=message.content, tool_call_id=message.tool_call_id, name=message.name
        )
        return ToolResultMessage(content=[result])
    text = TextData(text=message.content)
    if message.role is Role.SYSTEM:
        return SystemPrompt(content=[text])
    if message.role is Role.ASSISTANT:
        calls = [_call(call.id, call.name, call.arguments) for call in message.tool_calls]
        return AssistantResponse(content=[text, *calls])
    return UserMessage(content=[text, *(pictures(image) for image in message.images)])


def _call(call_id: str, name: str, arguments: str) -> ToolCallRequestData:
    try:
        told = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError as problem:
        raise UsageError(
            f"The arguments of the call {call_id} are no JSON object: {problem}"
        ) from None
    request = ToolCallRequest(type="function", name=name, id=call_id, arguments=told)
    return ToolCallRequestData(tool_call_request=request)
