"""Tools: how they are described to a model, and what is done with the calls it writes.

A tool is a function with a docstring and type hints, a `ToolFunctionDef`, a dictionary of the same
names, or `RawTool`, whose parameters are a JSON schema as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NotRequired, Self, TypeAlias, TypedDict, TypeVar, get_type_hints

import msgspec

from lmstrix.lmstudio.errors import LMStudioValueError
from lmstrix.lmstudio.formats import json_schema
from lmstrix.protocol.lmstudio.chats import LlmTool, LlmToolFunction, ToolCallRequest

T = TypeVar("T")
_NO_DEFAULT = object()


class ToolParamDefDict(TypedDict, Generic[T]):
    """A parameter with its default."""

    type: type[T]
    default: NotRequired[T]


class ToolFunctionDefDict(TypedDict):
    """`ToolFunctionDef` as a dictionary."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    implementation: Callable[..., Any]


class ToolFunctionDef(msgspec.Struct, kw_only=True, frozen=True):
    """A function that a model may call.

    `parameters` has each one's type, or a `{"type": …, "default": …}`. A type may be
    `Annotated[int, msgspec.Meta(description="…")]`, which tells the model what it is for.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    implementation: Callable[..., Any]

    @classmethod
    def from_callable(
        cls,
        f: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> Self:
        """From a function, its docstring and its type hints. Raises `LMStudioValueError`."""
        import inspect  # noqa: PLC0415  # half as much to import as all the rest here

        name = name or getattr(f, "__name__", None)
        if not name:
            raise LMStudioValueError(f"Could not extract tool name from {f!r}")
        description = description or f.__doc__
        if not description:
            raise LMStudioValueError(
                f"Could not extract tool description from {f!r} (no docstring set)"
            )
        try:
            parameters: dict[str, Any] = get_type_hints(f, include_extras=True)
            signature = inspect.signature(f)
        except (TypeError, NameError, ValueError) as problem:
            raise LMStudioValueError(
                f"Could not extract tool parameter info from {f!r}: {problem}"
            ) from None
        parameters.pop("return", None)
        for parameter in signature.parameters.values():
            kind = parameters.get(parameter.name, Any)
            if parameter.default is not inspect.Parameter.empty:
                parameters[parameter.name] = {"type": kind, "default": parameter.default}
            elif parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                parameters.setdefault(parameter.name, kind)
        return cls(name=name, description=description, parameters=parameters, implementation=f)

    def arguments_type(self) -> type[msgspec.Struct]:
        """The struct that arguments must fit."""
        struct_fields: list[Any] = []
        for name, value in self.parameters.items():
            kind, default = _kind_and_default(value)
            struct_fields.append((name, kind) if default is _NO_DEFAULT else (name, kind, default))
        return msgspec.defstruct(f"{self.name.capitalize()}Parameters", struct_fields, kw_only=True)


class RawTool(msgspec.Struct, kw_only=True, frozen=True):
    """A tool whose parameters are a JSON schema of an object, taken as it is.

    Without an `implementation` it can be offered, and its calls be read, but not run by `act`.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any]
    implementation: Callable[..., Any] | None = None


ToolDefinition: TypeAlias = ToolFunctionDef | ToolFunctionDefDict | RawTool | Callable[..., Any]


class PreparedCall(msgspec.Struct, frozen=True):
    """A tool with the arguments it is to be called with."""

    request: ToolCallRequest
    implementation: Callable[..., Any]
    arguments: Mapping[str, Any]
    is_async: bool


class InvalidCallError(Exception):
    """A model's call that cannot be followed. Its text is what the model is told."""


class _Tool(msgspec.Struct, frozen=True):
    definition: LlmTool
    arguments: type[msgspec.Struct] | None
    implementation: Callable[..., Any] | None


