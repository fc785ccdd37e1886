"""An answer on the terminal: as it comes or whole, with header and statistics when asked for."""

from __future__ import annotations

import asyncio
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from lmstrix.cli.answer_report import (
    check_json,
    completion_data,
    model_lines,
    partial_data,
    progress_line,
    prompt_lines,
    statistics_lines,
    tool_call_lines,
)
from lmstrix.cli.formats import encode
from lmstrix.cli.terminal import wrap
from lmstrix.errors import LMStrixError
from lmstrix.types import FragmentKind, Phase

if TYPE_CHECKING:
    from lmstrix.answer import Answer
    from lmstrix.cli.invocation import Invocation
    from lmstrix.cli.terminal import Terminal
    from lmstrix.types import Completion, Fragment, Progress, Sampling


class Thoughts:
    """Reasoning apart from the answer: on standard error, or a word in the status line."""

    def __init__(self, terminal: Terminal, *, shown: bool) -> None:
        self._terminal = terminal
        self._shown = shown
        self._last = ""

    def write(self, text: str) -> None:
        """Show a piece of it."""
        if not self._shown:
            self._terminal.status("thinking ...")
        elif text and (self._last or text.strip()):
            head = "" if self._last else "Reasoning:\n"
            self._terminal.aside(head + (text if self._last else text.lstrip()))
            self._last = text

    def end(self) -> None:
        """The answer comes next: end the line, and leave one empty."""
        if self._last:
            self._terminal.aside("\n" if self._last.endswith("\n") else "\n\n")
            self._last = ""


class AnswerPrinter:
    """Prints one answer. `stream` prints fragments as they come, `form` is text, json or yaml.

    With `schema` an answer that is no JSON is an error, once it is printed.
    """

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
        schema: bool = False,
    ) -> None:
        self._terminal = terminal
        self._prompt = prompt
        self._sampling = sampling
        self._stream = stream
        self._form = form
        self._wrap = wrap
        self._verbose = verbose
        self._save = save
        self._schema = schema
        self._answer: Answer | None = None
        shown = form == "text" and not terminal.quiet and (verbose or terminal.err_live)
        self._thoughts = Thoughts(terminal, shown=shown)
        self._waiting: list[Fragment] = []
        self._broken: OSError | None = None
        self._headed = False
        self._begun = False
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
        text = self._show(completion)
        if self._save is not None:
            self._write(text)
        for note in completion.notes:
            self._terminal.note(f"note: {note}")
        if self._verbose:
            lines = statistics_lines(completion.stats)
            self._terminal.note("\n".join(self._terminal.box("Statistics", lines)))
        if self._schema:
            check_json(completion)

    def _show(self, completion: Completion) -> str:
        """Print what is not printed yet; gives all that belongs into a file."""
        terminal, text = self._terminal, completion.text
        if self._form != "text":
            whole = encode(completion_data(completion), self._form)
            terminal.print(whole)
            return whole
        calls = tool_call_lines(completion.tool_calls)
        if self._stream:
            self._thoughts.end()
            if text or not calls:
                self._end_line(text)
        else:
            folds = self._wrap and terminal.err_live
            thoughts = completion.reasoning
            self._thoughts.write(wrap(thoughts, terminal.width) if folds else thoughts)
            self._thoughts.end()
            if text or not calls:
                folds = self._wrap and terminal.out_live
                terminal.print(wrap(text, terminal.width) if folds else text)
        for line in calls:
            terminal.print(line)
        return "\n".join([*([text.removesuffix("\n")] if text else []), *calls])

    async def _follow(self, answer: Answer, invocation: Invocation) -> None:
        """Write fragments; those that arrive together in one write."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting
        async for fragment in answer:
            if self._broken is not None:
                raise self._broken
            if not waiting:
                # Runs when the loop turns: after all fragments that are there have been read.
                loop.call_soon(self._flush_later)
            waiting.append(fragment)
        self._flush()
        invocation.kept = ""

    def _flush_later(self) -> None:
        try:
            self._flush()
        except OSError as error:  # the loop would log it; the reader raises it
            self._broken = error

    def _flush(self) -> None:
        if not self._waiting:
            return
        self._head()
        arrived = [*self._waiting]
        self._waiting.clear()
        for kind, pieces in groupby(arrived, lambda fragment: fragment.kind):
            text = "".join(piece.text for piece in pieces)
            if kind is FragmentKind.REASONING:
                self._thoughts.write(text)
            elif kind is FragmentKind.TOOL_CALL:  # shown when it is whole
                self._thoughts.end()
                if not self._begun:  # a line that is being written is no place for it
                    self._terminal.status("writing a tool call ...")
            elif text:
                self._thoughts.end()
                self._begun = True
                self._terminal.clear_status()
                self._terminal.out.write(text)
                self._terminal.out.flush()

    def _end_line(self, text: str) -> None:
        if not text.endswith("\n"):
            self._terminal.out.write("\n")
            self._terminal.out.flush()

    def _keep(self, answer: Answer, invocation: Invocation) -> None:
        """Print and save what came of an answer that broke off."""
        self._flush()
        self._thoughts.end()
        text = answer.text
        if not text:
            return
        if self._stream:
            self._end_line(text)
        elif self._form == "text":
            self._terminal.print(text)
        else:
            self._terminal.print(encode(partial_data(answer), self._form))
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
