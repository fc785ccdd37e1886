"""Read the registry of LMStrix 1.x, `lmstrix.json`. It is never written.

Its shape: `{"llms": {PATH: {"id": …, "ctx_in": …, "tested_max_context": …, …}}}`, where PATH is
relative to LM Studio's models folder. 1.x wrote it in place, so files cut short or torn are
common: what is sound in them is read entry by entry, what is not is named.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from lmstrix.config import lmstudio_home
from lmstrix.errors import LMStrixError, NotFoundError
from lmstrix.registry.facts import last_piece
from lmstrix.results import TestStatus
from lmstrix.store import LegacyTest
from lmstrix.types import Model, ModelType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from lmstrix.store import Entry

FILE_NAME = "lmstrix.json"
PROVIDER = "lmstudio"  # the only place where 1.x found models

LegacyItem: TypeAlias = tuple[Model, LegacyTest]
_KEPT = msgspec.json.Decoder(LegacyItem)


class LegacyImport(msgspec.Struct, frozen=True, kw_only=True):
    """What could be read, ready for `Store.record_legacy`, and what could not, in sentences."""

    items: tuple[LegacyItem, ...] = ()
    problems: tuple[str, ...] = ()


def find_legacy(environ: Mapping[str, str] | None = None) -> Path | None:
    """The file of LMStrix 1.x in LM Studio's home, or `None` where there is none."""
    home = lmstudio_home(environ)
    path = home / FILE_NAME if home else None
    return path if path is not None and path.is_file() else None


