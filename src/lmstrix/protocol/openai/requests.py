"""Requests for chat completions and completions: written by a client, read by a server."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from lmstrix.errors import UsageError
from lmstrix.protocol.openai.messages import (
    ChatMessage,
    NamedTool,
    ToolSpec,
    decode_messages,
    decode_tools,
    encode_message,
    encode_tool_choice,
    encode_tools,
)
from lmstrix.types import Request, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


class Dialect(StrEnum):
    """Whose additions a server understands; `OPENAI` is any server of which no more is known."""

    OPENAI = "openai"
    LLAMA = "llama.cpp"
    VLLM = "vllm"
    LMSTUDIO = "lmstudio"


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream carries besides the answer."""

    include_usage: bool = False


class JsonSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schema with the name that OpenAI wants it to have."""

    name: str = "answer"
    schema: dict[str, Any] | None = None
    strict: bool | str | None = None
    description: str | None = None


class ResponseFormat(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the answer must be: `text`, `json_object` or `json_schema`.

    `schema` beside `json_object` is llama.cpp's.
    """

    type: str = "text"
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class _Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What both kinds of request have. Whatever is `None` is not sent."""

    model: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None  # vLLM's name for it
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: str | tuple[str, ...] | None = None
    max_tokens: int | None = None
    n: int | None = None
    logit_bias: dict[str, float] | None = None
    response_format: ResponseFormat | None = None
    grammar: str | None = None  # llama.cpp
    structured_outputs: dict[str, Any] | None = None  # vLLM
    user: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ttl: float | None = None  # LM Studio: seconds without use until the model is unloaded
    cache_prompt: bool | None = None  # these five are llama.cpp's
    return_progress: bool | None = None
    timings_per_token: bool | None = None
    verbose: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # also vLLM's

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self) -> Sampling:
        """The sampling settings of a client's request."""
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repeat_penalty=self.repeat_penalty or self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else self.stop or None,
            max_tokens=self.max_tokens,
        )

    def _refuse_untranslatable(self) -> None:
        if self.n not in (None, 1):
            raise UsageError(
                f"One answer is given at a time, not {self.n}.", hint="Ask several times."
            )
        if self.logit_bias:
            raise UsageError("logit_bias cannot be passed on to this model's server.")

    def _schema(self) -> Mapping[str, object] | None:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return wanted.schema or {"type": "object"}
        if wanted.type == "json_schema" and wanted.json_schema and wanted.json_schema.schema:
            return wanted.json_schema.schema
        raise UsageError(
            f"The response_format {wanted.type!r} has no meaning here.",
            hint="Use text, json_object, or json_schema with a schema.",
        )


