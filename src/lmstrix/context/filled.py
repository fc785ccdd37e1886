"""Whether an instance reads a prompt that fills its context, whole.

The server's count of what it has read says so, and markers at start, middle and end do. Whether the
model answers well is no matter here: one that only extracts, or has never been taught to answer,
reads its prompts too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.context.families.keyed import Keyed
from lmstrix.context.filling import SENTENCE_TOKENS
from lmstrix.errors import EngineDiedError, GenerationError, StalledError
from lmstrix.results import FailureKind, ProbeOutcome

if TYPE_CHECKING:
    from lmstrix.context.families import Haystack
    from lmstrix.context.filling import Filler
    from lmstrix.context.replies import Asker, Reply
    from lmstrix.types import Instance

MARKERS = 3  # start, middle, end
COUNT_SLACK_TOKENS = 2  # servers differ in counting the marks of begin and end
GUESS_SLACK_PARTS = 8  # a count that is guessed may be an eighth too high,
GUESS_SLACK_TOKENS = 64  # and more for a short prompt, which has more facts than filler
_SHORT_TOKENS = 400
_SHORT_QUESTION = "What is 2 + 3?"
_FAMILY = Keyed()


class Filled:
    """One instance and the prompt that fills it. `hurt`: the instance is of no more use."""

    def __init__(self, asker: Asker, filler: Filler, instance: Instance, *, seed: int) -> None:
        self.hurt = False
        self._asker = asker
        self._filler = filler
        self._instance = instance
        self._seed = f"{seed}/process"
        self._text = ""
        self._read_tokens = 0

    @property
    def _counts(self) -> bool:
        """Whether tokens are counted by the model's own tokenizer, not by what a server reads."""
        return self._asker.session.counts

    async def read(self, tokens: int, *, room: int) -> ProbeOutcome:
        """Whether a prompt that leaves `room` of `tokens` for the answer is read whole."""
        haystack = await self._haystack(tokens - room)
        self._text = haystack.text
        replies: list[Reply] = []
        found = 0.0
        for question in haystack.questions:
            text = self._unread(haystack.text) + question.text
            reply = await self._asker.ask(self._instance, self._filler.request(text), room)
            if (cut := await self._cut(text, reply)) is not None:
                return cut
            replies.append(reply)
            found += _FAMILY.score(question, reply.text) > 0
        whole = found == len(haystack.questions)
        if (failed := await self._fails(replies, tokens, room, whole=whole)) is not None:
            return failed
        said = (
            f"All {MARKERS} markers (start, middle, end) were found."
            if whole
            else f"{found:.0f} of {len(haystack.questions)} markers (start to end) were found."
        )
        if replies[0].stats.prompt_tokens is None:
            said += " The server does not tell how many tokens it read."
        return replies[0].outcome(detail=said, prompt_tokens=self._read_tokens)

    async def overflow(self) -> str:
        """What the server does with a prompt that cannot fit, in a sentence.

        Nothing is said of one that does not tell how much fits.
        """
        context = self._instance.context_tokens
        if context is None:
            return ""
        copies = 2 + context // max(1, self._read_tokens)
        try:
            request = self._filler.request(self._text * copies)
            reply = await self._asker.ask(self._instance, request, 1)
        except (StalledError, EngineDiedError) as error:
            self.hurt = True
            ends = "hang" if isinstance(error, StalledError) else "die"
            return f"A prompt that is too long makes the server {ends}."
        except GenerationError:
            return "A prompt that is too long is refused."
        read = reply.stats.prompt_tokens
        return "A prompt that is too long is cut without a word" + (
            f": the server read {read:,} tokens." if read is not None else "."
        )

    # Within

    async def _haystack(self, tokens: int) -> Haystack:
        return await self._filler.haystack(
            self._instance,
            _FAMILY,
            seed=self._seed,
            tokens=tokens,
            questions=MARKERS,
            language="en",
        )

    async def _cut(self, text: str, reply: Reply) -> ProbeOutcome | None:
        """A failure where the server read less than the prompt has; takes note of what it read."""
        ours, slack = await self._count(text)
        theirs = reply.stats.prompt_tokens
        self._read_tokens = max(self._read_tokens, ours if theirs is None else theirs)
        if theirs is None or theirs >= ours - slack:
            return None
        about = "" if self._counts else "about "
        return ProbeOutcome(
            ok=False,
            failure=FailureKind.SILENT_TRUNCATION,
            detail=f"Of a prompt of {about}{ours:,} tokens the server read {theirs:,}, without "
            "saying so.",
            prompt_tokens=theirs,
        )

    async def _fails(
        self, replies: list[Reply], tokens: int, room: int, *, whole: bool
    ) -> ProbeOutcome | None:
        """What all answers together say against the prompt having been read whole."""
        told = replies[0].stats.prompt_tokens is not None
        if (told or self._counts) and self._read_tokens < _least(tokens - room):
            return ProbeOutcome(
                ok=False,
                failure=FailureKind.CONTEXT_OVERFLOW,
                detail=f"The server refuses prompts of more than {self._read_tokens:,} tokens.",
            )
        if all(reply.silent for reply in replies) and await self._speaks(room):
            return ProbeOutcome(
                ok=False,
                failure=FailureKind.EMPTY_ANSWER,
                detail="Nothing was answered, though a short question is.",
                prompt_tokens=replies[0].stats.prompt_tokens,
            )
        if not told and not whole and await self._finds(room):
            return ProbeOutcome(
                ok=False,
                failure=FailureKind.SILENT_TRUNCATION,
                detail="Markers were not found that are in a short prompt, and the server does not "
                "tell how many tokens it read.",
            )
        return None

    async def _speaks(self, room: int) -> bool:
        """Whether the model answers anything at all; some find nothing here to extract."""
        request = self._filler.request(_SHORT_QUESTION)
        return not (await self._asker.ask(self._instance, request, room)).silent

    async def _finds(self, room: int) -> bool:
        """Whether the model finds all markers of a short prompt."""
        haystack = await self._haystack(_SHORT_TOKENS)
        for question in haystack.questions:
            request = self._filler.request(haystack.text + question.text)
            reply = await self._asker.ask(self._instance, request, room)
            if not _FAMILY.score(question, reply.text):
                return False
        return True

    def _unread(self, text: str) -> str:
        """A prompt that is as long and that the server has not read while it counted.

        Else its times would be those of a prompt it has in its cache.
        """
        return text if self._counts else f"\n{text}"

    async def _count(self, text: str) -> tuple[int, int]:
        """The tokens of a prompt, and by how many that may be wrong.

        By the model's own tokenizer; what a server that cuts prompts counts is no use, and so
        they are guessed from a short text where that is all there is.
        """
        if self._counts:
            request = self._filler.request(text)
            count = await self._asker.session.count_prompt(self._instance, request)
            return count, COUNT_SLACK_TOKENS
        guess = await self._filler.guess(self._instance, text, "en")
        return guess, GUESS_SLACK_TOKENS + guess // GUESS_SLACK_PARTS


def _least(tokens: int) -> int:
    """What a prompt has at least that was made to have `tokens`, unless longer ones are refused."""
    return tokens - 2 * max(SENTENCE_TOKENS, tokens // 64) - GUESS_SLACK_TOKENS
