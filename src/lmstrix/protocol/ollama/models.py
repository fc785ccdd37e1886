"""What Ollama's API tells of models and does with them, on the wire.

Times are RFC 3339 texts, sizes are bytes; `digest` is a SHA-256 in hexadecimal.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from lmstrix.protocol.ollama.messages import WireMessage  # noqa: TC001  # msgspec resolves it


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A JSON object of which nothing need be there."""


class Details(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """What kind of model it is; `parameter_size` reads like `7.6B`."""

    parent_model: str | None = None
    format: str | None = None
    family: str | None = None
    families: tuple[str, ...] | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None
    context_length: int | None = None
    embedding_length: int | None = None


class Listed(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """A model in `GET /api/tags`; `capabilities` and the context come from newer servers."""

    name: str | None = None
    model: str | None = None
    modified_at: str | None = None
    size: int | None = None
    digest: str | None = None
    details: Details | None = None
    capabilities: tuple[str, ...] | None = None
    remote_host: str | None = None


class Tags(msgspec.Struct, frozen=True):
    """`GET /api/tags`."""

    models: tuple[Listed, ...] | None = ()


class Running(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """A loaded model in `GET /api/ps`; `context_length` comes from 0.9.7 on."""

    name: str | None = None
    model: str | None = None
    size: int | None = None
    digest: str | None = None
    details: Details | None = None
    expires_at: str | None = None
    size_vram: int | None = None
    context_length: int | None = None


class Processes(msgspec.Struct, frozen=True):
    """`GET /api/ps`."""

    models: tuple[Running, ...] | None = ()


class Version(msgspec.Struct, frozen=True):
    """`GET /api/version`."""

    version: str = ""


class Named(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """The body that names one model: `POST /api/show`, `pull`, `push`, `DELETE /api/delete`.

    `name` is the older field for the same.
    """

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None
    stream: bool | None = None
    insecure: bool | None = None

    @property
    def wanted(self) -> str:
        """The model that is named; empty where none is."""
        return self.model or self.name or ""


class Shown(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to `POST /api/show`; `model_info` is the metadata of its file."""

    license: str | tuple[str, ...] | None = None
    modelfile: str | None = None
    parameters: str | None = None
    template: str | None = None
    system: str | None = None
    details: Details | None = None
    messages: tuple[WireMessage, ...] | None = None
    model_info: dict[str, object] | None = None
    capabilities: tuple[str, ...] | None = None
    modified_at: str | None = None
    remote_host: str | None = None

    def own(self, name: str) -> int | None:
        """A number that the metadata has below the model's architecture (`llama.NAME`)."""
        info = self.model_info or {}
        found = info.get(f"{info.get('general.architecture')}.{name}")
        return found if isinstance(found, int) and not isinstance(found, bool) else None


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /api/copy`."""

    source: str = ""
    destination: str = ""


class Create(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /api/create`; what is made of files or quantized has further fields."""

    model: str | None = None
    name: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    system: str | None = None
    template: str | None = None
    parameters: dict[str, object] | None = None
    messages: tuple[WireMessage, ...] | None = None
    license: str | tuple[str, ...] | None = None
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    quantize: str | None = None
    stream: bool | None = None

    @property
    def wanted(self) -> str:
        """The name of the new model; empty where none is given."""
        return self.model or self.name or ""


class Pulling(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """One line of progress of pull, push and create; `completed` of `total` are bytes."""

    status: str | None = None
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    error: str | None = None


def unix_s(text: str | None) -> float | None:
    """The Unix time of an RFC 3339 text; `None` for none, or for what is no time.

    Go writes the year 1 for no time at all.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.year < 1971 else found.timestamp()


_UNITS = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def parameter_count(text: str | None) -> int | None:
    """How many parameters `7.6B` or `137M` are; `None` for what cannot be read."""
    if not text:
        return None
    number, unit = text[:-1], text[-1].upper()
    if unit.isdigit():
        number, unit = text, ""
    try:
        return round(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        return None


def parameter_size(count: int | None) -> str:
    """A parameter count as Ollama writes it: `7.6B`, `134.52M`, `25K`."""
    if not count:
        return ""
    for unit, size, decimals in (("B", 1e9, 1), ("M", 1e6, 2)):
        if count >= size:
            number = count / size
            return f"{number:.0f}{unit}" if number.is_integer() else f"{number:.{decimals}f}{unit}"
    return f"{count / 1e3:.0f}K" if count >= 1e3 else str(count)
