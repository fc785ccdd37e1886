"""LM Studio's native protocol: one WebSocket per namespace, for its SDKs and its `lms`.

- `connection`: one socket, from the handshake to its end; `clients`: who may come in.
- `models`, `loading`: what is loaded, tokens, vectors; loads. `predictions`: answers.
- `system`, `files`, `repository`, `plugins`, `logs`, `engines`: the other namespaces.
- `infos`, `questions`, `telling`, `failures`: pure; between LM Studio's words and ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import WebSocketRoute

from lmstrix.gateway.lmstudio_native.clients import Clients
from lmstrix.gateway.lmstudio_native.connection import Handlers, NativeSocket
from lmstrix.gateway.lmstudio_native.engines import Engines
from lmstrix.gateway.lmstudio_native.files import Files
from lmstrix.gateway.lmstudio_native.loading import Loading
from lmstrix.gateway.lmstudio_native.logs import Logs
from lmstrix.gateway.lmstudio_native.models import Models
from lmstrix.gateway.lmstudio_native.plugins import Plugins
from lmstrix.gateway.lmstudio_native.predictions import Predictions
from lmstrix.gateway.lmstudio_native.repository import Repositories
from lmstrix.gateway.lmstudio_native.system import System
from lmstrix.gateway.repository import Repository
from lmstrix.protocol.lmstudio import NAMESPACES

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from lmstrix.gateway.gateway import Gateway


def routes(gateway: Gateway) -> list[BaseRoute]:
    """One WebSocket per namespace."""
    handlers = Handlers()
    files = Files()
    clients = Clients(gateway.options.tokens, files)
    logs = Logs(clients)
    models = Models(gateway)
    for room in (
        models,
        Loading(gateway, models),
        Predictions(models, files, logs, gateway.options.faults),
        System(gateway),
        Engines(gateway),
        files,
        Repositories(Repository(gateway)),
        Plugins(clients),
        logs,
    ):
        room.register(handlers)
    return [
        WebSocketRoute(f"/{namespace}", NativeSocket(namespace, handlers, clients))
        for namespace in NAMESPACES
    ]
