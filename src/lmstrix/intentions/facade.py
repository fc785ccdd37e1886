"""What every intention stands on: settings, what is open, and how a name finds its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from lmstrix.config import Places, Settings, load_settings
from lmstrix.connections import Connections
from lmstrix.errors import ModelNotFoundError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from lmstrix.store import Entry
    from lmstrix.types import LoadConfig, Model


class Facade:
    """A façade without intentions; see `AsyncLMStrix` for the whole."""

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

    def _entry_of_file(self, path: Path) -> Entry:
        from lmstrix.gguf import describe
        from lmstrix.store import Entry

        provider = self._open.providers(provider="embedded")[0]
        model = describe(path, provider=provider.name, server=provider.server, folder=path.parent)
        return Entry(model=model, added_at=0.0, seen_at=0.0)

    def _safe_tokens(self, model: Model, config: LoadConfig) -> int | None:
        """The context that should fit this machine; `None` where there is no file to read."""
        from pathlib import Path

        from lmstrix.context.fit import fit_model

        if model.path is None or model.format != "gguf" or not Path(model.path).is_file():
            return None
        cap = config.memory_limit_bytes or self.settings.embedded.memory_limit_bytes
        kv_types = (config.kv_type_k or "f16",)
        return fit_model(model, kv_types=kv_types, memory_limit_bytes=cap).rows[0].context_tokens
