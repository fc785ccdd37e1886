"""What would be sent, for reading and as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmstrix.cli.terminal import table
from lmstrix.cli.units import tokens

if TYPE_CHECKING:
    from lmstrix.explain import Explanation


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
    rows = [
        (
            parameter.name,
            _shown(parameter.value),
            parameter.origin,
            f"instead of {_shown(parameter.default)}" if parameter.differs else "",
        )
        for parameter in explanation.parameters
    ]
    return [
        f"Model     {explanation.model} ({instance.provider}, instance {instance.id})",
        f"Context   {tokens(explanation.context_tokens)} tokens",
        f"Prompt    {tokens(explanation.prompt_tokens)} tokens",
        *(["", "The prompt as the model sees it:"] if explanation.rendered else []),
        *(f"  {line}" for line in _visible_lines(explanation.rendered)),
        "",
        "Parameters:",
        *(f"  {line}" for line in table(("name", "value", "from", ""), rows)),
        "",
        "What is sent:",
        f"  {explanation.wire.method} {explanation.wire.path}",
        f"  {explanation.wire.body.decode()}",
        *(f"note: {note}" for note in explanation.notes),
    ]


def _visible_lines(text: str) -> list[str]:
    """Lines of `text` with their ends and all else that cannot be seen written as escapes."""
    *ended, last = (
        "".join(c if c.isprintable() and c != "\\" else repr(c)[1:-1] for c in line)
        for line in text.split("\n")
    )
    return [*(f"{line}\\n" for line in ended), *([last] if last else [])]


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
