"""What is done with models: copied, made of others, deleted, pulled."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from starlette.responses import FileResponse
from starlette.responses import Response as PlainResponse

from lmstrix.errors import LMStrixError, ModelNotFoundError, UnsupportedError, UsageError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.errors import problem_of
from lmstrix.gateway.fetching import FILE_FIELD, PARTS_FIELD, fetch, parse_source
from lmstrix.gateway.ollama.answers import NDJSON
from lmstrix.gateway.ollama.facts import digest_of
from lmstrix.gateway.ollama.shelf import Made
from lmstrix.gateway.reading import read_body
from lmstrix.gateway.responding import Streaming, json_response, until_gone
from lmstrix.protocol.ollama.messages import encode
from lmstrix.protocol.ollama.models import Copy, Create, Named, Pulling
from lmstrix.protocol.ollama.options import read_options
from lmstrix.protocol.ollama.requests import read_messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.ollama.shelf import Shelf

_SUCCESS = Pulling(status="success")


class Library:
    """The endpoints, on one gateway."""

    def __init__(self, gateway: Gateway, shelf: Shelf) -> None:
        self._gateway = gateway
        self._shelf = shelf

    @describe("Give a model a second name", body=Copy)
    async def copy(self, request: Request) -> Response:
        """`POST /api/copy`."""
        wish = await read_body(request, Copy)
        if not wish.destination.strip():
            raise UsageError("The destination is missing.", hint='Name it: {"destination": "…"}')
        chosen = await self._shelf.find(wish.source)
        made = chosen.made or Made(source=chosen.entry.model.key, made_at=time())
        await self._shelf.put(wish.destination, made)
        return PlainResponse()

    @describe("Make a model of another", body=Create, answer=Pulling, stream=NDJSON)
    async def create(self, request: Request) -> Response:
        """`POST /api/create`: a name with a system message, options and messages of its own."""
        wish = await read_body(request, Create)
        return await self._working(request, self._create(wish), stream=wish.stream)

    async def _create(self, wish: Create) -> AsyncGenerator[Pulling, None]:
        for field in ("files", "adapters", "quantize", "template"):
            if getattr(wish, field):
                raise UnsupportedError(
                    f"A model is made of another here, without {field}.",
                    hint="Name the model in `from`; give system, parameters and messages.",
                )
        if not wish.wanted.strip() or not wish.from_:
            raise UsageError(
                "A model is made under a name, of another.", hint="Give both `model` and `from`."
            )
        yield Pulling(status="reading model metadata")
        chosen = await self._shelf.find(wish.from_)
        parameters = chosen.options(wish.parameters)
        read_options(parameters)
        messages = wish.messages or ()
        read_messages(messages)
        before = chosen.made or Made(source=chosen.entry.model.key, made_at=0.0)
        texts = (wish.license,) if isinstance(wish.license, str) else wish.license
        made = Made(
            source=before.source,
            made_at=time(),
            system=before.system if wish.system is None else wish.system,
            parameters=parameters,
            messages=messages or before.messages,
            license=texts or before.license,
        )
        yield Pulling(status="writing manifest")
        await self._shelf.put(wish.wanted, made)
        yield _SUCCESS

    @describe("Delete a model", body=Named)
    async def delete(self, request: Request) -> Response:
        """`DELETE /api/delete`: what was made or pulled here. No other file is touched."""
        wish = await read_body(request, Named)
        if await self._shelf.remove(wish.wanted):
            return PlainResponse()
        model = (await self._shelf.find(wish.wanted)).entry.model
        own = self._gateway.client.places.models
        if model.path is None or not Path(model.path).is_relative_to(own):
            raise UnsupportedError(
                f"{wish.wanted} was not pulled here, so its file is not deleted here.",
                hint=f"Delete it where it is: {model.path or model.server}",
            )
        for one in await self._gateway.instances():
            if (one.model_key, one.server) == (model.key, model.server):
                await self._gateway.unload(one.id)
        await asyncio.to_thread(_delete, Path(model.path))
        await self._gateway.scan()
        return PlainResponse()

    @describe("Fetch a model from a folder or gateway", body=Named, answer=Pulling, stream=NDJSON)
    async def pull(self, request: Request) -> Response:
        """`POST /api/pull`: of a path of this machine, or of `host:port/MODEL`."""
        wish = await read_body(request, Named)
        return await self._working(request, self._pull(wish.wanted), stream=wish.stream)

    async def _pull(self, wanted: str) -> AsyncGenerator[Pulling, None]:
        yield Pulling(status="pulling manifest")
        source = parse_source(wanted)
        if source is None:
            try:
                await self._shelf.find(wanted)
            except ModelNotFoundError:
                raise UnsupportedError(
                    f"{wanted} is not here, and LMStrix downloads nothing from the internet.",
                    hint="Pull a file of this machine (/folder/model.gguf) or of another gateway "
                    "(host:port/MODEL), or download it with LM Studio or Ollama.",
                ) from None
            yield _SUCCESS
            return
        client = self._gateway.client
        known = {digest_of(entry.model) for entry in await self._gateway.models()}
        fetching = fetch(source, client.places.models, client.settings, known=known)
        async with aclosing(fetching) as steps:
            async for step in steps:
                yield Pulling(
                    status=f"pulling {step.digest[:12]}",
                    digest=f"sha256:{step.digest}",
                    total=step.total_bytes,
                    completed=step.done_bytes,
                )
        yield Pulling(status="verifying digest")
        await self._gateway.scan()
        yield _SUCCESS

    @describe("Refused: nothing is uploaded", body=Named)
    async def push(self, request: Request) -> Response:  # noqa: ARG002  # Starlette passes it
        """`POST /api/push`."""
        raise UnsupportedError(
            "LMStrix uploads no models.", hint="Another gateway can pull them from this one."
        )

    @describe("The file of a model, for a gateway that pulls it")
    async def blob(self, request: Request) -> Response:
        """`GET /api/blobs/sha256:DIGEST?part=N`; `HEAD` tells whether there is one."""
        digest = request.path_params["digest"].removeprefix("sha256:")
        part = request.query_params.get("part", "0")
        for entry in await self._gateway.models():
            model = entry.model
            if model.path is not None and model.identity and digest_of(model) == digest:
                files = await asyncio.to_thread(_files, Path(model.path))
                if part.isdecimal() and int(part) < len(files):
                    file = files[int(part)]
                    told = {FILE_FIELD: file.name, PARTS_FIELD: str(len(files))}
                    return FileResponse(file, media_type="application/octet-stream", headers=told)
        raise ModelNotFoundError(f"blob {digest!r} not found", query=digest)

    async def _working(
        self, request: Request, work: AsyncGenerator[Pulling, None], *, stream: bool | None
    ) -> Response:
        if stream is not False:
            return Streaming(_lines(work), media_type=NDJSON)
        return json_response(await until_gone(request, _last(work)))


async def _lines(work: AsyncGenerator[Pulling, None]) -> AsyncGenerator[bytes, None]:
    """The steps as lines; what goes wrong is told in the last, as Ollama does."""
    async with aclosing(work) as steps:
        try:
            async for step in steps:
                yield encode(step) + b"\n"
        except LMStrixError as error:
            yield encode(Pulling(error=problem_of(error).message)) + b"\n"


async def _last(work: AsyncGenerator[Pulling, None]) -> Pulling:
    async with aclosing(work) as steps:
        return [step async for step in steps][-1]


def _files(path: Path) -> list[Path]:
    from lmstrix.gguf import read_header  # noqa: PLC0415  # only who is asked for a file needs it

    return [part.path for part in read_header(path).parts]


def _delete(path: Path) -> None:
    for file in _files(path):
        file.unlink(missing_ok=True)
