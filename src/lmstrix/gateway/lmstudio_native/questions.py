"""From a client's history and settings to a request. Pure but for the pictures it is handed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.errors import UnsupportedError, UsageError
from lmstrix.protocol.lmstudio.chats import (
    AssistantResponse,
    FileHandle,
    TextData,
    ToolCallRequestData,
    ToolResultMessage,
)
from lmstrix.protocol.lmstudio.config import read_value
from lmstrix.protocol.lmstudio.settings import read_sampling
from lmstrix.types import Image, Message, Overflow, Request, Role, Tool, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lmstrix.protocol.lmstudio.chats import AnyChatMessage, ChatHistoryData

    Pictures = Callable[[FileHandle], Image | None]

_PREDICTION = "llm.prediction."
OVERFLOWS = {
    "stopAtLimit": Overflow.STOP,
    "truncateMiddle": Overflow.MIDDLE,
    "rollingWindow": Overflow.ROLLING,
}
_BY_NAME = frozenset({"properties", "$defs", "definitions", "patternProperties"})
_OPENERS = frozenset(
    {"additionalProperties", "patternProperties", "allOf", "unevaluatedProperties"}
)
# The template of a completion, however it is spaced and quoted: contents one after another.
_PLAIN = re.compile(
    r"\s*\{%-?\s*for\s+(\w+)\s+in\s+messages\s*-?%\}\s*"
    r"\{\{-?\s*\1(?:\.content|\[\s*['\"]content['\"]\s*\])\s*-?\}\}\s*"
    r"\{%-?\s*endfor\s*-?%\}\s*"
)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and what is done with a prompt that does not fit.

    `reasoning` is between which marks a client gets it, `None` where it wants no difference made.
    """

    request: Request
    overflow: Overflow
    reasoning: tuple[str, str] | None = ("<think>", "</think>")


def chat_question(
    history: ChatHistoryData, values: Mapping[str, Any], *, pictures: Pictures
) -> Question:
    """What `predict` asks: a conversation, or a completion where its template says so.

    `values` are the settings by key; `pictures` gives the image of a file, `None` for a file that
    is to be passed over. Raises `UsageError` and `UnsupportedError`.
    """
    messages = tuple(read_messages(history.messages, pictures))
    template = values.get(_PREDICTION + "promptTemplate")
    if isinstance(template, Mapping):
        prompt = _by_template(template, messages)
        if prompt is not None:
            return _question(values, prompt=prompt, stop=_template_stops(template))
    return _question(values, messages=messages)


def text_question(prompt: str, values: Mapping[str, Any]) -> Question:
    """What `completeRawText` asks."""
    return _question(values, prompt=prompt)


def read_messages(messages: Iterable[AnyChatMessage], pictures: Pictures) -> Iterable[Message]:
    """The conversation in the words of `lmstrix.types`."""
    waiting: list[ToolCall] = []  # calls whose results have not come
    made = 0
    for message in messages:
        if isinstance(message, ToolResultMessage):
            for result in message.content:
                call = _called(waiting, result.tool_call_id)
                call_id = result.tool_call_id or (call.id if call else "call_0")
                name = result.name or (call.name if call else None)
                yield Message(Role.TOOL, result.content, tool_call_id=call_id, name=name)
            continue
        calls = []
        if isinstance(message, AssistantResponse):
            for part in message.content:
                if isinstance(part, ToolCallRequestData):
                    calls.append(_call(part, number=made))
                    made += 1
        waiting += calls
        texts = [part.text for part in message.content if isinstance(part, TextData)]
        joint = "" if isinstance(message, AssistantResponse) else "\n"
        yield Message(
            Role(message.role),
            joint.join(texts),
            images=_images(message.content, pictures),
            tool_calls=tuple(calls),
        )


