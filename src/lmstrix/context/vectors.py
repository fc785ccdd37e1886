"""Whether an embedding model reads a text that fills its context, whole."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from lmstrix.errors import GenerationError, UnsupportedError
from lmstrix.results import FailureKind, ProbeOutcome

if TYPE_CHECKING:
    from lmstrix.context.filling import Filler
    from lmstrix.providers import Provider
    from lmstrix.types import Instance


async def fill(
    provider: Provider, filler: Filler, instance: Instance, tokens: int, *, seed: str
) -> ProbeOutcome:
    """Embed a text of `tokens`, and one that cannot fit.

    Where the server keeps its tokenizer to itself, the text is the longest that it takes: one
    word more is refused. Raises `UnsupportedError` where it does not tell its context either.
    """
    try:
        text, read = await filler.text(instance, seed=seed, tokens=tokens)
    except UnsupportedError:
        return await _fill_by_refusals(provider, filler, instance, seed=seed)
    begun = time.perf_counter()
    vectors = await provider.embed(instance, [text])
    took_s = time.perf_counter() - begun
    if not _is_vector(vectors):
        return _no_vector()
    copies = 2 + (instance.context_tokens or tokens) // read
    refused = not await _takes(provider, instance, " ".join([text] * copies))
    return ProbeOutcome(
        ok=True,
        detail=f"A text of {read:,} tokens gave a vector. A text that is too long is "
        + ("refused." if refused else "cut without a word."),
        prompt_tokens=read,
        prompt_tokens_per_s=round(read / took_s, 1),
    )


async def _fill_by_refusals(
    provider: Provider, filler: Filler, instance: Instance, *, seed: str
) -> ProbeOutcome:
    if instance.context_tokens is None:
        raise UnsupportedError(
            f"The server of {instance.model_key} tells neither how much context it has nor how "
            "many tokens a text has, so nothing shows how long a text it reads.",
            hint="Ask it by another protocol that it speaks: --provider.",
        )
    words = filler.words(seed=seed, count=instance.context_tokens + 1)
    # No word has less than a token, so this cannot fit.
    if await _takes(provider, instance, " ".join(words)):
        return ProbeOutcome(
            ok=False,
            failure=FailureKind.SILENT_TRUNCATION,
            detail=f"A text of {len(words):,} words gave a vector, though it cannot fit into "
            f"{instance.context_tokens:,} tokens.",
        )
    fits, beyond = 0, len(words)
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        if await _takes(provider, instance, " ".join(words[:middle])):
            fits = middle
        else:
            beyond = middle
    if not fits:
        await provider.embed(instance, words[:1])  # raises what is wrong
    vectors = await provider.embed(instance, [" ".join(words[:fits])])
    if not _is_vector(vectors):
        return _no_vector()
    return ProbeOutcome(
        ok=True,
        detail=f"A text of {fits:,} words gave a vector, and one word more is refused: it fills "
        f"the context of {instance.context_tokens:,} tokens.",
    )


async def _takes(provider: Provider, instance: Instance, text: str) -> bool:
    """Whether a vector comes of `text`; the server's refusal says that it is too long."""
    try:
        await provider.embed(instance, [text])
    except GenerationError:
        return False
    return True


def _is_vector(vectors: object) -> bool:
    if not isinstance(vectors, (list, tuple)) or not vectors or not vectors[0]:
        return False
    return all(map(math.isfinite, vectors[0]))


def _no_vector() -> ProbeOutcome:
    return ProbeOutcome(ok=False, failure=FailureKind.EMPTY_ANSWER, detail="No vector came back.")
