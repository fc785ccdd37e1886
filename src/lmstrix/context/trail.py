"""What a test has changed on a server, on disk, so that a later one can set it right.

Only of use where a load cannot be given a name of its own: there nothing but this tells what a
test loaded from what somebody else did.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from lmstrix.config import atomic_write
from lmstrix.context.fit import STEP_TOKENS
from lmstrix.types import Instance  # noqa: TC001  # msgspec resolves it at run time

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """A test's loads of one model on one server.

    `others` are the instances of the model that were there before, `asked_tokens` is what was
    last asked for, `own` what came of it.
    """

    others: tuple[Instance, ...] = ()
    asked_tokens: int | None = None
    own: tuple[Instance, ...] = ()

    def is_own(self, instance: Instance) -> bool:
        """Whether a loaded instance is the test's: as it was told, or as it was asked for.

        What was asked for counts too, for who was killed before the server had answered.
        """
        if _is_among(instance, self.own):
            return True
        if _is_among(instance, self.others) or self.asked_tokens is None:
            return False
        beyond = (instance.context_tokens or 0) - self.asked_tokens
        return 0 <= beyond < STEP_TOKENS

    @property
    def displaced(self) -> tuple[Instance, ...]:
        """Those of others in whose place the test has loaded."""
        names = {instance.id for instance in self.own}
        return tuple(instance for instance in self.others if instance.id in names)


class TrailFile:
    """The trail of one model's tests on one server; gone when nothing is left to set right."""

    def __init__(self, folder: Path, *, provider: str, server: str, identity: str) -> None:
        place = f"{provider}\n{server}\n{identity}"
        digest = hashlib.sha256(place.encode()).hexdigest()[:24]
        self._path = folder / f"trail-{digest}.json"

    def read(self) -> Trail:
        """What an earlier test has left; an empty trail for nothing, or for what is unreadable."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Trail)
        except (OSError, msgspec.MsgspecError):
            return Trail()

    def write(self, trail: Trail) -> None:
        """Keep `trail`, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path, msgspec.json.encode(trail))

    def clear(self) -> None:
        """Nothing is left to set right."""
        self._path.unlink(missing_ok=True)


def _is_among(instance: Instance, others: Iterable[Instance]) -> bool:
    """By name and size: who loads a model anew gives it another size."""
    known = {(other.id, other.context_tokens) for other in others}
    return (instance.id, instance.context_tokens) in known
