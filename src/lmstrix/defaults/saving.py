"""Save tested limits as what servers of others load models with."""

from __future__ import annotations

import difflib
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec
from msgspec.structs import replace

from lmstrix.defaults import lmstudio
from lmstrix.defaults.files import back_up, defaults_path, read_text, unreadable, write_text
from lmstrix.defaults.limits import SETTLED, Share, kv_types, result_to_save
from lmstrix.defaults.place import LMStudioPlace, why_no_json
from lmstrix.errors import DefaultsError, LMStrixError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from lmstrix.config import Places
    from lmstrix.providers import Provider
    from lmstrix.results import TestResult
    from lmstrix.store import Entry, Store
    from lmstrix.types import Model

_TITLES = {
    lmstudio.CONTEXT: "context",
    lmstudio.EMBEDDING_CONTEXT: "context",
    lmstudio.FLASH: "flash attention",
    lmstudio.KV_TYPE_K: "K cache type",
    lmstudio.KV_TYPE_V: "V cache type",
}


class SaveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be saved.

    `share` is how much of the tested limit. `flash` turns flash attention on as well; `kv_type`
    takes the limit that was tested with that KV cache type and sets the type with it. With
    `dry_run` nothing is written. `force` replaces a file that cannot be read (a backup is kept).
    """

    share: Share = Share()
    flash: bool = False
    kv_type: str | None = None
    dry_run: bool = False
    force: bool = False


class SaveStatus(StrEnum):
    """What became of one model's default."""

    SAVED = "saved"
    WOULD_SAVE = "would save"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


class Change(msgspec.Struct, frozen=True):
    """One setting before and after; `None` before is what the server chooses by itself."""

    name: str
    before: Any
    after: Any


