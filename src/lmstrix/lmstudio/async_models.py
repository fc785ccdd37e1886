"""Language models and embedding models, for asyncio: sessions, and handles of what is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, Unpack

from lmstrix.lmstudio.async_session import AsyncSession
from lmstrix.lmstudio.async_stream import AsyncPredictionStream
from lmstrix.lmstudio.configs import load_stack, read_load_config, read_prediction_config
from lmstrix.lmstudio.errors import LMStudioClientError
from lmstrix.lmstudio.history import Chat
from lmstrix.lmstudio.loading import Loading
from lmstrix.lmstudio.specifying import DEFAULT_TTL_S, specify, ttl_ms
from lmstrix.protocol.lmstudio import endpoints, parameters
from lmstrix.protocol.lmstudio.chats import LlmApplyPromptTemplateOpts
from lmstrix.protocol.lmstudio.config import ConfigStack
from lmstrix.protocol.lmstudio.models import read_instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lmstrix.lmstudio.async_system import AnyAsyncDownloadedModel
    from lmstrix.lmstudio.cancelling import Cancellation
    from lmstrix.lmstudio.configs import AnyConfig, AnyLoadConfig, LlmPredictionConfig
    from lmstrix.lmstudio.predicting import Prediction
    from lmstrix.lmstudio.results import ActResult, PredictionResult
    from lmstrix.lmstudio.specifying import AnyModelSpecifier
    from lmstrix.lmstudio.timeouts import Timeouts
    from lmstrix.lmstudio.tools import ToolDefinition
    from lmstrix.lmstudio.wishing import ActOptions, PredictOptions
    from lmstrix.protocol.lmstudio.models import ModelInstanceInfo, ModelUsage
    from lmstrix.protocol.lmstudio.parameters import ProcessingState

HandleT = TypeVar("HandleT", bound="AsyncModelHandle")


class AsyncModelSession(AsyncSession, Generic[HandleT]):
    """A namespace of models."""

    handle_type: ClassVar[type[Any]]

    async def model(
        self,
        model_key: str | None = None,
        /,
        *,
        ttl: float | None = DEFAULT_TTL_S,
        config: AnyConfig = None,
        on_load_progress: Callable[[float], Any] | None = None,
        timeouts: Timeouts | None = None,
        cancel: Cancellation | None = None,
    ) -> HandleT:
        """A model that is loaded, or is now; without a key any that is.

        `config` is for a load only: what is loaded already is taken as it is. `ttl` is in
        seconds without use; `None` keeps the model loaded.
        """
        if model_key is None:
            return await self._any()
        parameter = parameters.GetOrLoadParameter(
            identifier=model_key,
            load_ttl_ms=ttl_ms(ttl),
            load_config_stack=load_stack(config, self.namespace),
        )
        work = Loading(model_key, "Model get/load", on_load_progress)
        return await self._load(work, endpoints.GET_OR_LOAD, parameter, timeouts, cancel)

    async def load_new_instance(
        self,
        model_key: str,
        instance_identifier: str | None = None,
        *,
        ttl: float | None = DEFAULT_TTL_S,
        config: AnyConfig = None,
        on_load_progress: Callable[[float], Any] | None = None,
        timeouts: Timeouts | None = None,
        cancel: Cancellation | None = None,
    ) -> HandleT:
        """Load a copy of a model, under a name of its own or one the server chooses."""
        parameter = parameters.LoadModelParameter(
            model_key=model_key,
            identifier=instance_identifier,
            ttl_ms=ttl_ms(ttl),
            load_config_stack=load_stack(config, self.namespace),
        )
        work = Loading(model_key, "Model load", on_load_progress)
        return await self._load(work, endpoints.LOAD_MODEL, parameter, timeouts, cancel)

    async def list_loaded(self) -> Sequence[HandleT]:
        """What is loaded."""
        return [self.handle(info.identifier) for info in await self.list_loaded_info()]

    async def list_loaded_info(self) -> list[ModelInstanceInfo]:
        """What is loaded, with all the server tells of it."""
        return [read_instance(raw) for raw in await self.ask(endpoints.LIST_LOADED)]

    async def list_downloaded(self) -> Sequence[AnyAsyncDownloadedModel]:
        """What could be loaded."""
        models = await self._client.system.list_downloaded_models()
        return [model for model in models if model.type == self.namespace]

    async def unload(self, model_identifier: str) -> None:
        """End what is loaded under that name."""
        parameter = parameters.UnloadParameter(identifier=model_identifier)
        await self.ask(endpoints.UNLOAD_MODEL, parameter)

    async def get_model_info(self, model_specifier: AnyModelSpecifier) -> ModelInstanceInfo:
        """All the server tells of a loaded model."""
        parameter = parameters.ModelInfoParameter(
            specifier=specify(model_specifier), throw_if_not_found=True
        )
        return read_instance(await self.ask(endpoints.GET_MODEL_INFO, parameter))

    async def get_load_config(self, model_specifier: AnyModelSpecifier) -> AnyLoadConfig:
        """How a loaded model was loaded."""
        parameter = parameters.SpecifierParameter(specifier=specify(model_specifier))
        fields = await self.ask(endpoints.GET_LOAD_CONFIG, parameter)
        return read_load_config(fields, self.namespace)

    async def get_processing_state(self, model_specifier: AnyModelSpecifier) -> ProcessingState:
        """What a loaded model is at just now."""
        parameter = parameters.ModelInfoParameter(
            specifier=specify(model_specifier), throw_if_not_found=True
        )
        state: ProcessingState = await self.ask(endpoints.GET_PROCESSING_STATE, parameter)
        return state

    async def estimate_resources(self, model_key: str, *, config: AnyConfig = None) -> ModelUsage:
        """What a load would take, in bytes, and whether the server would let it."""
        parameter = parameters.EstimateParameter(
            model_key=model_key, load_config_stack=load_stack(config, self.namespace)
        )
        usage: ModelUsage = await self.ask(endpoints.ESTIMATE_USAGE, parameter)
        return usage

    async def tokenize(
        self, model_specifier: AnyModelSpecifier, texts: Sequence[str]
    ) -> list[list[int]]:
        """The tokens of each text."""
        asked = [
            parameters.TextParameter(specifier=specify(model_specifier), input_string=text)
            for text in texts
        ]
        return [answer.tokens for answer in await self.ask_all(endpoints.TOKENIZE, asked)]

    async def count_tokens(self, model_specifier: AnyModelSpecifier, text: str) -> int:
        """How many tokens a text has."""
        parameter = parameters.TextParameter(specifier=specify(model_specifier), input_string=text)
        count: int = (await self.ask(endpoints.COUNT_TOKENS, parameter)).token_count
        return count

    def handle(self, identifier: str) -> HandleT:
        """A handle of what is loaded, or will be, under that name; nobody is asked."""
        made: HandleT = self.handle_type(identifier, self)
        return made

    async def _any(self) -> HandleT:
        loaded = await self.list_loaded()
        if not loaded:
            raise LMStudioClientError(
                f"Could not get model handle in namespace {self.namespace} "
                "(no models are currently loaded).",
                hint="Name a model to have it loaded.",
            )
        return loaded[0]

    async def _load(
        self,
        work: Loading,
        channel: endpoints.Channel,
        parameter: Any,
        timeouts: Timeouts | None,
        cancel: Cancellation | None,
    ) -> HandleT:
        result = await self.run(work, channel, parameter, timeouts=timeouts, cancel=cancel)
        return self.handle(result.identifier)


class AsyncModelHandle:
    """A loaded model, by the name it has on the server."""

    _session: AsyncModelSession[Any]

    def __init__(self, model_identifier: str, session: AsyncModelSession[Any]) -> None:
        self.identifier = model_identifier
        self._session = session

    def __repr__(self) -> str:
        return f"{type(self).__name__}(identifier={self.identifier!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncModelHandle):
            return NotImplemented
        return self._session is other._session and self.identifier == other.identifier

    def __hash__(self) -> int:
        return hash((id(self._session), self.identifier))

    async def unload(self) -> None:
        """End it."""
        await self._session.unload(self.identifier)

    async def get_info(self) -> ModelInstanceInfo:
        """All the server tells of it."""
        return await self._session.get_model_info(self.identifier)

    async def get_load_config(self) -> AnyLoadConfig:
        """How it was loaded."""
        return await self._session.get_load_config(self.identifier)

    async def get_processing_state(self) -> ProcessingState:
        """What it is at just now."""
        return await self._session.get_processing_state(self.identifier)

    async def get_context_length(self) -> int:
        """How many tokens it holds, prompt and answer together."""
        return (await self.get_info()).context_length

    async def tokenize(self, input: str | Iterable[str]) -> list[int] | list[list[int]]:  # noqa: A002  # the SDK's name
        """The tokens of a text, or of each of several."""
        if isinstance(input, str):
            return (await self._session.tokenize(self.identifier, [input]))[0]
        return await self._session.tokenize(self.identifier, list(input))

    async def count_tokens(self, input: str) -> int:  # noqa: A002  # the SDK's name
        """How many tokens a text has."""
        return await self._session.count_tokens(self.identifier, input)


class AsyncLLM(AsyncModelHandle):
    """A loaded language model."""

    _session: AsyncLlmSession

    async def complete(self, prompt: str, **options: Unpack[PredictOptions]) -> PredictionResult:
        """Continue a text, without a chat template."""
        stream = await self.complete_stream(prompt, **options)
        return await stream.wait_for_result()

    async def complete_stream(
        self, prompt: str, **options: Unpack[PredictOptions]
    ) -> AsyncPredictionStream:
        """Continue a text, piece by piece."""
        from lmstrix.lmstudio.predicting import Prediction, Wishes  # noqa: PLC0415  # who only embeds or loads needs none of it

        prediction = Prediction.completion(prompt, Wishes(**options))
        return AsyncPredictionStream(self._session, specify(self.identifier), prediction)

    async def respond(
        self, history: str | Chat | Mapping[str, Any], **options: Unpack[PredictOptions]
    ) -> PredictionResult:
        """Answer in a conversation."""
        stream = await self.respond_stream(history, **options)
        return await stream.wait_for_result()

    async def respond_stream(
        self, history: str | Chat | Mapping[str, Any], **options: Unpack[PredictOptions]
    ) -> AsyncPredictionStream:
        """Answer in a conversation, piece by piece."""
        from lmstrix.lmstudio.predicting import Prediction, Wishes  # noqa: PLC0415  # who only embeds or loads needs none of it

        prediction = Prediction(Chat.from_history(history), Wishes(**options))
        return AsyncPredictionStream(self._session, specify(self.identifier), prediction)

    async def act(
        self,
        chat: str | Chat | Mapping[str, Any],
        tools: Iterable[ToolDefinition],
        **options: Unpack[ActOptions],
    ) -> ActResult:
        """Answer in a conversation and run the tools the model calls, until it calls none."""
        from lmstrix.lmstudio.acting import Act, ActWishes  # noqa: PLC0415  # as above
        from lmstrix.lmstudio.async_act import run_act  # noqa: PLC0415  # threads and pools, for few

        return await run_act(self, Act(chat, tools, ActWishes(**options)))

    async def apply_prompt_template(
        self,
        history: str | Chat | Mapping[str, Any],
        opts: LlmApplyPromptTemplateOpts | Mapping[str, Any] | None = None,
    ) -> str:
        """The text the model sees of a conversation."""
        return await self._session.apply_prompt_template(self.identifier, history, opts)

    async def get_base_prediction_config(self) -> LlmPredictionConfig:
        """What holds for a prediction that sets nothing."""
        return await self._session.get_base_prediction_config(self.identifier)

    async def preload_draft_model(self, draft_model_key: str) -> None:
        """Load the draft model of later predictions now."""
        parameter = parameters.PreloadDraftParameter(
            specifier=specify(self.identifier), draft_model_key=draft_model_key
        )
        await self._session.ask(endpoints.PRELOAD_DRAFT_MODEL, parameter)

    def prediction_stream(self, prediction: Prediction) -> AsyncPredictionStream:
        """The stream of a prediction that was made beforehand."""
        return AsyncPredictionStream(self._session, specify(self.identifier), prediction)


class AsyncEmbeddingModel(AsyncModelHandle):
    """A loaded embedding model."""

    _session: AsyncEmbeddingSession

    async def embed(self, input: str | Iterable[str]) -> list[float] | list[list[float]]:  # noqa: A002  # the SDK's name
        """The vector of a text, or of each of several, which are asked for many at once."""
        if isinstance(input, str):
            return (await self._session.embed(self.identifier, [input]))[0]
        return await self._session.embed(self.identifier, list(input))


class AsyncLlmSession(AsyncModelSession[AsyncLLM]):
    """The namespace of language models."""

    namespace = "llm"
    handle_type = AsyncLLM

    async def apply_prompt_template(
        self,
        model_specifier: AnyModelSpecifier,
        history: str | Chat | Mapping[str, Any],
        opts: LlmApplyPromptTemplateOpts | Mapping[str, Any] | None = None,
    ) -> str:
        """The text a model sees of a conversation."""
        if not isinstance(opts, LlmApplyPromptTemplateOpts):
            opts = LlmApplyPromptTemplateOpts.from_dict(opts or {})
        parameter = parameters.ApplyPromptTemplateParameter(
            specifier=specify(model_specifier),
            history=Chat.from_history(history).data,
            prediction_config_stack=ConfigStack(layers=[]),
            opts=opts,
        )
        formatted: str = (await self.ask(endpoints.APPLY_PROMPT_TEMPLATE, parameter)).formatted
        return formatted

    async def get_base_prediction_config(
        self, model_specifier: AnyModelSpecifier
    ) -> LlmPredictionConfig:
        """What holds for a prediction that sets nothing."""
        parameter = parameters.BasePredictionConfigParameter(specifier=specify(model_specifier))
        return read_prediction_config(
            await self.ask(endpoints.GET_BASE_PREDICTION_CONFIG, parameter)
        )


class AsyncEmbeddingSession(AsyncModelSession[AsyncEmbeddingModel]):
    """The namespace of embedding models."""

    namespace = "embedding"
    handle_type = AsyncEmbeddingModel

    async def embed(
        self, model_specifier: AnyModelSpecifier, texts: Sequence[str]
    ) -> list[list[float]]:
        """The vector of each text."""
        asked = [
            parameters.EmbedParameter(model_specifier=specify(model_specifier), input_string=text)
            for text in texts
        ]
        return [answer.embedding for answer in await self.ask_all(endpoints.EMBED_STRING, asked)]
