"""What becomes of what was measured: servers' defaults and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.intentions.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.defaults.saving import SavedDefault


class Findings(Facade):
    """What was measured, put to use."""

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
