"""The client for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from lmstrix.lmstudio.addresses import Access, Address
from lmstrix.lmstudio.async_models import AsyncEmbeddingSession, AsyncLlmSession
from lmstrix.lmstudio.async_session import AsyncSession
from lmstrix.lmstudio.async_system import (
    AsyncDiagnosticsSession,
    AsyncFilesSession,
    AsyncRepositorySession,
    AsyncSystemSession,
)
from lmstrix.lmstudio.client_base import ClientBase
from lmstrix.lmstudio.specifying import check_namespace
from lmstrix.lmstudio.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.lmstudio.async_models import AsyncModelHandle
    from lmstrix.lmstudio.async_socket import AsyncSocket
    from lmstrix.lmstudio.async_system import AnyAsyncDownloadedModel
    from lmstrix.lmstudio.files import LocalFileInput
    from lmstrix.protocol.lmstudio.chats import FileHandle

SessionT = TypeVar("SessionT", bound=AsyncSession)


class AsyncClient(ClientBase):
    """A server, for threads. Connections are opened when they are first needed.

    May be used from any number of threads at once.
    """

    @property
    def timeouts(self) -> Timeouts:
        """How long the server may say nothing: what was given, else for ever."""
        return self._timeouts or Timeouts()

    @property
    def llm(self) -> AsyncLlmSession:
        """Language models."""
        return self._session(AsyncLlmSession)

    @property
    def embedding(self) -> AsyncEmbeddingSession:
        """Embedding models."""
        return self._session(AsyncEmbeddingSession)

    @property
    def system(self) -> AsyncSystemSession:
        """The server itself."""
        return self._session(AsyncSystemSession)

    @property
    def files(self) -> AsyncFilesSession:
        """Files that belong to conversations."""
        return self._session(AsyncFilesSession)

    @property
    def repository(self) -> AsyncRepositorySession:
        """Models that can be downloaded."""
        return self._session(AsyncRepositorySession)

    @property
    def diagnostics(self) -> AsyncDiagnosticsSession:
        """What the server logs."""
        return self._session(AsyncDiagnosticsSession)

    async def __aenter__(self) -> Self:
        await self.ensure_reachable()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every connection, for good."""
        self.closed = True
        for session in tuple(self._sessions.values()):
            await session.aclose()

    @classmethod
    async def is_valid_api_host(cls, api_host: str) -> bool:
        """Whether LM Studio answers there."""
        from lmstrix.lmstudio.greeting import greet_async  # noqa: PLC0415  # with the first connection

        return await greet_async(Address.parse(api_host), Access()) is not None

    @classmethod
    async def find_default_local_api_host(cls) -> str | None:
        """Where LM Studio answers on this machine."""
        from lmstrix.lmstudio.greeting import find_usual_async  # noqa: PLC0415  # with the first connection

        found = await find_usual_async()
        return None if found is None else found.authority

    async def ensure_reachable(self) -> None:
        """Find the server, or raise `LMStudioClientError` where none answers."""
        from lmstrix.lmstudio.greeting import find_usual_async, greet_async  # noqa: PLC0415  # with the first connection

        self._refuse_if_closed()
        if self._address is None:
            self._resolve(await find_usual_async())
        elif self._access.proxy is None:
            answered = await greet_async(self._address, self._access)
            self._resolve(None if answered is None else self._address)

    async def open_socket(self, namespace: str) -> AsyncSocket:
        """A new connection to a namespace."""
        from lmstrix.lmstudio.async_socket import AsyncSocket  # noqa: PLC0415  # with the first connection

        self._refuse_if_closed()
        if self._address is None:
            await self.ensure_reachable()
        assert self._address is not None
        return await AsyncSocket.connect(
            self._address,
            namespace,
            self._auth,
            self._access,
            limit_s=self.timeouts.connect_s,
            limit_bytes=self._frame_limit_bytes,
        )

    async def prepare_file(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """Send a file; its handle becomes part of a message."""
        return await self.files.prepare_file(src, name)

    async def prepare_image(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """Send an image; its handle becomes part of a user's message."""
        return await self.files.prepare_image(src, name)

    async def list_downloaded_models(
        self, namespace: str | None = None
    ) -> Sequence[AnyAsyncDownloadedModel]:
        """What could be loaded, of one namespace (`llm`, `embedding`) or of all."""
        wanted = check_namespace(namespace)
        models = await self.system.list_downloaded_models()
        return [model for model in models if wanted in (None, model.type)]

    async def list_loaded_models(self, namespace: str | None = None) -> Sequence[AsyncModelHandle]:
        """What is loaded, of one namespace (`llm`, `embedding`) or of both."""
        wanted = check_namespace(namespace)
        loaded: list[AsyncModelHandle] = []
        if wanted != "embedding":
            loaded += await self.llm.list_loaded()
        if wanted != "llm":
            loaded += await self.embedding.list_loaded()
        return loaded

    def _session(self, kind: type[SessionT]) -> SessionT:
        session = self._sessions.get(kind)
        if session is None:
            session = self._sessions.setdefault(kind, kind(self))
        assert isinstance(session, kind)
        return session
