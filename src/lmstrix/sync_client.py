"""The way in for programs without an event loop: `AsyncLMStrix`, method for method."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self, TypeVar

from lmstrix.async_client import KV_TYPES, AsyncLMStrix
from lmstrix.connections import was_closed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Unpack

    from lmstrix.answer import SyncAnswer
    from lmstrix.asking import AskOptions
    from lmstrix.config import Places, Settings
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
        ProgressListener,
    )

T = TypeVar("T")

# Windows delivers Ctrl-C to a waiting main thread only when the wait ends.
_INTERRUPTIBLE_S = 0.5


class LMStrix:
    """LMStrix for programs without an event loop: `AsyncLMStrix`, method for method.

    Runs its own loop in a background thread; may be used from several threads.
    """

    def __init__(
        self,
        *,
        places: Places | None = None,
        settings: Settings | None = None,
        store_path: Path | None = None,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lmstrix", daemon=True)
        self._inner = AsyncLMStrix(places=places, settings=settings, store_path=store_path)
        self._closing = threading.Lock()
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every instance this object owns, close the store, stop the loop.

        Closing twice is allowed; every other method then raises `UsageError`.
        """
        with self._closing:
            if self._loop.is_closed():
                return
            self._run(self._inner.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def places(self) -> Places:
        """Where data and settings live."""
        return self._inner.places

    @property
    def settings(self) -> Settings:
        """What is set."""
        return self._inner.settings

    @property
    def problems(self) -> tuple[str, ...]:
        """Plugins that could not be used, one sentence each."""
        return self._inner.problems

    def scan(
        self,
        *,
        timeout_s: float | None = None,
        provider: str | None = None,
        server: str | None = None,
        refresh: bool = False,
        update: bool = True,
    ) -> ScanReport:
        """As `AsyncLMStrix.scan`."""
        return self._run(
            self._inner.scan(
                timeout_s=timeout_s,
                provider=provider,
                server=server,
                refresh=refresh,
                update=update,
            )
        )

    def list_models(
        self,
        filter: str = "",  # noqa: A002  # the name users know from the command line
        *,
        keywords: Sequence[str] = (),
        sort: str = "id",
        reverse: bool = False,
    ) -> list[Entry]:
        """As `AsyncLMStrix.list_models`."""
        return self._run(
            self._inner.list_models(filter, keywords=keywords, sort=sort, reverse=reverse)
        )

    def find(self, model: str) -> Entry:
        """As `AsyncLMStrix.find`."""
        return self._run(self._inner.find(model))

    def fit(
        self,
        model: str,
        *,
        kv_types: Sequence[str] = KV_TYPES,
        memory_limit_bytes: int | None = None,
    ) -> Fit:
        """As `AsyncLMStrix.fit`."""
        return self._run(
            self._inner.fit(model, kv_types=kv_types, memory_limit_bytes=memory_limit_bytes)
        )

    def plan_test(self, model: str, *, options: TestOptions | None = None) -> TestPlan:
        """As `AsyncLMStrix.plan_test`."""
        return self._run(self._inner.plan_test(model, options=options))

    def test_model(
        self,
        model: str,
        *,
        options: TestOptions | None = None,
        on_event: EventListener | None = None,
    ) -> TestResult:
        """As `AsyncLMStrix.test_model`; `on_event` is called on the loop's thread."""
        return self._run(self._inner.test_model(model, options=options, on_event=on_event))

    def test_models(
        self,
        models: Sequence[str | Entry] | None = None,
        *,
        options: TestOptions | Sequence[TestOptions] | None = None,
        parallel: int = 1,
        on_event: EventListener | None = None,
    ) -> list[TestResult]:
        """As `AsyncLMStrix.test_models`; `on_event` is called on the loop's thread."""
        return self._run(
            self._inner.test_models(models, options=options, parallel=parallel, on_event=on_event)
        )

    def map_curve(
        self,
        model: str,
        *,
        options: TestOptions | None = None,
        on_event: EventListener | None = None,
    ) -> TestResult:
        """As `AsyncLMStrix.map_curve`; `on_event` is called on the loop's thread."""
        return self._run(self._inner.map_curve(model, options=options, on_event=on_event))

    def tune(
        self,
        model: str,
        *,
        gpu_layers: Sequence[int] = (),
        options: TestOptions | None = None,
        on_event: EventListener | None = None,
    ) -> Tuning:
        """As `AsyncLMStrix.tune`; `on_event` is called on the loop's thread."""
        return self._run(
            self._inner.tune(model, gpu_layers=gpu_layers, options=options, on_event=on_event)
        )

    def interrupted_tests(self) -> list[TestResult]:
        """As `AsyncLMStrix.interrupted_tests`."""
        return self._run(self._inner.interrupted_tests())

    def save(
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
        """As `AsyncLMStrix.save`."""
        return self._run(
            self._inner.save(
                model,
                limit=limit,
                above_tokens=above_tokens,
                flash=flash,
                kv_type=kv_type,
                dry_run=dry_run,
                force=force,
            )
        )

    def report(self, models: Sequence[str] | None = None, *, form: str = "html") -> bytes:
        """As `AsyncLMStrix.report`."""
        return self._run(self._inner.report(models, form=form))

    def infer(
        self, prompt: str, model: str | None = None, **options: Unpack[AskOptions]
    ) -> Completion:
        """As `AsyncLMStrix.infer`."""
        with self.stream(prompt, model, **options) as answer:
            return answer.completion()

    def chat(
        self, messages: Sequence[Message], model: str | None = None, **options: Unpack[AskOptions]
    ) -> Completion:
        """As `AsyncLMStrix.chat`."""
        with self.stream(messages, model, **options) as answer:
            return answer.completion()

    def stream(
        self,
        prompt: str | Sequence[Message],
        model: str | None = None,
        **options: Unpack[AskOptions],
    ) -> SyncAnswer:
        """An answer whose fragments are read with `for` as they are made."""
        from lmstrix.answer import AnswerFlow, SyncAnswer

        flow = AnswerFlow()
        return SyncAnswer(flow, self._inner._pump(flow, prompt, model, options), self._loop)  # noqa: SLF001  # its own twin

    def explain(
        self,
        prompt: str | Sequence[Message],
        model: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Explanation:
        """As `AsyncLMStrix.explain`."""
        return self._run(self._inner.explain(prompt, model, **options))

    def select(
        self, prompt: str | Sequence[Message], *, out_ctx: int | str | None = None
    ) -> Selection:
        """As `AsyncLMStrix.select`."""
        return self._run(self._inner.select(prompt, out_ctx=out_ctx))

    def plan_context(
        self,
        prompt: str | Sequence[Message],
        model: str | None = None,
        *,
        strategy: str = "balanced",
        **options: Unpack[AskOptions],
    ) -> ContextPlan:
        """As `AsyncLMStrix.plan_context`."""
        return self._run(self._inner.plan_context(prompt, model, strategy=strategy, **options))

    def embed(
        self, texts: Sequence[str], model: str | None = None, *, resident: bool = False
    ) -> list[list[float]]:
        """As `AsyncLMStrix.embed`."""
        return self._run(self._inner.embed(texts, model, resident=resident))

    def embedding_model(self, model: str | None = None) -> Entry:
        """As `AsyncLMStrix.embedding_model`."""
        return self._run(self._inner.embedding_model(model))

    def load(
        self,
        model: str,
        *,
        in_ctx: int | str | None = None,
        config: LoadConfig | None = None,
        instance_id: str | None = None,
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        """As `AsyncLMStrix.load`; `on_progress` is called on the loop's thread."""
        return self._run(
            self._inner.load(
                model,
                in_ctx=in_ctx,
                config=config,
                instance_id=instance_id,
                resident=resident,
                on_progress=on_progress,
            )
        )

    def unload(self, instance: str | None = None, *, all: bool = False) -> list[str]:  # noqa: A002  # as on the command line
        """As `AsyncLMStrix.unload`."""
        return self._run(self._inner.unload(instance, all=all))

    def instances(self) -> list[Instance]:
        """As `AsyncLMStrix.instances`."""
        return self._run(self._inner.instances())

    def _run(self, work: Coroutine[None, None, T]) -> T:
        """The result of `work`. Raises `UsageError` when the loop ended before, or under it."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise was_closed() from None
        try:
            while True:
                try:
                    return future.result(_INTERRUPTIBLE_S)
                except TimeoutError:
                    if future.done():
                        raise
                    if not self._thread.is_alive():
                        raise was_closed() from None
        except KeyboardInterrupt:
            future.cancel()
            raise
