"""What goes wrong with plugins."""

from __future__ import annotations

from lmstrix.lmstudio.errors import LMStudioRuntimeError, LMStudioValueError


class LMStudioPluginInitError(LMStudioValueError):
    """A plugin is not made as plugins are."""


class LMStudioPluginRuntimeError(LMStudioRuntimeError):
    """A plugin does what cannot be done there and then."""
