"""Where LMStrix keeps its files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """The folders LMStrix uses; none is created by naming it.

    `legacy` is where LMStrix 1.x kept its settings. It is only ever read.
    """

    data: Path
    config: Path
    runtime: Path
    logs: Path
    legacy: Path

    @classmethod
    def locate(cls, environ: Mapping[str, str] | None = None) -> Places:
        """The platform's own folders, or everything below `LMSTRIX_HOME` where that is set."""
        environ = os.environ if environ is None else environ
        if named := environ.get("LMSTRIX_HOME"):
            home = Path(os.path.abspath(_expanded(named, environ)))  # noqa: PTH100  # keeps links as written
            return cls(
                data=home, config=home, runtime=home / "run", logs=home / "logs", legacy=home
            )
        from platformdirs import PlatformDirs  # noqa: PLC0415  # not needed with LMSTRIX_HOME

        folders = PlatformDirs("lmstrix", appauthor=False)
        return cls(
            data=folders.user_data_path,
            config=folders.user_config_path,
            # The platform's runtime folder differs between a desktop session and a cron job of
            # the same user; locks and resident engines must be found from both.
            runtime=folders.user_state_path / "run",
            logs=folders.user_log_path,
            legacy=user_home(environ) / ".lmstrix",
        )

    @property
    def database(self) -> Path:
        """The store."""
        return self.data / "lmstrix.db"

    @property
    def models(self) -> Path:
        """Model files that were fetched by LMStrix itself."""
        return self.data / "models"

    @property
    def backups(self) -> Path:
        """Copies of the store."""
        return self.data / "backups"

    @property
    def residents(self) -> Path:
        """Registrations of engines that outlive a command."""
        return self.runtime / "engines"

    @property
    def locks(self) -> Path:
        """Lock files between processes."""
        return self.runtime / "locks"

    @property
    def settings_file(self) -> Path:
        """The user's own settings."""
        return self.config / "config.toml"


def user_home(environ: Mapping[str, str]) -> Path:
    """The user's home folder as `environ` tells it, else as the system does."""
    named = environ.get("USERPROFILE" if sys.platform == "win32" else "HOME")
    return Path(named) if named else Path.home()


def _expanded(named: str, environ: Mapping[str, str]) -> Path:
    path = Path(named)
    if path.parts and path.parts[0] == "~":
        return user_home(environ).joinpath(*path.parts[1:])
    return path
