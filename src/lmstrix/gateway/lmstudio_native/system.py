"""The namespace `system`: downloaded models, who listens, and whether it still does."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from lmstrix import __version__
from lmstrix.errors import UnsupportedError
from lmstrix.gateway.lmstudio_native.infos import model_info
from lmstrix.gateway.options import DEFAULT_PORT
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.parameters import ServerInfo, ServerVersion

if TYPE_CHECKING:
    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.lmstudio_native.connection import Handlers, OpenChannel
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.models import ModelInfo
    from lmstrix.protocol.lmstudio.parameters import (
        ExperimentFlag,
        ModelKeyParameter,
        Notification,
        StartHttpServerParameter,
    )

_log = logging.getLogger(__name__)


class System:
    """The namespace on one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._flags: set[str] = set()

    def register(self, handlers: Handlers) -> None:
        """Answer its calls and serve its channel."""
        for endpoint, answer in (
            (endpoints.LIST_DOWNLOADED_MODELS, self._list_downloaded),
            (endpoints.LIST_DOWNLOADED_VARIANTS, self._list_variants),
            (endpoints.NOTIFY, self._notify),
            (endpoints.VERSION, self._version),
            (endpoints.INFO, self._info),
            (endpoints.REQUEST_SHUTDOWN, self._refuse_shutdown),
            (endpoints.START_HTTP_SERVER, self._start_http),
            (endpoints.STOP_HTTP_SERVER, self._stop_http),
            (endpoints.SET_EXPERIMENT_FLAG, self._set_flag),
            (endpoints.GET_EXPERIMENT_FLAGS, self._get_flags),
        ):
            handlers.answer(endpoint, answer)
        handlers.serve(endpoints.ALIVE, stay_open)

    async def _list_downloaded(self, auth: Auth, parameter: None) -> list[ModelInfo]:
        return [model_info(entry.model) for entry in await self._gateway.models()]

    async def _list_variants(self, auth: Auth, parameter: ModelKeyParameter) -> list[ModelInfo]:
        entry = await self._gateway.find(parameter.model_key)
        return [model_info(entry.model)]

    async def _notify(self, auth: Auth, parameter: Notification) -> None:
        """There is no screen; the log is where whoever runs the gateway looks."""
        _log.info("A client notes: %s", parameter.title)

    async def _version(self, auth: Auth, parameter: None) -> ServerVersion:
        return ServerVersion(version=__version__.partition("+")[0], build=0)

    async def _info(self, auth: Auth, parameter: None) -> ServerInfo:
        return ServerInfo(pid=os.getpid(), is_daemon=True, version=__version__)

    async def _refuse_shutdown(self, auth: Auth, parameter: None) -> None:
        raise UnsupportedError(
            "Clients do not end this server.", hint="End `lmstrix serve` where it runs."
        )

    async def _start_http(self, auth: Auth, parameter: StartHttpServerParameter) -> None:
        """It listens already; another port or interface is a matter of whoever runs it."""
        wanted, port = parameter.port, self._gateway.options.port or DEFAULT_PORT
        if wanted not in (None, port):
            raise UnsupportedError(
                f"This server opens no port {wanted} for a client.",
                hint=f"Start it so: lmstrix serve --port {wanted}",
            )

    async def _stop_http(self, auth: Auth, parameter: None) -> None:
        raise UnsupportedError(
            "Clients do not close this server's ports.", hint="End `lmstrix serve` where it runs."
        )

    async def _set_flag(self, auth: Auth, parameter: ExperimentFlag) -> None:
        """Remembered for `getExperimentFlags`; nothing here depends on one."""
        if parameter.value:
            self._flags.add(parameter.code)
        else:
            self._flags.discard(parameter.code)

    async def _get_flags(self, auth: Auth, parameter: None) -> list[str]:
        return sorted(self._flags)


async def stay_open(auth: Auth, parameter: object, channel: OpenChannel) -> None:
    """Serve a channel on which nothing is ever sent; it ends with its connection."""
    while True:
        await channel.receive()
