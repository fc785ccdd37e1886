"""Which value wins: command line, environment, project, profile, user file, default."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin

import msgspec

from lmstrix.config.places import user_home
from lmstrix.config.settings import Settings, parse_size
from lmstrix.config.sources import Document, flatten, is_there, read_document
from lmstrix.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lmstrix.config.places import Places

COMMAND_LINE = "command line"
DEFAULT = "default"
PREFIX = "LMSTRIX_"
# Read elsewhere; they choose where settings come from and are none themselves.
NOT_SETTINGS = frozenset({"LMSTRIX_HOME", "LMSTRIX_CONFIG", "LMSTRIX_PROFILE", "LMSTRIX_DEBUG"})

_Layer: TypeAlias = dict[str, tuple[Any, str]]  # dotted key -> value, where it came from


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that hold.

    `origins` tells for every dotted key where its value came from: a variable's name,
    `path:line`, `command line` or `default`. `notes` says what was passed over, one sentence each.
    """

    settings: Settings
    origins: dict[str, str]
    notes: tuple[str, ...] = ()


def load_settings(
    places: Places,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    project_folder: Path | None = None,
    profile: str | None = None,
    config_file: Path | None = None,
) -> Effective:
    """The settings that hold, each with its origin.

    Command line (`overrides`: dotted keys; `None` means not given) > environment (`LMSTRIX_*`,
    `__` between table and key; `LMSTUDIO_BASE_URL` for `server`) > project file
    (`.lmstrix.toml` or `.lmstrix.json` in `project_folder` or the nearest folder above) >
    profile (`profiles/NAME.toml` or `.json`) > user file (`config_file` instead of the usual
    one) > defaults. LMStrix 1.x's files are read where 2.x has none of that name.

    Raises `SettingsError` naming file, line, key, what was expected and what was found.
    """
    environ = os.environ if environ is None else environ
    home = user_home(environ)
    notes: list[str] = []
    layers = [_user_layer(places, config_file, environ, notes)]  # the later wins
    if name := profile or environ.get("LMSTRIX_PROFILE"):
        layers.append(_profile_layer(name, places, home, notes))
    if project_folder is not None and (found := _project_file(project_folder, notes)):
        layers.append(_file_layer(found, home))
    layers.append(_environment_layer(environ, notes))
    layers.append(_override_layer(overrides or {}))

    origins = dict.fromkeys((key for key, kind in _kinds().items() if not _is_table(kind)), DEFAULT)
    tables: dict[str, Any] = {}
    for key, (value, origin) in (item for layer in layers for item in layer.items()):
        if _is_table(_kind(key)):
            continue  # an empty one
        origins[key] = origin
        *outer, name = _path(key)
        table = tables
        for step in outer:
            table = table.setdefault(step, {})
        table[name] = value
    _check_servers(tables, layers, origins)
    return Effective(
        settings=msgspec.convert(tables, Settings), origins=origins, notes=tuple(notes)
    )


def _check_servers(tables: dict[str, Any], layers: list[_Layer], origins: dict[str, str]) -> None:
    """Raise `SettingsError` for a server of which nobody says where it is."""
    known = {key: where for layer in layers for key, (_, where) in layer.items()} | origins
    keys = [key for key in known if key.startswith("servers.")]
    servers = tables.get("servers", {})
    for name in dict.fromkeys(_path(key)[1] for key in keys):
        if "url" in servers.get(name, {}):
            continue
        table = f"servers.{name}"
        place = next(known[key] for key in keys if f"{key}.".startswith(f"{table}."))
        source, _, number = place.rpartition(":")
        line = int(number) if source and number.isdigit() else None
        raise _wrong(
            f"{table} has no url",
            f"{table}.url",
            source if line else place,
            line,
            hint=f'Say where it is: url = "http://host:8080" below [{table}].',
        )


def _user_layer(
    places: Places, named: Path | None, environ: Mapping[str, str], notes: list[str]
) -> _Layer:
    home = user_home(environ)
    if named is None and (variable := environ.get("LMSTRIX_CONFIG")):
        named = Path(variable)
    if named is not None:
        return _file_layer(named, home)
    if is_there(places.settings_file):
        return _file_layer(places.settings_file, home)
    if is_there(old := places.legacy / "config.json"):
        return _legacy_layer(old, home, notes)
    return {}


def _file_layer(path: Path, home: Path) -> _Layer:
    document = read_document(path)
    return dict(_document_items(document, home))


def _document_items(document: Document, home: Path) -> Iterator[tuple[str, tuple[Any, str]]]:
    for key, value in flatten(document.tables):
        if key == "$schema":
            continue
        line = document.line(key)
        checked = _checked(key, value, source=str(document.path), line=line)
        if key == "model_folders":
            checked = tuple(_anchored(folder, document.path.parent, home) for folder in checked)
        yield key, (checked, document.where(key))


def _legacy_layer(path: Path, home: Path, notes: list[str]) -> _Layer:
    """What of a 1.x file still means something; the rest is named in a note, never an error."""
    try:
        document = read_document(path)
    except SettingsError as error:
        notes.append(f"LMStrix 1.x settings passed over: {error.message}")
        return {}
    layer: _Layer = {}
    passed_over: list[str] = []
    for key, value in document.tables.items():
        piece = Document(path, {key: value}, document.lines)
        try:
            layer.update(_document_items(piece, home))
        except SettingsError:
            passed_over.append(key)
    if passed_over:
        names = ", ".join(passed_over)
        notes.append(f"{path} is from LMStrix 1.x; passed over, as they mean nothing now: {names}.")
    return layer


