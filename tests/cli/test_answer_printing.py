"""Answers on a terminal: reasoning apart, tool calls whole, no line taken away that is written."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING

import pytest

from lmstrix.answer import Answer, AnswerFlow
from lmstrix.cli.answer_printing import AnswerPrinter
from lmstrix.cli.invocation import Invocation
from lmstrix.cli.terminal import Terminal
from lmstrix.types import (
    CallPart,
    Fragment,
    FragmentKind,
    Instance,
    Sampling,
    Stats,
    StopReason,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

THOUGHT = Fragment("Let me see.", 1, FragmentKind.REASONING)
TEXT = Fragment("I will ask.")
CALL = (
    Fragment("", 0, FragmentKind.TOOL_CALL, CallPart(0, "c", "add")),
    Fragment('{"a": ', 1, FragmentKind.TOOL_CALL, CallPart(0)),
    Fragment("2}", 1, FragmentKind.TOOL_CALL, CallPart(0)),
)


class Screen(io.StringIO):
    """Both streams of a terminal in one, as they are seen."""

    def isatty(self) -> bool:
        return True


def answering(*fragments: Fragment) -> Answer:
    flow = AnswerFlow()

    async def pump() -> None:
        flow.model = "m"
        flow.instance = Instance(
            id="m", model_key="m", provider="p", server="s", context_tokens=512
        )
        for fragment in fragments:
            flow.add(fragment)
        flow.finish(Stats(stop_reason=StopReason.END))

    return Answer(flow, pump)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """`await shown(fragments, stream=True)`: what is on the screen in the end, raw."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    async def run(
        fragments: Sequence[Fragment],
        *,
        stream: bool = True,
        color: bool | None = None,
        quiet: bool = False,
        form: str = "text",
    ) -> str:
        screen = Screen()
        terminal = Terminal(screen, screen, color=color, quiet=quiet)
        printer = AnswerPrinter(
            terminal,
            prompt="Hi",
            sampling=Sampling(),
            stream=stream,
            form=form,
            wrap=True,
            verbose=False,
            save=None,
        )
        async with answering(*fragments) as answer:
            await printer.print(answer, Invocation())
        return screen.getvalue()

    return run


@pytest.mark.parametrize("stream", [True, False])
async def test_reasoning_is_dimmed_above_the_answer(shown: Callable[..., object], *, stream: bool):
    seen = await shown([THOUGHT, TEXT], stream=stream)
    assert "\x1b[2mReasoning:\nLet me see.\x1b[0m" in seen
    assert re.sub(r"\x1b\[\dm", "", seen) == "Reasoning:\nLet me see.\n\nI will ask.\n"
    plain = await shown([THOUGHT, TEXT], stream=stream, color=False)
    assert plain == "Reasoning:\nLet me see.\n\nI will ask.\n"
    assert await shown([THOUGHT, TEXT], stream=stream, quiet=True) == "I will ask.\n"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_call_is_a_line_of_its_own(shown: Callable[..., object], *, stream: bool):
    seen = await shown([THOUGHT, TEXT, *CALL], stream=stream, color=False)
    assert seen == 'Reasoning:\nLet me see.\n\nI will ask.\nadd({"a": 2})\n'
    alone = await shown(CALL, stream=stream)
    assert alone.rpartition("\r")[2] == 'add({"a": 2})\n'


async def test_a_tool_call_on_its_way_takes_no_written_line_away(shown: Callable[..., object]):
    seen = await shown([THOUGHT, *CALL], color=False)
    assert seen.startswith("Reasoning:\nLet me see.\n\n")
    assert seen.endswith('add({"a": 2})\n')


async def test_data_has_everything_in_its_own_field(shown: Callable[..., object]):
    found = json.loads(await shown([THOUGHT, TEXT, *CALL], stream=False, form="json"))
    assert (found["text"], found["reasoning"]) == ("I will ask.", "Let me see.")
    assert found["tool_calls"] == [{"id": "c", "name": "add", "arguments": '{"a": 2}'}]
