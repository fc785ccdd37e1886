"""Running a plugin: by the server's word, or in development, registered for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import runpy
import signal
import subprocess
import sys
import warnings
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from lmstrix.lmstudio.async_client import AsyncClient
from lmstrix.lmstudio.async_session import AsyncSession
from lmstrix.lmstudio.errors import LMStudioChannelClosedError, LMStudioFileNotFoundError
from lmstrix.lmstudio.plugin.errors import LMStudioPluginInitError, LMStudioPluginRuntimeError
from lmstrix.lmstudio.plugin.hooks import HOOKS, HookChannel
from lmstrix.lmstudio.plugin.settings import BaseConfigSchema
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.envelopes import AUTH_VERSION, Auth
from lmstrix.protocol.lmstudio.parameters import (
    END,
    PluginReady,
    RegisterPluginParameter,
    SchematicsParameter,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_LOG = logging.getLogger("lmstrix.lmstudio.plugin")
_READY = msgspec.json.Decoder(PluginReady)
IDENTIFIER_VARIABLE = "LMS_PLUGIN_CLIENT_IDENTIFIER"
PASSKEY_VARIABLE = "LMS_PLUGIN_CLIENT_PASSKEY"
UNSTABLE = "LM Studio's plugin interface is not yet stable and may change in any release."
_STOP_S = 5.0


class Manifest(msgspec.Struct, frozen=True):
    """What `manifest.json` says of a plugin."""

    type: str
    runner: str
    owner: str
    name: str

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises `LMStudioFileNotFoundError` or `LMStudioPluginInitError`."""
        path = folder / "manifest.json"
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise LMStudioFileNotFoundError(f"{path} is not there.") from None
        except msgspec.DecodeError as problem:
            raise LMStudioPluginInitError(f"{path} cannot be read: {problem}") from None
        if manifest.type != "plugin" or manifest.runner != "python":
            raise LMStudioPluginInitError(
                f"{path} is of no plugin in Python: type {manifest.type}, runner {manifest.runner}."
            )
        return manifest


class PluginsSession(AsyncSession):
    """The namespace of plugins."""

    namespace: ClassVar[str] = "plugins"


class PluginClient(AsyncClient):
    """A plugin in a folder, as a client of the server."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        api_host: str | None = None,
        auth: Auth | None = None,
    ) -> None:
        super().__init__(api_host)
        if auth is not None:
            self._auth = auth
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)

    @property
    def plugins(self) -> PluginsSession:
        """The namespace of plugins."""
        return self._session(PluginsSession)

    async def run_plugin(self, *, allow_local_imports: bool = False) -> int:
        """Run the plugin's hooks until the server goes; 1 where it has none."""
        source = self.folder / "src" / "plugin.py"
        if not source.exists():
            raise LMStudioFileNotFoundError(f"{source} is not there.")
        _LOG.info("Running %s", source)
        if allow_local_imports:
            sys.path.insert(0, str(source.parent))
        names = runpy.run_path(str(source), run_name="__lms_plugin__")
        plugin_schema = await self._declare(names, "ConfigSchema", endpoints.SET_CONFIG_SCHEMATICS)
        global_schema = await self._declare(
            names, "GlobalConfigSchema", endpoints.SET_GLOBAL_CONFIG_SCHEMATICS
        )
        hooks = [
            kind(self.manifest.name, names[kind.hook_name], plugin_schema, global_schema)
            for kind in HOOKS
            if names.get(kind.hook_name) is not None
        ]
        if not hooks:
            wanted = ", ".join(sorted(kind.hook_name for kind in HOOKS))
            _say(f"{self.manifest.name!r} defines no hook; one of these is needed: {wanted}")
            return 1
        await self._serve(hooks)
        return 0

    async def _declare(
        self, names: dict[str, Any], name: str, rpc: endpoints.Rpc
    ) -> type[BaseConfigSchema]:
        schema = names.get(name)
        if schema is None:
            return BaseConfigSchema
        if not (isinstance(schema, type) and issubclass(schema, BaseConfigSchema)):
            raise LMStudioPluginInitError(f"{name} is no class made of BaseConfigSchema.")
        schematics = schema.schematics()
        if schematics is not None:
            _LOG.info("Telling the server of %s", name)
            await self.plugins.ask(rpc, SchematicsParameter(schematics=schematics))
        return schema

    async def _serve(self, hooks: list[HookChannel]) -> None:
        ready = [asyncio.Event() for _ in hooks]
        async with asyncio.TaskGroup() as group:
            for hook, event in zip(hooks, ready, strict=True):
                _LOG.info("%s serves %s", self.manifest.name, hook.hook_name)
                group.create_task(hook.serve(self.plugins, event.set))
            for event in ready:
                await event.wait()
            await self.plugins.ask(endpoints.PLUGIN_INIT_COMPLETED)
            _say(f"Plugin {self.manifest.name!r} running, press Ctrl-C to terminate...")

    @asynccontextmanager
    async def registered(self) -> AsyncGenerator[Auth, None]:
        """Within the block, the server knows the plugin, by these credentials."""
        # LM Studio's servers know plugins of the runner `node` alone, and do not look further.
        manifest = {
            "type": "plugin",
            "runner": "node",
            "owner": self.manifest.owner,
            "name": self.manifest.name,
        }
        parameter = RegisterPluginParameter(manifest=manifest)
        socket, inbox = await self.plugins.open(
            endpoints.REGISTER_PLUGIN, parameter, "Register development plugin"
        )
        try:
            await socket.wait(inbox, self.timeouts.call_s)
            if not inbox.items:
                raise inbox.error or LMStudioChannelClosedError(
                    "Server failed to complete development plugin registration."
                )
            ready = _READY.decode(inbox.items.popleft())
            yield Auth(
                auth_version=AUTH_VERSION,
                client_identifier=ready.client_identifier or "",
                client_passkey=ready.client_passkey or "",
            )
        finally:
            socket.send(inbox, END)
            socket.release(inbox)


