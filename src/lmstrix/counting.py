"""How many tokens a prompt has, where the server keeps its tokenizer to itself."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.errors import ContextOverflowError, UnsupportedError
from lmstrix.sizes import estimate_tokens
from lmstrix.types import Sampling, Stats

if TYPE_CHECKING:
    from lmstrix.session import Session
    from lmstrix.types import Instance, Request


async def count_by_asking(session: Session, instance: Instance, request: Request) -> int:
    """The prompt tokens that the server tells of when it is asked for an answer of one token.

    Of a prompt that does not fit it is at least one more than the instance holds: how many
    more, not every server tells. Raises `UnsupportedError` where nothing is told.
    """
    one = replace(request, sampling=Sampling(max_tokens=1), cache_prompt=True)
    told = None
    try:
        async with aclosing(session.stream(instance, one)) as stream:
            async for item in stream:
                if isinstance(item, Stats):
                    told = item.prompt_tokens
    except ContextOverflowError as problem:
        held = problem.context_tokens or instance.context_tokens or 0
        if problem.prompt_tokens > held:
            return problem.prompt_tokens
        texts = [request.prompt or "", *(message.content for message in request.messages)]
        return max(held + 1, estimate_tokens(texts))
    if told is None:
        raise UnsupportedError(
            f"The server of {instance.model_key} does not tell how many tokens a prompt has.",
            hint="Give the answer's length as a number of tokens, and leave the prompt uncut.",
        )
    return told
