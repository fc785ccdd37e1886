"""One scripted server of any kind as the only place of models, for the command and for programs."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from scripted.lmstudio import ScriptedServer, fragment, success
from servers.scripted import scripted
from servers.speakers import MODEL, SPEAKERS

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from scripted.lmstudio import Talk
    from servers.scripted import Asked, Wire
    from servers.speakers import Speaker

    Play: TypeAlias = Callable[["Say"], Awaitable[None]]

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
KINDS = (*(speaker.name for speaker in SPEAKERS), "lmstudio")


class Say(Protocol):
    """What a server does for one answer, in its own dialect. `streams` is how it was asked."""

    streams: bool

    async def begin(self) -> None:
        """Accept the question: no more than headers, where there are such."""
        ...

    async def piece(self, text: str) -> None:
        """Send a piece of the answer."""
        ...

    async def think(self, text: str) -> None:
        """Send a piece of the reasoning."""
        ...

    async def end(self) -> None:
        """End the answer as it should be ended."""
        ...

    async def whole(self, text: str) -> None:
        """Answer in one piece."""
        ...

    async def gone(self) -> None:
        """Return when the client wants no more of it."""
        ...

    def drop(self) -> None:
        """Break the connection."""
        ...


class _HttpSay:
    def __init__(self, speaker: Speaker, asked: Asked, wire: Wire) -> None:
        self.streams = bool(asked.json.get("stream", asked.path.startswith("/api/")))
        self._speaker = speaker
        self._wire = wire
        self._begun = False

    async def begin(self) -> None:
        if not self._begun:
            self._begun = True
            await self._wire.head(content_type=self._speaker.stream_type)

    async def piece(self, text: str) -> None:
        await self.begin()
        await self._wire.raw(self._speaker.piece(text))

    async def think(self, text: str) -> None:
        await self.piece(f"<think>{text}</think>")

    async def end(self) -> None:
        await self.begin()
        await self._wire.raw(self._speaker.end())

    async def whole(self, text: str) -> None:
        await self._wire.json(self._speaker.whole(text))

    async def gone(self) -> None:
        await self.begin()
        await self._wire.gone()

    def drop(self) -> None:
        self._wire.reset()


class _NativeSay:
    streams = True

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def begin(self) -> None:
        """Nothing says so in this protocol."""

    async def piece(self, text: str) -> None:
        await self._talk.send(fragment(text))

    async def think(self, text: str) -> None:
        await self._talk.send(fragment(text, "reasoning"))

    async def end(self) -> None:
        await self._talk.send(success())
        await self._talk.close()

    async def whole(self, text: str) -> None:
        await self.piece(text)
        await self.end()

    async def gone(self) -> None:
        while (await self._talk.messages.get()).get("type") != "cancel":
            pass

    def drop(self) -> None:
        self._talk.drop()


class Told(NamedTuple):
    """What a command said."""

    code: int
    out: str
    problem: str


class Lone:
    """A running server, and the programs that know no other."""

    def __init__(self, kind: str, url: str, model: str) -> None:
        self.url = url
        self.model = model
        known = ServerSettings(url=url, provider=kind)
        self.settings = Settings(servers={"office": known}, discover=False)
        self._environ = {
            **os.environ,
            "LMSTRIX_DISCOVER": "false",
            "LMSTRIX_EMBEDDED__ENABLED": "false",
            "LMSTRIX_SERVERS__OFFICE__URL": url,
            "LMSTRIX_SERVERS__OFFICE__PROVIDER": kind,
            "COLUMNS": "80",
        }

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """The command, running."""
        return await asyncio.create_subprocess_exec(
            *(COMMAND, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environ,
        )

    async def run(self, *arguments: str) -> Told:
        """The command, to its end."""
        process = await self.start(*arguments)
        out, problem = await process.communicate()
        assert process.returncode is not None
        return Told(process.returncode, out.decode(), problem.decode())


@asynccontextmanager
async def lone(kind: str, play: Play) -> AsyncIterator[Lone]:
    """A server of that kind, which has scanned models and lets `play` answer."""
    if kind == "lmstudio":

        async def predict(talk: Talk) -> None:
            await play(_NativeSay(talk))

        with ScriptedServer({"predict": predict}) as server:
            one = Lone(kind, f"http://{server.host}", "tiny")
            await _scan(one)
            yield one
        return
    (speaker,) = (speaker for speaker in SPEAKERS if speaker.name == kind)

    async def respond(asked: Asked, wire: Wire) -> None:
        if asked.path in speaker.facts:
            await wire.json(speaker.facts[asked.path])
        elif asked.method == "GET":
            await wire.json({"error": "unknown"}, 404)
        else:
            await play(_HttpSay(speaker, asked, wire))

    async with scripted(respond) as http:
        one = Lone(kind, http.url, MODEL)
        await _scan(one)
        yield one


async def _scan(one: Lone) -> None:
    async with AsyncLMStrix(settings=one.settings) as client:
        await client.scan()