async def run_plugin_async(
    plugin_dir: str | os.PathLike[str],
    *,
    allow_local_imports: bool = False,
    api_host: str | None = None,
) -> int:
    """Run a plugin that the server started, by the credentials it gave in the environment."""
    warnings.warn(UNSTABLE, FutureWarning, stacklevel=2)
    try:
        auth = Auth(
            auth_version=AUTH_VERSION,
            client_identifier=os.environ[IDENTIFIER_VARIABLE],
            client_passkey=os.environ[PASSKEY_VARIABLE],
        )
    except KeyError:
        raise LMStudioPluginRuntimeError(
            f"{IDENTIFIER_VARIABLE} and {PASSKEY_VARIABLE} must both be set in the environment.",
            hint="Run it with --dev to have it registered.",
        ) from None
    async with PluginClient(plugin_dir, api_host=api_host, auth=auth) as client:
        return await client.run_plugin(allow_local_imports=allow_local_imports)


def run_plugin(
    plugin_dir: str | os.PathLike[str],
    *,
    allow_local_imports: bool = False,
    api_host: str | None = None,
) -> int:
    """As `run_plugin_async`, in an event loop of its own."""
    return asyncio.run(
        run_plugin_async(plugin_dir, allow_local_imports=allow_local_imports, api_host=api_host)
    )


async def develop_async(
    plugin_dir: str | os.PathLike[str], *, api_host: str | None = None, debug: bool = False
) -> int:
    """Register a plugin and run it in a process of its own until that ends or is interrupted."""
    warnings.warn(UNSTABLE, FutureWarning, stacklevel=2)
    async with PluginClient(plugin_dir, api_host=api_host) as client, client.registered() as auth:
        environ = {
            **os.environ,
            IDENTIFIER_VARIABLE: auth.client_identifier,
            PASSKEY_VARIABLE: auth.client_passkey,
        }
        options = [*(("--debug",) if debug else ()), "--host", client.api_host]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-m", "lmstrix.lmstudio.plugin"),
            *(*options, os.fspath(plugin_dir)),
            env=environ,
            **_apart(),
        )
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await _interrupt(process)
            raise


def develop(
    plugin_dir: str | os.PathLike[str], *, api_host: str | None = None, debug: bool = False
) -> int:
    """As `develop_async`, in an event loop of its own."""
    return asyncio.run(develop_async(plugin_dir, api_host=api_host, debug=debug))


async def _interrupt(process: asyncio.subprocess.Process) -> None:
    """End a plugin as Ctrl-C does, and for good where that does not."""
    if process.returncode is None:
        process.send_signal(_interruption())
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _interruption() -> signal.Signals:
    if sys.platform == "win32":
        return signal.CTRL_C_EVENT
    return signal.SIGINT


def _apart() -> dict[str, Any]:
    """How a process is started that Ctrl-C does not reach: this one passes it on, once."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # a program of its own speaks on its standard output
