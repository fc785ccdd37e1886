"""Models and parameters as Ollama describes them, in the vocabulary of `lmstrix.types`. Pure."""

from __future__ import annotations

import math
from contextlib import suppress

from lmstrix.protocol.ollama.models import Details, Listed, Shown, parameter_count, unix_s
from lmstrix.types import Model, ModelType


def described(key: str, listed: Listed, shown: Shown, *, provider: str, server: str) -> Model:
    """The model that `/api/tags` and `/api/show` speak of.

    Servers before 0.6.4 tell no capabilities; then they are read from the model's families.
    """
    told = listed.details or Details()
    more = shown.details or told
    able = frozenset(shown.capabilities or listed.capabilities or ())
    info = shown.model_info or {}
    families = {*(more.families or ()), more.family or ""}
    sees = "vision" in able or bool(families & {"clip", "mllama"})
    embeds = "embedding" in able or (not able and any("bert" in one for one in families))
    architecture = info.get("general.architecture")
    count = info.get("general.parameter_count")
    kind = ModelType.VLM if sees else ModelType.LLM
    return Model(
        key=key,
        provider=provider,
        server=server,
        type=ModelType.EMBEDDING if embeds and "completion" not in able else kind,
        format=more.format or told.format or "gguf",
        size_bytes=listed.size or 0,
        architecture=architecture if isinstance(architecture, str) else more.family or None,
        parameters=count if isinstance(count, int) else parameter_count(more.parameter_size),
        quantization=more.quantization_level or told.quantization_level or None,
        declared_context_tokens=shown.own("context_length") or told.context_length,
        vision=sees,
        tools="tools" in able,
        reasoning="thinking" in able,
        identity=listed.digest,
        modified_at=unix_s(listed.modified_at),
        tags=("cloud",) if listed.remote_host or shown.remote_host else (),
    )


def parameters_of(text: str) -> dict[str, object]:
    """The parameters of a model as `/api/show` lists them: a name and a value per line."""
    found: dict[str, object] = {}
    stops: list[str] = []
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        if name == "stop":
            stops.append(value.strip('"'))
            continue
        with suppress(ValueError):
            number = float(value)
            found[name] = number if math.isfinite(number) else None
    return found | ({"stop": stops} if stops else {})
