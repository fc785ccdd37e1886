"""What is told of models: which there are, what is in them, which are loaded."""

from __future__ import annotations

import asyncio
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lmstrix import __version__
from lmstrix.errors import GGUFError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.fetching import content_digest
from lmstrix.gateway.ollama.shelf import Chosen, tagged
from lmstrix.gateway.reading import read_body
from lmstrix.gateway.responding import json_response
from lmstrix.protocol.ollama.models import (
    Details,
    Listed,
    Named,
    Processes,
    Running,
    Shown,
    Tags,
    Version,
    parameter_size,
)
from lmstrix.providers.ollama import OllamaProvider
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.ollama.shelf import Made, Shelf
    from lmstrix.gguf.header import Header
    from lmstrix.store import Entry
    from lmstrix.types import Instance, Model

_NEVER_S = float(2**63) / 1e9  # as long as Ollama's own "for ever"
_SHORT_ARRAY = 5
_OMITTED = ("general.name", "tokenizer.chat_template")
_WIDTH = 30


class Facts:
    """The endpoints, on one gateway."""

    def __init__(self, gateway: Gateway, shelf: Shelf) -> None:
        self._gateway = gateway
        self._shelf = shelf

    @describe("The version", answer=Version)
    async def version(self, request: Request) -> Response:  # noqa: ARG002  # Starlette passes it
        """`GET /api/version`: LMStrix's own, in the three numbers that programs compare."""
        numbers = re.match(r"\d+\.\d+\.\d+", __version__)
        return json_response(Version(numbers[0] if numbers else __version__))

    @describe("The models", answer=Tags)
    async def tags(self, request: Request) -> Response:  # noqa: ARG002  # Starlette passes it
        """`GET /api/tags`."""
        entries = await self._gateway.models()
        found = [_listed(tagged(entry.model.key), entry) for entry in entries]
        for name, made in self._shelf.made().items():
            source = next((one for one in entries if one.model.key == made.source), None)
            if source is not None:
                found.append(_listed(name, source, made))
        found.sort(key=lambda one: one.modified_at or "", reverse=True)
        return json_response(Tags(tuple(found)))

    @describe("What is in a model", body=Named, answer=Shown)
    async def show(self, request: Request) -> Response:
        """`POST /api/show`."""
        wish = await read_body(request, Named)
        chosen = await self._shelf.find(wish.wanted)
        if (told := await self._told(chosen)) is not None:
            return json_response(told)
        header = await asyncio.to_thread(_header, chosen.entry.model)
        return json_response(_shown(chosen, header, verbose=bool(wish.verbose)))

    async def _told(self, chosen: Chosen) -> Shown | None:
        """What an Ollama behind tells of the model itself; `None` where there is none."""
        provider = self._gateway.client._open.provider_of(chosen.entry.model)  # noqa: SLF001  # of the same house
        if chosen.made is not None or not isinstance(provider, OllamaProvider):
            return None
        return await provider.show(chosen.entry.model.key)

    @describe("The loaded models", answer=Processes)
    async def ps(self, request: Request) -> Response:  # noqa: ARG002  # Starlette passes it
        """`GET /api/ps`."""
        entries = {(one.model.key, one.model.server): one for one in await self._gateway.models()}
        running = [
            self._running(one, entries.get((one.model_key, one.server)))
            for one in await self._gateway.instances()
        ]
        return json_response(Processes(tuple(running)))

    def _running(self, instance: Instance, entry: Entry | None) -> Running:
        keeping = self._gateway.keeping
        ttl_s = keeping.ttl_s(instance.id)
        if instance.id not in keeping.own_ids():
            ttl_s = instance.config.ttl_s
        ttl_s = _NEVER_S if ttl_s is None or math.isinf(ttl_s) else ttl_s
        memory = instance.memory
        held = 0
        if memory is not None:
            held = memory.weights_bytes + memory.kv_bytes + memory.compute_bytes
        on_gpu = bool(instance.config.gpu_layers)
        size = held or (entry.model.size_bytes if entry else 0)
        return Running(
            name=tagged(instance.id),
            model=tagged(instance.id),
            size=size,
            digest=digest_of(entry.model) if entry else "",
            details=details_of(entry.model) if entry else Details(),
            expires_at=rfc3339(datetime.now(UTC).timestamp() + ttl_s),
            size_vram=size if on_gpu else 0,
            context_length=instance.context_tokens,
        )


