"""LM Studio by its native protocol."""

from __future__ import annotations

from lmstrix.providers.lmstudio.native import LMStudioNativeProvider

__all__ = ["LMStudioNativeProvider"]
