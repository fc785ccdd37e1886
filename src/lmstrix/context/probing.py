"""One probe at a time, through a provider: load a size, fill it, ask at a length.

Each method does what a probe asks and returns how it went; what an error means is decided in
`failures`. Only instances this prober loaded itself are ever touched.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.context.failures import failure_of, sentence
from lmstrix.context.families.keyed import Keyed
from lmstrix.context.filling import Filler, question_room
from lmstrix.context.holding import Holder
from lmstrix.context.vectors import fill
from lmstrix.errors import (
    ContextOverflowError,
    EmptyAnswerError,
    EngineDiedError,
    GenerationError,
    LMStrixError,
    StalledError,
    UnreachableError,
)
from lmstrix.results import FailureKind, ProbeOutcome, Score
from lmstrix.session import Session
from lmstrix.types import Fragment, FragmentKind, ModelType, Progress, Sampling, Stats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from lmstrix.config import Timeouts
    from lmstrix.context.families import ProbeFamily
    from lmstrix.providers import Provider
    from lmstrix.types import Instance, LoadConfig, Model, Request

MARKERS = 3  # start, middle, end
_MARKER_FAMILY = Keyed()
COUNT_SLACK_TOKENS = 2  # servers differ in counting the marks of begin and end
GUESS_SLACK_PARTS = 8  # a count that is guessed may be an eighth too high,
GUESS_SLACK_TOKENS = 64  # and more for a short prompt, which has more facts than filler
# As vLLM words it; others that have none of the model take one of their own.
_NO_TEMPLATE = re.compile(r"(provide|no|without) (a )?chat[ _]template", re.IGNORECASE)
_SHORT_QUESTION = "What is 2 + 3?"
_FATAL = (
    FailureKind.OUT_OF_MEMORY,
    FailureKind.CRASH,
    FailureKind.TIMEOUT,
    FailureKind.HANG,
    FailureKind.UNREACHABLE,
)


@dataclass(frozen=True)
class Draw:
    """Which haystack to make and ask: it and an answer together have `length` tokens.

    The same `family`, `number` and `language` give the same facts at every length. `context`
    is the size of the instance to ask, `cluster` what its scores are grouped by.
    """

    family: ProbeFamily
    number: int
    language: str
    length: int
    context: int
    cluster: int
    questions: int


@dataclass
class _Reply:
    """One answer and what it took; times in seconds from sending."""

    text: str
    stats: Stats
    first_token_s: float | None

    @property
    def silent(self) -> bool:
        """Whether nothing came at all, not even a thought."""
        return self.first_token_s is None


@dataclass
class Prober:
    """Runs probes of one model on instances of its own.

    `limit_s` is the longest a probe may take; where `deadline` (of `time.monotonic`) comes
    first, a probe cut off by it counts as interrupted. `on_progress` gets signs of life. `folder`
    is that of the locks (see `Holder`).
    """

    provider: Provider
    model: Model
    load: LoadConfig
    timeouts: Timeouts
    limit_s: float
    seed: int
    folder: Path
    deadline: float | None = None
    on_progress: Callable[[Progress], None] = lambda _: None
    unreachable: UnreachableError | None = None
    _holder: Holder = field(init=False)
    _session: Session = field(init=False)
    _filler: Filler = field(init=False)

    def __post_init__(self) -> None:
        self._holder = Holder(
            self.provider,
            self.model,
            self.load,
            folder=self.folder,
            silence_s=self.timeouts.load_s,
        )
        self._session = Session(self.provider, self.timeouts)
        self._filler = Filler(self._session)

    @property
    def out_of_time(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def loads(self) -> int:
        """How many loads there were."""
        return self._holder.loads

    async def probe_load(self, tokens: int) -> ProbeOutcome:
        """Load an instance of `tokens` and see how large it really is."""
        return await self._guarded(self._load(tokens))

    async def probe_process(self, tokens: int) -> ProbeOutcome:
        """See whether an instance of `tokens` processes a prompt that fills it, whole."""
        if self.model.type is ModelType.EMBEDDING:
            return await self._guarded(self._embed(tokens))
        return await self._guarded(self._asked(partial(self._process, tokens)))

    async def probe_answer(self, draw: Draw) -> ProbeOutcome:
        """Put the questions of one haystack and score the answers."""
        return await self._guarded(self._asked(partial(self._answer, draw)))

    async def clean_up(self) -> None:
        """End what an earlier test of this model may have left behind."""
        await self._holder.clean_up()

    async def finish(self) -> str:
        """Leave the server as it was found; returns a sentence about what could not be put back."""
        return await self._holder.finish()

    async def _guarded(self, work: Awaitable[ProbeOutcome]) -> ProbeOutcome:
        """What came of `work` within the time; after a failure that hurts, start afresh."""
        left_s = math.inf if self.deadline is None else self.deadline - time.monotonic()
        limit_s = max(0.01, min(self.limit_s, left_s))
        try:
            async with asyncio.timeout(limit_s):
                outcome = await work
        except (LMStrixError, TimeoutError) as error:
            kind = failure_of(error)
            if kind is None:
                raise
            if kind is FailureKind.TIMEOUT and left_s < self.limit_s:
                kind = FailureKind.INTERRUPTED
            if isinstance(error, UnreachableError):
                self.unreachable = error
            outcome = ProbeOutcome(ok=False, failure=kind, detail=str(error) or sentence(kind))
        if outcome.failure in _FATAL or outcome.failure is FailureKind.INTERRUPTED:
            await self._holder.release()
        return outcome

    async def _asked(self, work: Callable[[], Awaitable[ProbeOutcome]]) -> ProbeOutcome:
        """What comes of `work`, without a chat template once the server says that there is none."""
        try:
            return await work()
        except LMStrixError as error:
            if self._filler.plain or not _NO_TEMPLATE.search(error.message):
                raise
        self._filler.plain = True
        return await work()

    async def _load(self, tokens: int) -> ProbeOutcome:
        begun = time.perf_counter()
        instance = await self._holder.load(tokens, self.on_progress)
        held = instance.context_tokens
        short = held is not None and held < tokens
        took_s = instance.load_s or time.perf_counter() - begun
        return ProbeOutcome(
            ok=not short,
            failure=FailureKind.LOAD_REFUSED if short else None,
            detail=f"Asked for {tokens:,} tokens, the server gave {held or 0:,}." if short else "",
            real_context_tokens=held,
            load_s=round(took_s, 4) if self._holder.chooses else None,
            memory=instance.memory,
        )

    async def _hold(self, tokens: int) -> Instance:
        """An instance that was asked for `tokens` and has them; loaded unless held already."""
        instance = self._holder.instance
        if instance is None or not self._holder.suits(tokens):
            instance = await self._holder.load(tokens, self.on_progress)
        held = instance.context_tokens
        if held is not None and held < tokens:
            raise ContextOverflowError(
                f"{tokens:,} tokens loaded before; now the server gives only {held:,}.",
                prompt_tokens=tokens,
                context_tokens=held,
            )
        return instance

    async def _process(self, tokens: int) -> ProbeOutcome:
        instance = await self._hold(tokens)
        room = question_room(tokens, reasoning=self.model.reasoning)
        haystack = await self._filler.haystack(
            instance,
            _MARKER_FAMILY,
            seed=f"{self.seed}/process",
            tokens=tokens - room,
            questions=MARKERS,
            language="en",
        )
        found, silent, first, longest = 0, 0, None, 0
        for question in haystack.questions:
            text = self._unread(haystack.text) + question.text
            request = self._filler.request(text)
            ours, slack = await self._count(instance, text)
            reply = await self._ask(instance, request, room)
            theirs = reply.stats.prompt_tokens
            if theirs is not None and theirs < ours - slack:
                about = "" if self._session.counts else "about "
                return ProbeOutcome(
                    ok=False,
                    failure=FailureKind.SILENT_TRUNCATION,
                    detail=f"Of a prompt of {about}{ours:,} tokens the server read {theirs:,}, "
                    f"without saying so.",
                    prompt_tokens=theirs,
                )
            found += _MARKER_FAMILY.score(question, reply.text) > 0
            silent += reply.silent
            first, longest = first or reply, max(longest, theirs or ours)
        assert first is not None
        if silent == len(haystack.questions) and await self._speaks(instance, room):
            return ProbeOutcome(
                ok=False,
                failure=FailureKind.EMPTY_ANSWER,
                detail="Nothing was answered, though a short question is.",
                prompt_tokens=first.stats.prompt_tokens,
            )
        said = [
            f"All {MARKERS} markers (start, middle, end) were found."
            if found == len(haystack.questions)
            else f"{found} of {len(haystack.questions)} markers (start to end) were found."
        ]
        if first.stats.prompt_tokens is None:
            said.append("The server does not tell how many tokens it read.")
            if found < len(haystack.questions):
                return ProbeOutcome(
                    ok=False, failure=FailureKind.SILENT_TRUNCATION, detail=" ".join(said)
                )
        if instance.context_tokens is not None:  # else nothing is known to be too long
            copies = 2 + instance.context_tokens // longest
            said.append(
                await self._overflow(instance, self._filler.request(haystack.text * copies))
            )
        return _timed(first, ok=True, detail=" ".join(said), prompt_tokens=longest)

    async def _speaks(self, instance: Instance, room: int) -> bool:
        """Whether the model answers anything at all; some only extract, and find nothing here."""
        reply = await self._ask(instance, self._filler.request(_SHORT_QUESTION), room)
        return not reply.silent

    def _unread(self, text: str) -> str:
        """A prompt that is as long and that the server has not read while it counted.

        Else its times would be those of a prompt it has in its cache.
        """
        return text if self._session.counts else f"\n{text}"

    async def _count(self, instance: Instance, text: str) -> tuple[int, int]:
        """The tokens of a prompt, and by how many that may be wrong.

        By the model's own tokenizer; what a server that cuts prompts counts is no use, and so
        they are guessed from a short text where that is all there is.
        """
        if self._session.counts:
            request = self._filler.request(text)
            return await self._session.count_prompt(instance, request), COUNT_SLACK_TOKENS
        guess = await self._filler.guess(instance, text, "en")
        return guess, GUESS_SLACK_TOKENS + guess // GUESS_SLACK_PARTS

    async def _overflow(self, instance: Instance, request: Request) -> str:
        """What the server does with a prompt that cannot fit, in a sentence."""
        try:
            reply = await self._ask(instance, request, 1)
        except (StalledError, EngineDiedError) as error:
            await self._holder.release()
            ends = "hang" if isinstance(error, StalledError) else "die"
            return f"A prompt that is too long makes the server {ends}."
        except GenerationError:
            return "A prompt that is too long is refused."
        read = reply.stats.prompt_tokens
        return "A prompt that is too long is cut without a word" + (
            f": the server read {read:,} tokens." if read is not None else "."
        )

    async def _embed(self, tokens: int) -> ProbeOutcome:
        """Embedding models read a text that fills the context, and refuse a longer one."""
        instance = await self._hold(tokens)
        seed = f"{self.seed}/embed"
        return await fill(self.provider, self._filler, instance, tokens, seed=seed)

    async def _answer(self, draw: Draw) -> ProbeOutcome:
        instance = await self._hold(draw.context)
        family = draw.family
        room = question_room(draw.length, reasoning=self.model.reasoning)
        haystack = await self._filler.haystack(
            instance,
            family,
            seed=f"{self.seed}/{family.name}/{draw.number}",
            tokens=draw.length - room,
            questions=draw.questions,
            language=draw.language,
        )
        scores, first = [], None
        for question in haystack.questions:
            try:
                request = self._filler.request(haystack.text + question.text)
                reply = await self._ask(instance, request, room)
            except EmptyAnswerError:
                score = 0.0
            else:
                first = first or reply
                score = family.score(question, reply.text)
            scores.append(
                Score(
                    family=question.family or family.name,
                    cluster=draw.cluster,
                    depth=question.depth,
                    score=score,
                )
            )
        outcome = ProbeOutcome(ok=True) if first is None else _timed(first, ok=True)
        return replace(outcome, scores=tuple(scores))

    async def _ask(self, instance: Instance, request: Request, most_tokens: int) -> _Reply:
        request = replace(
            request,
            sampling=Sampling(temperature=0.0, seed=self.seed, max_tokens=most_tokens),
            cache_prompt=True,
        )
        parts: list[str] = []
        sent, first, stats = time.perf_counter(), None, None
        async with aclosing(self._session.stream(instance, request)) as items:
            async for item in items:
                if isinstance(item, Fragment):
                    if item.text:
                        first = first or time.perf_counter() - sent
                    if item.kind is FragmentKind.ANSWER:
                        parts.append(item.text)
                elif isinstance(item, Progress):
                    self.on_progress(item)
                else:
                    stats = item
        if stats is None:
            raise EmptyAnswerError("The server ended the answer without a word about it.")
        return _Reply("".join(parts), stats, first)


def _timed(
    reply: _Reply, *, ok: bool, detail: str = "", prompt_tokens: int | None = None
) -> ProbeOutcome:
    stats = reply.stats
    return ProbeOutcome(
        ok=ok,
        detail=detail,
        prompt_tokens=prompt_tokens or stats.prompt_tokens,
        time_to_first_token_s=_rounded(reply.first_token_s),
        prompt_tokens_per_s=_rounded(stats.prompt_tokens_per_s),
        tokens_per_s=_rounded(stats.tokens_per_s),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
