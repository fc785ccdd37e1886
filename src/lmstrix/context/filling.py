"""Prompts of a wanted length: made, measured with the model's own tokenizer, made again."""

from __future__ import annotations

import asyncio
import random
from itertools import islice
from typing import TYPE_CHECKING

from lmstrix.context.families.filler import sentences
from lmstrix.types import Message, Request, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.context.families import Haystack, ProbeFamily
    from lmstrix.session import Session
    from lmstrix.types import Instance

ROUNDS = 4
_SAMPLE_SENTENCES = 60
SENTENCE_TOKENS = 48  # the longest there are, in languages a tokenizer knows badly
_CUT_SHORT = 0.7  # a count so far below the guess is that of a prompt that was cut
_UNTOLD_TOKENS = 2048  # for a server that does not tell how much fits
_SPARE_TOKENS = 8  # by which one question may be longer than another


def question_room(context_tokens: int, *, reasoning: bool) -> int:
    """Tokens of a context kept free for an answer: short, unless the model thinks aloud."""
    return min(1024 if reasoning else 48, context_tokens // 8)


def as_request(text: str) -> Request:
    """A prompt as one message of the user; sampling is left to the caller."""
    return Request(messages=(Message(Role.USER, text),))


class Filler:
    """Makes haystacks whose prompts have a wanted number of tokens.

    What the model's tokenizer makes of each language's filler is measured once; a haystack
    made by that is then measured whole, through the chat template, and made again until it
    fits. `plain` is for a server that has none for the model: prompts are then texts to go on.
    """

    def __init__(self, session: Session) -> None:
        self.plain = False
        self._session = session
        self._tokens_per_letter: dict[str, float] = {}

    async def haystack(
        self,
        instance: Instance,
        family: ProbeFamily,
        *,
        seed: str,
        tokens: int,
        questions: int,
        language: str,
    ) -> Haystack:
        """A haystack whose prompts, with any of its questions, have at most `tokens`.

        They have at least one sentence less, except where `tokens` is hardly more than the
        facts and questions alone; where it is less, so are the questions.
        """
        count = await self._counter(instance, language)
        wanted, best = tokens, None
        for _ in range(ROUNDS):
            haystack = await asyncio.to_thread(  # a million tokens take seconds
                family.haystack,
                random.Random(seed),  # noqa: S311  # no secret
                approx_tokens=wanted,
                count=count,
                questions=questions,
                language=language,
            )
            longest = max((question.text for question in haystack.questions), key=len)
            measured = _SPARE_TOKENS + await self._session.count_prompt(
                instance, self.request(haystack.text + longest)
            )
            if measured < count(haystack.text) * _CUT_SHORT:
                return haystack  # the server reads no more of it, however long it gets
            if measured <= tokens:
                best = haystack
                if measured > tokens - max(SENTENCE_TOKENS, tokens // 64):
                    break
            elif wanted <= 0:
                break
            wanted += tokens - SENTENCE_TOKENS // 2 - measured
        if best is not None:
            return best
        if questions > 1:
            return await self.haystack(
                instance,
                family,
                seed=seed,
                tokens=tokens,
                questions=questions // 2,
                language=language,
            )
        return haystack

    def request(self, text: str) -> Request:
        """A prompt, as the model is to be asked; sampling is left to the caller."""
        return Request(prompt=text) if self.plain else as_request(text)

    async def guess(self, instance: Instance, text: str, language: str) -> int:
        """About how many tokens `text` has, filler of that language, by what a sample had."""
        return (await self._counter(instance, language))(text)

    def words(self, *, seed: str, count: int) -> list[str]:
        """Plain filler of so many words or a few more."""
        source = sentences(random.Random(seed), "en")  # noqa: S311  # no secret
        words: list[str] = []
        while len(words) < count:
            words += next(source).split()
        return words

    async def text(self, instance: Instance, *, seed: str, tokens: int) -> tuple[str, int]:
        """Plain filler of at most `tokens`, and how many it has; for embedding models."""
        words = self.words(seed=seed, count=tokens)  # no word has less than a token
        fits, count, beyond = 1, 1, len(words) + 1
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            text = " ".join(words[:middle])
            measured = len(await self._session.provider.tokenize(instance, text))
            if measured <= tokens:
                fits, count = middle, measured
            else:
                beyond = middle
        return " ".join(words[:fits]), count

    async def _counter(self, instance: Instance, language: str) -> Callable[[str], int]:
        if language not in self._tokens_per_letter:
            source = sentences(random.Random(0), language)  # noqa: S311  # no secret
            words = " ".join(islice(source, _SAMPLE_SENTENCES)).split()
            # Who keeps its tokenizer to itself counts only what fits.
            sample = " ".join(words[: (instance.context_tokens or _UNTOLD_TOKENS) // 4])
            tokens = await self._session.count_text(instance, sample)
            self._tokens_per_letter[language] = tokens / len(sample)
        rate = self._tokens_per_letter[language]
        return lambda text: round(len(text) * rate)
