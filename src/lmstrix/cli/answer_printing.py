"""An answer on the terminal: as it comes or whole, with header and statistics when asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstrix.cli.formats import encode
from lmstrix.cli.terminal import table, wrap
from lmstrix.cli.units import duration, tokens
from lmstrix.errors import LMStrixError
from lmstrix.types import FragmentKind, Phase

if TYPE_CHECKING:
    from lmstrix.answer import Answer
    from lmstrix.cli.invocation import Invocation
    from lmstrix.cli.terminal import Terminal
    from lmstrix.explain import Explanation
    from lmstrix.types import Completion, Instance, Progress, Sampling, Stats

_PROMPT_LINES = 12


class AnswerPrinter:
    """Prints one answer. `stream` prints fragments as they come, `form` is text, json or yaml."""

    def __init__(
        self,
        terminal: Terminal,
        *,
        prompt: str,
        sampling: Sampling,
        stream: bool,
        form: str,
        wrap: bool,
        verbose: bool,
        save: str | None,
    ) -> None:
        self._terminal = terminal
        self._prompt = prompt
        self._sampling = sampling
        self._stream = stream
        self._form = form
        self._wrap = wrap
        self._verbose = verbose
        self._save = save
        self._answer: Answer | None = None
        self._waiting: list[str] = []
        self._broken: OSError | None = None
        self._headed = False
        self._loaded = False

    def progress(self, progress: Progress) -> None:
        """Show a sign of life; the header goes before the prompt is worked on."""
        if progress.phase is Phase.LOAD:
            self._loaded = True
        else:
            self._head()
        self._terminal.status(progress_line(progress))

    async def print(self, answer: Answer, invocation: Invocation) -> None:
        """Print `answer` to its end. What came before an error or Ctrl-C is printed too."""
        self._answer = answer
        invocation.kept = "no answer had come yet."
        try:
            if self._stream:
                await self._follow(answer, invocation)
            completion = await answer.completion()
        except OSError:  # nobody reads the output any more
            raise
        except BaseException:
            self._keep(answer, invocation)
            raise
        self._head()
        text = completion.text
        if self._form != "text":
            text = encode(completion_data(completion), self._form)
        if self._stream:
            self._end_line(text)
        elif self._wrap and self._form == "text" and self._terminal.out_live:
            self._terminal.print(wrap(text, self._terminal.width))
        else:
            self._terminal.print(text)
        if self._save is not None:
            self._write(text)
        for note in completion.notes:
            self._terminal.note(f"note: {note}")
        if self._verbose:
            lines = statistics_lines(completion.stats)
            self._terminal.note("\n".join(self._terminal.box("Statistics", lines)))

    async def _follow(self, answer: Answer, invocation: Invocation) -> None:
        """Write fragments; those that arrive together in one write."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting
        async for fragment in answer:
            if self._broken is not None:
                raise self._broken
            if fragment.kind is FragmentKind.REASONING:
                self._terminal.status("thinking ...")
                continue
            if not waiting:
                # Runs when the loop turns: after all fragments that are there have been read.
                loop.call_soon(self._flush_later)
            waiting.append(fragment.text)
        self._flush()
        invocation.kept = ""

    def _flush_later(self) -> None:
        try:
            self._flush()
        except OSError as error:  # the loop would log it; the reader raises it
            self._broken = error

    def _flush(self) -> None:
        if self._waiting:
            self._head()
            self._terminal.clear_status()
            text = "".join(self._waiting)
            self._waiting.clear()
            self._terminal.out.write(text)
            self._terminal.out.flush()

    def _end_line(self, text: str) -> None:
        if not text.endswith("\n"):
            self._terminal.out.write("\n")
            self._terminal.out.flush()

    def _keep(self, answer: Answer, invocation: Invocation) -> None:
        """Print and save what came of an answer that broke off."""
        text = answer.text
        if not text:
            return
        if self._stream:
            self._flush()
            self._end_line(text)
        else:
            partial = {"model": answer.model, "text": text, "complete": False}
            self._terminal.print(text if self._form == "text" else encode(partial, self._form))
        tokens = answer.stats.predicted_tokens if answer.stats else None
        invocation.kept = f"the answer so far ({tokens or '?'} tokens) is kept."
        if self._save is not None:
            self._write(text)

    def _write(self, text: str) -> None:
        from lmstrix.config import atomic_write  # only with --save-response

        assert self._save is not None
        whole = text if text.endswith("\n") else text + "\n"
        try:
            atomic_write(Path(self._save), whole.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise LMStrixError(
                f"The answer could not be saved to {self._save}: {error.strerror or error}.",
                hint="It was printed: redirect standard output to keep it.",
            ) from error
        self._terminal.note(f"Saved to {self._save}.")

    def _head(self) -> None:
        """Show model, settings and prompt, once, as soon as the instance is known."""
        if self._headed or not self._verbose or self._answer is None:
            return
        instance = self._answer.instance
        if instance is None:
            return
        self._headed = True
        model = model_lines(instance, self._sampling, loaded=self._loaded)
        for title, lines in (("Model", model), ("Prompt", prompt_lines(self._prompt))):
            self._terminal.note("\n".join(self._terminal.box(title, lines)))


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
    facts = [f"context {tokens(instance.context_tokens)}"]
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
    stats = completion.stats
    data["stats"] |= {
        "total_tokens": stats.total_tokens,
        "tokens_per_s": stats.tokens_per_s,
        "prompt_tokens_per_s": stats.prompt_tokens_per_s,
        "time_to_first_token_s": stats.time_to_first_token_s,
    }
    return data


def explanation_data(explanation: Explanation) -> dict[str, Any]:
    """An explanation as plain data; the body as the text it is."""
    import msgspec  # only when asked for

    wire = explanation.wire
    data: dict[str, Any] = msgspec.to_builtins(explanation)
    data["wire"] = {"method": wire.method, "path": wire.path, "body": wire.body.decode()}
    return data


def explanation_lines(explanation: Explanation) -> list[str]:
    """What would be sent, for reading."""
    instance = explanation.instance
    rows = [
        (
            parameter.name,
            _shown(parameter.value),
            parameter.origin,
            f"instead of {_shown(parameter.default)}" if parameter.differs else "",
        )
        for parameter in explanation.parameters
    ]
    return [
        f"Model     {explanation.model} ({instance.provider}, instance {instance.id})",
        f"Context   {tokens(explanation.context_tokens)} tokens",
        f"Prompt    {tokens(explanation.prompt_tokens)} tokens",
        *(["", "The prompt as the model sees it:"] if explanation.rendered else []),
        *(f"  {line}" for line in _visible_lines(explanation.rendered)),
        "",
        "Parameters:",
        *(f"  {line}" for line in table(("name", "value", "from", ""), rows)),
        "",
        "What is sent:",
        f"  {explanation.wire.method} {explanation.wire.path}",
        f"  {explanation.wire.body.decode()}",
        *(f"note: {note}" for note in explanation.notes),
    ]


def _visible_lines(text: str) -> list[str]:
    """Lines of `text` with their ends and all else that cannot be seen written as escapes."""
    *ended, last = (
        "".join(c if c.isprintable() and c != "\\" else repr(c)[1:-1] for c in line)
        for line in text.split("\n")
    )
    return [*(f"{line}\\n" for line in ended), *([last] if last else [])]


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
