"""One prediction, sans I/O: what is asked, and what the server's messages make of the answer."""

from __future__ import annotations

import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.lmstudio.callbacks import call_back
from lmstrix.lmstudio.configs import (
    prediction_layer,
    prediction_options,
    read_load_config,
    read_prediction_config,
)
from lmstrix.lmstudio.errors import (
    LMStudioChannelClosedError,
    LMStudioPredictionError,
    LMStudioUnknownMessageWarning,
    LMStudioValueError,
)
from lmstrix.lmstudio.formats import structured_setting
from lmstrix.lmstudio.history import Chat, assistant_part
from lmstrix.lmstudio.results import (
    PredictionResult,
    PromptProcessing,
    ToolCallArguments,
    ToolCallBroken,
    ToolCallFinished,
    ToolCallNamed,
    ToolCallStarted,
)
from lmstrix.lmstudio.tools import Toolbox
from lmstrix.protocol.lmstudio.chats import AssistantResponse, ToolCallRequest
from lmstrix.protocol.lmstudio.config import COMPLETION_LAYER, ConfigStack
from lmstrix.protocol.lmstudio.errors import read_error
from lmstrix.protocol.lmstudio.models import LlmInfo, LlmInstanceInfo
from lmstrix.protocol.lmstudio.predictions import (
    LlmPredictionFragment,
    LlmPredictionStats,
    PredictedToken,
    PredictMessage,
    PredictRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lmstrix.lmstudio.cancelling import Cancellation
    from lmstrix.lmstudio.configs import AnyConfig
    from lmstrix.lmstudio.formats import ResponseSchema
    from lmstrix.lmstudio.results import PredictionEvent
    from lmstrix.lmstudio.timeouts import Timeouts
    from lmstrix.lmstudio.tools import ToolDefinition
    from lmstrix.protocol.lmstudio.models import ModelSpecifier

_LOG = logging.getLogger("lmstrix.lmstudio")
_MESSAGE = msgspec.json.Decoder(PredictMessage)


class Wishes(msgspec.Struct, kw_only=True, frozen=True):
    """What a caller can wish of one prediction.

    `tools` are offered and not run: their calls are in the result. `on_event` is told everything
    that happens, tool calls while they are written among it. `timeouts` replaces those of the
    client, `cancel` ends the prediction from elsewhere. These four go beyond the SDK.
    """

    response_format: ResponseSchema | None = None
    config: AnyConfig = None
    preset: str | None = None
    on_message: Callable[[AssistantResponse], Any] | None = None
    on_first_token: Callable[[], Any] | None = None
    on_prediction_fragment: Callable[[LlmPredictionFragment], Any] | None = None
    on_prompt_processing_progress: Callable[[float], Any] | None = None
    tools: Iterable[ToolDefinition] | Toolbox | None = None
    on_event: Callable[[PredictionEvent], Any] | None = None
    timeouts: Timeouts | None = None
    cancel: Cancellation | None = None


class Prediction:
    """One prediction. `result` is there once `finished`."""

    def __init__(self, chat: Chat, wishes: Wishes, *, completion: bool = False) -> None:
        self.notice = "Completion" if completion else "Chat response"
        self.wishes = wishes
        self.finished = False
        self.cancelled = False
        self.result: PredictionResult | None = None
        self._chat = chat
        options = prediction_options(wishes.config)
        if wishes.tools is not None:
            toolbox = wishes.tools if isinstance(wishes.tools, Toolbox) else Toolbox(wishes.tools)
            options["rawTools"] = toolbox.setting()
        if wishes.response_format is not None:
            if "structured" in options:
                raise LMStudioValueError(
                    "Cannot specify both 'response_format' in API call and 'structured' in config"
                )
            options["structured"] = structured_setting(wishes.response_format)
        self._structured = options.get("structured", {}).get("type") in ("json", "gbnf")
        layers = [prediction_layer(options)]
        if completion:
            layers.append(COMPLETION_LAYER)
        self._stack = ConfigStack(layers=layers)
        self._fragments: list[LlmPredictionFragment] = []
        self._calls: list[ToolCallRequest] = []
        self._call_index = -1
        self._progress = -1.0
        self._listens = (
            wishes.on_prediction_fragment is not None
            or wishes.on_first_token is not None
            or wishes.on_event is not None
        )

    @classmethod
    def completion(cls, prompt: str, wishes: Wishes) -> Prediction:
        """A continuation of a text, without a chat template."""
        return cls(Chat.from_history(prompt), wishes, completion=True)

    def request(self, specifier: ModelSpecifier) -> PredictRequest:
        """What opens the channel."""
        return PredictRequest(
            model_specifier=specifier,
            history=self._chat.data,
            prediction_config_stack=self._stack,
            fuzzy_preset_identifier=self.wishes.preset,
        )

    @property
    def started(self) -> bool:
        """Whether a piece of the answer has come."""
        return bool(self._fragments)

    def content(self) -> str:
        """What has come of the answer."""
        return "".join([fragment.content for fragment in self._fragments])

    def take(self, raw: msgspec.Raw) -> PredictionEvent | None:
        """Take a message of the server; what there is to tell of it.

        Raises `LMStudioPredictionError` where the server says that the answer broke off.
        """
        try:
            message = _MESSAGE.decode(raw)
        except msgspec.DecodeError as problem:
            self._not_understood(str(problem))
            return None
        fragment = message.fragment
        if fragment is None or message.type != "fragment":
            return self._take_rare(message)
        if self.cancelled:
            return None  # it was on its way when the cancellation was
        if self._progress < 1.0:
            self._report_progress(1.0)  # servers need not report the end
        self._fragments.append(fragment)
        if self._listens:
            self._tell(fragment)
        return fragment

    def closed(self) -> Exception:
        """The error for a channel that was closed before the answer was whole."""
        return LMStudioChannelClosedError("Server failed to complete prediction.")

    def _tell(self, fragment: LlmPredictionFragment) -> None:
        wishes = self.wishes
        if len(self._fragments) == 1:
            call_back(wishes.on_first_token, what="First token")
        call_back(wishes.on_prediction_fragment, fragment, what="Prediction fragment")
        call_back(wishes.on_event, fragment, what="Event")

    def _take_rare(self, message: PredictMessage) -> PredictionEvent | None:
        reader = _READERS.get(message.type)
        if reader is None:
            self._not_understood(f"a message of the type {message.type!r}")
            return None
        event = reader(self, message)
        if event is not None:
            call_back(self.wishes.on_event, event, what="Event")
        return event

    def _read_progress(self, message: PredictMessage) -> PredictionEvent | None:
        if self.cancelled or message.progress is None:
            return None
        self._report_progress(message.progress)
        return PromptProcessing(message.progress, message.details)

    def _report_progress(self, progress: float) -> None:
        before, self._progress = self._progress, max(self._progress, progress)
        if progress <= before:
            return
        callback = self.wishes.on_prompt_processing_progress
        if before < 0 < progress:  # there is always a beginning to report
            call_back(callback, 0.0, what="Prompt processing")
        call_back(callback, progress, what="Prompt processing")

    def _read_call_start(self, message: PredictMessage) -> PredictionEvent | None:
        self._call_index += 1
        return ToolCallStarted(self._call_index, message.tool_call_id)

    def _read_call_name(self, message: PredictMessage) -> PredictionEvent | None:
        return ToolCallNamed(self._call_index, message.name or "")

    def _read_call_arguments(self, message: PredictMessage) -> PredictionEvent | None:
        return ToolCallArguments(self._call_index, message.content or "")

    def _read_call_end(self, message: PredictMessage) -> PredictionEvent | None:
        request = message.tool_call_request
        if request is None:
            self._not_understood("a tool call without a request")
            return None
        self._call_index = max(self._call_index, len(self._calls))
        self._calls.append(request)
        return ToolCallFinished(self._call_index, request, message.raw_content)

    def _read_call_failure(self, message: PredictMessage) -> PredictionEvent | None:
        text = read_error(message.error).text()
        return ToolCallBroken(self._call_index, text, message.raw_content)

    def _read_error(self, message: PredictMessage) -> PredictionEvent | None:
        raise LMStudioPredictionError("Prediction error", message.error)

    def _read_success(self, message: PredictMessage) -> PredictionEvent | None:
        content = self.content()
        answer, reasoning = self._apart()
        kind = self.wishes.response_format
        self.result = PredictionResult(
            content=content,
            parsed=self._parse(content, answer),
            stats=message.stats or LlmPredictionStats(stop_reason="failed"),
            model_info=_model_info(message.model_info),
            load_config=read_load_config(message.load_model_config, "llm"),  # type: ignore[arg-type]
            prediction_config=read_prediction_config(message.prediction_config),
            reasoning_content=reasoning,
            non_reasoning_content=answer,
            tool_call_requests=tuple(self._calls),
            tokens=_tokens(self._fragments),
            response_type=kind if isinstance(kind, type) else None,
        )
        self.finished = True
        if self.wishes.on_message is not None:
            response = AssistantResponse(content=[assistant_part(self.result)])
            call_back(self.wishes.on_message, response, what="Message")
        return None

    def _apart(self) -> tuple[str, str]:
        """What is no reasoning, and what is; the tags around it are neither."""
        answer: list[str] = []
        reasoning: list[str] = []
        for fragment in self._fragments:
            if fragment.reasoning_type == "none":
                answer.append(fragment.content)
            elif fragment.reasoning_type == "reasoning":
                reasoning.append(fragment.content)
        return "".join(answer), "".join(reasoning)

    def _parse(self, content: str, answer: str) -> Any:
        if not self._structured or self.cancelled:
            return content
        try:
            parsed = json.loads(answer)
        except ValueError:
            return content  # a grammar need not be one of JSON
        return parsed if isinstance(parsed, dict) else content

    def _not_understood(self, what: str) -> None:
        warnings.warn(
            f"{self.notice}: passed over {what}; the server may be newer than this client.",
            LMStudioUnknownMessageWarning,
            stacklevel=2,
        )


_READERS: Mapping[str, Callable[[Prediction, PredictMessage], PredictionEvent | None]] = {
    "promptProcessingProgress": Prediction._read_progress,  # noqa: SLF001  # its own
    "toolCallGenerationStart": Prediction._read_call_start,  # noqa: SLF001
    "toolCallGenerationNameReceived": Prediction._read_call_name,  # noqa: SLF001
    "toolCallGenerationArgumentFragmentGenerated": Prediction._read_call_arguments,  # noqa: SLF001
    "toolCallGenerationEnd": Prediction._read_call_end,  # noqa: SLF001
    "toolCallGenerationFailed": Prediction._read_call_failure,  # noqa: SLF001
    "success": Prediction._read_success,  # noqa: SLF001
    "error": Prediction._read_error,  # noqa: SLF001
}


def _tokens(fragments: Iterable[LlmPredictionFragment]) -> tuple[PredictedToken, ...]:
    return tuple(token for fragment in fragments for token in fragment.tokens or ())


def _model_info(data: Any) -> LlmInfo:
    try:
        return msgspec.convert(data, LlmInstanceInfo)
    except msgspec.ValidationError:
        told = data if isinstance(data, dict) else {}
        return LlmInfo(
            model_key=str(told.get("modelKey", "")),
            format=str(told.get("format", "")),
            display_name=str(told.get("displayName", "")),
            path=str(told.get("path", "")),
            size_bytes=0,
            vision=False,
            trained_for_tool_use=False,
        )
