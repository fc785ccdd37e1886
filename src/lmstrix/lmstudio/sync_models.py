"""Language models and embedding models, for threads: sessions, and handles of what is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, Unpack

from lmstrix.lmstudio.configs import load_stack, read_load_config, read_prediction_config
from lmstrix.lmstudio.errors import LMStudioClientError
from lmstrix.lmstudio.history import Chat
from lmstrix.lmstudio.loading import Loading
from lmstrix.lmstudio.specifying import DEFAULT_TTL_S, specify, ttl_ms
from lmstrix.lmstudio.sync_session import SyncSession
from lmstrix.lmstudio.sync_stream import PredictionStream
from lmstrix.protocol.lmstudio import endpoints, parameters
from lmstrix.protocol.lmstudio.chats import LlmApplyPromptTemplateOpts
from lmstrix.protocol.lmstudio.config import ConfigStack
from lmstrix.protocol.lmstudio.models import read_instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lmstrix.lmstudio.cancelling import Cancellation
    from lmstrix.lmstudio.configs import AnyConfig, AnyLoadConfig, LlmPredictionConfig
    from lmstrix.lmstudio.predicting import Prediction
    from lmstrix.lmstudio.results import ActResult, PredictionResult
    from lmstrix.lmstudio.specifying import AnyModelSpecifier
    from lmstrix.lmstudio.sync_system import AnyDownloadedModel
    from lmstrix.lmstudio.timeouts import Timeouts
    from lmstrix.lmstudio.tools import ToolDefinition
    from lmstrix.lmstudio.wishing import ActOptions, PredictOptions
    from lmstrix.protocol.lmstudio.models import ModelInstanceInfo, ModelUsage
    from lmstrix.protocol.lmstudio.parameters import ProcessingState

HandleT = TypeVar("HandleT", bound="SyncModelHandle")


class ModelSession(SyncSession, Generic[HandleT]):
    """A namespace of models."""

    handle_type: ClassVar[type[Any]]

    def model(
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
            return self._any()
        parameter = parameters.GetOrLoadParameter(
            identifier=model_key,
            load_ttl_ms=ttl_ms(ttl),
            load_config_stack=load_stack(config, self.namespace),
        )
        work = Loading(model_key, "Model get/load", on_load_progress)
        return self._load(work, endpoints.GET_OR_LOAD, parameter, timeouts, cancel)

    def load_new_instance(
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
        return self._load(work, endpoints.LOAD_MODEL, parameter, timeouts, cancel)

    def list_loaded(self) -> Sequence[HandleT]:
        """What is loaded."""
        return [self.handle(info.identifier) for info in self.list_loaded_info()]

    def list_loaded_info(self) -> list[ModelInstanceInfo]:
        """What is loaded, with all the server tells of it."""
        return [read_instance(raw) for raw in self.ask(endpoints.LIST_LOADED)]

    def list_downloaded(self) -> Sequence[AnyDownloadedModel]:
        """What could be loaded."""
        models = self._client.system.list_downloaded_models()
        return [model for model in models if model.type == self.namespace]

    def unload(self, model_identifier: str) -> None:
        """End what is loaded under that name."""
        parameter = parameters.UnloadParameter(identifier=model_identifier)
        self.ask(endpoints.UNLOAD_MODEL, parameter)

    def get_model_info(self, model_specifier: AnyModelSpecifier) -> ModelInstanceInfo:
        """All the server tells of a loaded model."""
        parameter = parameters.ModelInfoParameter(
            specifier=specify(model_specifier), throw_if_not_found=True
        )
        return read_instance(self.ask(endpoints.GET_MODEL_INFO, parameter))

    def get_load_config(self, model_specifier: AnyModelSpecifier) -> AnyLoadConfig:
        """How a loaded model was loaded."""
        parameter = parameters.SpecifierParameter(specifier=specify(model_specifier))
        fields = self.ask(endpoints.GET_LOAD_CONFIG, parameter)
        return read_load_config(fields, self.namespace)

    def get_processing_state(self, model_specifier: AnyModelSpecifier) -> ProcessingState:
        """What a loaded model is at just now."""
        parameter = parameters.ModelInfoParameter(
            specifier=specify(model_specifier), throw_if_not_found=True
        )
        state: ProcessingState = self.ask(endpoints.GET_PROCESSING_STATE, parameter)
        return state

    def estimate_resources(self, model_key: str, *, config: AnyConfig = None) -> ModelUsage:
        """What a load would take, in bytes, and whether the server would let it."""
        parameter = parameters.EstimateParameter(
            model_key=model_key, load_config_stack=load_stack(config, self.namespace)
        )
        usage: ModelUsage = self.ask(endpoints.ESTIMATE_USAGE, parameter)
        return usage

    def tokenize(self, model_specifier: AnyModelSpecifier, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text."""
        asked = [
            parameters.TextParameter(specifier=specify(model_specifier), input_string=text)
            for text in texts
        ]
        return [answer.tokens for answer in self.ask_all(endpoints.TOKENIZE, asked)]

    def count_tokens(self, model_specifier: AnyModelSpecifier, text: str) -> int:
        """How many tokens a text has."""
        parameter = parameters.TextParameter(specifier=specify(model_specifier), input_string=text)
        count: int = self.ask(endpoints.COUNT_TOKENS, parameter).token_count
        return count

    def handle(self, identifier: str) -> HandleT:
        """A handle of what is loaded, or will be, under that name; nobody is asked."""
        made: HandleT = self.handle_type(identifier, self)
        return made

    def _any(self) -> HandleT:
        loaded = self.list_loaded()
        if not loaded:
            raise LMStudioClientError(
                f"Could not get model handle in namespace {self.namespace} "
                "(no models are currently loaded).",
                hint="Name a model to have it loaded.",
            )
        return loaded[0]

    def _load(
        self,
        work: Loading,
        channel: endpoints.Channel,
        parameter: Any,
        timeouts: Timeouts | None,
        cancel: Cancellation | None,
    ) -> HandleT:
        result = self.run(work, channel, parameter, timeouts=timeouts, cancel=cancel)
        return self.handle(result.identifier)


