"""LMStrix: put local language models to work, knowing what they can really do.

`LMStrix` and `AsyncLMStrix` are the way in; everything is imported on first use, so that
`import lmstrix` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "2.0.0.dev0"

if TYPE_CHECKING:
    from lmstrix.async_client import AsyncLMStrix as AsyncLMStrix
    from lmstrix.errors import LMStrixError as LMStrixError
    from lmstrix.sync_client import LMStrix as LMStrix
    from lmstrix.types import Completion as Completion
    from lmstrix.types import Fragment as Fragment
    from lmstrix.types import Image as Image
    from lmstrix.types import Instance as Instance
    from lmstrix.types import LoadConfig as LoadConfig
    from lmstrix.types import Message as Message
    from lmstrix.types import Model as Model
    from lmstrix.types import Overflow as Overflow
    from lmstrix.types import Role as Role
    from lmstrix.types import Sampling as Sampling
    from lmstrix.types import Stats as Stats
    from lmstrix.types import Tool as Tool
    from lmstrix.types import ToolCall as ToolCall

_HOME = {
    "AsyncLMStrix": "lmstrix.async_client",
    "Completion": "lmstrix.types",
    "Fragment": "lmstrix.types",
    "Image": "lmstrix.types",
    "Instance": "lmstrix.types",
    "LMStrix": "lmstrix.sync_client",
    "LMStrixError": "lmstrix.errors",
    "LoadConfig": "lmstrix.types",
    "Message": "lmstrix.types",
    "Model": "lmstrix.types",
    "Overflow": "lmstrix.types",
    "Role": "lmstrix.types",
    "Sampling": "lmstrix.types",
    "Stats": "lmstrix.types",
    "Tool": "lmstrix.types",
    "ToolCall": "lmstrix.types",
}

__all__ = [
    "AsyncLMStrix",
    "Completion",
    "Fragment",
    "Image",
    "Instance",
    "LMStrix",
    "LMStrixError",
    "LoadConfig",
    "Message",
    "Model",
    "Overflow",
    "Role",
    "Sampling",
    "Stats",
    "Tool",
    "ToolCall",
    "__version__",
]


def __getattr__(name: str) -> object:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'lmstrix' has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
