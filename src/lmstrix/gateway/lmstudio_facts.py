"""Models as LM Studio describes them, in its REST and in its native protocol. Pure."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lmstrix.types import ModelType, StopReason

if TYPE_CHECKING:
    from lmstrix.types import Instance, Model

# What LM Studio's paths have below the models folder: publisher, repository, file.
_PIECES = 3
_BITS = re.compile(r"(?:^|[^0-9])(?:I?Q|T?B?F|FP|MXFP|NVFP)(\d+)", re.IGNORECASE)
_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))

STOP_REASONS = {
    StopReason.END: "eosFound",
    StopReason.STOP_STRING: "stopStringFound",
    StopReason.LENGTH: "maxPredictedTokensReached",
    StopReason.CONTEXT: "contextLengthReached",
    StopReason.TOOL_CALLS: "toolCalls",
    StopReason.CANCELLED: "userStopped",
    StopReason.FAILED: "failed",
}
"""Why an answer ended, in LM Studio's words."""


def path_of(model: Model) -> str:
    """Publisher, repository and file; the key where there is no file."""
    if model.path is None:
        return model.key
    pieces = model.path.replace("\\", "/").split("/")
    return "/".join(piece for piece in pieces[-_PIECES:] if piece)


def publisher_of(model: Model) -> str:
    """The first folder of the model's path, as LM Studio lays them out; else empty."""
    pieces = PurePosixPath(path_of(model)).parts
    return pieces[0] if len(pieces) > 1 else ""


def display_name(model: Model) -> str:
    """The name its makers gave it, else its key in words."""
    return model.name or model.key.rsplit("/", 1)[-1].replace("-", " ").replace("_", " ").title()


def bits_of(quantization: str | None) -> int | None:
    """Bits per weight by a quantization's name: 4 of `Q4_K_M`, 16 of `BF16`."""
    found = _BITS.search(quantization or "")
    return int(found[1]) if found else None


def params_string(parameters: int | None) -> str | None:
    """A count of weights as people say it: `1.2B`, `135M`."""
    if not parameters:
        return None
    for scale, letter in _SCALES:
        if parameters >= scale:
            count = parameters / scale
            return f"{count:.0f}{letter}" if count >= 10 else f"{count:.1f}{letter}"
    return str(parameters)


def is_embedding(model: Model) -> bool:
    """Whether it belongs to the `embedding` namespace; everything else is an `llm`."""
    return model.type is ModelType.EMBEDDING


def domain_of(model: Model) -> str:
    """`llm` or `embedding`."""
    return "embedding" if is_embedding(model) else "llm"


def context_of(instance: Instance, model: Model) -> int:
    """Tokens that the instance holds; what the model declares where its server does not tell."""
    return instance.context_tokens or model.declared_context_tokens or 0