class SyncModelHandle:
    """A loaded model, by the name it has on the server."""

    _session: ModelSession[Any]

    def __init__(self, model_identifier: str, session: ModelSession[Any]) -> None:
        self.identifier = model_identifier
        self._session = session

    def __repr__(self) -> str:
        return f"{type(self).__name__}(identifier={self.identifier!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SyncModelHandle):
            return NotImplemented
        return self._session is other._session and self.identifier == other.identifier

    def __hash__(self) -> int:
        return hash((id(self._session), self.identifier))

    def unload(self) -> None:
        """End it."""
        self._session.unload(self.identifier)

    def get_info(self) -> ModelInstanceInfo:
        """All the server tells of it."""
        return self._session.get_model_info(self.identifier)

    def get_load_config(self) -> AnyLoadConfig:
        """How it was loaded."""
        return self._session.get_load_config(self.identifier)

    def get_processing_state(self) -> ProcessingState:
        """What it is at just now."""
        return self._session.get_processing_state(self.identifier)

    def get_context_length(self) -> int:
        """How many tokens it holds, prompt and answer together."""
        return self.get_info().context_length

    def tokenize(self, input: str | Iterable[str]) -> list[int] | list[list[int]]:  # noqa: A002  # the SDK's name
        """The tokens of a text, or of each of several."""
        if isinstance(input, str):
            return self._session.tokenize(self.identifier, [input])[0]
        return self._session.tokenize(self.identifier, list(input))

    def count_tokens(self, input: str) -> int:  # noqa: A002  # the SDK's name
        """How many tokens a text has."""
        return self._session.count_tokens(self.identifier, input)


