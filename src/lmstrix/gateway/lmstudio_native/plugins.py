"""The namespace `plugins`: a plugin that is being developed may register and stay.

Nothing here calls a plugin's hooks: there is no chat window whose messages they would see. A
plugin's runner finds what it needs to start, wait and end.
"""

from __future__ import annotations

from secrets import token_urlsafe
from typing import TYPE_CHECKING

from lmstrix.gateway.lmstudio_native.system import stay_open
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.parameters import PluginReady

if TYPE_CHECKING:
    from lmstrix.gateway.lmstudio_native.clients import Clients
    from lmstrix.gateway.lmstudio_native.connection import Handlers, OpenChannel
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.parameters import RegisterPluginParameter


class Plugins:
    """The namespace on one gateway."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def register(self, handlers: Handlers) -> None:
        """Answer its calls and serve its channels."""
        handlers.serve(endpoints.REGISTER_PLUGIN, self._register)
        for channel in (
            endpoints.SET_PROMPT_PREPROCESSOR,
            endpoints.SET_TOOLS_PROVIDER,
            endpoints.SET_GENERATOR,
            endpoints.SET_PREDICTION_LOOP_HANDLER,
        ):
            handlers.serve(channel, stay_open)
        for call in (
            endpoints.SET_CONFIG_SCHEMATICS,
            endpoints.SET_GLOBAL_CONFIG_SCHEMATICS,
            endpoints.PLUGIN_INIT_COMPLETED,
        ):
            handlers.answer(call, _take_note)

    async def _register(
        self, auth: Auth, parameter: RegisterPluginParameter, channel: OpenChannel
    ) -> None:
        """The plugin gets credentials of its own, which hold until its runner ends it."""
        identifier, passkey = f"plugin:{token_urlsafe(12)}", token_urlsafe(24)
        with self._clients.admitting(identifier, passkey):
            await channel.send(
                PluginReady(type="ready", client_identifier=identifier, client_passkey=passkey)
            )
            await channel.wait_for("end")


async def _take_note(auth: Auth, parameter: object) -> None:
    """Settings of a window that is not there."""
