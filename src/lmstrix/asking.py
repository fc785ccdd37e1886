"""One question from the user's words to the stream: options, load size, retry where it helps."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypedDict

import msgspec
from msgspec.structs import replace

from lmstrix.errors import ContextOverflowError, UnsupportedError, UsageError
from lmstrix.explain import Explanation, compare_parameters
from lmstrix.providers import Capabilities
from lmstrix.providers.base import cannot, lacking
from lmstrix.session import context_of
from lmstrix.sizes import answer_limit, load_size, wants_prompt_count
from lmstrix.types import (
    Fragment,
    LoadConfig,
    Message,
    Overflow,
    Phase,
    Progress,
    Request,
    Role,
    Sampling,
    Stats,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from lmstrix.answer import AnswerFlow
    from lmstrix.config import Timeouts
    from lmstrix.session import Session
    from lmstrix.sizes import LoadSize
    from lmstrix.store import Entry
    from lmstrix.types import Image, Instance, ProgressListener, Tool


class AskOptions(TypedDict, total=False):
    """What can be said beside prompt and model; see `Ask` for meanings and defaults."""

    system_prompt: str | None
    raw: bool
    in_ctx: int | str | None
    out_ctx: int | str | None
    sampling: Sampling
    images: Sequence[Image]
    tools: Sequence[Tool]
    tool_choice: str | None
    schema: Mapping[str, object] | None
    grammar: str | None
    think: bool | str | None
    logprobs: int | None
    extra: Mapping[str, object]
    load: LoadConfig
    overflow: Overflow
    reload: bool
    resident: bool
    timeouts: Timeouts | None
    on_progress: ProgressListener | None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One question with everything the user chose.

    `raw` sends a plain completion instead of applying the chat template. `in_ctx` and `out_ctx`
    are as in `lmstrix.sizes`. `images` go with the last question; `tools` and what follows them
    are as in `Request`. `load` adds settings of the load (KV types, memory limit).
    `reload` loads anew even if an instance is there; `resident` lets a newly loaded instance
    outlive this process. `timeouts` are per phase, `None` for the settings' own.
    """

    prompt: str | tuple[Message, ...]
    system_prompt: str | None = None
    raw: bool = False
    in_ctx: int | str | None = None
    out_ctx: int | str | None = None
    sampling: Sampling = Sampling()
    images: Sequence[Image] = ()
    tools: Sequence[Tool] = ()
    tool_choice: str | None = None
    schema: Mapping[str, object] | None = None
    grammar: str | None = None
    think: bool | str | None = None
    logprobs: int | None = None
    extra: Mapping[str, object] = {}
    load: LoadConfig = LoadConfig()
    overflow: Overflow = Overflow.STOP
    reload: bool = False
    resident: bool = False
    timeouts: Timeouts | None = None
    on_progress: ProgressListener | None = None

    def request(self) -> Request:
        """The question as a provider takes it.

        Raises `UsageError` when there is none, or none that can be written down.
        """
        request = self._request()
        texts = [message.content for message in request.messages]
        try:
            "".join([*texts, request.prompt or ""]).encode()
        except UnicodeEncodeError:
            raise UsageError(
                "The prompt holds bytes that are no text (UTF-8).",
                hint="Convert it to UTF-8 first, for example with iconv.",
            ) from None
        return request

    def _request(self) -> Request:
        self._agree()
        if isinstance(self.prompt, tuple):
            if self.raw:
                raise UsageError("A raw completion takes one text, not a list of messages.")
            if not self.prompt:
                raise UsageError("There is no message to answer.")
            messages = self.prompt
        else:
            if not self.prompt.strip():
                raise UsageError(
                    "The prompt is empty.", hint="Write it as the first argument, or pipe it in."
                )
            if self.raw:
                return self._asked(prompt=self._raw_text(self.prompt))
            messages = (Message(Role.USER, self.prompt),)
        if self.images:
            messages = _with_images(messages, tuple(self.images))
        if self.system_prompt:
            messages = (Message(Role.SYSTEM, self.system_prompt), *messages)
        return self._asked(messages=messages)

    def _asked(self, *, messages: tuple[Message, ...] = (), prompt: str | None = None) -> Request:
        return Request(
            messages=messages,
            prompt=prompt,
            sampling=self.sampling,
            tools=tuple(self.tools),
            tool_choice=self.tool_choice,
            schema=self.schema,
            grammar=self.grammar,
            think=self.think,
            logprobs=self.logprobs,
            extra=self.extra,
        )

    def _agree(self) -> None:
        """Raise `UsageError` where two wishes cannot both be met."""
        if self.raw and self.images:
            raise UsageError("A raw completion takes one text, and no images.")
        if self.schema is not None and self.grammar is not None:
            raise UsageError("An answer obeys a schema or a grammar, not both.")
        names = [tool.name for tool in self.tools]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"Two tools are named {name!r}.", hint="Name each differently.")
        if self.tool_choice not in (None, "auto", "none", *names):
            if self.tool_choice != "required":
                raise UsageError(
                    f"There is no tool {self.tool_choice!r} to choose.",
                    hint=f"There is: {', '.join(names) or 'none'}; or auto, none, required.",
                )
            if not names:
                raise UsageError("A tool is required, and none is offered.", hint="Offer one.")

    def _raw_text(self, prompt: str) -> str:
        return f"{self.system_prompt}\n\n{prompt}" if self.system_prompt else prompt


