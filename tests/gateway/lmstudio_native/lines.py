"""LM Studio's native protocol by hand: frames as they are documented, and what tests send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import TypeAlias

    from websockets.asyncio.client import ClientConnection

    Connect: TypeAlias = Callable[..., Awaitable["Line"]]

GUEST = {"authVersion": 1, "clientIdentifier": "guest:test", "clientPasskey": "key"}


class RefusalError(Exception):
    """A call or channel that ended in an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["title"])
        self.error = error
        self.code = error.get("displayData", {}).get("code", "")


class Line:
    """One WebSocket of a namespace, in the frames of the protocol as they are documented."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._number = 0

    async def send(self, frame: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(frame))

    async def read(self) -> dict[str, Any]:
        frame = json.loads(await self.socket.recv())
        assert isinstance(frame, dict)
        return frame

    async def call(self, endpoint: str, parameter: object = None) -> Any:
        """The result of a remote call, `None` for a void one."""
        self._number += 1
        frame = {"type": "rpcCall", "endpoint": endpoint, "callId": self._number}
        if parameter is not None:
            frame["parameter"] = parameter
        await self.send(frame)
        answer = await self.read()
        assert answer["callId"] == self._number, answer
        if answer["type"] == "rpcError":
            raise RefusalError(answer["error"])
        assert answer["type"] == "rpcResult"
        return answer.get("result")

    async def open(self, endpoint: str, parameter: object = None) -> int:
        """The number of a new channel."""
        self._number += 1
        frame = {"type": "channelCreate", "endpoint": endpoint, "channelId": self._number}
        if parameter is not None:
            frame["creationParameter"] = parameter
        await self.send(frame)
        return self._number

    async def say(self, channel: int, kind: str) -> None:
        """Send a message on a channel."""
        await self.send({"type": "channelSend", "channelId": channel, "message": {"type": kind}})

    async def told(self, channel: int) -> list[dict[str, Any]]:
        """Every message on a channel until it closes."""
        return [message async for message in self.messages(channel)]

    async def messages(self, channel: int) -> AsyncIterator[dict[str, Any]]:
        while True:
            frame = await self.read()
            assert frame.get("channelId") == channel, frame
            if frame["type"] == "channelError":
                raise RefusalError(frame["error"])
            if frame["type"] == "channelClose":
                return
            yield frame["message"]


def stack(**values: object) -> dict[str, Any]:
    """A config stack of one layer; `llm__prediction__temperature=0` is a key with dots."""
    fields = [{"key": key.replace("__", "."), "value": value} for key, value in values.items()]
    return {"layers": [{"layerName": "apiOverride", "config": {"fields": fields}}]}


def by_name(identifier: str | None = None) -> dict[str, Any]:
    """A specifier."""
    query = {} if identifier is None else {"identifier": identifier}
    return {"type": "query", "query": query}


def history(*texts: str, role: str = "user") -> dict[str, Any]:
    """A conversation of one side."""
    return {
        "messages": [{"role": role, "content": [{"type": "text", "text": text}]} for text in texts]
    }


async def load(line: Line, key: str, **parameter: object) -> dict[str, Any]:
    """Load a model; gives the instance's info."""
    wish = {"modelKey": key, "loadConfigStack": stack(), **parameter}
    told = await line.told(await line.open("loadModel", wish))
    info = told[-1]["info"]
    assert isinstance(info, dict)
    return info


def question(text: str, model: str = "tiny-chat", **values: object) -> dict[str, Any]:
    """What opens a `predict` channel; greedy unless `values` say otherwise."""
    values = {"llm__prediction__temperature": 0, **values}
    return {
        "modelSpecifier": by_name(model),
        "history": history(text),
        "predictionConfigStack": stack(**values),
    }


def text_of(told: list[dict[str, Any]]) -> str:
    """The fragments joined."""
    return "".join(one["fragment"]["content"] for one in told if one["type"] == "fragment")
