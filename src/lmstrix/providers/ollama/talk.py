"""Questions to one Ollama server, and what is wrong with its answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import msgspec

from lmstrix.errors import ProtocolError
from lmstrix.protocol.ollama.errors import error_from, raised
from lmstrix.protocol.ollama.lines import LineDecoder
from lmstrix.protocol.ollama.messages import encode
from lmstrix.protocol.ollama.models import Pulling
from lmstrix.providers.http import Whole
from lmstrix.types import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lmstrix.errors import LMStrixError
    from lmstrix.providers.http import HttpServer, Incoming

_T = TypeVar("_T")


class Talk:
    """One server, asked and answering in JSON."""

    def __init__(self, http: HttpServer) -> None:
        self.http = http

    async def get(self, path: str, kind: type[_T]) -> _T:
        """Ask what takes the server no work."""
        answer = await self.http.get(path)
        if not answer.ok:
            raise self.refused(answer, answer.body)
        return self._decoded(path, answer.body, kind)

    async def post(self, path: str, body: object, kind: type[_T], *, model: str) -> _T:
        """Ask for work on `model`, which takes as long as it takes."""
        return self._decoded(path, await self.tell("POST", path, body, model=model), kind)

    async def tell(self, method: str, path: str, body: object, *, model: str) -> bytes:
        """Have something done that has no answer but that it was done."""
        sent = body if isinstance(body, bytes) else encode(body)
        answer = await self.http.call(method, path, sent)
        if not answer.ok:
            raise self.refused(answer, answer.body, model=model)
        return answer.body

    async def work(self, path: str, body: object, *, model: str) -> AsyncGenerator[Progress, None]:
        """Have something done that tells how far it is."""
        lines = LineDecoder()
        try:
            async with self.http.open("POST", path, encode(body)) as incoming:
                if incoming.status != HTTPStatus.OK:
                    raise self.refused(incoming, await incoming.read_all(), model=model)
                while data := await incoming.read():
                    for line in lines.feed(data):
                        yield _progress(line)
                for line in lines.finish():
                    yield _progress(line)
        except OSError as broken:
            raise self.http.unreachable(f"broke off its work ({broken})") from None

    def refused(self, head: Incoming | Whole, body: bytes, *, model: str = "") -> LMStrixError:
        """What a refusal means."""
        said = error_from(body, status=head.status, model=model)
        return self.http.refused(Whole(head.status, head.fields, body), said)

    def _decoded(self, path: str, body: bytes, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise ProtocolError(
                f"{self.http.root}{path} sent what cannot be understood: {problem}.",
                hint="Is that an Ollama server? `lmstrix doctor` looks.",
            ) from None


def _progress(line: bytes) -> Progress:
    """One line of work under way. Raises `GenerationError` for what went wrong."""
    try:
        told = msgspec.json.decode(line, type=Pulling)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ProtocolError(f"The server sent an unreadable piece: {problem}.") from None
    if told.error is not None:
        raise raised(told.error)
    fraction = (told.completed or 0) / told.total if told.total else None
    return Progress(phase=Phase.LOAD, fraction=fraction, note=told.status or "")
