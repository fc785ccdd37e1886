"""The prompt that a command line spells out: arguments, standard input, files, placeholders."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from lmstrix.errors import LMStrixError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")
STDIN = "-"


def read_text(source: str, stdin: TextIO) -> str:
    """The text of a file, or of standard input for `-`.

    Raises `NotFoundError` where there is no such file and `UsageError` where it is not UTF-8.
    """
    name = "standard input" if source == STDIN else source
    try:
        data = _stdin_bytes(stdin) if source == STDIN else Path(source).read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"There is no file {source}.", hint="Check the path; '-' reads standard input."
        ) from error
    except OSError as error:
        raise LMStrixError(f"{name} cannot be read: {error.strerror or error}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{name} is not UTF-8 text: byte {data[error.start]:#04x} in line {line}.",
            hint=f"Convert it first: iconv -f latin1 -t utf-8 {source}",
        ) from error


def _stdin_bytes(stdin: TextIO) -> bytes:
    buffer = getattr(stdin, "buffer", None)
    return buffer.read() if buffer is not None else stdin.read().encode()


def fill(prompt: str, values: Mapping[str, str], *, text: str | None = None) -> str:
    """`prompt` with its `{{name}}` placeholders filled; inserted text is never read again.

    `text` fills `{{text}}`, or the only placeholder left whatever its name. Without any value
    the prompt is returned as it is. Raises `UsageError` for a placeholder without a value and
    for a value without a placeholder.
    """
    if not values and text is None:
        return prompt
    wanted = set(_PLACEHOLDER.findall(prompt))
    given = dict(values)
    if text is not None:
        left = wanted - given.keys()
        name = "text" if "text" in left or len(left) != 1 else next(iter(left))
        given[name] = text
    for name in given:
        if name not in wanted:
            raise UsageError(
                f"The prompt has no place for {name!r}: there is no {{{{{name}}}}} in it.",
                hint=_nearest(name, wanted) or f"Write {{{{{name}}}}} where it is to go.",
            )
    for name in sorted(wanted - given.keys()):
        raise UsageError(
            f"The prompt asks for {{{{{name}}}}}, which was not given.",
            hint=_nearest(name, given) or f"Give it with --dict {name}=...",
        )
    return _PLACEHOLDER.sub(lambda found: given[found[1]], prompt)


def _nearest(name: str, known: Mapping[str, str] | set[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def compose(
    prompt: str,
    *,
    values: Mapping[str, str],
    text: str | None,
    contexts: Sequence[str],
) -> str:
    """The prompt filled, behind the context texts, each apart by an empty line.

    Raises `UsageError` where nothing but white space is left.
    """
    filled = fill(prompt, values, text=text)
    if not filled.strip():
        raise UsageError(
            "The prompt is empty.", hint='Write it as the first argument: lmstrix infer "Hello"'
        )
    return "\n\n".join([*(context.strip("\n") for context in contexts), filled])