class ChatRequest(_Request, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /v1/chat/completions`."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None

    def request(self) -> Request:
        """What a client asks. Raises `UsageError` for what has no meaning here."""
        self._refuse_untranslatable()
        if not self.messages:
            raise UsageError("A chat needs a message.", hint="Send at least one in `messages`.")
        sampling = self.sampling()
        if sampling.max_tokens is None and self.max_completion_tokens is not None:
            sampling = msgspec.structs.replace(sampling, max_tokens=self.max_completion_tokens)
        choice = self.tool_choice
        return Request(
            messages=decode_messages(self.messages),
            sampling=sampling,
            cache_prompt=self.cache_prompt,
            tools=decode_tools(self.tools or ()),
            tool_choice=choice.function.name if isinstance(choice, NamedTool) else choice,
            schema=self._schema(),
            grammar=self.grammar,
            think=self._think(),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )

    def _think(self) -> bool | str | None:
        if self.reasoning_effort is not None:
            return False if self.reasoning_effort == "none" else self.reasoning_effort
        enabled = (self.chat_template_kwargs or {}).get("enable_thinking")
        return enabled if isinstance(enabled, bool) else None


class CompletionRequest(_Request, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /v1/completions`. A client may send several prompts, or token ids, in `prompt`."""

    prompt: str | tuple[str | int | tuple[int, ...], ...]
    logprobs: int | bool | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None
    json_schema: dict[str, Any] | None = None  # llama.cpp

    def request(self) -> Request:
        """What a client asks. Raises `UsageError` for what has no meaning here."""
        self._refuse_untranslatable()
        if self.suffix or self.best_of not in (None, 1):
            raise UsageError("A completion has no suffix here, and is not chosen from several.")
        logprobs = self.logprobs
        return Request(
            prompt=self._text(),
            sampling=self.sampling(),
            cache_prompt=self.cache_prompt,
            schema=self.json_schema or self._schema(),
            grammar=self.grammar,
            logprobs=None if logprobs is None or logprobs is False else int(logprobs),
        )

    def _text(self) -> str:
        if isinstance(self.prompt, str):
            return self.prompt
        if len(self.prompt) == 1 and isinstance(self.prompt[0], str):
            return self.prompt[0]
        raise UsageError(
            "A completion continues one text here, not several and no token ids.",
            hint="Send `prompt` as a text, once per request.",
        )


_encode = msgspec.json.Encoder().encode
_builtin = msgspec.to_builtins


def encode_request(
    request: Request, *, model: str | None, dialect: Dialect, stream: bool = True
) -> tuple[str, bytes]:
    """The path below the server's root and the body that asks for an answer.

    Only what `request` sets is sent, in the words of `dialect`. llama.cpp is also asked for the
    progress of the prompt, token counts per chunk and, where stop strings are set, whether one
    of them ended the answer.
    """
    fields = _sampling_fields(request.sampling, dialect)
    fields["model"] = model
    if stream:
        fields |= {"stream": True, "stream_options": StreamOptions(include_usage=True)}
    fields["cache_prompt"] = request.cache_prompt
    if dialect is Dialect.LLAMA:
        if stream:
            fields |= {"return_progress": True, "timings_per_token": True}
        if request.sampling.stop:
            fields["verbose"] = True
    if request.grammar is not None:
        if dialect is Dialect.VLLM:
            fields["structured_outputs"] = {"grammar": request.grammar}
        else:
            fields["grammar"] = request.grammar
    body: _Request
    if request.prompt is not None:
        path, body = COMPLETIONS, _completion(request, fields, dialect)
    else:
        path, body = CHAT, _chat(request, fields, dialect)
    return path, _with_extra(body, request.extra)


def _sampling_fields(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    fields = {
        name: value
        for name in sampling.__struct_fields__
        if (value := getattr(sampling, name)) is not None
    }
    if dialect is Dialect.VLLM and "repeat_penalty" in fields:
        fields["repetition_penalty"] = fields.pop("repeat_penalty")
    return fields


def _completion(request: Request, fields: dict[str, Any], dialect: Dialect) -> CompletionRequest:
    assert request.prompt is not None
    if request.schema is not None:
        if dialect is Dialect.LLAMA:
            fields["json_schema"] = dict(request.schema)
        else:
            fields["response_format"] = _schema_format(request.schema)
    return CompletionRequest(prompt=request.prompt, logprobs=request.logprobs, **fields)


def _chat(request: Request, fields: dict[str, Any], dialect: Dialect) -> ChatRequest:
    takes_reasoning = dialect is not Dialect.OPENAI
    if request.schema is not None:
        fields["response_format"] = _schema_format(request.schema)
    if request.tools:
        fields["tools"] = encode_tools(request.tools)
    if request.tool_choice is not None:
        fields["tool_choice"] = encode_tool_choice(request.tool_choice)
    if request.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": request.logprobs or None}
    if request.think is not None:
        fields |= _think_fields(request.think, dialect)
    return ChatRequest(
        messages=tuple(encode_message(m, reasoning=takes_reasoning) for m in request.messages),
        **fields,
    )


def _schema_format(schema: Mapping[str, object]) -> ResponseFormat:
    return ResponseFormat("json_schema", JsonSchema(schema=dict(schema), strict=True))


def _think_fields(think: bool | str, dialect: Dialect) -> dict[str, Any]:  # noqa: FBT001  # a wish, on or off or how much
    if dialect in (Dialect.LLAMA, Dialect.VLLM):
        words: dict[str, Any] = {"enable_thinking": bool(think)}
        if isinstance(think, str):
            words["reasoning_effort"] = think
        return {"chat_template_kwargs": words}
    if isinstance(think, str):
        return {"reasoning_effort": think}
    return {"reasoning_effort": "medium" if think else "none"}


def _with_extra(body: _Request, extra: Mapping[str, object]) -> bytes:
    if not extra:
        return _encode(body)
    known = _builtin(body)
    return _encode(known | {name: value for name, value in extra.items() if name not in known})


def decode_chat(body: bytes) -> ChatRequest:
    """A client's request for a chat completion. Raises `UsageError` for what is none."""
    return decode_as(body, ChatRequest)


def decode_completion(body: bytes) -> CompletionRequest:
    """A client's request for a completion. Raises `UsageError` for what is none."""
    return decode_as(body, CompletionRequest)


def decode_as(body: bytes, kind: type[_T]) -> _T:
    """A client's request. Raises `UsageError` for what is none of that kind."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"The request cannot be read: {problem}.") from None
