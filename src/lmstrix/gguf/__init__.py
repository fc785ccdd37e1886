"""Model files: what their headers say, where they lie, and what memory they will need."""

from lmstrix.gguf.describing import describe, relative_key
from lmstrix.gguf.folders import FoundFiles, find_models
from lmstrix.gguf.header import Header, LongArray, Tensor, read_header
from lmstrix.gguf.identity import file_identity
from lmstrix.gguf.memory import Confidence, MemoryModel, MemoryNeed

__all__ = [
    "Confidence",
    "FoundFiles",
    "Header",
    "LongArray",
    "MemoryModel",
    "MemoryNeed",
    "Tensor",
    "describe",
    "file_identity",
    "find_models",
    "read_header",
    "relative_key",
]
