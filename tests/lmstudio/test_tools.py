from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

import lmstrix.lmstudio as lms
from lmstrix.lmstudio.tools import InvalidCallError, Toolbox


def greet(name: str, greeting: str = "Hello") -> str:
    """Greet someone."""
    return f"{greeting}, {name}"


def test_a_function_is_described_by_its_hints_and_its_docstring() -> None:
    tool = lms.ToolFunctionDef.from_callable(greet)
    assert (tool.name, tool.description) == ("greet", "Greet someone.")
    assert tool.parameters == {"name": str, "greeting": {"type": str, "default": "Hello"}}
    assert tool.implementation is greet
    named = lms.ToolFunctionDef.from_callable(greet, name="say", description="Say it.")
    assert (named.name, named.description) == ("say", "Say it.")


def test_defaults_and_descriptions_are_in_the_schema() -> None:
    def look(
        where: Annotated[str, msgspec.Meta(description="The place.")],
        deep: bool = False,  # noqa: FBT001, FBT002  # a tool's
    ) -> None:
        """Look."""

    (described,) = Toolbox([look]).definitions()
    schema = described["function"]["parameters"]
    assert schema["properties"]["where"]["description"] == "The place."
    assert schema["properties"]["deep"] == {"type": "boolean", "default": False}
    assert schema["required"] == ["where"]
    assert "title" not in schema


def test_a_tool_may_be_a_dictionary_of_types_or_of_a_schema() -> None:
    by_types = {
        "name": "add",
        "description": "Add.",
        "parameters": {"a": int, "b": {"type": int, "default": 1}},
        "implementation": lambda a, b: a + b,
    }
    by_schema = {
        "name": "sub",
        "description": "Subtract.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    }
    first, second = Toolbox([by_types, by_schema]).definitions()  # type: ignore[list-item]
    assert first["function"]["parameters"]["required"] == ["a"]
    assert second["function"]["parameters"] == by_schema["parameters"]


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ([greet, greet], "Duplicate tool names"),
        ([5], "no tool"),
        ([{"name": "x"}], "not the fields of a tool"),
        ([lambda x: x], "no docstring"),
        ([], "at least one tool"),
        (
            [
                {
                    "name": "x",
                    "description": "x",
                    "parameters": {"a": {"default": 1}},
                    "implementation": greet,
                }
            ],
            "Missing 'type'",
        ),
    ],
)
def test_what_is_no_tool_is_refused(tools: list[Any], why: str) -> None:
    with pytest.raises(lms.LMStudioValueError, match=why):
        Toolbox(tools)


def test_a_call_gets_its_arguments_checked_and_its_defaults() -> None:
    toolbox = Toolbox([greet])
    call = toolbox.prepare(
        lms.ToolCallRequest(type="function", name="greet", arguments={"name": "Ann"})
    )
    assert call.implementation(**call.arguments) == "Hello, Ann"
    assert not call.is_async
    for arguments in ({}, {"name": 5}):
        wrong = lms.ToolCallRequest(type="function", name="greet", arguments=arguments)
        with pytest.raises(InvalidCallError, match="Failed to parse arguments"):
            toolbox.prepare(wrong)
    with pytest.raises(InvalidCallError, match="Cannot find tool"):
        toolbox.prepare(lms.ToolCallRequest(type="function", name="nope"))
