"""LM Studio's native protocol and its REST interface, sans I/O, for both roles.

The native protocol runs over WebSockets, one per namespace (`NAMESPACES`), in JSON text frames:

- `envelopes`: what surrounds every message; the handshake.
- `shape`, `models`, `chats`, `predictions`, `parameters`: what is in them.
- `config`: the flat keys of load and prediction settings, and what they are elsewhere.
- `endpoints`: each remote call and each channel with its types.
- `client`, `server`: the state machines of the two roles; frames in, events out, and back.
- `rest`, `rest_chat`: the bodies of REST v0 and v1.

Facts are from LM Studio's published SDKs (MIT): the endpoint and key names, the shapes, and what
its server answers. A reader passes over what it does not know: fields, message types, model types,
error codes, config keys.
"""

from __future__ import annotations

NAMESPACES = (
    "llm",
    "embedding",
    "system",
    "files",
    "repository",
    "plugins",
    "diagnostics",
    "runtime",
)

# Where LM Studio listens for its SDKs; on the first of these that is free.
DISCOVERY_PORTS = (41343, 52993, 16141, 39414, 22931)
GREETING_PATH = "/lmstudio-greeting"
GREETING = b'{"lmstudio":true}'
