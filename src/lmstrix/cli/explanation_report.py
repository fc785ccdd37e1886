"""What would be sent, for reading and as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmstrix.cli.terminal import table
from lmstrix.cli.units import tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.explain import Explanation, Parameter


def explanation_data(explanation: Explanation) -> dict[str, Any]:
    """An explanation as plain data; the body as the text it is."""
    import msgspec  # only when asked for

    wire = explanation.wire
    data: dict[str, Any] = msgspec.to_builtins(explanation)
    data["wire"] = {"method": wire.method, "path": wire.path, "body": wire.body.decode()}
    return data


def explanation_lines(explanation: Explanation) -> list[str]:
    """What would be sent, for reading."""
    instance = explanation.instance
    return [
        f"Model     {explanation.model} ({instance.provider}, instance {instance.id})",
        f"Context   {_counted(explanation.context_tokens)}",
        f"Prompt    {_counted(explanation.prompt_tokens)}",
        *(["", "The prompt as the model sees it:"] if explanation.rendered else []),
        *(f"  {line}" for line in _visible_lines(explanation.rendered)),
        "",
        "Parameters:",
        *(f"  {line}" for line in _parameter_lines(explanation.parameters)),
        "",
        "What is sent:",
        f"  {explanation.wire.method} {explanation.wire.path}",
        f"  {explanation.wire.body.decode()}",
        *(f"note: {note}" for note in explanation.notes),
    ]


def _counted(number: int | None) -> str:
    return "not told by the server" if number is None else f"{tokens(number)} tokens"


def _parameter_lines(parameters: Sequence[Parameter]) -> list[str]:
    """Every parameter; where the server keeps its defaults to itself, those that were chosen."""
    told = any(parameter.default is not None for parameter in parameters)
    rows = [
        (
            parameter.name,
            _shown(parameter.value),
            parameter.origin,
            f"instead of {_shown(parameter.default)}" if told and parameter.differs else "",
        )
        for parameter in parameters
        if told or parameter.origin == "you"
    ]
    lines = table(("name", "value", "from", ""), rows) if rows else []
    rest = "the rest is" if rows else "all are"
    return lines if told else [*lines, f"({rest} the server's own, which it does not tell)"]


def _visible_lines(text: str) -> list[str]:
    """Lines of `text` with their ends and all else that cannot be seen written as escapes."""
    *ended, last = (
        "".join(c if c.isprintable() and c != "\\" else repr(c)[1:-1] for c in line)
        for line in text.split("\n")
    )
    return [*(f"{line}\\n" for line in ended), *([last] if last else [])]


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
