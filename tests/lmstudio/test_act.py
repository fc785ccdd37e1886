from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from scripted.lmstudio import ScriptedServer, fragment, success

import lmstrix.lmstudio as lms

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripted.lmstudio import Talk


def calls(*requests: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "type": "toolCallGenerationEnd",
            "toolCallRequest": {
                "type": "function",
                "id": str(number),
                "name": name,
                "arguments": arguments,
            },
        }
        for number, (name, arguments) in enumerate(requests)
    ]


def rounds(server: ScriptedServer, *answers: list[dict[str, Any]]) -> None:
    """Each prediction gets the next of these answers."""
    left = list(answers)

    async def predict(talk: Talk) -> None:
        for message in left.pop(0):
            await talk.send(message)
        await talk.send(success("toolCalls" if left else "eosFound"))
        await talk.close()

    server.handlers["predict"] = predict


def histories(server: ScriptedServer) -> list[list[dict[str, Any]]]:
    return [
        frame["creationParameter"]["history"]["messages"]
        for frame in server.sent("channelCreate")
        if frame["endpoint"] == "predict"
    ]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def slowly_add(a: int, b: int) -> int:
    """Add two numbers, in time."""
    await asyncio.sleep(0)
    return a + b


def test_tools_are_run_and_their_results_told_until_no_more_are_called(
    llm: Any, server: ScriptedServer
) -> None:
    rounds(
        server,
        [fragment("I add."), *calls(("add", {"a": 1, "b": 2}), ("slowly_add", {"a": 3, "b": 4}))],
        [fragment("3 and 7")],
    )
    chat = lms.Chat("You add.")
    chat.add_user_message("Add.")
    completed: list[lms.PredictionRoundResult] = []
    seen: list[object] = []
    result = llm.act(
        chat,
        [add, slowly_add],
        max_parallel_tool_calls=None,
        on_message=chat.append,
        on_prediction_completed=completed.append,
        on_round_start=lambda number: seen.append(("start", number)),
        on_round_end=lambda number: seen.append(("end", number)),
        on_first_token=lambda number: seen.append(("first", number)),
        on_prediction_fragment=lambda piece, number: seen.append((piece.content, number)),
        on_prompt_processing_progress=lambda done, number: seen.append((done, number)),
    )
    assert result.rounds == 2
    assert result.total_time_seconds > 0
    assert [one.round_index for one in completed] == [0, 1]
    assert completed[1].content == "3 and 7"
    assert seen == [
        ("start", 0),
        (0.0, 0),
        (1.0, 0),
        ("first", 0),
        ("I add.", 0),
        ("end", 0),
        ("start", 1),
        (0.0, 1),
        (1.0, 1),
        ("first", 1),
        ("3 and 7", 1),
        ("end", 1),
    ]
    told = histories(server)[1]
    assert [message["role"] for message in told] == ["system", "user", "assistant", "tool"]
    assert [part["type"] for part in told[2]["content"]] == [
        "text",
        "toolCallRequest",
        "toolCallRequest",
    ]
    assert told[3]["content"] == [
        {"type": "toolCallResult", "content": "3", "toolCallId": "0"},
        {"type": "toolCallResult", "content": "7", "toolCallId": "1"},
    ]
    assert chat.to_dict()["messages"] == [
        *told,
        {"role": "assistant", "content": [{"type": "text", "text": "3 and 7"}]},
    ]


def test_tools_run_at_the_same_time_when_they_may(llm: Any, server: ScriptedServer) -> None:
    rounds(server, calls(("meet", {}), ("meet", {})), [fragment("met")])
    together = threading.Barrier(2, timeout=10)

    def meet() -> bool:
        """Wait for the other."""
        together.wait()
        return True

    llm.act("Meet.", [meet], max_parallel_tool_calls=2)
    results = histories(server)[1][-1]["content"]
    assert [result["content"] for result in results] == ["true", "true"]


def test_tools_run_one_after_the_other_unless_told_otherwise(
    llm: Any, server: ScriptedServer
) -> None:
    rounds(server, calls(("count", {}), ("count", {}), ("count", {})), [fragment("done")])
    running: list[int] = []
    most: list[int] = []

    def count() -> int:
        """Count who runs."""
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)  # what is measured: whether another begins meanwhile
        return running.pop()

    llm.act("Count.", [count])
    assert most == [1, 1, 1]


def test_a_tool_begins_while_the_model_still_writes(llm: Any, server: ScriptedServer) -> None:
    ran = threading.Event()

    async def predict(talk: Talk) -> None:
        if len(histories(server)) > 1:
            await talk.send(fragment("done"))
        else:
            await talk.send(calls(("note", {}))[0])
            assert await asyncio.to_thread(ran.wait, 10)
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = predict

    def note() -> None:
        """Take note."""
        ran.set()

    assert llm.act("Go.", [note]).rounds == 2


