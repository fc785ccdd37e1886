"""The namespace `runtime`: what runs the models."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

from lmstrix.protocol.lmstudio import endpoints

if TYPE_CHECKING:
    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.lmstudio_native.connection import Handlers
    from lmstrix.protocol.lmstudio.envelopes import Auth

_FORMATS = {"gguf": "GGUF", "safetensors": "MLX", "mlx_placeholder": "MLX"}


class Engines:
    """The namespace on one gateway. Engines are neither exchanged nor downloaded here."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def register(self, handlers: Handlers) -> None:
        """Answer its one call."""
        handlers.answer(endpoints.LIST_ENGINES, self._list)

    async def _list(self, auth: Auth, parameter: None) -> list[dict[str, object]]:
        """One per provider that has models and says what runs them."""
        formats: dict[tuple[str, str], set[str]] = {}
        for entry in await self._gateway.models():
            provider = self._gateway.client._open.provider_of(entry.model)  # noqa: SLF001  # of the same house
            name, _, version = provider.engine.partition(" ")
            if name and entry.model.format in _FORMATS:
                formats.setdefault((name, version), set()).add(_FORMATS[entry.model.format])
        return [
            {
                "name": name,
                "version": version or "0",
                "engine": "llama.cpp" if "GGUF" in known else name,
                "platform": sys.platform,
                "cpu": {"architecture": platform.machine() or "unknown"},
                "supportedModelFormatNames": sorted(known),
            }
            for (name, version), known in sorted(formats.items())
        ]
