"""Everything that is known of one model, as plain data for programs and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.registry.columns import COLUMNS, iso_time
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.results import TestResult
    from lmstrix.store import Entry
    from lmstrix.types import Instance


def model_data(
    entry: Entry, *, results: Sequence[TestResult], loaded: Sequence[Instance]
) -> dict[str, Any]:
    """The fields of a listing, and beyond them what a listing has no room for.

    `results` are all tests of the model on this machine, newest first, `loaded` its instances.
    Units are those of `lmstrix.registry.listing`, within `tests`, `legacy` and `loaded` those of
    the structs themselves.
    """
    model = entry.model
    return {
        **{column.field: column.value(entry) for column in COLUMNS.values()},
        "format": model.format,
        "vision": model.vision,
        "tools": model.tools,
        "reasoning": model.reasoning,
        "embedding": model.type is ModelType.EMBEDDING,
        "identity": model.identity,
        "modified_at": iso_time(model.modified_at),
        "added_at": iso_time(entry.added_at or None),
        "seen_at": iso_time(entry.seen_at or None),
        "loaded": [msgspec.to_builtins(instance) for instance in loaded],
        "tests": [msgspec.to_builtins(result) for result in results],
        "legacy": msgspec.to_builtins(entry.legacy),
    }
