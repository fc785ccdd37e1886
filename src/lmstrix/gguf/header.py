"""What a GGUF file says of itself, read from its header alone.

The format is described in ggml's `docs/gguf.md`. A header is written by strangers: every count
is checked against the bytes that are there before anything is allocated or looped over.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from lmstrix.errors import GGUFError
from lmstrix.gguf.quantization import TENSOR_TYPES, TensorType
from lmstrix.gguf.source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: ("u8", struct.Struct("<B")),
    1: ("i8", struct.Struct("<b")),
    2: ("u16", struct.Struct("<H")),
    3: ("i16", struct.Struct("<h")),
    4: ("u32", struct.Struct("<I")),
    5: ("i32", struct.Struct("<i")),
    6: ("f32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<?")),
    10: ("u64", struct.Struct("<Q")),
    11: ("i64", struct.Struct("<q")),
    12: ("f64", struct.Struct("<d")),
}

# Far beyond any real model, small enough that a hostile file costs seconds and megabytes.
_MOST_KEYS = 1 << 16
_MOST_TENSORS = 1 << 18
_MOST_ELEMENTS = 1 << 24
_KEPT_ELEMENTS = 1024

_SPLIT_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)

_T = TypeVar("_T", int, float, str, bool)


class LongArray(msgspec.Struct, frozen=True):
    """An array whose values were passed over: the type of its elements and how many."""

    element: str
    length: int


Value: TypeAlias = int | float | str | bool | tuple[int | float | str | bool, ...] | LongArray


class Tensor(msgspec.Struct, frozen=True):
    """One tensor: `shape` in the file's order (columns first), place and size in bytes.

    `offset` counts from the start of its part's tensor data; `part` is an index into
    `Header.parts`.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size_bytes: int
    part: int = 0

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        count = 1
        for side in self.shape:
            count *= side
        return count


class Part(msgspec.Struct, frozen=True):
    """One file of a model: its size, and how much of it is header."""

    path: Path
    size_bytes: int
    header_bytes: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """A model's metadata and tensors, over all its parts.

    Arrays of the tokenizer and those beyond 1,024 elements are `LongArray`s.
    """

    parts: tuple[Part, ...]
    version: int
    alignment: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]

    @property
    def path(self) -> Path:
        """The first file."""
        return self.parts[0].path

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def weight_bytes(self) -> int:
        """All tensors together, without header and padding."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """The numbers in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def architecture(self) -> str:
        """`general.architecture`, or an empty string."""
        return self.value("general.architecture", str) or ""

    @property
    def token_count(self) -> int:
        """The size of the vocabulary."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, LongArray):
            return tokens.length
        return self.own("vocab_size", int) or 0

    def value(self, key: str, kind: type[_T]) -> _T | None:
        """The value of `key` if it is there and of that kind."""
        found = self.metadata.get(key)
        if isinstance(found, bool) and kind is not bool:
            return None
        return found if isinstance(found, kind) else None

    def own(self, key: str, kind: type[_T]) -> _T | None:
        """The value of `key` below the architecture's name."""
        return self.value(f"{self.architecture}.{key}", kind)

    def count(self, key: str) -> int:
        """A size or number of things below the architecture's name; 0 if absent or negative."""
        return max(self.own(key, int) or 0, 0)

    def per_layer(self, key: str) -> int | tuple[int, ...] | None:
        """A number for all layers, or one for each."""
        found = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(found, tuple):
            return tuple(int(one) for one in found if isinstance(one, int))
        return found if isinstance(found, int) and not isinstance(found, bool) else None


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of a model; of a split one, of all its parts, whichever is named.

    Raises `GGUFError` for what is no sound GGUF file, `TruncatedFileError` where bytes are
    missing at the end.
    """
    paths = split_parts(Path(path))
    headers = [_read_part(part, number) for number, part in enumerate(paths)]
    first = headers[0]
    for number, header in enumerate(headers):
        _check_split(header, number, len(headers))
    if len(headers) == 1:
        return first
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise GGUFError(f"{first.path.name}: two parts hold the same tensor", path=first.path)
    return Header(
        parts=tuple(part for header in headers for part in header.parts),
        version=first.version,
        alignment=first.alignment,
        metadata=first.metadata,
        tensors=tensors,
    )


def split_parts(path: Path) -> Sequence[Path]:
    """All files of the model that `path` belongs to, by their names, in order."""
    match = _SPLIT_NAME.fullmatch(path.name)
    if match is None:
        return (path,)
    count = int(match["count"])
    names = (f"{match['stem']}-{n:05}-of-{count:05}{path.suffix}" for n in range(1, count + 1))
    parts = []
    for name in names:
        part = path.with_name(name)
        if not part.exists():
            raise GGUFError(
                f"{path.name} is one of {count} parts, and {name} is missing",
                path=part,
                hint="Download the missing part into the same folder.",
            )
        parts.append(part)
    return parts or (path,)


def model_stem(path: Path) -> str:
    """The file's name without `.gguf` and without the number of its part."""
    match = _SPLIT_NAME.fullmatch(path.name)
    return match["stem"] if match else path.stem


def is_later_part(path: Path) -> bool:
    """Whether the name is that of a second or later part."""
    match = _SPLIT_NAME.fullmatch(path.name)
    return match is not None and int(match["number"]) != 1


def _check_split(header: Header, number: int, count: int) -> None:
    said = header.value("split.count", int)
    if said is None or (said <= 1 and count == 1):
        return
    path = header.path
    if said != count:
        raise GGUFError(
            f"{path.name} says it is one of {said} parts, its name says {count}",
            path=path,
            hint="Give the parts their names back: NAME-00001-of-00003.gguf and so on.",
        )
    if header.value("split.no", int) not in (None, number):
        raise GGUFError(f"{path.name} is not part {number + 1}, as its name says", path=path)


