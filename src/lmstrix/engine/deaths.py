"""Why an engine died or did not load, read from its exit status and its own log. Pure."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

# "0.00.015.524 E ggml_aligned_malloc: insufficient memory (…)": time, level, source, message.
_LINE = re.compile(r"^\d+(?:\.\d+){3} (?P<level>[A-Z]) +(?P<text>.*)$")
_SOURCE = re.compile(r"^(?:\w{3,4} +)?\w+: (?P<message>.+)$")
_NO_MEMORY = re.compile(
    r"insufficient memory|failed to allocate|unable to allocate|cannot allocate|bad_alloc"
    r"|out of memory|OutOf(?:Device|Host)Memory|max_size\(\)|length_error",
    re.IGNORECASE,
)
_FATAL = re.compile(
    r"GGML_ASSERT|GGML_ABORT|terminate called|what\(\):|CUDA error|Assertion|Fatal Python error"
)

# What the codes mean; Windows' are NTSTATUS values, which arrive as positive numbers.
_STATUS = {
    -4: "it met a processor instruction that this machine does not have",
    -6: "it aborted",
    -7: "a memory-mapped file became unreadable under it",
    -8: "it crashed in an arithmetic error",
    -9: "it was killed",
    -11: "it crashed on an invalid memory access",
    -15: "it was told to end",
    0xC0000005: "it crashed on an invalid memory access",
    0xC000001D: "it met a processor instruction that this machine does not have",
    0xC0000017: "the system had no memory left for it",
    0xC0000409: "it aborted",
}


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine ended. `reason` is a clause that can follow "The engine died: "."""

    reason: str
    exit_status: int | None
    out_of_memory: bool = False
    expected: bool = False


def explain(
    exit_status: int | None,
    log: Sequence[str],
    *,
    oom_kills: int = 0,
    over_limit: bool = False,
) -> Death:
    """The death of an engine that ended by itself.

    `oom_kills` is how many processes the system killed for lack of memory meanwhile;
    `over_limit` that its owner ended it for taking more than it was allowed.
    """
    if over_limit:
        return Death(
            reason="it took more memory than it is allowed",
            exit_status=exit_status,
            out_of_memory=True,
        )
    status = _meaning(exit_status)
    fatal = _last_words(log)
    if exit_status == -9 and not fatal:
        if oom_kills:
            return Death(
                reason="the system killed it for lack of memory",
                exit_status=exit_status,
                out_of_memory=True,
            )
        status += ", by somebody or by the system"
    return Death(
        reason=f"{status}: {fatal}" if fatal else status,
        exit_status=exit_status,
        out_of_memory=bool(fatal and _NO_MEMORY.search(fatal)) or exit_status == 0xC0000017,
    )


def why_not_loaded(log: Sequence[str], fallback: str) -> tuple[str, bool]:
    """The first cause in the log of a failed load, and whether it is lack of memory.

    The first error is the cause, what follows only passes it on. `fallback` is what the
    binding says itself, which is never a reason.
    """
    errors = [text for line in log if (text := _error(line))]
    for text in errors:
        if _NO_MEMORY.search(text):
            return text, True
    if not errors:
        return fallback, bool(_NO_MEMORY.search(fallback))
    # The loader's own sentence is said twice: by the reader of the file and by its caller.
    return errors[0].removeprefix("error loading model: "), False


def _error(line: str) -> str:
    found = _LINE.match(line.strip())
    if found is None or found["level"] != "E":
        return ""
    text = found["text"].strip()
    source = _SOURCE.match(text)
    return source["message"] if source else text


def _last_words(log: Sequence[str]) -> str:
    """The last lines that only a dying process prints."""
    words = [line.strip() for line in log[-60:] if _FATAL.search(line)]
    return "; ".join(words[-2:])


def _meaning(exit_status: int | None) -> str:
    if exit_status is None:
        return "it is gone"
    if exit_status in _STATUS:
        return _STATUS[exit_status]
    if exit_status < 0:
        try:
            return f"it was ended by {signal.Signals(-exit_status).name}"
        except ValueError:
            return f"it was ended by signal {-exit_status}"
    return f"it ended with status {exit_status}"