class SavedDefault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was, or would be, saved for one model.

    `place` is the file or server that has the default. `tested_tokens` is the limit the saved
    `context_tokens` were taken from. `reason` says why nothing was saved, `hint` what to do.
    `diff` is the change of a file as a unified diff.
    """

    model_key: str
    provider: str
    status: SaveStatus
    place: str = ""
    tested_tokens: int | None = None
    context_tokens: int | None = None
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""
    hint: str = ""
    backup: str = ""
    diff: str = ""
    exit_code: int = 0


@runtime_checkable
class KeepsDefaults(Protocol):
    """A provider whose server keeps a context size with a model, as Ollama does."""

    async def default_context(self, model: Model) -> int | None:
        """The context kept with `model`; `None` where the server chooses by itself."""
        ...

    async def save_default_context(self, model: Model, tokens: int) -> str | None:
        """Keep a context with `model`, everything else of it unchanged.

        Returns its identity from now on, where the server takes it for another model.
        """
        ...


class Saver:
    """Saves the limits of models, one at a time, each to where its server looks."""

    def __init__(
        self,
        store: Store,
        places: Places,
        options: SaveOptions,
        *,
        provider_of: Callable[[Model], Provider],
    ) -> None:
        self._store = store
        self._options = options
        self._provider_of = provider_of
        self._lmstudio = LMStudioPlace.locate()
        self._backups = places.backups / "lmstudio"

    def reachable(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Of `entries`, those whose server keeps defaults; of two for one file the better one.

        A file of LM Studio's may be known both from LM Studio and as a file.
        """
        by_name: dict[str, Entry] = {}
        for entry in entries:
            name = self._lmstudio.name_of(entry.model) if self._lmstudio else None
            if name is not None:
                rival = by_name.get(name)
                if rival is None or entry.model.provider.startswith("lmstudio"):
                    by_name[name] = entry
            elif self._keeper(entry.model) is not None:
                yield entry
        yield from by_name.values()

    async def save(self, entry: Entry) -> SavedDefault:
        """Save what was tested of one model; what goes wrong is in what comes back."""
        model = entry.model
        name = self._lmstudio.name_of(model) if self._lmstudio else None
        keeper = self._keeper(model) if name is None else None
        if name is None and keeper is None:
            return _skipped(
                model,
                "It is neither a model of this machine's LM Studio nor one of Ollama's.",
                hint="LM Studio has the models below its models folder, as"
                " publisher/repository/file.gguf."
                if self._lmstudio
                else "There is no LM Studio on this machine.",
            )
        results = self._results(model, name)
        result = result_to_save(results, model, kv_type=self._options.kv_type)
        if result is None:
            return self._untested(model, results)
        tokens = self._options.share.of(result.usable_tokens or 0)
        if tokens < 1:
            return _skipped(
                model,
                f"The tested limit of {result.usable_tokens:,} tokens leaves less than 1 token.",
                hint="Choose a larger --limit.",
            )
        try:
            if name is not None:
                return self._to_file(model, name, result, tokens)
            assert keeper is not None
            return await self._to_server(model, keeper, result, tokens)
        except LMStrixError as error:
            return SavedDefault(
                model_key=model.key,
                provider=model.provider,
                status=SaveStatus.FAILED,
                reason=error.message,
                hint=error.hint,
                exit_code=error.exit_code,
            )

    def _results(self, model: Model, name: str | None) -> list[TestResult]:
        """What was tested of a model, and of the same file as others know it."""
        found = {result.id: result for result in self._store.results(model)}
        for other in self._same_file.get(name or "", ()):
            found |= {result.id: result for result in self._store.results(other)}
        return list(found.values())

    @cached_property
    def _same_file(self) -> dict[str, list[Model]]:
        """The models of LM Studio by what it calls them."""
        by_name: dict[str, list[Model]] = {}
        for entry in self._store.entries() if self._lmstudio else ():
            assert self._lmstudio is not None
            name = self._lmstudio.name_of(entry.model)
            if name is not None:
                by_name.setdefault(name, []).append(entry.model)
        return by_name

    def _untested(self, model: Model, results: Iterable[TestResult]) -> SavedDefault:
        wanted = self._options.kv_type
        others = sorted({kv_types(r.key.load)[0] for r in results if r.usable_tokens is not None})
        with_type = f" with a {wanted} KV cache" if wanted else ""
        if others:
            return _skipped(
                model,
                f"It was not tested{with_type or ' with the default KV cache'},"
                f" only with {', '.join(others)}.",
                hint=f"lmstrix save --kv {others[0]} {model.key}, or test it as it is to be used.",
            )
        flag = f" --kv-type {wanted}" if wanted else ""
        return _skipped(
            model,
            f"It was not tested{with_type}, so there is no limit to save.",
            hint=f"lmstrix test{flag} {model.key}",
        )

    # LM Studio

    def _to_file(self, model: Model, name: str, result: TestResult, tokens: int) -> SavedDefault:
        assert self._lmstudio is not None
        folder, options = self._lmstudio.defaults, self._options
        path = defaults_path(folder, name)
        try:
            fields = lmstudio.load_fields(
                model.type,
                context_tokens=tokens,
                flash_attention=True if options.flash else None,
                kv_type=options.kv_type,
            )
        except ValueError as error:
            raise DefaultsError(
                f"Nothing was saved for {model.key}: {error}.",
                path=path,
                hint=f"LM Studio knows the KV cache types {', '.join(lmstudio.KV_TYPES)}.",
            ) from error
        before = read_text(path) if not options.force else _lenient_text(path)
        base = lmstudio.EMPTY if before is None else before
        try:
            known = lmstudio.read_defaults(base)
            after = lmstudio.with_load_fields(base, fields)
        except ValueError as error:
            if not options.force:
                raise unreadable(path, why_no_json(error)) from error
            known = lmstudio.LMStudioDefaults()
            after = lmstudio.with_load_fields(lmstudio.EMPTY, fields)
        changes = tuple(
            Change(_TITLES[key], _plain(known.load.get(key)), _plain(value))
            for key, value in fields.items()
            if key not in known.load or known.load[key] != value
        )
        status, backup = SaveStatus.UNCHANGED, ""
        if after != before:
            status = SaveStatus.WOULD_SAVE
            if not options.dry_run:
                status = SaveStatus.SAVED
                if before is not None:
                    backup = str(back_up(path, folder, self._backups))
                write_text(path, after)
        return SavedDefault(
            model_key=model.key,
            provider=model.provider,
            status=status,
            place=str(path),
            tested_tokens=result.usable_tokens,
            context_tokens=tokens,
            changes=changes,
            notes=tuple(_notes(model, result, known, fields)),
            backup=backup,
            diff=_diff(before or "", after, path),
        )

    # Ollama

    def _keeper(self, model: Model) -> KeepsDefaults | None:
        try:
            provider = self._provider_of(model)
        except NotFoundError:  # of a plugin that is not there now
            return None
        return provider if isinstance(provider, KeepsDefaults) else None

    async def _to_server(
        self, model: Model, keeper: KeepsDefaults, result: TestResult, tokens: int
    ) -> SavedDefault:
        before = await keeper.default_context(model)
        status = SaveStatus.UNCHANGED
        if before != tokens:
            status = SaveStatus.WOULD_SAVE
            if not self._options.dry_run:
                identity = await keeper.save_default_context(model, tokens)
                self._keep_results(model, identity)
                status = SaveStatus.SAVED
        notes = list(_notes(model, result, lmstudio.LMStudioDefaults(), {}))
        if self._options.flash or self._options.kv_type:
            notes.append(
                "Flash attention and the KV cache type are settings of the whole Ollama server"
                " (OLLAMA_FLASH_ATTENTION, OLLAMA_KV_CACHE_TYPE), not of a model."
            )
        return SavedDefault(
            model_key=model.key,
            provider=model.provider,
            status=status,
            place=model.server,
            tested_tokens=result.usable_tokens,
            context_tokens=tokens,
            changes=() if before == tokens else (Change("num_ctx", before, tokens),),
            notes=tuple(notes),
        )

    def _keep_results(self, model: Model, identity: str | None) -> None:
        """Let what was tested of a model hold under the identity it has from now on."""
        if identity in (None, model.identity):
            return
        for result in reversed(self._store.results(model)):
            if result.key.provider == model.provider and result.status in SETTLED:
                key = replace(result.key, identity=identity)
                self._store.begin_test(replace(result, key=key))


