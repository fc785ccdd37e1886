"""Where LMStrix keeps things, and what can be set.

Every command pays for importing this, so it stays light: whatever only some need (the TOML
reader, platform folders) is imported on first use.
"""

from __future__ import annotations

from lmstrix.config.atomic_write import atomic_write
from lmstrix.config.layers import Effective, load_settings
from lmstrix.config.lmstudio import lmstudio_folders, lmstudio_home
from lmstrix.config.places import Places
from lmstrix.config.settings import (
    EmbeddedSettings,
    ServerSettings,
    Settings,
    TestSettings,
    Timeouts,
    parse_size,
    server_root,
)

__all__ = [
    "Effective",
    "EmbeddedSettings",
    "Places",
    "ServerSettings",
    "Settings",
    "TestSettings",
    "Timeouts",
    "atomic_write",
    "lmstudio_folders",
    "lmstudio_home",
    "load_settings",
    "parse_size",
    "server_root",
]
