"""The prediction: how large a context should fit into memory, before anything is loaded."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lmstrix.context.search import MemoryLine
from lmstrix.gguf import MemoryModel
from lmstrix.types import LoadConfig, MemoryUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.gguf import Header

KV_TYPES = ("f16", "q8_0", "q4_0")
SMALLEST_TOKENS = 128
_CGROUPS = Path("/sys/fs/cgroup")


class MemoryBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to load into.

    `free_bytes` is what the machine could give now, `cap_bytes` the user's own limit,
    `reserve_bytes` what is left to everything else.
    """

    free_bytes: int
    cap_bytes: int | None = None
    reserve_bytes: int = 0

    @property
    def budget_bytes(self) -> int:
        """Bytes that weights, KV cache and compute buffers may take together."""
        free = max(0, self.free_bytes - self.reserve_bytes)
        return free if self.cap_bytes is None else min(free, self.cap_bytes)

    @property
    def capped(self) -> bool:
        """Whether the user's limit is what bounds the budget, not the machine."""
        return self.cap_bytes is not None and self.cap_bytes <= self.free_bytes - self.reserve_bytes


class LimitedBy(StrEnum):
    """What a predicted context ends at."""

    DECLARED = "declared"
    MEMORY = "memory"
    CAP = "cap"


class FitRow(msgspec.Struct, frozen=True, kw_only=True):
    """The largest context predicted to fit with one KV cache type.

    `context_tokens` is `None` where not even the smallest fits; then `need` is that of the
    smallest. `error` is the relative standard error of the need.
    """

    kv_type: str
    context_tokens: int | None
    need: MemoryUse
    limited_by: LimitedBy
    error: float

    @property
    def need_bytes(self) -> int:
        """Weights, KV cache and compute buffers together."""
        return total_bytes(self.need)


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """What should fit, per KV cache type, the largest type first."""

    declared_tokens: int
    memory: MemoryBudget
    parallel: int
    rows: tuple[FitRow, ...]
    confidence: str
    notes: tuple[str, ...] = ()


def total_bytes(memory: MemoryUse) -> int:
    """Bytes of weights, KV cache and compute buffers: what a memory limit is about."""
    return memory.weights_bytes + memory.kv_bytes + memory.compute_bytes


def fit(
    header: Header,
    *,
    memory: MemoryBudget,
    kv_types: Sequence[str] = KV_TYPES,
    parallel: int = 1,
) -> Fit:
    """Predict the largest safe context per KV cache type."""
    model = MemoryModel(header)
    return Fit(
        declared_tokens=header.context_length,
        memory=memory,
        parallel=parallel,
        rows=tuple(_row(model, header, memory, kind, parallel) for kind in kv_types),
        confidence=model.confidence,
        notes=tuple(model.notes),
    )


def memory_prior(model: MemoryModel, load: LoadConfig, memory: MemoryBudget) -> MemoryLine:
    """The same prediction as what a search believes before its first load."""

    def context_bytes(tokens: float) -> float:
        return total_bytes(model.need(_at(load, tokens))) - fixed

    fixed = 0
    fixed = round(context_bytes(0.0))
    return MemoryLine(
        fixed_bytes=fixed,
        context_bytes=context_bytes,
        budget_bytes=memory.budget_bytes,
        # A cap is kept to the byte; what is free changes while we look.
        budget_error=0.001 if memory.capped else 0.02,
    )


def machine_memory(
    cap_bytes: int | None = None, *, reserve_bytes: int | None = None
) -> MemoryBudget:
    """What this machine, or the container this process is in, could give now.

    Without `reserve_bytes` a tenth of the memory is left to everything else, at most 1 GiB.
    """
    import psutil  # noqa: PLC0415  # slow to import, and not every use of this module needs it

    memory = psutil.virtual_memory()
    free, whole = int(memory.available), int(memory.total)
    if sys.platform == "linux":
        for limit, used in _container_memory(_CGROUPS):
            free, whole = min(free, limit - used), min(whole, limit)
    if reserve_bytes is None:
        reserve_bytes = min(2**30, whole // 10)
    return MemoryBudget(free_bytes=max(0, free), cap_bytes=cap_bytes, reserve_bytes=reserve_bytes)


def _container_memory(root: Path) -> list[tuple[int, int]]:
    """Limit and use of every control group this process is in, of either version."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        # In a container the path may be as seen from outside; then the root is the group.
        for group in (base / path.strip("/"), base):
            try:
                limit, used = ((group / name).read_text(encoding="ascii") for name in names)
            except OSError:
                continue
            if limit.strip() != "max":
                found.append((int(limit), int(used)))
    return found


def _row(
    model: MemoryModel, header: Header, memory: MemoryBudget, kind: str, parallel: int
) -> FitRow:
    load = LoadConfig(kv_type_k=kind, kv_type_v=kind, parallel=parallel)
    # A prediction that is off by its own error must still not be too large.
    budget = round(memory.budget_bytes / (1 + 2 * model.error))
    tokens = model.largest_context(load, budget, ceiling_tokens=header.context_length)
    if tokens is not None and tokens < SMALLEST_TOKENS:
        tokens = None
    if tokens == header.context_length:
        limited_by = LimitedBy.DECLARED
    else:
        limited_by = LimitedBy.CAP if memory.capped else LimitedBy.MEMORY
    return FitRow(
        kv_type=kind,
        context_tokens=tokens,
        need=model.need(_at(load, tokens or SMALLEST_TOKENS)),
        limited_by=limited_by,
        error=model.error,
    )


def _at(load: LoadConfig, tokens: float) -> LoadConfig:
    return msgspec.structs.replace(load, context_tokens=round(tokens))