class LLM(SyncModelHandle):
    """A loaded language model."""

    _session: LlmSession

    def complete(self, prompt: str, **options: Unpack[PredictOptions]) -> PredictionResult:
        """Continue a text, without a chat template."""
        return self.complete_stream(prompt, **options).wait_for_result()

    def complete_stream(self, prompt: str, **options: Unpack[PredictOptions]) -> PredictionStream:
        """Continue a text, piece by piece."""
        from lmstrix.lmstudio.predicting import Prediction, Wishes  # noqa: PLC0415  # who only embeds or loads needs none of it

        prediction = Prediction.completion(prompt, Wishes(**options))
        return PredictionStream(self._session, specify(self.identifier), prediction)

    def respond(
        self, history: str | Chat | Mapping[str, Any], **options: Unpack[PredictOptions]
    ) -> PredictionResult:
        """Answer in a conversation."""
        return self.respond_stream(history, **options).wait_for_result()

    def respond_stream(
        self, history: str | Chat | Mapping[str, Any], **options: Unpack[PredictOptions]
    ) -> PredictionStream:
        """Answer in a conversation, piece by piece."""
        from lmstrix.lmstudio.predicting import Prediction, Wishes  # noqa: PLC0415  # who only embeds or loads needs none of it

        prediction = Prediction(Chat.from_history(history), Wishes(**options))
        return PredictionStream(self._session, specify(self.identifier), prediction)

    def act(
        self,
        chat: str | Chat | Mapping[str, Any],
        tools: Iterable[ToolDefinition],
        **options: Unpack[ActOptions],
    ) -> ActResult:
        """Answer in a conversation and run the tools the model calls, until it calls none."""
        from lmstrix.lmstudio.acting import Act, ActWishes  # noqa: PLC0415  # as above
        from lmstrix.lmstudio.sync_act import run_act  # noqa: PLC0415  # threads and pools, for few

        return run_act(self, Act(chat, tools, ActWishes(**options)))

    def apply_prompt_template(
        self,
        history: str | Chat | Mapping[str, Any],
        opts: LlmApplyPromptTemplateOpts | Mapping[str, Any] | None = None,
    ) -> str:
        """The text the model sees of a conversation."""
        return self._session.apply_prompt_template(self.identifier, history, opts)

    def get_base_prediction_config(self) -> LlmPredictionConfig:
        """What holds for a prediction that sets nothing."""
        return self._session.get_base_prediction_config(self.identifier)

    def preload_draft_model(self, draft_model_key: str) -> None:
        """Load the draft model of later predictions now."""
        parameter = parameters.PreloadDraftParameter(
            specifier=specify(self.identifier), draft_model_key=draft_model_key
        )
        self._session.ask(endpoints.PRELOAD_DRAFT_MODEL, parameter)

    def prediction_stream(self, prediction: Prediction) -> PredictionStream:
        """The stream of a prediction that was made beforehand."""
        return PredictionStream(self._session, specify(self.identifier), prediction)


class EmbeddingModel(SyncModelHandle):
    """A loaded embedding model."""

    _session: EmbeddingSession

    def embed(self, input: str | Iterable[str]) -> list[float] | list[list[float]]:  # noqa: A002  # the SDK's name
        """The vector of a text, or of each of several, which are asked for many at once."""
        if isinstance(input, str):
            return self._session.embed(self.identifier, [input])[0]
        return self._session.embed(self.identifier, list(input))


class LlmSession(ModelSession[LLM]):
    """The namespace of language models."""

    namespace = "llm"
    handle_type = LLM

    def apply_prompt_template(
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
        formatted: str = self.ask(endpoints.APPLY_PROMPT_TEMPLATE, parameter).formatted
        return formatted

    def get_base_prediction_config(self, model_specifier: AnyModelSpecifier) -> LlmPredictionConfig:
        """What holds for a prediction that sets nothing."""
        parameter = parameters.BasePredictionConfigParameter(specifier=specify(model_specifier))
        return read_prediction_config(self.ask(endpoints.GET_BASE_PREDICTION_CONFIG, parameter))


class EmbeddingSession(ModelSession[EmbeddingModel]):
    """The namespace of embedding models."""

    namespace = "embedding"
    handle_type = EmbeddingModel

    def embed(self, model_specifier: AnyModelSpecifier, texts: Sequence[str]) -> list[list[float]]:
        """The vector of each text."""
        asked = [
            parameters.EmbedParameter(model_specifier=specify(model_specifier), input_string=text)
            for text in texts
        ]
        return [answer.embedding for answer in self.ask_all(endpoints.EMBED_STRING, asked)]