class Toolbox:
    """The tools of one request: what the model is told of them, and the way from a call to a run.

    Raises `LMStudioValueError` for what is no tool, and for two of one name.
    """

    def __init__(self, tools: Iterable[ToolDefinition]) -> None:
        self._tools: dict[str, _Tool] = {}
        for tool in tools:
            made = _described(tool)
            name = made.definition.function.name
            if name in self._tools:
                raise LMStudioValueError(
                    f"Duplicate tool names are not permitted ({name!r} repeated)"
                )
            self._tools[name] = made
        if not self._tools:
            raise LMStudioValueError("Tool using actions require at least one tool to be defined.")

    def definitions(self) -> list[dict[str, Any]]:
        """What the model is told of each."""
        return [tool.definition.to_dict() for tool in self._tools.values()]

    def setting(self) -> dict[str, Any]:
        """The setting that offers them."""
        return {"type": "toolArray", "tools": self.definitions()}

    def refuse_unrunnable(self) -> None:
        """Raise `LMStudioValueError` where one of them cannot be run."""
        for name, tool in self._tools.items():
            if tool.implementation is None:
                raise LMStudioValueError(
                    f"The tool {name!r} has no implementation to run.",
                    hint="Give it one, or ask with respond(tools=…) and read the calls.",
                )

    def prepare(self, request: ToolCallRequest) -> PreparedCall:
        """The run for a call. Raises `InvalidCallError`."""
        tool = self._tools.get(request.name)
        if tool is None or tool.implementation is None:
            raise InvalidCallError(f"Cannot find tool with name {request.name}.")
        arguments: Mapping[str, Any] = request.arguments or {}
        if tool.arguments is not None:
            try:
                parsed = msgspec.convert(arguments, tool.arguments)
            except msgspec.ValidationError as problem:
                raise InvalidCallError(
                    f"Failed to parse arguments for tool {request.name}: {problem}"
                ) from problem
            arguments = {name: getattr(parsed, name) for name in parsed.__struct_fields__}
        from inspect import iscoroutinefunction  # noqa: PLC0415  # as above

        is_async = iscoroutinefunction(tool.implementation)
        return PreparedCall(request, tool.implementation, arguments, is_async)


def result_text(result: Any) -> str:
    """What a model is told of a tool's result."""
    return json.dumps(result, ensure_ascii=False, default=msgspec.to_builtins)


def _described(tool: ToolDefinition) -> _Tool:
    if isinstance(tool, Mapping):
        tool = _made(RawTool if _is_schema(tool.get("parameters")) else ToolFunctionDef, tool)
    if isinstance(tool, RawTool):
        return _Tool(
            _definition(tool.name, tool.description, tool.parameters), None, tool.implementation
        )
    if isinstance(tool, ToolFunctionDef):
        definition = tool
    elif callable(tool):
        definition = ToolFunctionDef.from_callable(tool)
    else:
        raise LMStudioValueError(f"{tool!r} is no tool.")
    arguments = definition.arguments_type()
    schema = json_schema(arguments)
    schema.pop("title", None)
    if not schema["$defs"]:
        del schema["$defs"]
    described = _definition(definition.name, definition.description, schema)
    return _Tool(described, arguments, definition.implementation)


def _definition(name: str, description: str, parameters: Mapping[str, Any]) -> LlmTool:
    function = LlmToolFunction(name=name, description=description, parameters=parameters)
    return LlmTool(type="function", function=function)


def _made(kind: Any, tool: Mapping[str, Any]) -> Any:
    try:
        return kind(**tool)
    except TypeError as problem:
        raise LMStudioValueError(
            f"{sorted(tool)} are not the fields of a tool: {problem}"
        ) from None


def _is_schema(parameters: object) -> bool:
    """Whether it is a JSON schema of an object, not the types of parameters by name."""
    return (
        isinstance(parameters, Mapping)
        and parameters.get("type") == "object"
        and isinstance(parameters.get("properties", {}), Mapping)
    )


def _kind_and_default(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, Mapping):
        return value, _NO_DEFAULT
    if "type" not in value:
        raise LMStudioValueError(f"Missing 'type' key in tool parameter definition {value!r}")
    return value["type"], value.get("default", _NO_DEFAULT)
