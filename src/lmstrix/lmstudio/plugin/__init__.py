"""Plugins of LM Studio in Python: `import lmstrix.lmstudio.plugin` for `lmstudio.plugin`.

A plugin is a folder with `manifest.json` and `src/plugin.py`, which defines at least one hook:
`preprocess_prompt`, `list_provided_tools` or `generate_tokens`; and `ConfigSchema` or
`GlobalConfigSchema` where there is something to set. LM Studio's interface for plugins is not yet
stable.
"""

from __future__ import annotations

from lmstrix.lmstudio.plugin.controllers import (
    AsyncToolCallContext,
    PromptPreprocessorController,
    StatusBlockController,
    TokenGeneratorController,
    ToolCallContext,
    ToolsProviderController,
    get_tool_call_context,
    get_tool_call_context_async,
)
from lmstrix.lmstudio.plugin.errors import LMStudioPluginInitError, LMStudioPluginRuntimeError
from lmstrix.lmstudio.plugin.running import (
    develop,
    develop_async,
    run_plugin,
    run_plugin_async,
)
from lmstrix.lmstudio.plugin.settings import BaseConfigSchema, config_field

__all__ = [
    "AsyncToolCallContext",
    "BaseConfigSchema",
    "LMStudioPluginInitError",
    "LMStudioPluginRuntimeError",
    "PromptPreprocessorController",
    "StatusBlockController",
    "TokenGeneratorController",
    "ToolCallContext",
    "ToolsProviderController",
    "config_field",
    "develop",
    "develop_async",
    "get_tool_call_context",
    "get_tool_call_context_async",
    "run_plugin",
    "run_plugin_async",
]
