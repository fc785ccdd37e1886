"""What can be said of one entry of the registry, by the names that filters, sorts and columns use.

Each fact is `None` where it is not known. Sizes are bytes, contexts tokens, durations seconds,
dates Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.results import Limit, TestStatus

if TYPE_CHECKING:
    from lmstrix.store import Entry

_UNTESTED = Limit()


def last_piece(key: str) -> str:
    """The part of a key or path after its last slash, without `.gguf`."""
    piece = key.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return piece[:-5] if piece.lower().endswith(".gguf") else piece


def name(entry: Entry) -> str:
    """The model's own name, else the last piece of its key."""
    return entry.model.name or last_piece(entry.model.key)


def is_present(entry: Entry) -> bool:
    """Whether the last full listing of its server named it."""
    return entry.seen_at is not None and entry.missing_since is None


def is_at(entry: Entry, *, provider: str | None, server: str | None) -> bool:
    """Whether it belongs to this provider and server; `None` is any.

    A model that runs on this machine has no server's address and is at every one.
    """
    model = entry.model
    return provider in (None, model.provider) and (
        server in (None, model.server) or "://" not in model.server
    )


def size_bytes(entry: Entry) -> int | None:
    """Size on disk."""
    return entry.model.size_bytes or None


def status(entry: Entry) -> TestStatus:
    """Where its test stands, whether or not the model is missing now."""
    return entry.result.status if entry.result else TestStatus.UNTESTED


def usable_tokens(entry: Entry) -> int | None:
    """The tested context to trust."""
    return entry.result.usable_tokens if entry.result else None


def usable_limit(entry: Entry) -> Limit:
    """The limit that the context to trust is taken from."""
    return (entry.result.usable_limit if entry.result else None) or _UNTESTED


def declared_tokens(entry: Entry) -> int | None:
    """The context the model claims."""
    return entry.model.declared_context_tokens


def usable_share(entry: Entry) -> float | None:
    """Tested over declared context."""
    usable, declared = usable_tokens(entry), declared_tokens(entry)
    return usable / declared if usable is not None and declared else None


def loadable(entry: Entry) -> Limit:
    """The largest context it loads with."""
    return entry.result.loadable if entry.result else _UNTESTED


def processable(entry: Entry) -> Limit:
    """The longest prompt that is processed whole."""
    return entry.result.processable if entry.result else _UNTESTED


def effective(entry: Entry) -> Limit:
    """The longest prompt up to which answers stay good."""
    return entry.result.effective if entry.result else _UNTESTED


def time_to_first_token_s(entry: Entry) -> float | None:
    """As measured at the longest processed prompt."""
    return entry.result.time_to_first_token_s if entry.result else None


def tokens_per_s(entry: Entry) -> float | None:
    """Generation speed, as measured at the longest processed prompt."""
    return entry.result.tokens_per_s if entry.result else None


def tested_at(entry: Entry) -> float | None:
    """When its last test ended, or began if it has not ended."""
    result = entry.result
    return (result.finished_at or result.started_at) if result else None


def abilities(entry: Entry) -> tuple[str, ...]:
    """Of vision, tools and reasoning, what it can."""
    model = entry.model
    can = (("vision", model.vision), ("tools", model.tools), ("reasoning", model.reasoning))
    return tuple(word for word, yes in can if yes)


def test_cost(entry: Entry) -> float | None:
    """How dear a context test is, in bytes of weights read; only good for comparing models.

    Each load reads the weights once, and so does each batch of about 512 prompt tokens that is
    processed on the way to the declared context (4,096 where none is declared).
    """
    size = size_bytes(entry)
    return None if size is None else size * (1 + (declared_tokens(entry) or 4096) / 512)
