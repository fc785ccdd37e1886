"""The client for threads, and the one that everybody shares who makes none."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Self, TypeVar

from lmstrix.lmstudio.addresses import Access, Address
from lmstrix.lmstudio.client_base import ClientBase
from lmstrix.lmstudio.errors import LMStudioClientError
from lmstrix.lmstudio.specifying import DEFAULT_TTL_S, check_namespace
from lmstrix.lmstudio.sync_models import EmbeddingSession, LlmSession
from lmstrix.lmstudio.sync_session import SyncSession
from lmstrix.lmstudio.sync_system import (
    DiagnosticsSession,
    FilesSession,
    RepositorySession,
    SystemSession,
)
from lmstrix.lmstudio.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.lmstudio.configs import AnyConfig
    from lmstrix.lmstudio.files import LocalFileInput
    from lmstrix.lmstudio.sync_models import LLM, EmbeddingModel, SyncModelHandle
    from lmstrix.lmstudio.sync_socket import SyncSocket
    from lmstrix.lmstudio.sync_system import AnyDownloadedModel
    from lmstrix.protocol.lmstudio.chats import FileHandle

SessionT = TypeVar("SessionT", bound=SyncSession)
DEFAULT_TIMEOUT_S = 60.0


class _Shared:
    """What holds for all clients of this process, and the one that is shared."""

    timeout_s: float | None = DEFAULT_TIMEOUT_S
    api_host: str | None = None
    api_token: str | None = None
    client: Client | None = None


class Client(ClientBase):
    """A server, for threads. Connections are opened when they are first needed.

    May be used from any number of threads at once.
    """

    @property
    def timeouts(self) -> Timeouts:
        """How long the server may say nothing: what was given, else `get_sync_api_timeout`."""
        return self._timeouts or Timeouts.same(_Shared.timeout_s)

    @property
    def llm(self) -> LlmSession:
        """Language models."""
        return self._session(LlmSession)

    @property
    def embedding(self) -> EmbeddingSession:
        """Embedding models."""
        return self._session(EmbeddingSession)

    @property
    def system(self) -> SystemSession:
        """The server itself."""
        return self._session(SystemSession)

    @property
    def files(self) -> FilesSession:
        """Files that belong to conversations."""
        return self._session(FilesSession)

    @property
    def repository(self) -> RepositorySession:
        """Models that can be downloaded."""
        return self._session(RepositorySession)

    @property
    def diagnostics(self) -> DiagnosticsSession:
        """What the server logs."""
        return self._session(DiagnosticsSession)

    def __enter__(self) -> Self:
        self.ensure_reachable()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection, for good."""
        self.closed = True
        for session in tuple(self._sessions.values()):
            session.close()

    @classmethod
    def is_valid_api_host(cls, api_host: str) -> bool:
        """Whether LM Studio answers there."""
        from lmstrix.lmstudio.greeting import greet  # noqa: PLC0415  # with the first connection

        return greet(Address.parse(api_host), Access()) is not None

    @classmethod
    def find_default_local_api_host(cls) -> str | None:
        """Where LM Studio answers on this machine."""
        from lmstrix.lmstudio.greeting import find_usual  # noqa: PLC0415  # with the first connection

        found = find_usual()
        return None if found is None else found.authority

    def ensure_reachable(self) -> None:
        """Find the server, or raise `LMStudioClientError` where none answers."""
        from lmstrix.lmstudio.greeting import find_usual, greet  # noqa: PLC0415  # with the first connection

        self._refuse_if_closed()
        if self._address is None:
            self._resolve(find_usual())
        elif self._access.proxy is None:
            answered = greet(self._address, self._access)
            self._resolve(None if answered is None else self._address)

    def open_socket(self, namespace: str) -> SyncSocket:
        """A new connection to a namespace."""
        from lmstrix.lmstudio.sync_socket import SyncSocket  # noqa: PLC0415  # with the first connection

        self._refuse_if_closed()
        if self._address is None:
            self.ensure_reachable()
        assert self._address is not None
        return SyncSocket.connect(
            self._address,
            namespace,
            self._auth,
            self._access,
            limit_s=self.timeouts.connect_s,
            limit_bytes=self._frame_limit_bytes,
        )

    def prepare_file(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """Send a file; its handle becomes part of a message."""
        return self.files.prepare_file(src, name)

    def prepare_image(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """Send an image; its handle becomes part of a user's message."""
        return self.files.prepare_image(src, name)

    def list_downloaded_models(self, namespace: str | None = None) -> Sequence[AnyDownloadedModel]:
        """What could be loaded, of one namespace (`llm`, `embedding`) or of all."""
        wanted = check_namespace(namespace)
        models = self.system.list_downloaded_models()
        return [model for model in models if wanted in (None, model.type)]

    def list_loaded_models(self, namespace: str | None = None) -> Sequence[SyncModelHandle]:
        """What is loaded, of one namespace (`llm`, `embedding`) or of both."""
        wanted = check_namespace(namespace)
        loaded: list[SyncModelHandle] = []
        if wanted != "embedding":
            loaded += self.llm.list_loaded()
        if wanted != "llm":
            loaded += self.embedding.list_loaded()
        return loaded

    def _session(self, kind: type[SessionT]) -> SessionT:
        session = self._sessions.get(kind)
        if session is None:
            session = self._sessions.setdefault(kind, kind(self))
        assert isinstance(session, kind)
        return session


def configure_default_client(api_host: str | None = None, api_token: str | None = None) -> None:
    """Say where the shared client is to go, and as whom, before it is made."""
    if _Shared.client is not None:
        raise LMStudioClientError(
            "Default client is already created, cannot set its API host or token."
        )
    if api_host is not None:
        _Shared.api_host = api_host
    if api_token is not None:
        _Shared.api_token = api_token


def get_default_client(api_host: str | None = None) -> Client:
    """The client that everybody shares who makes none; made now if it is not there."""
    if api_host is not None:
        configure_default_client(api_host)
    if _Shared.client is None:
        client = Client(_Shared.api_host, _Shared.api_token)
        client.ensure_reachable()
        _Shared.client = client
        atexit.register(client.close)  # nobody else does
    return _Shared.client


def reset_default_client() -> None:
    """Close the shared client and forget what was said of it."""
    client, _Shared.client = _Shared.client, None
    _Shared.api_host = _Shared.api_token = None
    if client is not None:
        atexit.unregister(client.close)
        client.close()


def get_sync_api_timeout() -> float | None:
    """Seconds a server may say nothing to clients that have no `timeouts` of their own."""
    return _Shared.timeout_s


def set_sync_api_timeout(timeout: float | None) -> None:
    """Set what `get_sync_api_timeout` tells; `None` is forever."""
    _Shared.timeout_s = timeout


def llm(
    model_key: str | None = None,
    /,
    *,
    ttl: float | None = DEFAULT_TTL_S,
    config: AnyConfig = None,
) -> LLM:
    """A language model of the shared client, loaded if it is not; without a key any that is."""
    return get_default_client().llm.model(model_key, ttl=ttl, config=config)


def embedding_model(
    model_key: str | None = None,
    /,
    *,
    ttl: float | None = DEFAULT_TTL_S,
    config: AnyConfig = None,
) -> EmbeddingModel:
    """An embedding model of the shared client, loaded if it is not; without a key any that is."""
    return get_default_client().embedding.model(model_key, ttl=ttl, config=config)


def prepare_file(src: LocalFileInput, name: str | None = None) -> FileHandle:
    """Send a file by the shared client; its handle becomes part of a message."""
    return get_default_client().prepare_file(src, name)


def prepare_image(src: LocalFileInput, name: str | None = None) -> FileHandle:
    """Send an image by the shared client; its handle becomes part of a user's message."""
    return get_default_client().prepare_image(src, name)


def list_downloaded_models(namespace: str | None = None) -> Sequence[AnyDownloadedModel]:
    """What could be loaded, of one namespace (`llm`, `embedding`) or of all."""
    return get_default_client().list_downloaded_models(namespace)


def list_loaded_models(namespace: str | None = None) -> Sequence[SyncModelHandle]:
    """What is loaded, of one namespace (`llm`, `embedding`) or of both."""
    return get_default_client().list_loaded_models(namespace)
