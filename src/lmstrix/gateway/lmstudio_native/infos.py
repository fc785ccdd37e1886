"""Models and instances as the native protocol describes them, and which one a specifier means.

Pure. An instance's reference is made of what tells it from any other of the same name, so that a
handle to one that was unloaded never answers from its successor.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import asdict

from lmstrix.gateway.lmstudio_facts import (
    bits_of,
    context_of,
    display_name,
    domain_of,
    is_embedding,
    params_string,
    path_of,
    publisher_of,
)
from lmstrix.protocol.lmstudio.models import (
    EmbeddingModelInfo,
    EmbeddingModelInstanceInfo,
    LlmInfo,
    LlmInstanceInfo,
    ModelSpecifierInstanceReference,
    Quantization,
)
from lmstrix.protocol.lmstudio.settings import load_fields
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lmstrix.protocol.lmstudio.config import Field
    from lmstrix.protocol.lmstudio.models import ModelInfo, ModelInstanceInfo, ModelSpecifier
    from lmstrix.store import Entry
    from lmstrix.types import Instance, Model

# Formats that LM Studio has a name for; a client refuses a list with any other.
FORMATS = frozenset(
    {"gguf", "safetensors", "onnx", "ggml", "pte", "mlx_placeholder", "torch_safetensors"}
)


class Loaded(NamedTuple):
    """An instance with the model it is a copy of."""

    instance: Instance
    entry: Entry

    @property
    def model(self) -> Model:
        """The model itself."""
        return self.entry.model


def model_info(model: Model) -> ModelInfo:
    """A downloaded model."""
    told: dict[str, object] = {
        "model_key": model.key,
        "format": model.format if model.format in FORMATS else "gguf",
        "display_name": display_name(model),
        "publisher": publisher_of(model),
        "path": path_of(model),
        "size_bytes": model.size_bytes,
        "indexed_model_identifier": path_of(model),
        "device_identifier": None,
        "params_string": params_string(model.parameters),
        "architecture": model.architecture,
        "quantization": _quantization(model),
        "max_context_length": model.declared_context_tokens or 0,
    }
    if is_embedding(model):
        return EmbeddingModelInfo(**told)  # type: ignore[arg-type]  # the fields above
    return LlmInfo(**told, vision=model.vision, trained_for_tool_use=model.tools)  # type: ignore[arg-type]


def instance_info(
    loaded: Loaded, *, ttl_s: float | None, last_used_at: float | None
) -> ModelInstanceInfo:
    """A loaded model. `ttl_s` is its time to live without use; `last_used_at` Unix seconds."""
    instance, model = loaded.instance, loaded.model
    told = {
        **asdict(model_info(model)),
        "identifier": instance.id,
        "instance_reference": reference_of(instance),
        "context_length": context_of(instance, model),
        "ttl_ms": None if ttl_s is None else round(ttl_s * 1000),
        "last_used_time": None if last_used_at is None else round(last_used_at * 1000),
    }
    return EmbeddingModelInstanceInfo(**told) if is_embedding(model) else LlmInstanceInfo(**told)


def reference_of(instance: Instance) -> str:
    """What names this very copy of a model."""
    told = f"{instance.server}\n{instance.id}\n{instance.loaded_at}\n{instance.pid}"
    return blake2s(told.encode(), digest_size=12).hexdigest()


def load_config_fields(loaded: Loaded) -> list[Field]:
    """How an instance is loaded, as far as it is known; its context is the real one."""
    instance, model = loaded.instance, loaded.model
    asked = instance.config
    config = LoadConfig(
        context_tokens=context_of(instance, model),
        kv_type_k=asked.kv_type_k,
        kv_type_v=asked.kv_type_v,
        flash_attention=asked.flash_attention,
        parallel=instance.parallel,
        batch_tokens=asked.batch_tokens,
        threads=asked.threads,
    )
    if is_embedding(model):
        config = LoadConfig(context_tokens=config.context_tokens, batch_tokens=config.batch_tokens)
    return load_fields(config, namespace=domain_of(model))


def choose_exactly(
    specifier: ModelSpecifier, among: Sequence[Loaded], *, domain: str
) -> Loaded | None:
    """The instance of `domain` that a specifier names by its reference or its own identifier."""
    if isinstance(specifier, ModelSpecifierInstanceReference):
        return choose(specifier, among, domain=domain, meant=lambda _: None)
    query = specifier.query
    if query.path is not None or query.vision is not None or query.domain not in (None, domain):
        return None
    return _first(
        one
        for one in among
        if one.instance.id == query.identifier and domain_of(one.model) == domain
    )


def choose(
    specifier: ModelSpecifier,
    loaded: Sequence[Loaded],
    *,
    domain: str,
    meant: Callable[[str], Model | None],
) -> Loaded | None:
    """The instance of `domain` that a specifier means; `None` where there is none.

    A query's identifier is the first of these that fits: an instance's own, a model's key, the
    beginning of a path whatever the case, or whatever else `meant` knows a model by. Without one
    any instance will do; of several the first.
    """
    among = [one for one in loaded if domain_of(one.model) == domain]
    if isinstance(specifier, ModelSpecifierInstanceReference):
        wanted = specifier.instance_reference
        return _first(one for one in among if reference_of(one.instance) == wanted)
    query = specifier.query
    if query.domain not in (None, domain):
        return None
    if query.vision is not None:
        among = [one for one in among if one.model.vision == query.vision]
    if query.path is not None:
        among = [one for one in among if _is_at(one.model, query.path)]
    if query.identifier is None:
        return _first(among)
    return named(query.identifier, among, meant=meant)


def named(
    name: str, among: Sequence[Loaded], *, meant: Callable[[str], Model | None]
) -> Loaded | None:
    """The instance that is called `name`, or whose model is; `None` where there is none."""
    found = _first(one for one in among if one.instance.id == name) or _first(
        one for one in among if name == one.model.key or _is_at(one.model, name)
    )
    if found is not None or not among:
        return found
    model = meant(name)
    if model is None:
        return None
    place = (model.key, model.provider, model.server)
    return _first(
        one for one in among if (one.model.key, one.model.provider, one.model.server) == place
    )


def _is_at(model: Model, path: str) -> bool:
    """Whether the model's path begins with `path`, whole pieces or not."""
    return bool(path) and path_of(model).casefold().startswith(path.casefold())


def _first(found: Iterable[Loaded]) -> Loaded | None:
    return next(iter(found), None)


def _quantization(model: Model) -> Quantization | None:
    bits = bits_of(model.quantization)
    if model.quantization is None or bits is None:
        return None
    return Quantization(name=model.quantization, bits=bits)