def import_legacy(path: Path) -> LegacyImport:
    """Read the file at `path`, damaged or not.

    Raises `NotFoundError` when there is none and `LMStrixError` when it cannot be opened.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"There is no file {path}.",
            hint=f"LMStrix 1.x kept {FILE_NAME} in LM Studio's home folder.",
        ) from error
    except OSError as error:
        raise LMStrixError(
            f"{path} cannot be read: {error.strerror or error}.",
            hint="Name the file itself, and check your rights for it.",
        ) from error
    return read_legacy(data)


def read_legacy(data: bytes) -> LegacyImport:
    """`import_legacy` on the bytes of the file."""
    problems: list[str] = []
    items: dict[str, LegacyItem] = {}
    for place, value in _entries(data, problems):
        item = _item(place, value, problems)
        if item is None:
            continue
        twin = items.get(item[0].key)
        if twin is not None:
            problems.append(
                f"{place}: a second entry of {item[0].key}; the one tested last was kept."
            )
        if twin is None or _tested_after(item[1], twin[1]):
            items[item[0].key] = item
    return LegacyImport(items=tuple(items.values()), problems=tuple(problems))


def match_legacy(
    items: Iterable[LegacyItem], entries: Iterable[Entry], *, keep_unmatched: bool = True
) -> list[LegacyItem]:
    """Pair each test of 1.x with the models of the store that it is about.

    Same file (a path that ends in the item's), on any provider; else the same key in LM Studio.
    An item that fits nothing keeps its own model, or is dropped.
    """
    by_file: dict[str, list[Model]] = {}
    by_key: dict[str, list[Model]] = {}
    for entry in entries:
        model = entry.model
        if model.path:
            by_file.setdefault(last_piece(model.path).casefold(), []).append(model)
        if model.provider == PROVIDER:
            by_key.setdefault(model.key, []).append(model)
    matched: list[LegacyItem] = []
    for own, legacy in items:
        namesakes = by_file.get(last_piece(own.path or "").casefold(), ())
        models = [model for model in namesakes if _same_file(model.path, own.path)]
        models = models or by_key.get(own.key, [])
        if not models and keep_unmatched:
            models = [own]
        matched.extend((model, legacy) for model in models)
    return matched


def _same_file(one: str | None, other: str | None) -> bool:
    """Whether one path is the other, or ends in it, at least the file and its folder."""
    if not one or not other:
        return False
    first, second = (path.replace("\\", "/").split("/") for path in (one, other))
    common = min(len(first), len(second))
    return common > 1 and first[-common:] == second[-common:]


def _tested_after(one: LegacyTest, other: LegacyTest) -> bool:
    # ISO dates in one notation sort as texts.
    return (one.date or "", one.tested_max_context or 0) > (
        other.date or "",
        other.tested_max_context or 0,
    )


# The document


def _entries(data: bytes, problems: list[str]) -> Iterator[tuple[str, object]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(f"Byte {error.start} and maybe others are no UTF-8; read as �.")
        text = data.decode("utf-8-sig", errors="replace")
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"The file is damaged: {error}.")
        yield from _salvaged(text, problems)
        return
    llms = root.get("llms") if isinstance(root, dict) else None
    if not isinstance(llms, dict):
        problems.append("The file has no models: it should be an object with an object `llms`.")
        return
    yield from llms.items()


_LLMS = re.compile(r'"llms"\s*:\s*\{')
_STRING = r'"((?:[^"\\]|\\.)*)"'
_NEXT = re.compile(rf"\s*,?\s*{_STRING}\s*:\s*", re.DOTALL)
_END = re.compile(r"\s*,?\s*(?:\}|$)")
_OBJECT = re.compile(rf"{_STRING}\s*:\s*(?=\{{)", re.DOTALL)
_NAMES = {"id", "model_id", "path"}
_OF_AN_ENTRY = {*_NAMES, "size_bytes", "ctx_in", "context_test_status"}
_ENTRY_BEGINS = re.compile(rf'\{{\s*"(?:{"|".join(_OF_AN_ENTRY)})"')


def _salvaged(text: str, problems: list[str]) -> Iterator[tuple[str, object]]:
    """Every entry of a damaged document that can be read by itself."""
    start = _LLMS.search(text)
    if start is None:
        problems.append("No list of models was found in it.")
        return
    decoder = json.JSONDecoder()
    place = start.end()
    lost = False  # after damage, where any object may follow, also one inside an entry
    while lost or not _END.match(text, place):
        match = (_OBJECT.search if lost else _NEXT.match)(text, place)
        if match is None:
            if lost:
                return
            lost = True
            continue
        try:
            value, place = decoder.raw_decode(text, match.end())
        except (ValueError, RecursionError) as error:
            if not lost or _ENTRY_BEGINS.match(text, match.end()):
                problems.append(f"{match[1]}: cannot be read ({error}).")
            lost, place = True, match.end()
            continue
        if not lost or _is_entry(value):
            lost = False
            yield from _unfolded(match[1], value)


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and not _OF_AN_ENTRY.isdisjoint(value)


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and not _NAMES.isdisjoint(value)


def _unfolded(place: str, value: object) -> Iterator[tuple[str, object]]:
    """An entry, then those that a lost closing brace has put into it."""
    inner: dict[str, object] = {}
    if isinstance(value, dict):
        inner = {name: one for name, one in value.items() if _is_named(one)}
        value = {name: one for name, one in value.items() if name not in inner}
    yield place, value
    for name, one in inner.items():
        yield from _unfolded(name, one)


# One entry


def _item(place: str, value: object, problems: list[str]) -> LegacyItem | None:
    if not isinstance(value, dict):
        problems.append(f"{place}: is no object; left out.")
        return None
    fields = _Fields(place, value, problems)
    path = fields.text("path") or place
    key = fields.text("id") or fields.text("model_id") or last_piece(path)
    abilities = fields.take("capabilities", dict) or {}
    vision = bool(fields.take("has_vision", bool) or abilities.get("vision"))
    description = fields.text("description")
    keywords = tuple(word for word in fields.take("keywords", list) or () if isinstance(word, str))
    model = Model(
        key=key,
        provider=PROVIDER,
        server="",  # 1.x did not write down which
        type=_type(key, vision=vision),
        path=path,
        format="gguf" if path.lower().endswith(".gguf") else "safetensors",
        size_bytes=fields.count("size_bytes") or 0,
        declared_context_tokens=fields.count("ctx_in") or None,
        vision=vision,
        tools=bool(fields.take("has_tools", bool) or abilities.get("trained_for_tool_use")),
        reasoning=bool(abilities.get("reasoning")),
        description=description,
        tags=keywords,
    )
    legacy = LegacyTest(
        tested_max_context=fields.count("tested_max_context") or None,
        status=fields.status(),
        date=fields.text("context_test_date"),
        ttft_s=fields.number("ttft_seconds"),
        tps=fields.number("tps"),
        description=description,
        keywords=keywords,
        extra=fields.rest(),
    )
    try:
        kept: LegacyItem = _KEPT.decode(msgspec.json.encode((model, legacy)))
    except (UnicodeEncodeError, RecursionError, msgspec.MsgspecError) as error:
        # Half a surrogate pair or a nest without bottom: json reads what no store should hold.
        problems.append(f"{place!r}: cannot be kept ({error}); left out.")
        return None
    return kept


def _type(key: str, *, vision: bool) -> ModelType:
    if "embed" in key.lower():  # how 1.x told them
        return ModelType.EMBEDDING
    return ModelType.VLM if vision else ModelType.LLM


_STATUSES = {
    "untested": TestStatus.UNTESTED,
    "testing": TestStatus.INTERRUPTED,  # whoever was testing is gone; `--ctx` never ended it
    "completed": TestStatus.COMPLETED,
    "failed": TestStatus.FAILED,
}


class _Fields:
    """The fields of one entry, taken one by one; a bad value is named and counts as absent."""

    def __init__(self, place: str, value: Mapping[str, Any], problems: list[str]) -> None:
        self._place = place
        self._value = value
        self._problems = problems
        self._taken: set[str] = set()

    def take(self, name: str, kind: type[Any]) -> Any:
        value = self._value.get(name)
        if value is not None and not isinstance(value, kind):
            self._refuse(name, value)
            return None
        return value

    def text(self, name: str) -> str | None:
        self._taken.add(name)
        text: str | None = self.take(name, str)
        return text or None

    def number(self, name: str, *, whole: bool = False) -> float | None:
        self._taken.add(name)
        value = self._value.get(name)
        if value is None:
            return None
        sound = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not sound or not 0 <= value < 2**63 or (whole and value != int(value)):
            self._refuse(name, value)  # NaN fails the comparison too
            return None
        return float(value)

    def count(self, name: str) -> int | None:
        value = self.number(name, whole=True)
        return None if value is None else int(self._value[name])

    def status(self) -> TestStatus:
        written = self._value.get("context_test_status")
        if written is None:
            return TestStatus.UNTESTED
        status = _STATUSES.get(written) if isinstance(written, str) else None
        if status is None:
            self._refuse("context_test_status", written)
        return status or TestStatus.UNTESTED

    def rest(self) -> dict[str, Any]:
        """What no field of ours holds word for word."""
        return {name: one for name, one in self._value.items() if name not in self._taken}

    def _refuse(self, name: str, value: object) -> None:
        self._taken.discard(name)
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
        self._problems.append(f"{self._place}: {name} is {shown}; left out.")