class Asking:
    """Walks one `Ask` to its answer on one session.

    `safe_tokens` is the context that the memory model calls safe for this model, if known.
    """

    def __init__(
        self, ask: Ask, entry: Entry, session: Session, *, safe_tokens: int | None
    ) -> None:
        self.ask = ask
        self.entry = entry
        self.session = session
        self.notes: list[str] = []
        self._request = ask.request()
        self._size = load_size(
            ask.in_ctx,
            declared_tokens=entry.model.declared_context_tokens,
            result=entry.result,
            safe_tokens=safe_tokens,
        )

    async def _check(self) -> None:
        """Refuse what the model cannot do, before it is loaded."""
        provider = self.session.provider
        if lacking(self._request, Capabilities()) is None:
            return
        able = await provider.capabilities_of(self.entry.model)
        if what := lacking(self._request, able):
            raise cannot(provider, what)

    @asynccontextmanager
    async def hold(self) -> AsyncGenerator[Instance, None]:
        """The instance that will answer, loaded if need be, and kept until the block is left."""
        size = self._size
        loads: list[Progress] = []

        def listen(progress: Progress) -> None:
            loads.append(progress)
            if self.ask.on_progress is not None:
                self.ask.on_progress(progress)

        await self._check()
        async with self.session.hold(
            self.entry.model,
            replace(self.ask.load, context_tokens=size.tokens),
            explicit=size.explicit,
            reload=self.ask.reload,
            resident=self.ask.resident,
            on_progress=listen,
        ) as instance:
            if size.note and loads:
                self.notes.append(size.note)
            held = instance.context_tokens
            if size.explicit and size.tokens and held is not None and held < size.tokens:
                self.notes.append(
                    f"Asked for a context of {size.tokens:,}; the instance holds {held:,}."
                )
            yield instance

    async def prepare(self, instance: Instance) -> Request:
        """The request with its answer limit, which may depend on the instance."""
        ask, request = self.ask, self._request
        counts = wants_prompt_count(ask.out_ctx)
        tokens = await self.session.count_prompt(instance, request) if counts else None
        limit = answer_limit(
            ask.out_ctx, context_tokens=instance.context_tokens, prompt_tokens=tokens
        )
        if limit is None:
            return request
        return replace(request, sampling=replace(request.sampling, max_tokens=limit))

    async def run(self, flow: AnswerFlow) -> None:
        """Fill `flow` with the answer."""
        flow.model = self.entry.model.key
        flow.notes = self.notes
        async with self.hold() as instance:
            flow.instance = instance
            try:
                await self._stream(flow, instance, await self.prepare(instance))
            except ContextOverflowError as error:
                if flow.fragments:
                    raise
                overflow = error
            else:
                return
        # No longer held: several that overflow at once would wait for each other.
        async with self._hold_larger(instance, overflow) as instance:
            flow.instance = instance
            request = await self._fitting(instance, overflow)
            await self._stream(flow, instance, request)

    async def measure(self) -> tuple[int, int]:
        """Tokens of the instance's context and of the prompt, by its own tokenizer."""
        async with self.hold() as instance:
            return context_of(instance), await self.session.count_prompt(instance, self._request)

    async def explain(self) -> Explanation:
        """What `run` would send, without sending it."""
        async with self.hold() as instance:
            request = await self.prepare(instance)
            provider = self.session.provider
            notes, rendered, tokens = list(self.notes), "", None
            try:
                rendered = await provider.render(instance, request)
                tokens = len(await provider.tokenize(instance, rendered))
            except UnsupportedError as problem:  # it has the rest to tell
                notes.append(problem.message)
            return Explanation(
                model=self.entry.model.key,
                instance=instance,
                rendered=rendered,
                prompt_tokens=tokens,
                context_tokens=instance.context_tokens,
                wire=provider.wire_request(instance, request),
                parameters=compare_parameters(
                    request.sampling, await provider.sampling_defaults(instance)
                ),
                notes=tuple(notes),
            )

    async def _stream(self, flow: AnswerFlow, instance: Instance, request: Request) -> None:
        listen = self.ask.on_progress
        stream = self.session.stream(instance, request, timeouts=self.ask.timeouts)
        flow.sending()
        try:
            async for item in stream:
                if type(item) is Fragment:
                    flow.add(item)
                elif isinstance(item, Stats):
                    flow.finish(item)
                elif isinstance(item, Progress):
                    if item.phase is Phase.PROMPT and item.fraction == 1:
                        flow.prompt_done()
                    if listen is not None:
                        listen(item)
        finally:
            await stream.aclose()

    def _hold_larger(
        self, instance: Instance, error: ContextOverflowError
    ) -> AbstractAsyncContextManager[Instance]:
        """An instance of the best known size, when the loaded one was smaller by chance.

        Raises `error` with advice where that would not help and nothing may be cut.
        """
        size, config = self._size, replace(self.ask.load, context_tokens=self._size.tokens)
        context = instance.context_tokens or error.context_tokens
        grows = (
            not size.explicit
            and size.tokens is not None
            and size.tokens > context
            and (size.tokens > error.prompt_tokens or self.ask.overflow is not Overflow.STOP)
        )
        if not grows and self.ask.overflow is Overflow.STOP:
            raise _with_advice(error, size)
        if grows:
            self.notes.append(
                f"The loaded instance held {context:,}; loaded it again with {size.tokens:,}."
            )
        return self.session.hold(
            self.entry.model,
            config,
            explicit=size.explicit or grows,
            resident=self.ask.resident,
            on_progress=self.ask.on_progress,
        )

    async def _fitting(self, instance: Instance, error: ContextOverflowError) -> Request:
        """The request for an instance on which another overflowed, cut where it must be."""
        held = instance.context_tokens or error.context_tokens
        if self.ask.overflow is Overflow.STOP or error.prompt_tokens < held:
            return await self.prepare(instance)
        # All that a prompt leaves is little until it is cut.
        counts = wants_prompt_count(self.ask.out_ctx)
        request = self._request if counts else await self.prepare(instance)
        request, note = await self.session.shorten(instance, request, self.ask.overflow)
        self._request = replace(request, sampling=self._request.sampling)
        self.notes.append(note)
        return await self.prepare(instance)


def _with_images(messages: tuple[Message, ...], images: tuple[Image, ...]) -> tuple[Message, ...]:
    """`messages` with `images` added to the last question."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role is Role.USER:
            asked = replace(messages[at], images=(*messages[at].images, *images))
            return (*messages[:at], asked, *messages[at + 1 :])
    raise UsageError("There is no question that the images could go with.")


def _with_advice(error: ContextOverflowError, size: LoadSize) -> ContextOverflowError:
    larger = "a larger --in_ctx" if size.explicit else "--in_ctx with more tokens"
    error.hint = (
        f"Shorten the prompt, load {larger}, or let it be cut: --overflow middle or rolling."
    )
    return error


def as_prompt(prompt: str | Sequence[Message]) -> str | tuple[Message, ...]:
    """A prompt as `Ask` holds it."""
    return prompt if isinstance(prompt, str) else tuple(prompt)
