"""How servers of each dialect word what a fault test makes them say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, Protocol

from lmstrix.types import Instance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmstrix.config import Places, Settings
    from lmstrix.providers import Provider

MODEL = "m"
CONTEXT_TOKENS = 4096


class Speaker(Protocol):
    """One dialect. `facts` are the answers to what a provider asks besides the answer itself."""

    name: ClassVar[str]
    stream_type: ClassVar[str]
    comment: ClassVar[bytes]
    facts: ClassVar[Mapping[str, object]]
    overflow: ClassVar[object]

    def provider(self, url: str, settings: Settings, places: Places) -> Provider:
        """The provider for a server at `url`."""
        ...

    def piece(self, text: str) -> bytes:
        """A streamed piece of an answer."""
        ...

    def garbage(self) -> bytes:
        """A streamed piece that is no JSON."""
        ...

    def end(self, usage: object = ...) -> bytes:
        """What ends a stream. `usage` is what is said of tokens, nonsense included."""
        ...

    def error(self, message: str) -> bytes:
        """An error object in the middle of a stream."""
        ...

    def whole(self, text: str) -> object:
        """An answer in one piece."""
        ...

    def refusal(self, message: str) -> object:
        """The body of a refusal."""
        ...


def instance_of(speaker: Speaker, url: str) -> Instance:
    """The one instance that the server has."""
    return Instance(
        id=MODEL,
        model_key=MODEL,
        provider=speaker.name,
        server=url,
        context_tokens=CONTEXT_TOKENS,
    )


class OpenAISpeaker:
    """Any server with OpenAI's API."""

    name: ClassVar[str] = "openai"
    stream_type: ClassVar[str] = "text/event-stream"
    comment: ClassVar[bytes] = b": ping\n\n"
    facts: ClassVar[Mapping[str, object]] = {"/v1/models": {"data": [{"id": MODEL}]}}
    overflow: ClassVar[object] = {
        "error": {
            "message": "This model's maximum context length is 4096 tokens. However, you "
            "requested 5000 tokens (4990 in the messages, 10 in the completion).",
            "code": "context_length_exceeded",
        }
    }

    def provider(self, url: str, settings: Settings, places: Places) -> Provider:
        from lmstrix.providers.openai import OpenAIProvider

        return OpenAIProvider.at(url, settings, places)

    def piece(self, text: str) -> bytes:
        return self._event({"choices": [{"index": 0, "delta": {"content": text}}]})

    def garbage(self) -> bytes:
        return b'data: {"choices": [{\n\n'

    def end(self, usage: object = None) -> bytes:
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
        return self._event(last) + b"data: [DONE]\n\n"

    def error(self, message: str) -> bytes:
        return self._event(self.refusal(message))

    def whole(self, text: str) -> object:
        message = {"role": "assistant", "content": text}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    def refusal(self, message: str) -> object:
        return {"error": {"message": message, "type": "invalid_request_error", "code": None}}

    def _event(self, content: object) -> bytes:
        return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


class LMStudioSpeaker(OpenAISpeaker):
    """LM Studio's OpenAI endpoints."""

    name: ClassVar[str] = "lmstudio-openai"
    facts: ClassVar[Mapping[str, object]] = {
        "/lmstudio-greeting": {"lmstudio": True},
        "/api/v1/models": {
            "models": [
                {
                    "type": "llm",
                    "key": MODEL,
                    "max_context_length": 8192,
                    "loaded_instances": [{"id": MODEL, "config": {"context_length": 4096}}],
                }
            ]
        },
    }
    overflow: ClassVar[object] = {
        "error": "Trying to keep the first 5000 tokens when context the overflows. However, the "
        "model is loaded with context length of only 4096 tokens, which is not enough."
    }

    def provider(self, url: str, settings: Settings, places: Places) -> Provider:
        from lmstrix.providers.lmstudio_openai import LMStudioProvider

        return LMStudioProvider.at(url, settings, places)

    def refusal(self, message: str) -> object:
        return {"error": message}


class OllamaSpeaker:
    """Ollama."""

    name: ClassVar[str] = "ollama"
    stream_type: ClassVar[str] = "application/x-ndjson"
    comment: ClassVar[bytes] = b"\n"
    facts: ClassVar[Mapping[str, object]] = {
        "/api/version": {"version": "0.12.0"},
        "/api/tags": {"models": [{"name": MODEL, "model": MODEL, "digest": "d"}]},
        "/api/ps": {"models": [{"name": MODEL, "model": MODEL, "context_length": 4096}]},
        "/api/show": {"capabilities": ["completion"], "details": {}, "model_info": {}},
    }
    overflow: ClassVar[object] = {
        "error": "the input length exceeds the context length: 5000 tokens, 4096 tokens"
    }

    def provider(self, url: str, settings: Settings, places: Places) -> Provider:
        from lmstrix.providers.ollama.provider import OllamaProvider

        return OllamaProvider.at(url, settings, places)

    def piece(self, text: str) -> bytes:
        return self._line(self._reply(text))

    def garbage(self) -> bytes:
        return b'{"message": {\n'

    def end(self, usage: object = None) -> bytes:
        counts = {} if usage is None else {"prompt_eval_count": usage, "eval_count": usage}
        if isinstance(usage, dict):
            counts = {
                "prompt_eval_count": usage.get("prompt_tokens"),
                "eval_count": usage.get("completion_tokens"),
            }
        return self._line(self._reply("") | {"done": True, "done_reason": "stop"} | counts)

    def error(self, message: str) -> bytes:
        return self._line(self.refusal(message))

    def whole(self, text: str) -> object:
        return self._reply(text) | {"done": True, "done_reason": "stop"}

    def refusal(self, message: str) -> object:
        return {"error": message}

    def _reply(self, text: str) -> dict[str, object]:
        message = {"role": "assistant", "content": text}
        return {"model": MODEL, "created_at": "x", "message": message, "done": False}

    def _line(self, content: object) -> bytes:
        return json.dumps(content, ensure_ascii=False).encode() + b"\n"


SPEAKERS: tuple[Speaker, ...] = (OpenAISpeaker(), LMStudioSpeaker(), OllamaSpeaker())
