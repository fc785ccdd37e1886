"""Change single values of a JSON text and leave every other character of it alone. Pure.

A file that another program writes is edited where it stands: what was there keeps its order, the
way its numbers are written, its indentation and its line ends.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANK = re.compile(r"[ \t\r\n]*")
_FIRST_INDENT = re.compile(r"[{\[][ \t]*\r?\n([ \t]+)")
_DECODER = json.JSONDecoder()
_BYTE_ORDER_MARK = "\ufeff"


class Value(NamedTuple):
    """A value and where it stands: `text[start:end]`, `depth` containers down from the root.

    `begins` is where its member begins, which in an object is at the key.
    """

    data: Any
    start: int
    end: int
    depth: int
    begins: int


def root_of(text: str) -> Value:
    """The whole document. Raises `ValueError` where it is no JSON, with line and column."""
    start = _skip(text, len(_BYTE_ORDER_MARK) if text.startswith(_BYTE_ORDER_MARK) else 0)
    data, end = _decode(text, start)
    if _skip(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return Value(data, start, end, 0, start)


def member(text: str, container: Value, key: str) -> Value | None:
    """The value of `key` in an object; of equal keys the last, which is the one that is read."""
    found = [value for name, value in members(text, container) if name == key]
    return found[-1] if found else None


def members(text: str, container: Value) -> Iterator[tuple[str, Value]]:
    """Keys and values of an object, in order."""
    position = container.start + 1
    for _ in range(_count(text, container)):
        begins = _skip(text, position)
        key, end = _decode(text, begins)
        start = _skip(text, _skip(text, end) + 1)  # beyond the colon
        data, end = _decode(text, start)
        yield key, Value(data, start, end, container.depth + 1, begins)
        position = _skip(text, end) + 1


def items(text: str, container: Value) -> Iterator[Value]:
    """The values of a list, in order."""
    position = container.start + 1
    for _ in container.data:
        start = _skip(text, position)
        data, end = _decode(text, start)
        yield Value(data, start, end, container.depth + 1, start)
        position = _skip(text, end) + 1


def with_value(text: str, value: Value, data: Any) -> str:
    """`text` with `data` in the place of `value`."""
    written = _written(text, data, value.depth, spread=False)
    return text[: value.start] + written + text[value.end :]


def with_item(text: str, container: Value, data: Any) -> str:
    """`text` with `data` at the end of a list."""
    last = list(items(text, container))[-1:]
    return _appended(text, container, last, "", data)


def with_member(text: str, container: Value, key: str, data: Any) -> str:
    """`text` with a new `key` at the end of an object."""
    last = [value for _, value in members(text, container)][-1:]
    return _appended(text, container, last, f"{json.dumps(key)}:{_after_colon(text)}", data)


def _appended(text: str, container: Value, last: list[Value], head: str, data: Any) -> str:
    depth = container.depth + 1
    if last:
        before = _blank_before(text, last[0].begins)
        lead = text[before : last[0].begins]
        if not lead and text[before - 1] in "[{":  # one alone tells nothing of commas
            lead = _after_colon(text)
        written = _written(text, data, depth, spread="\n" in lead)
        return f"{text[: last[0].end]},{lead}{head}{written}{text[last[0].end :]}"
    unit, newline = _indent(text), _newline(text)
    written = head + _written(text, data, depth, spread=unit is not None)
    if unit is not None:
        written = f"{newline}{unit * depth}{written}{newline}{unit * container.depth}"
    return text[: container.start + 1] + written + text[container.end - 1 :]


def _written(text: str, data: Any, depth: int, *, spread: bool) -> str:
    """`data` in the manner of `text`: over several lines where its neighbours are."""
    unit = _indent(text) if spread else None
    if unit is None:
        blank = _after_colon(text)
        return json.dumps(data, ensure_ascii=False, separators=(f",{blank}", f":{blank}"))
    lines = json.dumps(
        data, ensure_ascii=False, indent=unit, separators=(",", f":{_after_colon(text)}")
    )
    return lines.replace("\n", _newline(text) + unit * depth)


def _indent(text: str) -> str | None:
    """What one level is indented by, `None` where the text is one line."""
    if "\n" not in text.strip():
        return None
    found = _FIRST_INDENT.search(text)
    return found[1] if found else "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _after_colon(text: str) -> str:
    """A blank, unless the text does without."""
    return "" if re.search(r'"\s*:\S', text) and not re.search(r'"\s*:\s', text) else " "


def _decode(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _count(text: str, container: Value) -> int:
    """How many members an object has as written, equal keys counted each."""
    whole = text[container.start : container.end]
    pairs: list[int] = []
    # Called for the inner objects first and for `whole` itself last.
    json.loads(whole, object_pairs_hook=lambda found: pairs.append(len(found)))
    return pairs[-1]


def _skip(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    assert found is not None
    return found.end()


def _blank_before(text: str, position: int) -> int:
    while position and text[position - 1] in " \t\r\n":
        position -= 1
    return position
