"""One call of the command line: what the shared options came to, and how async work is run."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from lmstrix.async_client import AsyncLMStrix
    from lmstrix.cli.terminal import Terminal
    from lmstrix.config import Effective, Places, Settings

T = TypeVar("T")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended the work; `kept` says what is left of it."""

    def __init__(self, kept: str) -> None:
        super().__init__(kept)
        self.kept = kept


class Invocation:
    """The shared options, set by the parser as it meets them.

    `kept` is what a command says should Ctrl-C come now.
    """

    kept: str = ""
    config: str | None = None
    profile: str | None = None
    provider: str | None = None
    server: str | None = None
    timeout_s: float | None = None
    quiet: bool = False
    debug: bool = False
    no_color: bool = False
    no_emoji: bool = False

    @cached_property
    def terminal(self) -> Terminal:
        """Where this call prints."""
        from lmstrix.cli.terminal import Terminal  # not needed for --help

        return Terminal(
            sys.stdout,
            sys.stderr,
            quiet=self.quiet,
            color=False if self.no_color else None,
            symbols=not self.no_emoji,
        )

    @cached_property
    def places(self) -> Places:
        """Where things live."""
        from lmstrix.config import Places  # not needed for --help

        return Places.locate()

    def settings(self, overrides: Mapping[str, object] | None = None) -> Effective:
        """The settings that hold, options of the command line (`overrides`) above all.

        Raises `SettingsError`.
        """
        from lmstrix.config import load_settings  # not needed for --help

        phases = ("load_s", "prompt_s", "first_token_s", "tokens_s")
        given: dict[str, object] = {f"timeouts.{phase}": self.timeout_s for phase in phases}
        given.update(provider=self.provider, server=self.server)
        given.update({key: value for key, value in (overrides or {}).items() if value is not None})
        effective = load_settings(
            self.places,
            overrides=given,
            project_folder=Path.cwd(),
            profile=self.profile,
            config_file=None if self.config is None else Path(self.config),
        )
        self._check_server(effective.settings)
        self.terminal.apply(effective.settings)
        for note in effective.notes:
            self.terminal.note(f"note: {note}")
        return effective

    def _check_server(self, settings: Settings) -> None:
        """Raise `NotFoundError` where `--server` is neither an address nor a name that is set."""
        address = settings.server_address(self.server)
        if address is not None and "://" not in address and address != "embedded":
            from lmstrix.errors import NotFoundError  # not for --help

            names = ", ".join(sorted(settings.servers))
            raise NotFoundError(
                f"There is no server named {self.server!r}.",
                hint=f"Give its address, or one of these names: {names}."
                if names
                else "Give its address: --server http://127.0.0.1:1234.",
            )

    def client(self, overrides: Mapping[str, object] | None = None) -> AsyncLMStrix:
        """The façade with the settings of this call."""
        from lmstrix.async_client import AsyncLMStrix  # not needed for --help

        return AsyncLMStrix(places=self.places, settings=self.settings(overrides).settings)

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run async work; Ctrl-C cancels it and comes out as `Interrupted`."""
        import asyncio  # 30 ms that --help does not need

        try:
            return asyncio.run(work)
        except KeyboardInterrupt:
            raise Interrupted(self.kept) from None
        finally:
            self.terminal.clear_status()


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
