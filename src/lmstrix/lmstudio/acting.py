"""Rounds of answers and tool calls, sans I/O: what is asked next, and what is told of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.lmstudio.callbacks import call_back
from lmstrix.lmstudio.errors import LMStudioPredictionError, LMStudioValueError
from lmstrix.lmstudio.history import Chat
from lmstrix.lmstudio.predicting import Prediction, Wishes
from lmstrix.lmstudio.results import (
    ActResult,
    PredictionRoundResult,
    ToolCallBroken,
    ToolCallFinished,
)
from lmstrix.lmstudio.tools import InvalidCallError, Toolbox, result_text
from lmstrix.protocol.lmstudio.chats import (
    AssistantResponse,
    ToolCallRequest,
    ToolCallResultData,
    ToolResultMessage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lmstrix.lmstudio.cancelling import Cancellation
    from lmstrix.lmstudio.configs import AnyConfig
    from lmstrix.lmstudio.results import PredictionEvent
    from lmstrix.lmstudio.timeouts import Timeouts
    from lmstrix.lmstudio.tools import PreparedCall, ToolDefinition
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment


class ActWishes(msgspec.Struct, kw_only=True, frozen=True):
    """What a caller can wish of several rounds; listeners are told the round's number too.

    `max_parallel_tool_calls` is how many tools run at once, `None` for any number.
    `handle_invalid_tool_request` may raise to end it all, or return what the model is told.
    """

    max_prediction_rounds: int | None = None
    max_parallel_tool_calls: int | None = 1
    config: AnyConfig = None
    preset: str | None = None
    on_message: Callable[[AssistantResponse | ToolResultMessage], Any] | None = None
    on_first_token: Callable[[int], Any] | None = None
    on_prediction_fragment: Callable[[LlmPredictionFragment, int], Any] | None = None
    on_round_start: Callable[[int], Any] | None = None
    on_round_end: Callable[[int], Any] | None = None
    on_prediction_completed: Callable[[PredictionRoundResult], Any] | None = None
    on_prompt_processing_progress: Callable[[float, int], Any] | None = None
    handle_invalid_tool_request: (
        Callable[[LMStudioPredictionError, ToolCallRequest | None], str | None] | None
    ) = None
    on_event: Callable[[PredictionEvent, int], Any] | None = None
    timeouts: Timeouts | None = None
    cancel: Cancellation | None = None


class Act:
    """Rounds until the model calls no more tools."""

    def __init__(
        self,
        chat: str | Chat | Mapping[str, Any],
        tools: Iterable[ToolDefinition],
        wishes: ActWishes,
    ) -> None:
        if wishes.max_prediction_rounds is not None and wishes.max_prediction_rounds < 1:
            raise LMStudioValueError(
                f"Max prediction rounds must be at least 1 ({wishes.max_prediction_rounds!r} given)"
            )
        self.wishes = wishes
        self.done = False
        self._started_at = time.perf_counter()
        self._chat = Chat.from_history(chat)
        self._tools = Toolbox(tools)
        self._tools.refuse_unrunnable()
        self._round = -1
        self._requests: list[ToolCallRequest] = []
        self._results: dict[int, ToolCallResultData] = {}

    @property
    def result(self) -> ActResult:
        """What it took."""
        return ActResult(
            rounds=self._round + 1, total_time_seconds=time.perf_counter() - self._started_at
        )

    def next_round(self) -> Prediction:
        """Begin a round."""
        self._round += 1
        self._requests = []
        self._results = {}
        wishes, number = self.wishes, self._round
        call_back(wishes.on_round_start, number, what="Round start")
        return Prediction(
            self._chat,
            Wishes(
                config=wishes.config,
                preset=wishes.preset,
                tools=None if self._final else self._tools,
                on_first_token=_numbered(wishes.on_first_token, number),
                on_prediction_fragment=_numbered(wishes.on_prediction_fragment, number),
                on_prompt_processing_progress=_numbered(
                    wishes.on_prompt_processing_progress, number
                ),
                on_event=_numbered(wishes.on_event, number),
                timeouts=wishes.timeouts,
                cancel=wishes.cancel,
            ),
        )

    def take(self, event: PredictionEvent) -> tuple[int, PreparedCall] | None:
        """The tool to be run for an event, with the number by which its result is kept.

        Raises `LMStudioPredictionError` where the model wrote what is no call.
        """
        if isinstance(event, ToolCallBroken):
            self._invalid("Failed to parse tool call request.")
        if not isinstance(event, ToolCallFinished):
            return None
        number = len(self._requests)
        self._requests.append(event.request)
        try:
            return number, self._tools.prepare(event.request)
        except InvalidCallError as problem:
            told = self._invalid(str(problem), event.request, problem.__cause__)
            self._keep(number, told)
            return None

    def succeed(self, number: int, value: Any) -> None:
        """Keep what a tool returned."""
        try:
            self._keep(number, result_text(value))
        except (TypeError, ValueError) as problem:
            self.fail(number, problem)

    def fail(self, number: int, problem: Exception) -> None:
        """Keep that a tool raised."""
        request = self._requests[number]
        told = self._invalid(f"Unhandled Python exception: {problem!r}", request, problem)
        self._keep(number, result_text(told))

    def end_round(self, prediction: Prediction) -> None:
        """End a round; every tool has run."""
        result, wishes = prediction.result, self.wishes
        assert result is not None
        round_result = PredictionRoundResult.from_result(result, self._round)
        call_back(wishes.on_prediction_completed, round_result, what="Prediction completed")
        said = self._chat.add_assistant_response(result, self._requests)
        call_back(wishes.on_message, said, what="Message")
        if self._requests:
            answers = [self._results[number] for number in range(len(self._requests))]
            answered = self._chat.add_tool_results(answers)
            call_back(wishes.on_message, answered, what="Message")
        call_back(wishes.on_round_end, self._round, what="Round end")
        self.done = not self._requests
        if self._final and not self.done:
            self._invalid("Model requested tool use on final prediction round.")

    @property
    def _final(self) -> bool:
        most = self.wishes.max_prediction_rounds
        return most is not None and self._round >= most - 1

    def _keep(self, number: int, text: str) -> None:
        call = self._requests[number]
        self._results[number] = ToolCallResultData(content=text, tool_call_id=call.id)

    def _invalid(
        self,
        message: str,
        request: ToolCallRequest | None = None,
        cause: BaseException | None = None,
    ) -> str:
        problem = LMStudioPredictionError(message)
        problem.__cause__ = cause
        if self.wishes.handle_invalid_tool_request is not None:
            told = self.wishes.handle_invalid_tool_request(problem, request)
            message = message if told is None else told
        if request is None:
            raise LMStudioPredictionError(message)
        return message


def _numbered(callback: Callable[..., Any] | None, number: int) -> Callable[..., Any] | None:
    if callback is None:
        return None

    def told(*arguments: Any) -> Any:
        return callback(*arguments, number)

    return told
