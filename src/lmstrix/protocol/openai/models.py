"""What a server says of its models, and llama.cpp of itself and its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.types import Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS = "/v1/models"
PROPS = "/props"  # this and the following are llama.cpp's
TOKENIZE = "/tokenize"
DETOKENIZE = "/detokenize"
APPLY_TEMPLATE = "/apply-template"


class LlamaMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """llama.cpp: what the model's file says. `size` is in bytes."""

    n_ctx_train: int | None = None
    n_ctx: int | None = None
    n_params: int | None = None
    size: int | None = None


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model. `max_model_len` is vLLM's: the context that a request can use."""

    id: str
    object: str = "model"
    created: int | None = None
    owned_by: str | None = None
    max_model_len: int | None = None
    meta: LlamaMeta | None = None


class LlamaEntry(msgspec.Struct, frozen=True):
    """llama.cpp: the same model once more; `capabilities` has `completion` or `embedding`."""

    name: str = ""
    capabilities: tuple[str, ...] = ()


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/models`."""

    data: tuple[ModelEntry, ...]
    object: str = "list"
    models: tuple[LlamaEntry, ...] = ()


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A model as our gateway lists it; `type` and the context are LM Studio's additions."""

    id: str
    object: str = "model"
    created: int
    owned_by: str
    type: str
    max_context_length: int | msgspec.UnsetType = msgspec.UNSET


class ServedList(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/models`, as our gateway answers it."""

    object: str = "list"
    data: tuple[Served, ...]


class Modalities(msgspec.Struct, frozen=True):
    """What besides text a model takes."""

    vision: bool = False


class SlotSettings(msgspec.Struct, frozen=True):
    """What one slot of llama.cpp's server has and does where a request is silent."""

    n_ctx: int | None = None
    params: dict[str, Any] = {}


class Props(msgspec.Struct, frozen=True, kw_only=True):
    """llama.cpp: `GET /props`."""

    default_generation_settings: SlotSettings
    total_slots: int = 1
    modalities: Modalities = Modalities()
    build_info: str = ""

    def sampling_defaults(self) -> Mapping[str, object]:
        """What is used where a request is silent, by the names of `Sampling`."""
        params = self.default_generation_settings.params
        return {
            # The engine holds 32-bit floats: 0.8 comes back as 0.800000011920929.
            name: round(value, 6) if isinstance(value, float) else value
            for name in Sampling.__struct_fields__
            if (value := params.get(name)) is not None
        }


class Prompt(msgspec.Struct, frozen=True):
    """llama.cpp: a conversation with the chat template applied."""

    prompt: str


class Tokens(msgspec.Struct, frozen=True):
    """llama.cpp: token ids."""

    tokens: list[int]


class Content(msgspec.Struct, frozen=True):
    """llama.cpp: the text of token ids."""

    content: str


def tokenize_question(text: str) -> dict[str, object]:
    """llama.cpp: what asks for the ids of a rendered prompt, its markers counted as such."""
    return {"content": text, "add_special": True, "parse_special": True}
