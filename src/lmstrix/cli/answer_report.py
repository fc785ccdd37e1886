"""What is said about an answer: progress, header, statistics, tool calls, all of it as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmstrix.cli.units import duration, tokens
from lmstrix.errors import GenerationError
from lmstrix.types import Phase, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lmstrix.answer import Answer
    from lmstrix.types import Completion, Instance, Progress, Sampling, Stats, ToolCall

_PROMPT_LINES = 12


def progress_line(progress: Progress) -> str:
    """One line for a sign of life."""
    done = "" if progress.fraction is None else f" {progress.fraction:.0%}"
    if progress.phase is Phase.LOAD:
        return f"loading the model{done} {progress.note}".rstrip()
    if progress.phase is Phase.PROMPT:
        if progress.total_tokens:
            return f"reading the prompt{done} of {progress.total_tokens:,} tokens"
        return f"reading the prompt{done}"
    return f"waiting for the first token{done}"


def model_lines(instance: Instance, sampling: Sampling, *, loaded: bool) -> list[str]:
    """Model and settings in a few lines."""
    config = instance.config
    told = instance.context_tokens is not None
    facts = [f"context {tokens(instance.context_tokens)}" if told else "context not told"]
    if config.kv_type_k:
        facts.append(f"KV cache {config.kv_type_k}")
    if instance.parallel > 1:
        facts.append(f"{instance.parallel} parallel")
    facts.append(f"loaded in {duration(instance.load_s)}" if loaded else "loaded before")
    chosen = [
        f"{name} {value}"
        for name in sampling.__struct_fields__
        if (value := getattr(sampling, name)) is not None
    ]
    return [
        f"{instance.model_key}  ({instance.provider}, {', '.join(facts)})",
        f"sampling: {', '.join(chosen) if chosen else 'defaults of the server'}",
    ]


def prompt_lines(prompt: str) -> list[str]:
    """The beginning of a prompt, safe to show."""
    lines = prompt.splitlines()
    if len(lines) <= _PROMPT_LINES:
        return lines
    return [*lines[:_PROMPT_LINES], f"... and {len(lines) - _PROMPT_LINES:,} more lines"]


def statistics_lines(stats: Stats) -> list[str]:
    """What an answer took, one fact a line."""
    rows = []
    if stats.time_to_first_token_s is not None:
        rows.append(("time to first token", f"{stats.time_to_first_token_s:.3f} s"))
    if stats.timeline is not None:
        rows.append(("total time", f"{stats.timeline.finished_s:.2f} s"))
    if stats.prompt_tokens is not None:
        cached = f" ({stats.cached_tokens:,} from cache)" if stats.cached_tokens else ""
        rows.append(("prompt tokens", f"{stats.prompt_tokens:,}{cached}"))
    if stats.predicted_tokens is not None:
        rows.append(("predicted tokens", f"{stats.predicted_tokens:,}"))
    if stats.total_tokens is not None:
        rows.append(("total tokens", f"{stats.total_tokens:,}"))
    if stats.tokens_per_s is not None:
        rows.append(("speed", f"{stats.tokens_per_s:,.1f} tokens/s"))
    if stats.prompt_tokens_per_s is not None:
        rows.append(("prompt speed", f"{stats.prompt_tokens_per_s:,.1f} tokens/s"))
    rows.append(("stopped", stats.stop_reason.value))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def completion_data(completion: Completion) -> dict[str, Any]:
    """An answer as plain data, with what its statistics come to."""
    import msgspec  # only when asked for

    data: dict[str, Any] = msgspec.to_builtins(completion)
    if not completion.logprobs:
        del data["logprobs"]
    stats = completion.stats
    data["stats"] |= {
        "total_tokens": stats.total_tokens,
        "tokens_per_s": stats.tokens_per_s,
        "prompt_tokens_per_s": stats.prompt_tokens_per_s,
        "time_to_first_token_s": stats.time_to_first_token_s,
    }
    return data


def partial_data(answer: Answer) -> dict[str, Any]:
    """What came of an answer that broke off, as plain data."""
    data: dict[str, Any] = {"model": answer.model, "text": answer.text, "complete": False}
    return data | ({"reasoning": answer.reasoning} if answer.reasoning else {})


def tool_call_lines(calls: Iterable[ToolCall]) -> list[str]:
    """One line per tool that the model wants called; nothing calls it."""
    return [f"{call.name}({call.arguments})" for call in calls]


def check_json(completion: Completion) -> None:
    """Raise `GenerationError` where an answer that was to obey a schema is not even JSON."""
    import msgspec  # only with a schema

    if completion.tool_calls and not completion.text:
        return
    try:
        msgspec.json.decode(completion.text)
    except msgspec.DecodeError as problem:
        raise _no_json(completion, problem) from None


def _no_json(completion: Completion, problem: Exception) -> GenerationError:
    stats = completion.stats
    if stats.stop_reason is StopReason.LENGTH:
        return GenerationError(
            f"The JSON is not whole: the answer broke off at its longest,"
            f" {tokens(stats.predicted_tokens)} tokens.",
            partial=completion.text,
            hint="Allow a longer one: a larger --out-ctx.",
        )
    if stats.stop_reason is StopReason.CONTEXT:
        return GenerationError(
            "The JSON is not whole: the context was full before the answer had ended.",
            partial=completion.text,
            hint="Load a larger context with --in-ctx.",
        )
    return GenerationError(
        f"The answer is not JSON, as the schema wants it: {problem}.",
        partial=completion.text,
        hint="Ask again, or ask a model that is better at it.",
    )
