"""What is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.errors import NotFoundError, UsageError
from lmstrix.intentions.facade import Facade

if TYPE_CHECKING:
    from lmstrix.types import Instance, LoadConfig, ProgressListener


class Instances(Facade):
    """Loaded copies of models."""

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