def test_a_tool_that_fails_is_told_to_the_model_and_to_the_caller(
    llm: Any, server: ScriptedServer
) -> None:
    def divide(a: float, b: float) -> float:
        """Divide."""
        return a / b

    rounds(
        server,
        calls(("divide", {"a": 1, "b": 0}), ("divide", {"a": "x"}), ("multiply", {})),
        [fragment("sorry")],
    )
    problems: list[tuple[str, type | None]] = []

    def handle(problem: lms.LMStudioPredictionError, request: lms.ToolCallRequest | None) -> None:
        assert request is not None
        problems.append((request.name, type(problem.__cause__)))

    llm.act("Divide.", [divide], handle_invalid_tool_request=handle)
    assert sorted(problems, key=str) == sorted(
        [
            ("divide", ZeroDivisionError),
            ("divide", lms.ValidationError),
            ("multiply", type(None)),
        ],
        key=str,
    )
    results = [part["content"] for part in histories(server)[1][-1]["content"]]
    assert "ZeroDivisionError" in json.loads(results[0])
    assert results[1].startswith("Failed to parse arguments for tool divide")
    assert results[2] == "Cannot find tool with name multiply."


def test_the_caller_may_say_what_the_model_is_told_or_end_it_all(
    llm: Any, server: ScriptedServer
) -> None:
    rounds(server, calls(("nope", {})), [fragment("ok")])
    llm.act("Go.", [add], handle_invalid_tool_request=lambda *_: "Use add.")
    assert histories(server)[-1][-1]["content"][0]["content"] == "Use add."

    rounds(server, calls(("nope", {})))

    def refuse(problem: Exception, request: object) -> None:
        raise problem

    with pytest.raises(lms.LMStudioPredictionError, match="Cannot find tool"):
        llm.act("Go.", [add], handle_invalid_tool_request=refuse)


def test_the_last_of_a_number_of_rounds_has_no_tools(llm: Any, server: ScriptedServer) -> None:
    rounds(server, calls(("add", {"a": 1, "b": 1})), [fragment("2")])
    assert llm.act("Add.", [add], max_prediction_rounds=2).rounds == 2
    fields = [
        {field["key"] for field in layer["config"]["fields"]}
        for frame in server.sent("channelCreate")
        if frame["endpoint"] == "predict"
        for layer in frame["creationParameter"]["predictionConfigStack"]["layers"]
    ]
    assert fields == [{"llm.prediction.tools"}, set()]
    rounds(server, calls(("add", {"a": 1, "b": 1})))
    with pytest.raises(lms.LMStudioPredictionError, match="final prediction round"):
        llm.act("Add.", [add], max_prediction_rounds=1)
    with pytest.raises(lms.LMStudioValueError, match="at least 1"):
        llm.act("Add.", [add], max_prediction_rounds=0)


def test_what_is_no_call_ends_the_rounds(llm: Any, server: ScriptedServer) -> None:
    rounds(server, [{"type": "toolCallGenerationFailed", "error": {"title": "no JSON"}}])
    with pytest.raises(lms.LMStudioPredictionError, match="Failed to parse tool call"):
        llm.act("Go.", [add])


def test_a_result_that_is_no_json_is_a_failure_of_the_tool(
    llm: Any, server: ScriptedServer
) -> None:
    def odd() -> object:
        """Give something odd."""
        return object()

    rounds(server, calls(("odd", {})), [fragment("hm")])
    llm.act("Go.", [odd])
    assert "TypeError" in histories(server)[1][-1]["content"][0]["content"]


def test_tools_of_a_raw_schema_are_run_with_what_the_model_wrote(
    llm: Any, server: ScriptedServer
) -> None:
    got: list[dict[str, Any]] = []
    look: Callable[..., Any] = lambda **given: got.append(given)  # noqa: E731  # as callers do
    tool = lms.RawTool(
        name="look", parameters={"type": "object", "properties": {}}, implementation=look
    )
    rounds(server, calls(("look", {"any_thing": [1]})), [fragment("seen")])
    llm.act("Look.", [tool])
    assert got == [{"any_thing": [1]}]
    with pytest.raises(lms.LMStudioValueError, match="no implementation"):
        llm.act("Look.", [lms.RawTool(name="x", parameters={})])
    with pytest.raises(lms.LMStudioValueError, match="at least one tool"):
        llm.act("Look.", [])