def _profile_layer(name: str, places: Places, home: Path, notes: list[str]) -> _Layer:
    folder = places.config / "profiles"
    if Path(name).name == name:
        for path in (folder / f"{name}.toml", folder / f"{name}.json"):
            if is_there(path):
                return _file_layer(path, home)
        if is_there(old := places.legacy / "profiles" / f"{name}.json"):
            return _legacy_layer(old, home, notes)
    known = sorted({path.stem for path in folder.glob("*") if path.suffix in (".toml", ".json")})
    raise SettingsError(
        f"There is no profile {name!r} in {folder}.",
        source=str(folder),
        key="profile",
        hint=f"Profiles there: {', '.join(known)}." if known else f"Write {folder / 'NAME.toml'}.",
    )


def _project_file(start: Path, notes: list[str]) -> Path | None:
    for folder in (start.absolute(), *start.absolute().parents):
        for name in (".lmstrix.toml", ".lmstrix.json"):
            path = folder / name
            if not is_there(path):
                continue
            if _is_mine(path):
                return path
            notes.append(f"{path} was passed over: it belongs to another user.")
    return None


def _is_mine(path: Path) -> bool:
    """Whether this user or root wrote it. A file planted in /tmp must not choose our server."""
    if os.name != "posix":
        return True
    return path.stat().st_uid in (0, os.geteuid())


def _environment_layer(environ: Mapping[str, str], notes: list[str]) -> _Layer:
    layer: _Layer = {}
    if url := environ.get("LMSTUDIO_BASE_URL"):
        layer["server"] = (_checked("server", url, source="LMSTUDIO_BASE_URL"), "LMSTUDIO_BASE_URL")
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS or not text:
            continue
        key = name.removeprefix(PREFIX).lower().replace("__", ".")
        if _kind(key) is None:
            # Not an error: another version's variable must not stop this one.
            notes.append(f"{name} was passed over: there is no setting {key}.{_nearest(key)}")
            continue
        value: Any = text
        if key == "model_folders":
            value = tuple(folder for folder in text.split(os.pathsep) if folder)
        layer[key] = (_checked(key, value, source=name, written=True), name)
    return layer


def _override_layer(overrides: Mapping[str, Any]) -> _Layer:
    return {
        key: (_checked(key, value, source=COMMAND_LINE, written=True), COMMAND_LINE)
        for key, value in flatten(overrides)
        if value is not None
    }


def _checked(
    key: str, value: Any, *, source: str, line: int | None = None, written: bool = False
) -> Any:
    """`value` as its setting wants it. `written`: numbers and truth values may be texts."""
    kind = _kind(key)
    if kind is None:
        raise _wrong(f"there is no setting {key}", key, source, line, hint=_nearest(key).strip())
    if _is_table(kind):
        if value == {}:
            return value
        raise _wrong(f"{key} must be a table, not {_shown(value)}", key, source, line)
    try:
        if key.endswith("_bytes") and isinstance(value, str):
            value = parse_size(value)
        return msgspec.convert(value, kind, strict=not written)
    except ValueError as error:
        expected = _expectation(kind)
        raise _wrong(f"{key} must be {expected}, not {_shown(value)}", key, source, line) from error


def _wrong(what: str, key: str, source: str, line: int | None, *, hint: str = "") -> SettingsError:
    place = f"In {source}" + (f", line {line}" if line else "")
    if source == COMMAND_LINE:
        place = "On the command line"
    return SettingsError(f"{place}: {what}.", source=source, key=key, line=line, hint=hint)


def _shown(value: Any) -> str:
    # JSON has no way to write an infinite number or one that is none.
    is_float = isinstance(value, float)
    text = str(value) if is_float else msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nearest(key: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  # only on the way to a message

    found = get_close_matches(key, _kinds(), n=1)
    return f" Did you mean {found[0]}?" if found else ""


def _anchored(folder: str, base: Path, home: Path) -> str:
    path = Path(folder)
    if path.parts and path.parts[0] == "~":
        return str(home.joinpath(*path.parts[1:]))
    return str(base / path)


@functools.cache
def _kinds() -> dict[str, Any]:
    """The type of every setting by dotted key; tables are in it under their own name."""
    kinds: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        kinds[field.name] = field.type
        if _is_table(field.type) and get_origin(field.type) is not dict:
            for inner in msgspec.structs.fields(field.type):
                kinds[f"{field.name}.{inner.name}"] = inner.type
    return kinds


def _path(key: str) -> list[str]:
    """A dotted key as names from the outermost table inwards.

    A server's table is named by the user and has settings of its own: `servers.office.url`.
    """
    kind: Any = Settings
    path = [key]
    while _is_table(kind):
        if get_origin(kind) is dict and not _is_table(get_args(kind)[1]):
            break  # the rest is one name, dots and all
        first, dot, rest = path[-1].partition(".")
        if not dot:
            break
        kind = _inner(kind, first)
        path[-1:] = [first, rest]
    return path


def _kind(key: str) -> Any:
    """The type of a setting, `None` where there is none by that name."""
    kind: Any = Settings
    for name in _path(key):
        kind = _inner(kind, name)
    return kind


def _inner(kind: Any, name: str) -> Any:
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    if _is_table(kind):
        return next((f.type for f in msgspec.structs.fields(kind) if f.name == name), None)
    return None


def _is_table(kind: Any) -> bool:
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))


def _expectation(kind: Any) -> str:
    for meta in getattr(kind, "__metadata__", ()):
        return str(meta.description)
    return next((text for arg in get_args(kind) if (text := _expectation(arg))), "")
