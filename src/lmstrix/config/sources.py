"""Read a settings file into dotted keys, each with the line it stands on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_TABLE = re.compile(r"\s*\[\[?([^\[\]]+)\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_JSON_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}]|\n')


class Document(msgspec.Struct, frozen=True):
    """A settings file as read: its tables, and the line of each dotted key."""

    path: Path
    tables: dict[str, Any]
    lines: dict[str, int]

    def line(self, key: str) -> int | None:
        """The line of `key`, or of the nearest table around it."""
        while key:
            if key in self.lines:
                return self.lines[key]
            key = key.rpartition(".")[0]
        return None

    def where(self, key: str) -> str:
        """`path:line` of a key."""
        line = self.line(key)
        return f"{self.path}:{line}" if line else str(self.path)


def is_there(path: Path) -> bool:
    """Whether there is something to read at `path`; what may not be known, reading will tell."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def read_document(path: Path) -> Document:
    """Read a TOML or, by its ending, JSON file. Raises `SettingsError` naming file and line."""
    try:
        # Windows editors like to begin a file with a byte order mark.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {error.strerror}.",
            source=str(path),
            hint="Check that it is there and that you may read it.",
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, line, "it is not UTF-8 text") from error
    if path.suffix == ".json":
        return Document(path, _json_tables(path, text), dict(_json_lines(text)))
    return Document(path, _toml_tables(path, text), dict(_toml_lines(text)))


def flatten(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested tables; an empty table is a value of its own."""
    for name, value in tables.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _toml_tables(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  # most commands run without any settings file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise _unreadable(path, line, f"it is not valid TOML: {error}") from error


def _json_tables(path: Path, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise _unreadable(path, 1, "it is not a JSON object") from error
    except msgspec.DecodeError as error:
        found = re.search(r"byte (\d+)", str(error))  # else it ended too early
        until = text.encode()[: int(found[1])] if found else text.encode()
        raise _unreadable(path, until.count(b"\n") + 1, f"it is not valid JSON: {error}") from error


def _unreadable(path: Path, line: int, why: str) -> SettingsError:
    return SettingsError(
        f"The settings file {path} cannot be read at line {line}: {why}.",
        source=str(path),
        line=line,
        hint="Correct that line, or move the file away to go on without it.",
    )


def _toml_lines(text: str) -> Iterator[tuple[str, int]]:
    """Where keys stand. tomllib does not tell; for messages a look at each line is enough."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _dotted(found[1])
            yield table, number
        elif found := _KEY.match(line):
            key = _dotted(found[1])
            yield (f"{table}.{key}" if table else key), number


def _dotted(written: str) -> str:
    return ".".join(part.strip("\"'") for part in _PART.findall(written))


def _json_lines(text: str) -> Iterator[tuple[str, int]]:
    path: list[str] = []
    key, line = "", 1
    for token in _JSON_TOKEN.finditer(text):
        if token[0] == "\n":
            line += 1
        elif token[0] == "{":
            path.append(key)
        elif token[0] == "}":
            if path:
                path.pop()
        elif token[2]:
            key = msgspec.json.decode(token[1], type=str)
            yield ".".join([*path[1:], key]), line
            line += token[2].count("\n")
