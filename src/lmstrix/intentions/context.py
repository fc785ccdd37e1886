"""What models can really hold: predicted, tested, mapped, compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.intentions.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.context.fit import Fit
    from lmstrix.context.options import TestOptions
    from lmstrix.context.runner import EventListener, TestPlan
    from lmstrix.context.tune import Tuning
    from lmstrix.results import TestResult
    from lmstrix.store import Entry


KV_TYPES = ("f16", "q8_0", "q4_0")


class Context(Facade):
    """The true context of models."""

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
        from lmstrix.context.fit import fit_model

        entry = await self.find(model)
        cap = memory_limit_bytes or self.settings.embedded.memory_limit_bytes
        return fit_model(entry.model, kv_types=kv_types, memory_limit_bytes=cap)

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
        models: Sequence[str | Entry] | None = None,
        *,
        options: TestOptions | Sequence[TestOptions] | None = None,
        parallel: int = 1,
        on_event: EventListener | None = None,
    ) -> list[TestResult]:
        """Test several models in the order given; the failure of one stops no other.

        `None` is every model that is there, the cheapest first. Up to `parallel` servers are at
        work at a time, each on one model. `options` are for all of them, or one for each;
        `budget_s` of the first is for all together. A test that could not run has a result that
        says why in its notes.
        """
        from lmstrix.context.options import TestOptions
        from lmstrix.context.runner import test_models
        from lmstrix.registry import sort_entries

        if models is None:
            there = [entry for entry in self._open.entries() if entry.missing_since is None]
            entries = sort_entries(there, "smart")
        else:
            entries = [
                await self.find(model) if isinstance(model, str) else model for model in models
            ]
        return await test_models(
            entries,
            self._open.provider_of,
            self._open.store,
            options or TestOptions(),
            settings=self.settings,
            places=self.places,
            parallel=parallel,
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
