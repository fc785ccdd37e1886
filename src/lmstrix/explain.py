"""What exactly is sent, and where each value comes from (`--explain`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lmstrix.types import Instance, Sampling, WireRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


class Parameter(msgspec.Struct, frozen=True):
    """One sampling setting in effect. `origin` is who chose it: `you` or `server default`.

    `default` is the server's own value, whether or not it is in effect.
    """

    name: str
    value: object
    origin: str
    default: object = None

    @property
    def differs(self) -> bool:
        """Whether the value is another than the server would have used."""
        return self.origin == "you" and self.value != self.default


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One request, taken apart. `wire` holds the very bytes that would be sent.

    `rendered` is empty and `prompt_tokens` `None` where the server does not tell them.
    """

    model: str
    instance: Instance
    rendered: str
    prompt_tokens: int | None
    context_tokens: int | None
    wire: WireRequest
    parameters: tuple[Parameter, ...]
    notes: tuple[str, ...] = ()


def compare_parameters(sampling: Sampling, defaults: Mapping[str, object]) -> tuple[Parameter, ...]:
    """Every sampling setting with its value in effect, in the order of `Sampling`."""
    rows = []
    for name in Sampling.__struct_fields__:
        chosen, default = getattr(sampling, name), defaults.get(name)
        if isinstance(chosen, tuple):
            chosen = list(chosen)
        origin = "server default" if chosen is None else "you"
        rows.append(Parameter(name, default if chosen is None else chosen, origin, default))
    return tuple(rows)
