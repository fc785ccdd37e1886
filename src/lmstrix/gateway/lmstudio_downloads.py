"""Downloads of LM Studio's REST version 1: begun by one request, followed by others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import UNSET
from starlette.routing import Route

from lmstrix.errors import LMStrixError, NotFoundError, UnsupportedError, UsageError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.reading import read_body
from lmstrix.gateway.repository import Repository
from lmstrix.gateway.responding import json_response
from lmstrix.protocol.lmstudio import rest

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from lmstrix.gateway.fetching import Fetching
    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.repository import Offer

_MOST_JOBS = 200


def routes(gateway: Gateway) -> list[BaseRoute]:
    """Begin a download; ask how it stands."""
    downloads = Downloads(Repository(gateway))
    return [
        Route(rest.V1_DOWNLOAD, downloads.begin, methods=["POST"]),
        Route(rest.V1_DOWNLOAD + "/status/{job_id}", downloads.status, methods=["GET"]),
    ]


@dataclass(eq=False)
class _Job:
    id: str
    offer: Offer
    began_at: datetime
    task: asyncio.Task[None] | None = None
    done_bytes: int = 0
    ended_at: datetime | None = None
    failed: bool = False

    def told(self) -> rest.DownloadAnswer:
        """How it stands."""
        if self.ended_at is not None:
            return rest.DownloadAnswer(
                job_id=self.id,
                status="failed" if self.failed else "completed",
                total_size_bytes=self.offer.size_bytes,
                downloaded_bytes=self.done_bytes,
                started_at=_written(self.began_at),
                completed_at=UNSET if self.failed else _written(self.ended_at),
            )
        now = datetime.now(UTC)
        rate = self.done_bytes / max((now - self.began_at).total_seconds(), 0.001)
        left_s = (self.offer.size_bytes - self.done_bytes) / rate if rate else None
        return rest.DownloadAnswer(
            job_id=self.id,
            status="downloading",
            total_size_bytes=self.offer.size_bytes,
            downloaded_bytes=self.done_bytes,
            bytes_per_second=rate,
            started_at=_written(self.began_at),
            estimated_completion=(
                UNSET if left_s is None else _written(now + timedelta(seconds=left_s))
            ),
        )


class Downloads:
    """The endpoints, with the downloads they began; of those long ended the oldest are forgotten.

    One goes on when its client leaves, and ends with the gateway.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._jobs: OrderedDict[str, _Job] = OrderedDict()

    @describe("Fetch a model", body=rest.DownloadRequest, answer=rest.DownloadAnswer)
    async def begin(self, request: Request) -> Response:
        """`POST /api/v1/models/download`."""
        wish = await read_body(request, rest.DownloadRequest)
        offer = await self._offer(wish)
        if await self._repository.there(offer) is not None:
            return json_response(
                rest.DownloadAnswer(status="already_downloaded", total_size_bytes=offer.size_bytes)
            )
        for job in self._jobs.values():
            if job.offer.id == offer.id and job.ended_at is None:
                return json_response(job.told())
        job = _Job(f"job_{uuid4().hex}", offer, datetime.now(UTC))
        job.task = asyncio.create_task(self._work(job))
        self._jobs[job.id] = job
        self._forget_old()
        return json_response(job.told())

    @describe("How a download stands", answer=rest.DownloadAnswer)
    async def status(self, request: Request) -> Response:
        """`GET /api/v1/models/download/status/{job_id}`."""
        job = self._jobs.get(request.path_params["job_id"])
        if job is None:
            raise NotFoundError("There is no such download.", hint="Begin one.")
        return json_response(job.told())

    async def _offer(self, wish: rest.DownloadRequest) -> Offer:
        """The one file that is meant. Raises where there is none, or several."""
        if wish.model.startswith(("http://", "https://")):
            raise UnsupportedError(
                "Nothing is downloaded from the internet here.",
                hint="Fetch it with another program, or name what --repository offers.",
            )
        offers = await self._repository.named(wish.model)
        if wish.quantization is not UNSET:
            low = wish.quantization.casefold()
            offers = [one for one in offers if (one.quantization or "").casefold() == low]
        if len(offers) != 1:
            found = ", ".join(one.quantization or one.key for one in offers) or "none"
            raise UsageError(
                f"{wish.model} has {len(offers)} such files, not one: {found}.",
                hint="Name one of them in `quantization`.",
            )
        return offers[0]

    async def _work(self, job: _Job) -> None:
        def note(step: Fetching) -> None:
            job.done_bytes = step.done_bytes

        try:
            await self._repository.fetch(job.offer, on_step=note)
        except LMStrixError:
            job.failed = True
        except BaseException:
            job.failed = True
            raise
        finally:
            job.ended_at = datetime.now(UTC)

    def _forget_old(self) -> None:
        ended = [job for job in self._jobs.values() if job.ended_at is not None]
        for job in ended[: max(0, len(self._jobs) - _MOST_JOBS)]:
            del self._jobs[job.id]


def _written(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
