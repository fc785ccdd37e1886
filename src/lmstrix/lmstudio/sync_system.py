"""The server itself, files, downloads and logs, for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from lmstrix.lmstudio.files import LocalFile
from lmstrix.lmstudio.listing import Downloaded, Searched, search_parameter
from lmstrix.lmstudio.loading import Downloading
from lmstrix.lmstudio.specifying import DEFAULT_TTL_S
from lmstrix.lmstudio.sync_session import SyncSession
from lmstrix.protocol.lmstudio import endpoints, parameters
from lmstrix.protocol.lmstudio.models import (
    EmbeddingModelInfo,
    LlmInfo,
    ModelSearchResultDownloadOptionData,
    ModelSearchResultEntryData,
    OtherModelInfo,
    read_info,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from lmstrix.lmstudio.cancelling import Cancellation
    from lmstrix.lmstudio.configs import AnyConfig
    from lmstrix.lmstudio.files import LocalFileInput
    from lmstrix.lmstudio.sync_models import LLM, EmbeddingModel
    from lmstrix.lmstudio.timeouts import Timeouts
    from lmstrix.protocol.lmstudio.chats import FileHandle
    from lmstrix.protocol.lmstudio.models import DownloadProgressUpdate
    from lmstrix.protocol.lmstudio.parameters import LogEvent, ServerInfo, ServerVersion


class DownloadedModel(Downloaded[Any, Any]):
    """A downloaded model of a type that cannot be loaded here."""


class _Loadable(Downloaded[Any, Any]):
    def model(
        self,
        *,
        ttl: float | None = DEFAULT_TTL_S,
        config: AnyConfig = None,
        on_load_progress: Callable[[float], Any] | None = None,
    ) -> Any:
        """A loaded copy of it: one that is there, else a new one."""
        return self._session.model(
            self.model_key, ttl=ttl, config=config, on_load_progress=on_load_progress
        )

    def load_new_instance(
        self,
        *,
        ttl: float | None = DEFAULT_TTL_S,
        instance_identifier: str | None = None,
        config: AnyConfig = None,
        on_load_progress: Callable[[float], Any] | None = None,
    ) -> Any:
        """Load a copy of it."""
        return self._session.load_new_instance(
            self.model_key,
            instance_identifier,
            ttl=ttl,
            config=config,
            on_load_progress=on_load_progress,
        )


class DownloadedLlm(_Loadable):
    """A downloaded language model."""

    info: LlmInfo
    if TYPE_CHECKING:

        def model(  # noqa: D102
            self,
            *,
            ttl: float | None = DEFAULT_TTL_S,
            config: AnyConfig = None,
            on_load_progress: Callable[[float], Any] | None = None,
        ) -> LLM: ...


class DownloadedEmbeddingModel(_Loadable):
    """A downloaded embedding model."""

    info: EmbeddingModelInfo
    if TYPE_CHECKING:

        def model(  # noqa: D102
            self,
            *,
            ttl: float | None = DEFAULT_TTL_S,
            config: AnyConfig = None,
            on_load_progress: Callable[[float], Any] | None = None,
        ) -> EmbeddingModel: ...


AnyDownloadedModel: TypeAlias = DownloadedLlm | DownloadedEmbeddingModel | DownloadedModel


class SystemSession(SyncSession):
    """The server itself."""

    namespace = "system"

    def list_downloaded_models(self) -> Sequence[AnyDownloadedModel]:
        """Every downloaded model, of types that are not known too."""
        return self._listing(self.ask(endpoints.LIST_DOWNLOADED_MODELS))

    def list_variants(self, model_key: str) -> Sequence[AnyDownloadedModel]:
        """The variants of a model that has several."""
        parameter = parameters.ModelKeyParameter(model_key=model_key)
        return self._listing(self.ask(endpoints.LIST_DOWNLOADED_VARIANTS, parameter))

    def version(self) -> ServerVersion:
        """Which version the server has."""
        version: ServerVersion = self.ask(endpoints.VERSION)
        return version

    def info(self) -> ServerInfo:
        """Which process the server is."""
        info: ServerInfo = self.ask(endpoints.INFO)
        return info

    def notify(self, title: str, description: str | None = None) -> None:
        """Show a note on the server's screen."""
        self.ask(endpoints.NOTIFY, parameters.Notification(title=title, description=description))

    def start_http_server(
        self,
        port: int | None = None,
        *,
        cors: bool | None = None,
        network_interface: str | None = None,
    ) -> None:
        """Have the server open its HTTP port."""
        parameter = parameters.StartHttpServerParameter(
            port=port, cors=cors, network_interface=network_interface
        )
        self.ask(endpoints.START_HTTP_SERVER, parameter)

    def stop_http_server(self) -> None:
        """Have the server close its HTTP port."""
        self.ask(endpoints.STOP_HTTP_SERVER)

    def _listing(self, raws: Sequence[msgspec.Raw]) -> list[AnyDownloadedModel]:
        return [self._downloaded(read_info(raw)) for raw in raws]

    def _downloaded(self, info: LlmInfo | EmbeddingModelInfo | OtherModelInfo) -> Any:
        if isinstance(info, LlmInfo):
            return DownloadedLlm(info, self._client.llm)
        if isinstance(info, EmbeddingModelInfo):
            return DownloadedEmbeddingModel(info, self._client.embedding)
        return DownloadedModel(info, self)