def rfc3339(unix_s: float) -> str:
    """A time as Ollama writes it."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")


def digest_of(model: Model, made: Made | None = None) -> str:
    """Sixty-four hexadecimal digits that stand for the model's content."""
    content = model.identity or f"{model.provider} {model.server} {model.key}"
    if made is not None:
        content += f" {made.system} {sorted(made.parameters.items())} {made.messages}"
    return content_digest(content)


def details_of(model: Model, parent: str = "") -> Details:
    """What kind of model it is."""
    return Details(
        parent_model=parent,
        format=model.format,
        family=model.architecture or "",
        families=(model.architecture,) if model.architecture else (),
        parameter_size=parameter_size(model.parameters),
        quantization_level=model.quantization or "",
        context_length=model.declared_context_tokens,
    )


def capabilities_of(model: Model) -> tuple[str, ...]:
    """What a model can do, in Ollama's words."""
    if model.type is ModelType.EMBEDDING:
        return ("embedding",)
    found = ["completion"]
    found += ["tools"] if model.tools else []
    found += ["vision"] if model.vision else []
    found += ["thinking"] if model.reasoning else []
    return tuple(found)


def _listed(name: str, entry: Entry, made: Made | None = None) -> Listed:
    model = entry.model
    return Listed(
        name=name,
        model=name,
        modified_at=rfc3339(made.made_at if made else model.modified_at or entry.added_at),
        size=model.size_bytes,
        digest=digest_of(model, made),
        details=details_of(model, tagged(model.key) if made else ""),
        capabilities=capabilities_of(model),
    )


def _header(model: Model) -> Header | None:
    """The header of a model's file, where there is one that can be read here."""
    if model.path is None or model.format != "gguf":
        return None
    from lmstrix.gguf import read_header  # noqa: PLC0415  # only a model that is shown needs it

    try:
        return read_header(Path(model.path))
    except (GGUFError, OSError):
        return None


def _shown(chosen: Chosen, header: Header | None, *, verbose: bool) -> Shown:
    model, made = chosen.entry.model, chosen.made
    template = header.value("tokenizer.chat_template", str) if header else None
    licensed = header.value("general.license", str) if header else None
    info: dict[str, object] = dict(_info(header, verbose=verbose)) if header else {}
    if not info and model.architecture:
        info = {"general.architecture": model.architecture}
        if model.declared_context_tokens:
            info[f"{model.architecture}.context_length"] = model.declared_context_tokens
    parameters = _parameters(made.parameters) if made else ""
    changed_at = (made.made_at if made else None) or model.modified_at or chosen.entry.added_at
    return Shown(
        license="\n".join(made.license) if made and made.license else licensed,
        modelfile=_modelfile(chosen, template or ""),
        parameters=parameters or None,
        template=template or "",
        system=made.system if made else None,
        details=details_of(model, tagged(model.key) if made else ""),
        messages=made.messages or None if made else None,
        model_info=info,
        capabilities=capabilities_of(model),
        modified_at=rfc3339(changed_at),
    )


def _info(header: Header, *, verbose: bool) -> dict[str, object]:
    """The metadata; long arrays are empty, those of the tokenizer always."""
    info: dict[str, object] = {}
    for key, value in header.metadata.items():
        if key in _OMITTED:
            continue
        if isinstance(value, int | float | str):
            info[key] = value
        elif isinstance(value, tuple):
            info[key] = value if verbose or len(value) <= _SHORT_ARRAY else ()
        else:
            info[key] = ()
    info.setdefault("general.parameter_count", header.parameters)
    return info


def _parameters(parameters: dict[str, object]) -> str:
    """One line per value, names in a column."""
    return "\n".join(f"{name:<{_WIDTH}} {_quoted(one)}" for name, one in _flat(parameters))


def _quoted(value: object) -> object:
    return f'"{value}"' if isinstance(value, str) else value


def _flat(parameters: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Each parameter with each of its values."""
    for name, value in parameters.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            yield name, one


def _modelfile(chosen: Chosen, template: str) -> str:
    model, made = chosen.entry.model, chosen.made
    lines = [f"FROM {model.path or model.key}"]
    if template:
        lines.append(f'TEMPLATE """{template}"""')
    if made is not None:
        if made.system:
            lines.append(f'SYSTEM """{made.system}"""')
        lines.extend(f"PARAMETER {name} {one}" for name, one in _flat(made.parameters))
        lines.extend(f"MESSAGE {one.role} {one.content or ''}" for one in made.messages)
    return "\n".join(lines) + "\n"