def _read_part(path: Path, number: int) -> Header:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise GGUFError(f"{path.name} is {what}, not a model file", path=path)
        with path.open("rb") as file:
            source = Source(file, path, os.fstat(file.fileno()).st_size)
            return _parse(source, number)
    except OSError as problem:
        moved = isinstance(problem, FileNotFoundError)
        raise GGUFError(
            f"{path.name} cannot be read: {problem.strerror or problem}",
            path=path,
            hint="If it was moved or renamed, find it again: lmstrix scan" if moved else "",
        ) from problem
    except ValueError as problem:  # a NUL in the path
        raise GGUFError(f"{str(path)!r} is no path: {problem}", path=path) from problem


def _parse(source: Source, number: int) -> Header:
    if source.size == 0:
        raise source.wrong("the file is empty", hint="Download it again.")
    magic = source.take(min(4, source.size))
    if magic != b"GGUF":
        raise source.wrong("this is not a GGUF file", hint="LMStrix runs GGUF models only.")
    version = source.u32()
    if version & 0xFFFF == 0 and version:
        raise source.wrong(
            "this is a big-endian GGUF file",
            hint="Convert it with gguf-convert-endian, or download the little-endian one.",
        )
    if version not in (2, 3):
        raise source.wrong(
            f"GGUF version {version} is not known", hint="Versions 2 and 3 can be read."
        )
    tensor_count = source.count("tensors", _MOST_TENSORS, 8 + 4 + 8 + 4 + 8)
    key_count = source.count("metadata keys", _MOST_KEYS, 8 + 4 + 1)
    metadata: dict[str, Value] = {}
    for _ in range(key_count):
        key = source.text(most=1 << 16)
        if key in metadata:
            raise source.wrong(f"the key {key!r} is there twice")
        metadata[key] = _value(source, key)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise source.wrong(f"an alignment of {alignment!r} is no power of two")
    raw = [_tensor(source) for _ in range(tensor_count)]
    tensors = _placed(source, raw, alignment, number)
    return Header(
        parts=(Part(source.path, source.size, source.position),),
        version=version,
        alignment=alignment,
        metadata=metadata,
        tensors=tensors,
    )


def _value(source: Source, key: str) -> Value:
    kind = source.u32()
    if kind == _STRING:
        return source.text()
    if kind != _ARRAY:
        return source.number(_scalar(source, key, kind))
    element = source.u32()
    if element == _ARRAY:
        raise source.wrong(f"{key!r} is an array of arrays, which no engine reads")
    smallest = 8 if element == _STRING else _scalar(source, key, element).size
    length = source.count(f"elements of {key!r}", _MOST_ELEMENTS, smallest)
    if length <= _KEPT_ELEMENTS and not key.startswith("tokenizer."):
        if element == _STRING:
            return tuple(source.text() for _ in range(length))
        scalar = _scalar(source, key, element)
        return tuple(source.number(scalar) for _ in range(length))
    if element == _STRING:
        source.skip_texts(length)
        return LongArray("text", length)
    source.skip(length * smallest)
    return LongArray(_SCALARS[element][0], length)


def _scalar(source: Source, key: str, kind: int) -> struct.Struct:
    try:
        return _SCALARS[kind][1]
    except KeyError:
        raise source.wrong(f"{key!r} has the unknown type {kind}") from None


_RawTensor: TypeAlias = tuple[str, tuple[int, ...], int, int]


def _tensor(source: Source) -> _RawTensor:
    name = source.text(most=1 << 12)
    dimensions = source.u32()
    if dimensions > 4:
        raise source.wrong(f"tensor {name!r} has {dimensions:,} dimensions")
    shape = tuple(source.u64() for _ in range(dimensions))
    return name, shape, source.u32(), source.u64()


def _placed(
    source: Source, raw: Sequence[_RawTensor], alignment: int, part: int
) -> tuple[Tensor, ...]:
    """Give every tensor its size, and refuse those that lie outside the file."""
    data_bytes = source.size - -(-source.position // alignment) * alignment
    starts = sorted({offset for *_, offset in raw})
    following = dict(pairwise(starts))
    tensors: dict[str, Tensor] = {}
    total = 0
    for name, shape, kind, offset in raw:
        if name in tensors:
            raise source.wrong(f"tensor {name!r} is there twice")
        if offset % alignment:
            raise source.wrong(f"tensor {name!r} does not start at a multiple of {alignment}")
        known = TENSOR_TYPES.get(kind)
        if known is None:
            # A type newer than this table: it reaches to the next tensor.
            size = max(following.get(offset, data_bytes) - offset, 0)
        else:
            size = _size(source, name, shape, known)
        if offset + size > data_bytes:
            raise source.truncated(source.size - data_bytes + offset + size)
        total += size
        type_name = known.name if known else f"type {kind}"
        tensors[name] = Tensor(name, shape, type_name, offset, size, part)
    if total > max(data_bytes, 0):
        raise source.wrong("its tensors lie over one another")
    return tuple(tensors.values())


def _size(source: Source, name: str, shape: tuple[int, ...], kind: TensorType) -> int:
    columns = shape[0] if shape else 1
    if columns % kind.block:
        raise source.wrong(f"tensor {name!r}: rows of {columns:,} are no whole {kind.name} blocks")
    size = kind.row_bytes(columns)
    for side in shape[1:]:
        size *= side
    if size >= 1 << 63:
        raise source.wrong(f"tensor {name!r} is larger than any file")
    return size
