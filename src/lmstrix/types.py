"""The values that travel between the layers of LMStrix.

Everything here is plain data (msgspec structs, immutable unless said otherwise) and knows
nothing of servers, files or terminals. Units are in the names: `_tokens`, `_bytes`, `_s`.
Times that end in `_at` are Unix seconds; durations end in `_s`. What lists hold by
the thousand is `gc=False`: it cannot be part of a cycle, so the collector need not walk it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeAlias

import msgspec


class ModelType(StrEnum):
    """What a model is for."""

    LLM = "llm"
    VLM = "vlm"
    EMBEDDING = "embedding"


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One downloaded model, as its provider describes it.

    `key` is the name its provider gives it, unique on one `server`. `identity` names the
    file's content (size, header hash, tail hash) and is `None` where there is no file to read.
    """

    key: str
    provider: str
    server: str
    type: ModelType = ModelType.LLM
    path: str | None = None
    format: str = "gguf"
    size_bytes: int = 0
    name: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    declared_context_tokens: int | None = None
    vision: bool = False
    tools: bool = False
    reasoning: bool = False
    identity: str | None = None
    modified_at: float | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider found when asked for its models.

    `complete` is false when only a part could be read: what is absent from such a listing is
    not known to be gone. `problems` names what could not be read, one sentence each.
    """

    models: tuple[Model, ...] = ()
    complete: bool = True
    problems: tuple[str, ...] = ()


class LoadConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a model is to be loaded. `None` leaves the choice to the provider.

    `context_tokens` is what one request can use, prompt and answer together, whatever
    `parallel` is.
    """

    context_tokens: int | None = None
    kv_type_k: str | None = None
    kv_type_v: str | None = None
    flash_attention: bool | None = None
    parallel: int | None = None
    batch_tokens: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    memory_limit_bytes: int | None = None
    ttl_s: float | None = None