def read_tools(values: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The tools that the settings offer. Raises `UsageError` for what is none."""
    setting = values.get(_PREDICTION + "tools")
    if not isinstance(setting, Mapping) or setting.get("type") != "toolArray":
        return ()
    return tuple(read_tool(tool) for tool in setting.get("tools") or ())


def read_tool(tool: Any) -> Tool:
    """A tool as the wire has it. Raises `UsageError` for what is none."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise UsageError("A tool needs a function with a name.")
    return Tool(
        name=function["name"],
        description=function.get("description") or "",
        parameters=function.get("parameters") or {},
    )


def _question(
    values: Mapping[str, Any],
    *,
    messages: tuple[Message, ...] = (),
    prompt: str | None = None,
    stop: Sequence[str] = (),
) -> Question:
    sampling = read_sampling(values)
    if stop:
        sampling = msgspec.structs.replace(sampling, stop=(*(sampling.stop or ()), *stop))
    schema, grammar = _structure(values)
    thinking = values.get(_PREDICTION + "reasoning.enableThinking")
    logprobs = read_value(values, _PREDICTION + "logProbs")
    system = values.get(_PREDICTION + "systemPrompt")
    if system and messages and messages[0].role is not Role.SYSTEM:
        messages = (Message(Role.SYSTEM, str(system)), *messages)
    policy = values.get(_PREDICTION + "contextOverflowPolicy", "truncateMiddle")
    if policy not in OVERFLOWS:
        raise UsageError(
            f"There is no contextOverflowPolicy {policy!r}.",
            hint=f"Use one of {', '.join(OVERFLOWS)}.",
        )
    request = Request(
        messages=messages,
        prompt=prompt,
        sampling=sampling,
        tools=read_tools(values) if prompt is None else (),
        tool_choice=_tool_choice(values) if prompt is None else None,
        schema=schema,
        grammar=grammar,
        think=thinking if isinstance(thinking, bool) and prompt is None else None,
        logprobs=int(logprobs) if logprobs else None,
    )
    return Question(request=request, overflow=OVERFLOWS[policy], reasoning=_marks(values))


def _structure(values: Mapping[str, Any]) -> tuple[Mapping[str, object] | None, str | None]:
    """The schema and the grammar that the answer must obey."""
    setting = values.get(_PREDICTION + "structured")
    if not isinstance(setting, Mapping):
        return None, None
    kind = setting.get("type")
    if kind == "json":
        schema = setting.get("jsonSchema")
        return (closed(schema) if isinstance(schema, Mapping) else {"type": "object"}), None
    if kind == "gbnf":
        grammar = setting.get("gbnfGrammar")
        if not isinstance(grammar, str):
            raise UsageError("A structured answer of the type gbnf needs a gbnfGrammar.")
        return None, grammar
    return None, None


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with objects that have no other properties than those it names.

    A schema that is silent about others allows any, and a small model then writes them without
    end. What obeys the closed schema obeys the open one, which is why parts of `allOf`, `oneOf`
    and `not` stay as they are.
    """
    told = {key: _close(key, value) for key, value in schema.items()}
    if "properties" in told and not _OPENERS & told.keys():
        told["additionalProperties"] = False
    return told


def _close(key: str, value: Any) -> Any:
    if key in _BY_NAME and isinstance(value, Mapping):
        return {name: _close("items", part) for name, part in value.items()}
    if key in ("items", "additionalProperties") and isinstance(value, Mapping):
        return closed(value)
    if key in ("anyOf", "prefixItems") and isinstance(value, list | tuple):
        return [_close("items", part) for part in value]
    return value


def _tool_choice(values: Mapping[str, Any]) -> str | None:
    setting = values.get(_PREDICTION + "toolChoice")
    mode = setting.get("mode") if isinstance(setting, Mapping) else None
    return mode if mode in ("auto", "none", "required") else None


def _marks(values: Mapping[str, Any]) -> tuple[str, str] | None:
    setting = values.get(_PREDICTION + "reasoning.parsing")
    if not isinstance(setting, Mapping):
        return ("<think>", "</think>")
    if setting.get("enabled") is False:
        return None
    return str(setting.get("startString", "<think>")), str(setting.get("endString", "</think>"))


def _by_template(template: Mapping[str, Any], messages: Sequence[Message]) -> str | None:
    """The prompt that a client's own template makes; `None` where the model's own is to be used.

    A Jinja template is understood where it only joins the contents, as the SDKs' completions do.
    """
    if template.get("type") == "manual":
        manual = template.get("manualPromptTemplate")
        return _by_hand(manual, messages) if isinstance(manual, Mapping) else None
    jinja = template.get("jinjaPromptTemplate")
    source = jinja.get("template") if isinstance(jinja, Mapping) else None
    if not isinstance(source, str) or not source.strip():
        return None
    if not _PLAIN.fullmatch(source):
        raise UnsupportedError(
            "A prompt template of one's own is not offered here, but for completions.",
            hint="Leave promptTemplate out: the model's own is used.",
        )
    _refuse_pictures(messages)
    return "".join(message.content for message in messages)


def _by_hand(manual: Mapping[str, Any], messages: Sequence[Message]) -> str:
    """What stands before and after each role's text, as it was given."""
    _refuse_pictures(messages)
    parts: list[str] = []
    for message in messages:
        role = str(message.role).capitalize()
        before, after = manual.get(f"before{role}") or "", manual.get(f"after{role}") or ""
        parts += (str(before), message.content, str(after))
    if not messages or messages[-1].role is not Role.ASSISTANT:
        parts.append(str(manual.get("beforeAssistant") or ""))
    return "".join(parts)


def _template_stops(template: Mapping[str, Any]) -> list[str]:
    return [str(stop) for stop in template.get("stopStrings") or ()]


def _refuse_pictures(messages: Iterable[Message]) -> None:
    if any(message.images for message in messages):
        raise UnsupportedError("A completion has no pictures.")


def _images(parts: Iterable[object], pictures: Pictures) -> tuple[Image, ...]:
    found = (pictures(part) for part in parts if isinstance(part, FileHandle))
    return tuple(image for image in found if image is not None)


def _call(part: ToolCallRequestData, *, number: int) -> ToolCall:
    call = part.tool_call_request
    arguments = msgspec.json.encode(call.arguments or {}).decode()
    return ToolCall(id=call.id or f"call_{number}", name=call.name, arguments=arguments)


def _called(waiting: list[ToolCall], call_id: str | None) -> ToolCall | None:
    """The call that a result answers: that of its id, else the first without an answer."""
    for call in waiting:
        if call_id in (None, call.id):
            waiting.remove(call)
            return call
    return None
