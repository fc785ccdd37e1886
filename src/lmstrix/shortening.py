"""Cut a prompt until it fits the instance that is to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.errors import ContextOverflowError
from lmstrix.session import context_of
from lmstrix.types import Overflow, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.session import Session
    from lmstrix.types import Instance, Request

_CUT_MARK = "\n[…]\n"
_HALF_LETTER = "\ufffd"  # what a cut within a letter leaves of it
_PROMPT_SLACK_TOKENS = 16  # tokenizing a piece alone can differ from tokenizing it in place


async def shorten(
    session: Session, instance: Instance, request: Request, overflow: Overflow
) -> tuple[Request, str]:
    """Cut the prompt until it fits, and say in a sentence what was cut.

    `MIDDLE` takes from the middle of the longest text; `ROLLING` drops the oldest questions
    with their answers, never the system prompt, then the beginning of the last one. A
    quarter of the context, at most 512 tokens, is kept free for the answer (all of
    `max_tokens` when that is less).
    Raises `ContextOverflowError` when even that does not help.
    """
    context = context_of(instance)
    reserve = min(context // 4, 512, request.sampling.max_tokens or 512)
    before = count = await session.count_prompt(instance, request)
    if overflow is Overflow.ROLLING and count > context - reserve:
        request = await _drop_oldest(session, instance, request, context - reserve)
        count = await session.count_prompt(instance, request)
    while count > context - reserve:
        excess = count - (context - reserve) + _PROMPT_SLACK_TOKENS
        shorter = (
            await _cut_middle(session, instance, request, excess)
            if overflow is Overflow.MIDDLE
            else await _cut_beginning(session, instance, request, excess)
        )
        left = count if shorter is None else await session.count_prompt(instance, shorter)
        if shorter is None or left >= count:
            raise ContextOverflowError(
                f"The prompt has {before:,} tokens, the instance holds {context:,}, and "
                f"what may be cut ({overflow}) is not enough.",
                prompt_tokens=before,
                context_tokens=context,
                hint="Load a larger context with --in_ctx.",
            )
        request, count = shorter, left
    where = "the middle" if overflow is Overflow.MIDDLE else "the beginning"
    return request, f"Cut {before - count:,} of {before:,} prompt tokens from {where}."


async def _cut_middle(
    session: Session, instance: Instance, request: Request, excess: int
) -> Request | None:
    texts = _texts(request)
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    tokens = await session.provider.tokenize(instance, texts[longest])
    keep = len(tokens) - excess - _PROMPT_SLACK_TOKENS
    if keep <= 0:
        return None
    head = await session.provider.detokenize(instance, tokens[: (keep + 1) // 2])
    tail = await session.provider.detokenize(instance, tokens[len(tokens) - keep // 2 :])
    text = head.rstrip(_HALF_LETTER) + _CUT_MARK + tail.lstrip(_HALF_LETTER)
    return _with_text(request, longest, text)


async def _drop_oldest(
    session: Session, instance: Instance, request: Request, most: int
) -> Request:
    """The conversation from the earliest question on with which it has `most` tokens.

    A chat template may insist that a question comes first. The last one always stays.
    """
    messages = request.messages
    system = tuple(message for message in messages if message.role is Role.SYSTEM)
    rest = [message for message in messages if message.role is not Role.SYSTEM]
    starts = [at for at, message in enumerate(rest) if message.role is Role.USER]

    def since(start: int) -> Request:
        return replace(request, messages=(*system, *rest[start:]))

    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high) // 2
        if await session.count_prompt(instance, since(starts[middle])) <= most:
            high = middle
        else:
            low = middle + 1
    return since(starts[low]) if starts else request


async def _cut_beginning(
    session: Session, instance: Instance, request: Request, excess: int
) -> Request | None:
    last = len(_texts(request)) - 1
    tokens = await session.provider.tokenize(instance, _texts(request)[last])
    if len(tokens) <= excess:
        return None
    kept = await session.provider.detokenize(instance, tokens[excess:])
    return _with_text(request, last, kept.lstrip(_HALF_LETTER))


def _texts(request: Request) -> Sequence[str]:
    if request.prompt is not None:
        return (request.prompt,)
    return [message.content for message in request.messages]


def _with_text(request: Request, index: int, text: str) -> Request:
    if request.prompt is not None:
        return replace(request, prompt=text)
    messages = list(request.messages)
    messages[index] = replace(messages[index], content=text)
    return replace(request, messages=tuple(messages))
