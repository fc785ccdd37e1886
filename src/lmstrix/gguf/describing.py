"""What a model file's header tells a user."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lmstrix.gguf.header import Header, model_stem, read_header
from lmstrix.gguf.identity import file_identity
from lmstrix.gguf.quantization import FILE_TYPES
from lmstrix.types import Model, ModelType

if TYPE_CHECKING:
    import os

_EMBEDDING_FAMILIES = ("bert", "t5encoder", "gemma-embedding", "llama-embed")
_TOOL_MARKS = ("tools", "tool_call")
_REASONING_MARKS = ("<think>", "enable_thinking", "reasoning_content", "thinking", "<|channel|>")


def describe(
    path: str | os.PathLike[str],
    *,
    provider: str,
    server: str,
    folder: str | os.PathLike[str] | None = None,
) -> Model:
    """The model in the file at `path`; its key is the file's name without `.gguf`.

    Where two files below `folder` share a name, the caller makes keys of `relative_key`.
    What a model can do is read from its chat template and architecture, so it is a claim of
    its makers. Raises what `read_header` raises.
    """
    path = Path(path)
    header = read_header(path)
    template = " ".join(
        text
        for key, text in header.metadata.items()
        if key.startswith("tokenizer.chat_template") and isinstance(text, str)
    )
    vision = _sees(header)
    kind = ModelType.VLM if vision else ModelType.LLM
    if _embeds(header):
        kind = ModelType.EMBEDDING
    tags = header.metadata.get("general.tags")
    publisher = _publisher(path, Path(folder)) if folder is not None else ()
    return Model(
        key=model_stem(path),
        provider=provider,
        server=server,
        type=kind,
        path=str(path),
        size_bytes=header.size_bytes,
        name=header.value("general.name", str),
        architecture=header.architecture or None,
        parameters=header.parameters or None,
        quantization=quantization(header),
        declared_context_tokens=header.own("context_length", int),
        vision=vision,
        tools=any(mark in template for mark in _TOOL_MARKS),
        reasoning=any(mark in template for mark in _REASONING_MARKS),
        identity=file_identity(header),
        modified_at=max(part.path.stat().st_mtime for part in header.parts),
        description=header.value("general.description", str),
        tags=(*publisher, *(str(tag) for tag in tags)) if isinstance(tags, tuple) else publisher,
    )


def relative_key(path: Path, folder: Path) -> str:
    """The file's place below `folder` as a key: `publisher/repository/name`."""
    below = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return below.with_name(model_stem(path)).as_posix()


def quantization(header: Header) -> str | None:
    """The file type its maker gave, else the tensor type that takes most bytes."""
    file_type = header.value("general.file_type", int)
    if file_type in FILE_TYPES:
        return FILE_TYPES[file_type]
    bytes_by_type: Counter[str] = Counter()
    for tensor in header.tensors:
        bytes_by_type[tensor.type] += tensor.size_bytes
    return bytes_by_type.most_common(1)[0][0].upper() if bytes_by_type else None


def _publisher(path: Path, folder: Path) -> tuple[str, ...]:
    """The publisher in LM Studio's layout, `publisher/repository/file`."""
    below = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    return (below[0],) if len(below) == 3 else ()


def _embeds(header: Header) -> bool:
    if any(mark in header.architecture for mark in _EMBEDDING_FAMILIES):
        return True
    return bool(header.own("pooling_type", int))


def _sees(header: Header) -> bool:
    """An image projector lies beside the file, or in it."""
    if any(".vision." in key or key.startswith("clip.") for key in header.metadata):
        return True
    beside = header.path.parent.glob("*.gguf")
    return any("mmproj" in other.name.lower() for other in beside)
