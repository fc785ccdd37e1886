"""From the items of an answer to messages."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.gateway.lmstudio_native.telling import Telling
from lmstrix.types import (
    CallPart,
    Fragment,
    FragmentKind,
    Phase,
    Progress,
    Stats,
    StopReason,
    StreamItem,
    TokenLogprob,
)

THINK, CALL = FragmentKind.REASONING, FragmentKind.TOOL_CALL
MARKS = ("<think>", "</think>")
ITEMS = st.one_of(
    st.builds(Fragment, st.text(max_size=4), st.integers(0, 3), st.sampled_from([*FragmentKind])),
    st.builds(Progress, phase=st.sampled_from([*Phase]), fraction=st.floats(-1, 2)),
)


def told(
    *items: StreamItem, marks: tuple[str, str] | None = MARKS
) -> tuple[list[dict[str, Any]], Telling]:
    telling = Telling(reasoning=marks, started_s=0.0)
    messages = [
        msgspec.json.decode(msgspec.json.encode(message))
        for number, item in enumerate(items)
        for message in telling.feed(item, now_s=float(number + 1))
    ]
    return messages, telling


def pieces(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (one["fragment"]["content"], one["fragment"]["reasoningType"])
        for one in messages
        if one["type"] == "fragment"
    ]


def test_what_was_thought_lies_between_its_marks() -> None:
    end = Stats(stop_reason=StopReason.END)
    messages, _ = told(Fragment("hm", 1, THINK), Fragment("m", 1, THINK), Fragment("Yes"), end)
    assert pieces(messages) == [
        ("<think>", "reasoningStartTag"),
        ("hm", "reasoning"),
        ("m", "reasoning"),
        ("</think>", "reasoningEndTag"),
        ("Yes", "none"),
    ]


def test_thoughts_that_nothing_follows_are_ended() -> None:
    messages, _ = told(Fragment("hm", 1, THINK), Stats(stop_reason=StopReason.LENGTH))
    assert pieces(messages)[-1] == ("</think>", "reasoningEndTag")


def test_who_wants_no_difference_gets_none() -> None:
    messages, _ = told(Fragment("hm", 1, THINK), Fragment("Yes"), marks=None)
    assert pieces(messages) == [("hm", "none"), ("Yes", "none")]


@given(st.lists(ITEMS, max_size=20))
def test_starts_and_ends_alternate_and_no_text_is_lost(items: list[StreamItem]) -> None:
    messages, telling = told(*items, Stats(stop_reason=StopReason.END))
    kinds = [kind for _, kind in pieces(messages) if kind.endswith("Tag")]
    assert kinds == ["reasoningStartTag", "reasoningEndTag"] * (len(kinds) // 2)
    text = "".join(text for text, kind in pieces(messages) if not kind.endswith("Tag"))
    assert text == "".join(
        item.text for item in items if isinstance(item, Fragment) and item.kind is not CALL
    )
    shares = [one["progress"] for one in messages if one["type"] == "promptProcessingProgress"]
    assert shares == sorted(set(shares))
    assert all(0 <= share <= 1 for share in shares)
    msgspec.json.encode(telling.stats(now_s=99.0))


def test_calls_are_told_one_after_the_other() -> None:
    messages, _ = told(
        Fragment("", 1, CALL, CallPart(0, "id-0", "add")),
        Fragment('{"a":', 1, CALL, CallPart(0)),
        Fragment("1}", 1, CALL, CallPart(0)),
        Fragment("", 1, CALL, CallPart(1, "id-1", "sub")),
        Stats(stop_reason=StopReason.TOOL_CALLS),
    )
    assert [one["type"].removeprefix("toolCallGeneration") for one in messages] == [
        "Start",
        "NameReceived",
        "ArgumentFragmentGenerated",
        "ArgumentFragmentGenerated",
        "End",
        "Start",
        "NameReceived",
        "End",
    ]
    first, second = (one["toolCallRequest"] for one in messages if one["type"].endswith("End"))
    assert first == {"type": "function", "name": "add", "id": "id-0", "arguments": {"a": 1}}
    assert (second["name"], second["arguments"]) == ("sub", {})


def test_arguments_that_are_no_object_fail_the_call_alone() -> None:
    messages, telling = told(
        Fragment("[1]", 1, CALL, CallPart(0, "id", "add")), Fragment("Sorry"),
        Stats(stop_reason=StopReason.END),
    )  # fmt: skip
    failed = next(one for one in messages if one["type"] == "toolCallGenerationFailed")
    assert "add" in failed["error"]["title"]
    assert failed["rawContent"] == "[1]"
    assert pieces(messages) == [("Sorry", "none")]
    assert telling.stats(now_s=5.0).stop_reason == "eosFound"


def test_an_answer_that_was_cancelled_tells_how_far_it_came() -> None:
    progress = Progress(phase=Phase.PROMPT, fraction=1.0, processed_tokens=9, total_tokens=9)
    _, telling = told(progress, Fragment("a", 2), Fragment("b", 1))
    stats = telling.stats(now_s=5.0, cancelled=True)
    assert stats.stop_reason == "userStopped"
    assert (stats.prompt_tokens_count, stats.predicted_tokens_count) == (9, 3)
    assert stats.total_tokens_count == 12
    assert stats.time_to_first_token_sec == 2.0
    assert stats.total_time_sec == 5.0
    assert stats.tokens_per_second == 1.0


def test_what_is_not_known_is_left_out_and_nothing_is_infinite() -> None:
    _, telling = told(
        Fragment("a"),
        Stats(stop_reason=StopReason.END, predicted_tokens=1, predict_s=float("inf")),
    )
    stats = msgspec.json.decode(msgspec.json.encode(telling.stats(now_s=1.0)))
    assert "promptTokensCount" not in stats
    assert "totalTokensCount" not in stats
    assert all(value is not None for value in stats.values())


def test_log_probabilities_are_told_with_their_alternatives() -> None:
    chance = TokenLogprob("a", -0.5, (("a", -0.5), ("b", -1.0)))
    messages, _ = told(Fragment("a", 1, logprobs=(chance,)))
    (token,) = messages[0]["fragment"]["tokens"]
    assert (token["text"], token["logProb"]) == ("a", -0.5)
    assert [one["text"] for one in token["candidates"]] == ["a", "b"]
    assert isinstance(token["id"], int)  # clients insist on a number