class FilesSession(SyncSession):
    """Files that belong to conversations."""

    namespace = "files"

    def prepare_file(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """Send a file; its handle becomes part of a message."""
        local = LocalFile(src, name)
        return local.handle(self.ask(endpoints.UPLOAD_FILE, local.parameter()))

    def prepare_image(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """Send an image; its handle becomes part of a user's message."""
        return self.prepare_file(src, name)


class ModelDownloadOption(Searched[ModelSearchResultDownloadOptionData, "RepositorySession"]):
    """One file of a model that can be downloaded."""

    @property
    def info(self) -> ModelSearchResultDownloadOptionData:
        """All the server tells of it."""
        return self._data

    def download(
        self,
        on_progress: Callable[[DownloadProgressUpdate], Any] | None = None,
        on_finalize: Callable[[], Any] | None = None,
        *,
        timeouts: Timeouts | None = None,
        cancel: Cancellation | None = None,
    ) -> str:
        """Download it; what it is called afterwards."""
        work = Downloading(on_progress, on_finalize)
        parameter = parameters.DownloadModelParameter(
            download_identifier=self._data.download_identifier
        )
        done: str = self._session.run(
            work, endpoints.DOWNLOAD_MODEL, parameter, timeouts=timeouts, cancel=cancel
        )
        return done


class AvailableModel(Searched[ModelSearchResultEntryData, "RepositorySession"]):
    """A model that can be downloaded."""

    @property
    def search_result(self) -> ModelSearchResultEntryData:
        """All the server tells of it."""
        return self._data

    def get_download_options(self) -> Sequence[ModelDownloadOption]:
        """Its files."""
        parameter = parameters.DownloadOptionsParameter(
            model_search_result_identifier=self._data.identifier
        )
        options = self._session.ask(endpoints.GET_DOWNLOAD_OPTIONS, parameter)
        return [ModelDownloadOption(option, self._session) for option in options.results]


class RepositorySession(SyncSession):
    """Models that can be downloaded."""

    namespace = "repository"

    def search_models(
        self,
        search_term: str | None = None,
        limit: int | None = None,
        compatibility_types: Sequence[str] | None = None,
    ) -> Sequence[AvailableModel]:
        """Search for models; at least one of the three must be given."""
        parameter = search_parameter(search_term, limit, compatibility_types)
        results = self.ask(endpoints.SEARCH_MODELS, parameter).results
        return [AvailableModel(result, self) for result in results]


class DiagnosticsSession(SyncSession):
    """What the server logs."""

    namespace = "diagnostics"

    def stream_logs(self) -> Generator[LogEvent, None, None]:
        """Lines of the log as they are written, until the generator is closed."""
        socket, inbox = self.open(endpoints.STREAM_LOGS, msgspec.UNSET, "Log stream")
        try:
            while True:
                socket.wait(inbox, None)
                while inbox.items:
                    message = msgspec.json.decode(inbox.items.popleft(), type=parameters.LogMessage)
                    if message.log is not None:
                        yield message.log
                if inbox.closed:
                    if inbox.error is not None:
                        raise inbox.error
                    return
        finally:
            socket.send(inbox, parameters.STOP)
            socket.release(inbox)
