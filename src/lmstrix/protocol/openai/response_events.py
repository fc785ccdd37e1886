"""OpenAI's Responses API: an answer as a server writes it, whole and in typed events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.protocol.openai.answers import calls_of, name_or, text_of, usage_of
from lmstrix.types import Fragment, FragmentKind, Message, Role, Stats, StopReason, ToolCall

if TYPE_CHECKING:
    from lmstrix.protocol.openai.responses import ResponseRequest

_KINDS = {
    FragmentKind.ANSWER: "message",
    FragmentKind.REASONING: "reasoning",
    FragmentKind.TOOL_CALL: "function_call",
}
_CUT = frozenset({StopReason.LENGTH, StopReason.CONTEXT})


class ResponseWriter:
    """Writes one response: fragments in, events out, and the response as a whole.

    `created` is Unix seconds.
    """

    def __init__(
        self, wish: ResponseRequest, *, response_id: str, model: str, created: int
    ) -> None:
        self._wish = wish
        self._id = response_id
        self._model = model
        self._created = created
        self._number = 0
        self._fragments: list[Fragment] = []
        self._output: list[dict[str, Any]] = []
        self._open: tuple[FragmentKind, int] | None = None  # kind and tool call of the last item

    def begin(self) -> list[bytes]:
        """The events before the first fragment."""
        response = self._response("in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def piece(self, fragment: Fragment) -> list[bytes]:
        """The events for one fragment."""
        self._fragments.append(fragment)
        events = []
        key = (fragment.kind, fragment.call.index if fragment.call else 0)
        if key != self._open:
            events += self._close()
            events += self._begin_item(fragment)
            self._open = key
        if fragment.text:
            events.append(self._delta(fragment))
        return events

    def end(self, stats: Stats) -> list[bytes]:
        """The events after the last fragment."""
        events = self._close()
        cut = stats.stop_reason in _CUT
        name = "response.incomplete" if cut else "response.completed"
        return [*events, self._event(name, response=self.whole(stats))]

    def failed(self, error: dict[str, Any]) -> list[bytes]:
        """The events of an answer that broke off; `error` has `code` and `message`."""
        response = self._response("failed") | {"error": error}
        return [*self._close(), self._event("response.failed", response=response)]

    def whole(self, stats: Stats) -> dict[str, Any]:
        """The response, once all its items are closed."""
        self._close()
        cut = stats.stop_reason in _CUT
        response = self._response("incomplete" if cut else "completed")
        response["usage"] = self._usage(stats)
        if cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        return response

    def message(self) -> Message:
        """What was answered, as the next question's past has it."""
        calls = calls_of(self._fragments)
        return Message(
            Role.ASSISTANT,
            text_of(self._fragments, FragmentKind.ANSWER),
            tool_calls=tuple(
                ToolCall(
                    id=call.id,
                    name=call.function.name or "",
                    arguments=str(call.function.arguments),
                )
                for call in calls
            ),
            reasoning=text_of(self._fragments, FragmentKind.REASONING),
        )

    def _begin_item(self, fragment: Fragment) -> list[bytes]:
        kind, index = _KINDS[fragment.kind], len(self._output)
        item: dict[str, Any] = {
            "id": f"{kind[:2]}_{self._id.removeprefix('resp_')}_{index}",
            "type": kind,
            "status": "in_progress",
        }
        if kind == "message":
            item |= {"role": "assistant", "content": []}
        elif kind == "reasoning":
            item |= {"summary": [], "content": []}
        else:
            assert fragment.call is not None
            item |= {
                "call_id": name_or(fragment.call.index, fragment.call.id),
                "name": fragment.call.name,
                "arguments": "",
            }
        self._output.append(item)
        events = [self._event("response.output_item.added", output_index=index, item=item)]
        if kind != "function_call":
            part = _part(kind)
            events.append(self._place("response.content_part.added", part=part))
            item["content"] = [part]
        return events

    def _delta(self, fragment: Fragment) -> bytes:
        item = self._output[-1]
        if fragment.kind is FragmentKind.TOOL_CALL:
            item["arguments"] += fragment.text
            return self._event(
                "response.function_call_arguments.delta",
                item_id=item["id"],
                output_index=len(self._output) - 1,
                delta=fragment.text,
            )
        part = item["content"][0]
        part["text"] += fragment.text
        if fragment.kind is FragmentKind.REASONING:
            return self._place("response.reasoning_text.delta", delta=fragment.text)
        chances = [
            {
                "token": one.text,
                "logprob": one.logprob,
                "top_logprobs": [{"token": text, "logprob": value} for text, value in one.top],
            }
            for one in fragment.logprobs
        ]
        part["logprobs"] += chances
        return self._place("response.output_text.delta", delta=fragment.text, logprobs=chances)

    def _close(self) -> list[bytes]:
        """The events that end the item under way."""
        if self._open is None:
            return []
        (kind, _), self._open = self._open, None
        item = self._output[-1]
        item["status"] = "completed"
        events = []
        if kind is FragmentKind.TOOL_CALL:
            events.append(
                self._event(
                    "response.function_call_arguments.done",
                    item_id=item["id"],
                    output_index=len(self._output) - 1,
                    name=item["name"],
                    arguments=item["arguments"],
                )
            )
        else:
            part = item["content"][0]
            if kind is FragmentKind.REASONING:
                done = self._place("response.reasoning_text.done", text=part["text"])
            else:
                text, chances = part["text"], part["logprobs"]
                done = self._place("response.output_text.done", text=text, logprobs=chances)
            events.append(done)
            events.append(self._place("response.content_part.done", part=part))
        index = len(self._output) - 1
        events.append(self._event("response.output_item.done", output_index=index, item=item))
        return events

    def _place(self, kind: str, **fields: Any) -> bytes:
        index = len(self._output) - 1
        item_id = self._output[-1]["id"]
        return self._event(kind, item_id=item_id, output_index=index, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"

    def _response(self, status: str) -> dict[str, Any]:
        wish = self._wish
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": wish.instructions,
            "max_output_tokens": wish.max_output_tokens,
            "model": self._model,
            "output": self._output,
            "parallel_tool_calls": wish.parallel_tool_calls is not False,
            "previous_response_id": wish.previous_response_id,
            "reasoning": {"effort": wish.reasoning and wish.reasoning.effort, "summary": None},
            "store": wish.store is not False,
            "temperature": wish.temperature,
            "text": {"format": {"type": "text"}} if wish.text is None else wish.text,
            "tool_choice": wish.tool_choice or "auto",
            "tools": wish.tools,
            "top_p": wish.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": wish.user,
            "metadata": wish.metadata or {},
        }

    def _usage(self, stats: Stats) -> dict[str, Any] | None:
        tokens = sum(fragment.tokens for fragment in self._fragments)
        counts = usage_of(stats, tokens)
        if counts is None:
            return None
        thought = sum(f.tokens for f in self._fragments if f.kind is FragmentKind.REASONING)
        return {
            "input_tokens": counts.prompt_tokens,
            "input_tokens_details": {"cached_tokens": stats.cached_tokens or 0},
            "output_tokens": counts.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": counts.total_tokens,
        }


def _part(kind: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": ""}
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
