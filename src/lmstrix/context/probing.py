"""One probe at a time, through a provider: load a size, fill it, ask at a length.

Each method does what a probe asks and returns how it went; what an error means is decided in
`failures`. Only instances this prober loaded itself are ever touched.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.context.failures import failure_of, sentence
from lmstrix.context.filled import Filled
from lmstrix.context.filling import Filler, question_room
from lmstrix.context.holding import Holder
from lmstrix.context.listening import is_gone
from lmstrix.context.pressure import guarded
from lmstrix.context.replies import Asker
from lmstrix.context.vectors import fill
from lmstrix.errors import (
    ContextOverflowError,
    EmptyAnswerError,
    LMStrixError,
    UnreachableError,
)
from lmstrix.results import FailureKind, ProbeOutcome, Score
from lmstrix.session import Session
from lmstrix.store.machine import is_here
from lmstrix.types import ModelType, Progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from lmstrix.config import Timeouts
    from lmstrix.context.families import ProbeFamily
    from lmstrix.providers import Provider
    from lmstrix.types import Instance, LoadConfig, Model

# As vLLM words it; others that have none of the model take one of their own.
_NO_TEMPLATE = re.compile(r"(provide|no|without) (a )?chat[ _]template", re.IGNORECASE)
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
class Prober:
    """Runs probes of one model on instances of its own.

    `limit_s` is the longest a probe may take; where `deadline` (of `time.monotonic`) comes
    first, a probe cut off by it counts as interrupted. `on_progress` gets signs of life. `folder`
    is that of the locks (see `Holder`), `reserve_bytes` the memory to leave alone.
    """

    provider: Provider
    model: Model
    load: LoadConfig
    timeouts: Timeouts
    limit_s: float
    seed: int
    folder: Path
    deadline: float | None = None
    reserve_bytes: int | None = None
    on_progress: Callable[[Progress], None] = lambda _: None
    unreachable: UnreachableError | None = None
    _holder: Holder = field(init=False)
    _filler: Filler = field(init=False)
    _asker: Asker = field(init=False)

    def __post_init__(self) -> None:
        self._holder = Holder(
            self.provider,
            self.model,
            self.load,
            folder=self.folder,
            silence_s=self.timeouts.load_s,
        )
        session = Session(self.provider, self.timeouts)
        self._filler = Filler(session)
        self._asker = Asker(session, self.seed, self._listen)

    def _listen(self, progress: Progress) -> None:
        self.on_progress(progress)  # whoever it is by then

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

    async def _guarded(self, work: Coroutine[Any, Any, ProbeOutcome]) -> ProbeOutcome:
        """What came of `work` within the time; after a failure that hurts, start afresh."""
        left_s = math.inf if self.deadline is None else self.deadline - time.monotonic()
        limit_s = max(0.01, min(self.limit_s, left_s))
        was_gone = await is_gone(self.provider.server)
        if is_here(self.provider.server):
            work = guarded(work, self.model, reserve_bytes=self.reserve_bytes)
        try:
            async with asyncio.timeout(limit_s):
                outcome = await work
        except (LMStrixError, TimeoutError) as error:
            kind = failure_of(error)
            if kind is None:
                raise
            if kind is FailureKind.TIMEOUT and left_s < self.limit_s:
                kind = FailureKind.INTERRUPTED
            detail = str(error) or sentence(kind)
            if isinstance(error, UnreachableError):
                self.unreachable = error
                if not was_gone and await is_gone(self.provider.server):
                    kind, detail = FailureKind.CRASH, f"The server died of it, it seems. {detail}"
            outcome = ProbeOutcome(ok=False, failure=kind, detail=detail)
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
        filled = Filled(self._asker, self._filler, instance, seed=self.seed)
        try:
            outcome = await filled.read(tokens, room=room)
            if not outcome.ok:
                return outcome
            said = await filled.overflow()
        finally:
            if filled.hurt:
                await self._holder.release()
        return replace(outcome, detail=f"{outcome.detail} {said}".strip())

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
                reply = await self._asker.ask(instance, request, room)
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
        outcome = ProbeOutcome(ok=True) if first is None else first.outcome()
        return replace(outcome, scores=tuple(scores))
