"""The way in for programs with an event loop: one method per user intention.

Nothing is opened, imported or started before a method needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from lmstrix.config import Places, Settings, load_settings
from lmstrix.connections import Connections
from lmstrix.errors import ModelNotFoundError, NotFoundError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Unpack

    from lmstrix.answer import Answer, AnswerFlow
    from lmstrix.asking import Asking, AskOptions
    from lmstrix.context.fit import Fit
    from lmstrix.context.options import TestOptions
    from lmstrix.context.runner import EventListener, TestPlan
    from lmstrix.context.tune import Tuning
    from lmstrix.defaults.saving import SavedDefault
    from lmstrix.explain import Explanation
    from lmstrix.registry.scan import ScanReport
    from lmstrix.registry.select import Selection
    from lmstrix.results import TestResult
    from lmstrix.sizes import ContextPlan
    from lmstrix.store import Entry
    from lmstrix.types import (
        Completion,
        Instance,
        LoadConfig,
        Message,
        Model,
        ProgressListener,
    )

LAST_USED = "last_used_model"
KV_TYPES = ("f16", "q8_0", "q4_0")


class AsyncLMStrix:
    """LMStrix for programs with an event loop. Use it with `async with`.

    `places` says where data and settings live (default: the platform's folders, or
    `LMSTRIX_HOME`), `settings` what is set (default: read from environment and files). What
    this object loads ends with it, unless loaded as resident.
    """

    def __init__(
        self,
        *,
        places: Places | None = None,
        settings: Settings | None = None,
        store_path: Path | None = None,
    ) -> None:
        self.places = places if places is not None else Places.locate()
        self.settings = settings if settings is not None else load_settings(self.places).settings
        self._open = Connections(self.places, self.settings, store_path or self.places.database)

    @property
    def problems(self) -> tuple[str, ...]:
        """Plugins that could not be used, one sentence each; known once a provider was needed."""
        return self._open.problems

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every instance this object owns and close the store. Closing twice is allowed.

        Every other method then raises `UsageError`.
        """
        await self._open.aclose()

    # Registry

    async def scan(
        self,
        *,
        timeout_s: float | None = None,
        provider: str | None = None,
        server: str | None = None,
        refresh: bool = False,
        update: bool = True,
    ) -> ScanReport:
        """Find the models of every provider and remember them.

        `provider` and `server` limit where to look; `update=False` only reports. A provider
        that cannot be reached is in the report, not an error; its models stay as they were.
        """
        from lmstrix.registry.scan import scan

        wanted = await self._open.discover(provider=provider, server=server)
        return await scan(
            self._open.store, wanted, timeout_s=timeout_s, refresh=refresh, update=update
        )

    async def list_models(
        self,
        filter: str = "",  # noqa: A002  # the name users know from the command line
        *,
        keywords: Sequence[str] = (),
        sort: str = "id",
        reverse: bool = False,
    ) -> list[Entry]:
        """The models in the store, filtered and sorted; no server is asked.

        Raises `FilterError` for a filter or sort that cannot be read.
        """
        from lmstrix.registry import matches_keywords, parse_filter, sort_entries

        wanted = parse_filter(filter)
        chosen = [
            entry
            for entry in self._open.entries()
            if wanted.matches(entry) and matches_keywords(entry, keywords)
        ]
        return sort_entries(chosen, sort, reverse=reverse)

    async def find(self, model: str) -> Entry:
        """The one model that answers to `model`: key, path, alias or unique beginning.

        A path to a GGUF file need not have been scanned. Raises `ModelNotFoundError` or
        `AmbiguousModelError`.
        """
        from lmstrix.registry.find import find_entry, find_path

        try:
            return find_entry(model, self._open.entries(), aliases=self.settings.aliases)
        except ModelNotFoundError:
            path = find_path(model)
            if path is None:
                raise
            return self._entry_of_file(path)

    # Context

    async def fit(
        self,
        model: str,
        *,
        kv_types: Sequence[str] = KV_TYPES,
        memory_limit_bytes: int | None = None,
    ) -> Fit:
        """The largest context that should fit this machine's memory, per KV cache type.

        Nothing is loaded. Raises `UnsupportedError` for a model without a readable file.
        """
        entry = await self.find(model)
        return self._fit(entry.model, kv_types, memory_limit_bytes)

    async def plan_test(self, model: str, *, options: TestOptions | None = None) -> TestPlan:
        """What `test_model` would do, without loading anything."""
        from lmstrix.context.options import TestOptions
        from lmstrix.context.runner import plan_test

        entry = await self.find(model)
        return await plan_test(
            entry,
            self._open.provider_of(entry.model),
            self._open.store,
            options or TestOptions(),
            settings=self.settings,
            places=self.places,
        )

    async def test_model(
        self,
        model: str,
        *,
        options: TestOptions | None = None,
        on_event: EventListener | None = None,
    ) -> TestResult:
        """Find the true context of one model: loadable, processable, effective.

        Resumes an interrupted test from its journal. Raises `BusyError` when another process
        tests this model.
        """
        from lmstrix.context.options import TestOptions
        from lmstrix.context.runner import test_model

        entry = await self.find(model)
        return await test_model(
            entry,
            self._open.provider_of(entry.model),
            self._open.store,
            options or TestOptions(),
            settings=self.settings,
            places=self.places,
            on_event=on_event,
        )

    async def test_models(
        self,
        models: Sequence[str] | None = None,
        *,
        options: TestOptions | None = None,
        on_event: EventListener | None = None,
    ) -> list[TestResult]:
        """Test several models in the order given; the failure of one stops no other.

        `None` is every model that is there, the cheapest first. `options.budget_s` is for all
        of them together. A test that could not run has a result that says why in its notes.
        """
        from lmstrix.context.options import TestOptions
        from lmstrix.context.runner import test_models
        from lmstrix.registry import sort_entries

        if models is None:
            there = [entry for entry in self._open.entries() if entry.missing_since is None]
            entries = sort_entries(there, "smart")
        else:
            entries = [await self.find(model) for model in models]
        return await test_models(
            entries,
            self._open.provider_of,
            self._open.store,
            options or TestOptions(),
            settings=self.settings,
            places=self.places,
            on_event=on_event,
        )

    async def map_curve(
        self,
        model: str,
        *,
        options: TestOptions | None = None,
        on_event: EventListener | None = None,
    ) -> TestResult:
        """Test a model, unless it was, then map quality and speed over prompt lengths.

        The result's `curve` has every half octave from 1 K to the longest prompt that is
        processed. A curve that was interrupted, or ended by `options.budget_s`, goes on.
        """
        from lmstrix.context.mapping import map_curve
        from lmstrix.context.options import TestOptions

        entry = await self.find(model)
        return await map_curve(
            entry,
            self._open.provider_of(entry.model),
            self._open.store,
            options or TestOptions(),
            settings=self.settings,
            places=self.places,
            on_event=on_event,
        )

    async def tune(
        self,
        model: str,
        *,
        gpu_layers: Sequence[int] = (),
        options: TestOptions | None = None,
        on_event: EventListener | None = None,
    ) -> Tuning:
        """Compare load settings: KV cache types, flash attention, layers on the GPU.

        Each is tested and its result stored under its own settings; `advice` says in sentences
        which holds the most and which is fastest. `options.load` is where the comparison starts
        from, `options.budget_s` is for all together.
        """
        from lmstrix.context.options import TestOptions
        from lmstrix.context.tune import variants
        from lmstrix.context.tuning import tune

        entry = await self.find(model)
        options = options or TestOptions()
        return await tune(
            entry,
            self._open.provider_of(entry.model),
            self._open.store,
            options,
            variants(options.load, gpu_layers=gpu_layers),
            settings=self.settings,
            places=self.places,
            on_event=on_event,
        )

    async def interrupted_tests(self) -> list[TestResult]:
        """Tests that were interrupted, newest first; `test_model` goes on with them.

        The options to give again for a result are `TestOptions().after(result)`.
        """
        return self._open.store.interrupted()

    # Defaults of servers

    async def save(
        self,
        model: str | None = None,
        *,
        limit: int | str | None = None,
        above_tokens: int | None = None,
        flash: bool = False,
        kv_type: str | None = None,
        dry_run: bool = False,
        force: bool = False,
    ) -> list[SavedDefault]:
        """Make tested limits what LM Studio and Ollama load models with by default.

        `None` is every model that is there and belongs to one of them. `limit` is N or N% of
        the tested limit; a percentage holds for limits above `above_tokens`. `flash` turns flash
        attention on; `kv_type` saves the limit tested with that KV cache type, and the type. A
        file that cannot be read is left alone unless `force`. What went wrong with one model is
        in its own result. Raises `UsageError` for a limit that cannot be, and
        `ModelNotFoundError`.
        """
        from lmstrix.defaults.limits import parse_share
        from lmstrix.defaults.saving import SaveOptions, Saver

        options = SaveOptions(
            share=parse_share(limit, above_tokens=above_tokens),
            flash=flash,
            kv_type=kv_type,
            dry_run=dry_run,
            force=force,
        )
        saver = Saver(self._open.store, self.places, options, provider_of=self._open.provider_of)
        if model is not None:
            return [await saver.save(await self.find(model))]
        there = (entry for entry in self._open.entries() if entry.missing_since is None)
        return [await saver.save(entry) for entry in saver.reachable(there)]

    async def report(self, models: Sequence[str] | None = None, *, form: str = "html") -> bytes:
        """What was measured of `models`, or of all, as one file: `html`, `svg` or `png`.

        The page needs no network and no other file. Raises `UsageError` for another form,
        `UnsupportedError` where PNG cannot be drawn, `ModelNotFoundError`, and `NotFoundError`
        where no model is known, or for a picture none was tested.
        """
        from lmstrix.report.making import make_report

        if models is None:
            entries = [entry for entry in self._open.entries() if entry.missing_since is None]
        else:
            entries = [await self.find(model) for model in models]
        return make_report(self._open.store, entries, form=form, engine_of=self._open.engine_of)

    # Answers

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
        self, texts: Sequence[str], model: str, *, resident: bool = False
    ) -> list[list[float]]:
        """One vector per text. Raises `UnsupportedError` for a model that makes none."""
        from lmstrix.types import LoadConfig, ModelType

        entry = await self.find(model)
        if entry.model.type is not ModelType.EMBEDDING:
            raise UnsupportedError(
                f"{entry.model.key} is not an embedding model.",
                hint="See `lmstrix list --filter type:embedding`.",
            )
        session = self._open.session_for(entry.model)
        config = LoadConfig(context_tokens=entry.model.declared_context_tokens)
        async with session.hold(entry.model, config, resident=resident) as instance:
            return [list(vector) for vector in await session.provider.embed(instance, texts)]

    # Instances

    async def load(
        self,
        model: str,
        *,
        in_ctx: int | str | None = None,
        config: LoadConfig | None = None,
        instance_id: str | None = None,
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        """Load a model, even if an instance of it is there already.

        `in_ctx` is N, N%, 0 (the provider's default) or `None` (the tested limit, else what
        should fit). A resident instance outlives this object until idle for its TTL. Raises
        `LoadError`, `StalledError`.
        """
        from msgspec.structs import replace

        from lmstrix.sizes import load_size
        from lmstrix.types import LoadConfig

        entry = await self.find(model)
        config = config or LoadConfig()
        size = load_size(
            in_ctx,
            declared_tokens=entry.model.declared_context_tokens,
            result=entry.result,
            safe_tokens=self._safe_tokens(entry.model, config) if in_ctx is None else None,
        )
        return await self._open.session_for(entry.model).load(
            entry.model,
            replace(config, context_tokens=size.tokens),
            instance_id=instance_id,
            resident=resident,
            on_progress=on_progress,
        )

    async def unload(self, instance: str | None = None, *, all: bool = False) -> list[str]:  # noqa: A002  # as on the command line
        """Unload an instance by its id, every instance of a model, or `all`; gives their ids.

        Raises `NotFoundError` when nothing is loaded by that name.
        """
        if (instance is None) is not all:
            raise UsageError("Say which instance to unload, or all, not both.")
        loaded = await self._open.loaded()
        chosen = [
            (provider, found)
            for provider, found in loaded
            if all or instance in (found.id, found.model_key)
        ]
        if not chosen and instance is not None:
            ids = ", ".join(found.id for _, found in loaded) or "nothing"
            raise NotFoundError(
                f"Nothing is loaded by the name {instance!r}.", hint=f"Loaded: {ids}."
            )
        for provider, found in chosen:
            await provider.unload(found.id)
        return [found.id for _, found in chosen]

    async def instances(self) -> list[Instance]:
        """Every loaded instance of every provider."""
        return [found for _, found in await self._open.loaded()]

    # Inside

    def _entry_of_file(self, path: Path) -> Entry:
        from lmstrix.gguf import describe
        from lmstrix.store import Entry

        provider = self._open.providers(provider="embedded")[0]
        model = describe(path, provider=provider.name, server=provider.server, folder=path.parent)
        return Entry(model=model, added_at=0.0, seen_at=0.0)

    def _fit(self, model: Model, kv_types: Sequence[str], memory_limit_bytes: int | None) -> Fit:
        from pathlib import Path

        from lmstrix.context.fit import fit, machine_memory
        from lmstrix.gguf import read_header

        if model.path is None or model.format != "gguf":
            raise UnsupportedError(
                f"{model.key} has no GGUF file to read, so nothing can be predicted.",
                hint=f"Measure it: lmstrix test {model.key}",
            )
        cap = memory_limit_bytes or self.settings.embedded.memory_limit_bytes
        memory = machine_memory(cap)
        return fit(read_header(Path(model.path)), memory=memory, kv_types=tuple(kv_types))

    def _safe_tokens(self, model: Model, config: LoadConfig) -> int | None:
        if model.path is None:
            return None
        predicted = self._fit(model, (config.kv_type_k or "f16",), config.memory_limit_bytes)
        return predicted.rows[0].context_tokens

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