class MemoryUse(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes a loaded instance holds, as its engine reports them."""

    weights_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0
    resident_bytes: int = 0


class LoadEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says a load would take, and whether that fits; `None` where it does not say."""

    memory: MemoryUse
    fits: bool | None = None


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded copy of a model.

    `context_tokens` is read back from the server after the load, never copied from what was
    asked; `None` where the server does not tell. `owned` tells whether this process started the
    instance and ends it; a resident instance outlives the command that loaded it until
    `config.ttl_s` without use. `expires_at` is when the server will end it unless it is used,
    where the server tells that.
    """

    id: str
    model_key: str
    provider: str
    server: str
    context_tokens: int | None
    config: LoadConfig = LoadConfig()
    parallel: int = 1
    owned: bool = False
    pid: int | None = None
    path: str | None = None
    loaded_at: float = 0.0
    load_s: float = 0.0
    memory: MemoryUse | None = None
    expires_at: float | None = None


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Image(msgspec.Struct, frozen=True):
    """A picture as the bytes of its file."""

    data: bytes
    media_type: str = "image/png"


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A model's wish to have a tool run. `arguments` is JSON text exactly as it was written."""

    id: str
    name: str
    arguments: str = "{}"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation.

    `images` belong to a user's message, `reasoning` and `tool_calls` to an assistant's; a message
    of `Role.TOOL` answers the call `tool_call_id` of the tool `name`.
    """

    role: Role
    content: str = ""
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str = ""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that is offered to a model. `parameters` is a JSON Schema of an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] = {}


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sampling settings. What is `None` is not sent: the server's own default holds."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    max_tokens: int | None = None


class Overflow(StrEnum):
    """What is done with a prompt that does not fit: refuse it, or cut and say what was cut."""

    STOP = "stop"
    MIDDLE = "middle"
    ROLLING = "rolling"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One question to one instance.

    Either `messages`, to which the model's own chat template is applied, or `prompt`, a plain
    completion (`--raw`). `cache_prompt` is whether the server may reuse the prompt prefix of
    an earlier request; `None` leaves its default.

    `tool_choice` is `auto`, `none`, `required` or a tool's name. `schema` is a JSON Schema the
    answer must obey, `grammar` the same in GBNF. `think` turns reasoning on or off, or sets its
    effort (`low`, `medium`, `high`). `logprobs` asks for each token's log probability and that
    many alternatives. `extra` are fields of the server's own dialect, sent as they are; they
    override nothing that is set here.
    """

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    sampling: Sampling = Sampling()
    cache_prompt: bool | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    schema: Mapping[str, object] | None = None
    grammar: str | None = None
    think: bool | str | None = None
    logprobs: int | None = None
    extra: Mapping[str, object] = {}


class Phase(StrEnum):
    """Where a request stands; each phase has its own stall timer."""

    LOAD = "load"
    PROMPT = "prompt processing"
    FIRST_TOKEN = "first token"  # noqa: S105  # a phase, not a secret
    TOKENS = "between tokens"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life before the answer.

    `fraction` is 0..1, or `None` where the server tells none. Token counts belong to
    `Phase.PROMPT`; `cached_tokens` were reused from an earlier request.
    """

    phase: Phase
    fraction: float | None = None
    processed_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    note: str = ""


ProgressListener: TypeAlias = Callable[[Progress], None]


class FragmentKind(StrEnum):
    """What a piece of the stream belongs to."""

    ANSWER = "answer"
    REASONING = "reasoning"
    TOOL_CALL = "tool call"


class CallPart(msgspec.Struct, frozen=True):
    """Which tool call a fragment belongs to; `id` and `name` come with its first fragment."""

    index: int
    id: str = ""
    name: str = ""


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token's natural log probability, with the alternatives there were, likeliest first."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Fragment(msgspec.Struct, frozen=True):
    """A piece of the stream. `tokens` is how many tokens it stands for; it may be 0.

    `text` is a piece of the answer, of the reasoning, or of the arguments of the tool call that
    `call` names (JSON, whole only when joined).
    """

    text: str
    tokens: int = 1
    kind: FragmentKind = FragmentKind.ANSWER
    call: CallPart | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class StopReason(StrEnum):
    """Why an answer ended."""

    END = "end"  # the model ended it
    STOP_STRING = "stop string"
    LENGTH = "length"  # max_tokens reached
    CONTEXT = "context full"
    TOOL_CALLS = "tool calls"
    CANCELLED = "cancelled"
    FAILED = "failed"  # broke off by an error


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Raw times of one request.

    `requested_at` is Unix seconds; everything else is seconds after it on a monotonic clock.
    `fragments_s` has one entry per fragment received, in order; fragments that arrived
    together have equal times.
    """

    requested_at: float
    sent_s: float = 0.0
    prompt_done_s: float | None = None
    first_token_s: float | None = None
    finished_s: float = 0.0
    fragments_s: tuple[float, ...] = ()


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer went; the last item of every provider stream.

    Token counts are the server's own. `prompt_s` and `predict_s` are the server's times for
    processing the prompt and for generating, where it tells them; so is `stop_string`, the one
    that ended the answer.
    """

    stop_reason: StopReason
    stop_string: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    predicted_tokens: int | None = None
    prompt_s: float | None = None
    predict_s: float | None = None
    timeline: Timeline | None = None

    @property
    def total_tokens(self) -> int | None:
        """Prompt and answer together, or `None` where the server tells either not."""
        if self.prompt_tokens is None or self.predicted_tokens is None:
            return None
        return self.prompt_tokens + self.predicted_tokens

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens generated per second of generation (the first token excluded from neither)."""
        if not self.predicted_tokens or not self.predict_s:
            return None
        return self.predicted_tokens / self.predict_s

    @property
    def prompt_tokens_per_s(self) -> float | None:
        """Prompt tokens really processed (not cached) per second."""
        if not self.prompt_tokens or not self.prompt_s:
            return None
        return (self.prompt_tokens - (self.cached_tokens or 0)) / self.prompt_s

    @property
    def time_to_first_token_s(self) -> float | None:
        """Seconds from sending the request to the first fragment."""
        line = self.timeline
        if line is None or line.first_token_s is None:
            return None
        return line.first_token_s - line.sent_s


StreamItem: TypeAlias = Progress | Fragment | Stats


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer with what it took.

    `logprobs` are there where they were asked for, a token each.
    """

    text: str
    reasoning: str = ""
    model: str
    instance: Instance
    stats: Stats
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    notes: tuple[str, ...] = ()


class WireRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly what is sent to a server. Secrets are never part of it."""

    method: str
    path: str
    body: bytes
