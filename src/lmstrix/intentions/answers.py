"""Questions and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.errors import ModelNotFoundError, UnsupportedError, UsageError
from lmstrix.intentions.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Unpack

    from lmstrix.answer import Answer, AnswerFlow
    from lmstrix.asking import Asking, AskOptions
    from lmstrix.explain import Explanation
    from lmstrix.registry.select import Selection
    from lmstrix.sizes import ContextPlan
    from lmstrix.store import Entry
    from lmstrix.types import Completion, Message


LAST_USED = "last_used_model"
LAST_EMBEDDING = "last_used_embedding_model"


class Answers(Facade):
    """Questions to models."""

    async def infer(
        self, prompt: str, model: str | None = None, **options: Unpack[AskOptions]
    ) -> Completion:
        """One prompt, one whole answer. `model` absent: the one used last.

        Raises `ModelNotFoundError`, `LoadError`, `ContextOverflowError`, `StalledError`,
        `EngineDiedError`.
        """
        async with self.stream(prompt, model, **options) as answer:
            return await answer.completion()

    async def chat(
        self, messages: Sequence[Message], model: str | None = None, **options: Unpack[AskOptions]
    ) -> Completion:
        """The answer to a conversation; otherwise as `infer`."""
        async with self.stream(messages, model, **options) as answer:
            return await answer.completion()

    def stream(
        self,
        prompt: str | Sequence[Message],
        model: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Answer:
        """An answer whose fragments are read with `async for` as they are made."""
        from lmstrix.answer import Answer, AnswerFlow

        flow = AnswerFlow()
        return Answer(flow, self._pump(flow, prompt, model, options))

    async def explain(
        self,
        prompt: str | Sequence[Message],
        model: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Explanation:
        """Exactly what `infer` would send, and where each value comes from; sends nothing."""
        return await (await self._asking(prompt, model, options)).explain()

    async def select(
        self, prompt: str | Sequence[Message], *, out_ctx: int | str | None = None
    ) -> Selection:
        """The tested model that suits `prompt` best, with the reasons.

        The tokens needed are estimated, rather too many than too few: the tokenizer is the
        chosen model's own. `out_ctx` is as for `infer`. Raises `NotFoundError` where no tested
        model holds them.
        """
        from msgspec.structs import replace

        from lmstrix.registry.select import select
        from lmstrix.sizes import estimate_tokens, needed_context

        texts = [prompt] if isinstance(prompt, str) else [message.content for message in prompt]
        need = needed_context(estimate_tokens(texts), out_ctx)
        loaded = [instance for _, instance in await self._open.loaded()]
        chosen = select(self._open.entries(), need_tokens=need, loaded=loaded)
        estimate = f"Prompt and answer need {need:,} tokens by a cautious estimate."
        return replace(chosen, reasons=(estimate, *chosen.reasons))

    async def plan_context(
        self,
        prompt: str | Sequence[Message],
        model: str | None = None,
        *,
        strategy: str = "balanced",
        **options: Unpack[AskOptions],
    ) -> ContextPlan:
        """How an instance's context is divided among `prompt`, its answer and a reserve.

        The prompt is counted by the model's own tokenizer, so the model is loaded. `strategy`
        is `conservative`, `balanced` or `aggressive` (see `lmstrix.sizes`); other options are
        as for `infer`. Raises `UsageError` for another strategy and `ContextOverflowError`
        when the prompt does not fit.
        """
        from lmstrix.sizes import divide_context, parse_strategy

        chosen = parse_strategy(strategy)
        asking = await self._asking(prompt, model, options)
        context_tokens, prompt_tokens = await asking.measure()
        return divide_context(chosen, context_tokens=context_tokens, prompt_tokens=prompt_tokens)

    async def embed(
        self, texts: Sequence[str], model: str | None = None, *, resident: bool = False
    ) -> list[list[float]]:
        """One vector per text, by the model that `embedding_model` gives for `model`.

        Raises `UnsupportedError` for a model that makes none, and `ContextOverflowError` for a
        text that does not fit.
        """
        from lmstrix.types import LoadConfig

        entry = await self.embedding_model(model)
        if isinstance(texts, str) or not all(texts):
            raise UsageError(
                "Embeddings are made of a list of texts, none of them empty.",
                hint='For one text: embed(["..."], model)',
            )
        session = self._open.session_for(entry.model)
        config = LoadConfig(context_tokens=entry.model.declared_context_tokens)
        async with session.hold(entry.model, config, resident=resident) as instance:
            vectors = await session.provider.embed(instance, texts)
        self._open.store.set_state(LAST_EMBEDDING, entry.model.key)
        return [list(vector) for vector in vectors]

    async def embedding_model(self, model: str | None = None) -> Entry:
        """The model called `model`; `None` for the last that made embeddings, or the only one.

        Raises `UnsupportedError` for one that makes none, and `ModelNotFoundError`.
        """
        from lmstrix.types import ModelType

        if model is None:
            return self._usual_embedder()
        entry = await self.find(model)
        if entry.model.type is not ModelType.EMBEDDING:
            raise UnsupportedError(
                f"{entry.model.key} is not an embedding model.",
                hint="See `lmstrix list --filter type:embedding`.",
            )
        return entry

    def _usual_embedder(self) -> Entry:
        from lmstrix.types import ModelType

        there = [
            entry
            for entry in self._open.entries()
            if entry.model.type is ModelType.EMBEDDING and entry.missing_since is None
        ]
        last = self._open.store.get_state(LAST_EMBEDDING)
        chosen = [entry for entry in there if entry.model.key == last] or there
        if len(chosen) == 1:
            return chosen[0]
        keys = ", ".join(entry.model.key for entry in there)
        raise ModelNotFoundError(
            "No embedding model was named, and there is none."
            if not there
            else "No embedding model was named, and there are several.",
            query="",
            hint=f"Name one: {keys}." if there else "See `lmstrix list --filter type:embedding`.",
        )

    async def _asking(
        self, prompt: str | Sequence[Message], model: str | None, options: AskOptions
    ) -> Asking:
        from lmstrix.asking import Ask, Asking, as_prompt

        ask = Ask(prompt=as_prompt(prompt), **options)
        ask.request()  # a prompt that cannot be sent is refused before anything is loaded
        entry = await self.find(model or self._last_used())
        known = entry.result.usable_tokens if entry.result is not None else None
        blind = ask.in_ctx is None and known is None
        safe = self._safe_tokens(entry.model, ask.load) if blind else None
        session = self._open.session_for(entry.model)
        return Asking(ask, entry, session, safe_tokens=safe)

    def _pump(
        self,
        flow: AnswerFlow,
        prompt: str | Sequence[Message],
        model: str | None,
        options: AskOptions,
    ) -> Callable[[], Coroutine[None, None, None]]:
        self._open.check()

        async def pump() -> None:
            asking = await self._asking(prompt, model, options)
            await asking.run(flow)
            self._open.store.set_state(LAST_USED, asking.entry.model.key)

        return pump

    def _last_used(self) -> str:
        last = self._open.store.get_state(LAST_USED)
        if last is None:
            raise ModelNotFoundError(
                "No model was named, and none was used before.",
                query="",
                hint="See `lmstrix list`, then name one: lmstrix infer PROMPT MODEL",
            )
        return last
