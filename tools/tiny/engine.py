"""A thin shell around the engine for measurements; it knows nothing of the product."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xllamacpp


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: text, why it ended, calls as (name, arguments), token counts, rates."""

    text: str
    finish: str
    calls: tuple[tuple[str, dict[str, Any]], ...]
    prompt_tokens: int
    new_tokens: int
    prompt_rate: float
    decode_rate: float


class Engine:
    """One loaded model."""

    def __init__(
        self, path: Path, *, context: int = 8192, embedding: bool = False, threads: int = 1
    ) -> None:
        p = xllamacpp.CommonParams()
        p.model.path = str(path)
        p.n_ctx = context
        p.n_parallel = 1
        p.verbosity = -1
        p.use_jinja = True
        p.cache_ram_mib = 0
        p.cpuparams.n_threads = threads
        p.cpuparams_batch.n_threads = threads
        if embedding:
            p.embedding = True
            p.n_batch = p.n_ubatch = context
        self.server = xllamacpp.Server(p)

    def chat(
        self,
        messages: str | list[dict[str, Any]],
        *,
        limit: int = 32,
        temperature: float = 0.0,
        **more: Any,
    ) -> Reply:
        """Ask for one reply; an engine error becomes a reply that finishes with `error`."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        body = {
            "messages": messages,
            "max_tokens": limit,
            "temperature": temperature,
            "cache_prompt": True,
            **more,
        }
        out = self.server.handle_chat_completions(body)
        if "choices" not in out:
            return Reply(str(out), "error", (), 0, 0, 0.0, 0.0)
        choice, usage, times = out["choices"][0], out["usage"], out.get("timings", {})
        calls = tuple(
            (c["function"]["name"], json.loads(c["function"]["arguments"] or "{}"))
            for c in choice["message"].get("tool_calls") or ()
        )
        return Reply(
            choice["message"].get("content") or "",
            choice["finish_reason"],
            calls,
            usage["prompt_tokens"],
            usage["completion_tokens"],
            times.get("prompt_per_second", 0.0),
            times.get("predicted_per_second", 0.0),
        )

    def stream(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask for a stream and give its chunks."""
        chunks: list[dict[str, Any]] = []

        def take(chunk: Any) -> bool:
            listed = chunk if isinstance(chunk, list) else [chunk]
            chunks.extend(one for one in listed if isinstance(one, dict))
            return False

        self.server.handle_chat_completions({**body, "stream": True}, take)
        return chunks

    def embed(self, texts: list[str]) -> list[list[float]]:
        """Give one vector per text."""
        out = self.server.handle_embeddings({"input": texts, "model": "x"})
        return [item["embedding"] for item in out["data"]]
