"""Servers of one model whose limits are other than what they say; a token is a word."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from servers.speakers import MODEL, OllamaSpeaker, OpenAISpeaker

if TYPE_CHECKING:
    from servers.scripted import Asked, Scripted, Wire

_ASKED = re.compile(r"What is the .*?(?:of|for) ((?:the \w+ )?\w+)\?")


@dataclass
class Liar:
    """Tells `tells_tokens` of context. Every other limit is in tokens of a prompt.

    The model finds the fact that is asked for in what it sees of the prompt. `mute` never says
    anything; without a template only texts are gone on with.
    """

    tells_tokens: int | None = 2048
    refuses_above: int = 10**9
    reads_at_most: int = 10**9
    silent_above: int = 10**9
    hangs_above: int = 10**9
    dies_above: int = 10**9
    mute: bool = False
    has_template: bool = True
    server: Scripted | None = None
    asked: list[int] = field(default_factory=list)
    kind: ClassVar[str]

    async def respond(self, asked: Asked, wire: Wire) -> None:
        raise NotImplementedError

    async def read(self, text: str) -> tuple[str, int] | None:
        """What is answered and how many tokens are said to be read; `None` for too many."""
        words = text.split()
        tokens = len(words)
        self.asked.append(tokens)
        if tokens > self.dies_above:
            assert self.server is not None
            self.server.die()
            await asyncio.Event().wait()
        if tokens > self.hangs_above:
            await asyncio.Event().wait()
        if tokens > self.refuses_above:
            return None
        read = min(tokens, self.reads_at_most)
        seen = text if read == tokens else " ".join(words[tokens - read :])
        if self.mute or tokens > self.silent_above:
            return "", read
        question = _ASKED.search(text[-300:])
        found = question and re.search(rf"{question[1]} is (\d+)", seen)
        return (found[1] if found else "I do not know."), read

    def _too_long(self) -> object:
        return {
            "message": f"This model's maximum context length is {self.refuses_above} tokens. "
            f"However, you requested {self.asked[-1]} tokens.",
            "code": "context_length_exceeded",
        }


class OpenAILiar(Liar):
    """With OpenAI's API; what it tells of its context is vLLM's word for it."""

    kind: ClassVar[str] = "openai"
    _speaker: ClassVar[OpenAISpeaker] = OpenAISpeaker()

    async def respond(self, asked: Asked, wire: Wire) -> None:
        if asked.path == "/v1/models":
            told = {} if self.tells_tokens is None else {"max_model_len": self.tells_tokens}
            await wire.json({"data": [{"id": MODEL, **told}]})
        elif asked.method == "GET":
            await wire.json({"error": "unknown"}, 404)
        elif asked.path == "/v1/chat/completions" and not self.has_template:
            said = "default chat template is no longer allowed, so you must provide a chat template"
            await wire.json({"error": {"message": said}}, 400)
        else:
            body = asked.json
            text = body.get("prompt") or body["messages"][-1]["content"]
            if (said := await self.read(text)) is None:
                await wire.json({"error": self._too_long()}, 400)
                return
            usage = {"prompt_tokens": said[1], "completion_tokens": 3}
            await wire.head(content_type=self._speaker.stream_type)
            await wire.raw(self._speaker.piece(said[0]) if said[0] else b"")
            await wire.raw(self._speaker.end(usage))


@dataclass
class OllamaLiar(Liar):
    """With Ollama's API, and so with loads: whoever asks for `loads_up_to` or less gets it.

    `gives_at_most` is what an instance really has, `loaded` the size of the one there is.
    """

    loads_up_to: int = 10**9
    gives_at_most: int = 10**9
    hangs_loading_above: int = 10**9
    dies_loading_above: int = 10**9
    loaded: int | None = None
    loads: list[int] = field(default_factory=list)
    kind: ClassVar[str] = "ollama"
    _speaker: ClassVar[OllamaSpeaker] = OllamaSpeaker()

    def _too_long(self) -> str:
        counts = f"{self.asked[-1]} tokens, {self.refuses_above} tokens"
        return f"the input length exceeds the context length: {counts}"

    async def respond(self, asked: Asked, wire: Wire) -> None:
        if asked.path == "/api/version":
            await wire.json({"version": "0.9.9"})  # one that renders no prompts
        elif asked.path == "/api/tags":
            await wire.json({"models": [{"name": MODEL, "model": MODEL, "digest": "d"}]})
        elif asked.path == "/api/ps":
            entry = {"name": MODEL, "model": MODEL, "context_length": self.loaded}
            await wire.json({"models": [entry] if self.loaded else []})
        elif asked.path == "/api/show":
            info = {"general.architecture": "x", "x.context_length": self.tells_tokens}
            await wire.json({"capabilities": ["completion"], "details": {}, "model_info": info})
        elif asked.path == "/api/generate" and "prompt" not in asked.json:
            await self._load(asked, wire)
        else:
            body = asked.json
            text = body.get("prompt") or body["messages"][-1]["content"]
            if (said := await self.read(text)) is None:
                await wire.json({"error": self._too_long()}, 400)
                return
            usage = {"prompt_tokens": said[1], "completion_tokens": 3}
            await wire.head(content_type=self._speaker.stream_type)
            await wire.raw(self._speaker.piece(said[0]) if said[0] else b"")
            await wire.raw(self._speaker.end(usage))

    async def _load(self, asked: Asked, wire: Wire) -> None:
        if asked.json.get("keep_alive") == 0:
            self.loaded = None
            await wire.json({"model": MODEL, "done": True, "done_reason": "unload"})
            return
        tokens = asked.json.get("options", {}).get("num_ctx", 4096)
        self.loads.append(tokens)
        if tokens > self.hangs_loading_above:
            await asyncio.Event().wait()
        if tokens > self.dies_loading_above:
            self.server.die()
            await asyncio.Event().wait()
        if tokens > self.loads_up_to:
            said = "model requires more system memory (9.9 GiB) than is available (1.0 GiB)"
            await wire.json({"error": said}, 500)
            return
        self.loaded = min(tokens, self.gives_at_most)
        await wire.json({"model": MODEL, "done": True, "done_reason": "load"})
