"""Ollama as a provider: its models, loaded at the size that was asked for."""

from __future__ import annotations

from lmstrix.providers.ollama.provider import OllamaProvider

__all__ = ["OllamaProvider"]