def _notes(
    model: Model, result: TestResult, known: lmstudio.LMStudioDefaults, fields: dict[str, Any]
) -> Iterator[str]:
    if result.key.provider != model.provider:
        yield f"The limit was measured with the provider {result.key.provider}."
    theirs = {kind for kind in (known.kv_type_k, known.kv_type_v) if kind}
    tested = kv_types(result.key.load)[0]
    if lmstudio.KV_TYPE_K not in fields and theirs - {tested}:
        yield (
            f"LM Studio is set to a {'/'.join(sorted(theirs))} KV cache for it; the limit was"
            f" measured with {tested}."
        )


def _skipped(model: Model, reason: str, *, hint: str = "") -> SavedDefault:
    return SavedDefault(
        model_key=model.key,
        provider=model.provider,
        status=SaveStatus.SKIPPED,
        reason=reason,
        hint=hint,
        exit_code=3,
    )


def _lenient_text(path: Path) -> str | None:
    """As `read_text`; bytes that are no text are replaced along with the rest."""
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        return read_text(path)


def _plain(value: Any) -> Any:
    """What a setting with a check box is set to."""
    if isinstance(value, dict) and "checked" in value:
        return value.get("value") if value["checked"] else None
    return value


def _diff(before: str, after: str, path: Path) -> str:
    name = path.name
    lines = difflib.unified_diff(
        before.splitlines(),
        after.splitlines(),
        f"{name} (now)" if before else "no file",
        f"{name} (saved)",
        lineterm="",
    )
    return "\n".join(lines)
