"""The prediction: how large a context should fit into memory, before anything is loaded."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lmstrix.context.search import MemoryLine
from lmstrix.errors import UnsupportedError
from lmstrix.gguf import Confidence, MemoryModel, MemoryNeed, read_header
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lmstrix.gguf import Header
    from lmstrix.types import MemoryUse, Model

KV_TYPES = ("f16", "q8_0", "q4_0")
STEP_TOKENS = 256  # llama.cpp rounds contexts up to this
UNDECLARED_CEILING = 2**20  # for a header that declares no context
ERRORS = {Confidence.HIGH: 0.05, Confidence.MEDIUM: 0.12, Confidence.LOW: 0.3}
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
    smallest. `error` is the part of the need that the prediction may be off by; it is left free.
    """

    kv_type: str
    context_tokens: int | None
    need: MemoryNeed
    limited_by: LimitedBy
    error: float

    @property
    def need_bytes(self) -> int:
        """What a memory limit is compared with; the process itself takes a little more."""
        return buffer_bytes(self.need)


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """What should fit, per KV cache type, the largest type first."""

    declared_tokens: int
    memory: MemoryBudget
    parallel: int
    rows: tuple[FitRow, ...]
    confidence: Confidence
    notes: tuple[str, ...] = ()


def buffer_bytes(memory: MemoryUse | MemoryNeed) -> int:
    """Bytes of weights, KV cache, recurrent state and compute buffers, told or predicted.

    That is what an engine reports of itself and what a memory limit is about.
    """
    parts = memory.weights_bytes + memory.kv_bytes + memory.compute_bytes
    return parts + (memory.recurrent_bytes if isinstance(memory, MemoryNeed) else 0)


def fit(
    header: Header,
    *,
    memory: MemoryBudget,
    kv_types: Sequence[str] = KV_TYPES,
    parallel: int = 1,
) -> Fit:
    """Predict the largest safe context per KV cache type.

    Raises `UsageError` for a KV type that llama.cpp does not have.
    """
    model = MemoryModel(header)
    declared = header.own("context_length", int)
    notes = [] if declared else ["The model declares no context."]
    if model.confidence is Confidence.LOW:
        notes.append(f"Models of the family {header.architecture!r} were never measured.")
    loads = [LoadConfig(kv_type_k=kind, kv_type_v=kind, parallel=parallel) for kind in kv_types]
    return Fit(
        declared_tokens=declared or UNDECLARED_CEILING,
        memory=memory,
        parallel=parallel,
        rows=tuple(_row(model, memory, load, declared or UNDECLARED_CEILING) for load in loads),
        confidence=model.confidence,
        notes=tuple(notes),
    )


def fit_model(model: Model, *, kv_types: Sequence[str], memory_limit_bytes: int | None) -> Fit:
    """`fit` for the file of `model` on this machine, within `memory_limit_bytes`.

    Raises `UnsupportedError` for a model without a GGUF file to read.
    """
    if model.path is None or model.format != "gguf":
        raise UnsupportedError(
            f"{model.key} has no GGUF file to read, so nothing can be predicted.",
            hint=f"Measure it: lmstrix test {model.key}",
        )
    memory = machine_memory(memory_limit_bytes)
    return fit(read_header(Path(model.path)), memory=memory, kv_types=tuple(kv_types))


def memory_prior(model: MemoryModel, load: LoadConfig, memory: MemoryBudget) -> MemoryLine:
    """The same prediction as what a search believes before its first load."""
    smallest = model.need(_at(load, 1))
    fixed = buffer_bytes(smallest)
    error = ERRORS[model.confidence]
    capped = memory.capped
    return MemoryLine(
        fixed_bytes=fixed,
        context_bytes=lambda tokens: buffer_bytes(model.need(_at(load, tokens))) - fixed,
        budget_bytes=memory.budget_bytes - (0 if capped else _beside_buffers(smallest)),
        fixed_error=error / 2,
        context_error=error,
        # A cap is kept to the byte; what is free changes while one looks.
        budget_error=0.002 if capped else 0.02,
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
    """Limit and use of every control group this process is in, of either version.

    Files that were merely read count as use there, and are given back when memory is needed.
    """
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
                found.append((int(limit), max(0, int(used) - _cached_bytes(group))))
    return found


def _cached_bytes(group: Path) -> int:
    """What of a control group's use are files in memory.

    The first version of control groups counts those of a group's children apart.
    """
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    counts = dict(line.split() for line in lines)
    total = "total_" if "total_inactive_file" in counts else ""
    return sum(int(counts.get(f"{total}{kind}_file", 0)) for kind in ("active", "inactive"))


def _row(model: MemoryModel, memory: MemoryBudget, load: LoadConfig, ceiling: int) -> FitRow:
    error = ERRORS[model.confidence]

    def fits(tokens: int) -> bool:
        need = model.need(_at(load, tokens))
        taken = buffer_bytes(need) + (0 if memory.capped else _beside_buffers(need))
        return taken * (1 + error) <= memory.budget_bytes

    tokens = largest(fits, ceiling)
    if tokens == ceiling:
        limited_by = LimitedBy.DECLARED
    else:
        limited_by = LimitedBy.CAP if memory.capped else LimitedBy.MEMORY
    return FitRow(
        kv_type=load.kv_type_k or "f16",
        context_tokens=tokens or None,
        need=model.need(_at(load, tokens or STEP_TOKENS)),
        limited_by=limited_by,
        error=error,
    )


def largest(fits: Callable[[int], bool], ceiling_tokens: int) -> int:
    """The ceiling if it fits, else the largest multiple of 256 that does; 0 if none does."""
    if fits(ceiling_tokens):
        return ceiling_tokens
    low, high = 0, (ceiling_tokens - 1) // STEP_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * STEP_TOKENS) else (low, middle - 1)
    return low * STEP_TOKENS


def _beside_buffers(need: MemoryNeed) -> int:
    return need.total_bytes - buffer_bytes(need)


def _at(load: LoadConfig, tokens: float) -> LoadConfig:
    return msgspec.structs.replace(load, context_tokens=max(1, round(tokens)))
